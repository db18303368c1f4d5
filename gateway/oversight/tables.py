"""The tables of those who watch the filters; the migrations 0006 and 0007 create them and say what may change."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

metadata = MetaData()

filter_exception = Table(
    "filter_exception",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("rule", Text),
    Column("department_id", Text),
    Column("destinations", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("begins_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("revoked_by", Text),
)

false_alarm = Table(
    "false_alarm",
    metadata,
    Column("id", Text, primary_key=True),
    Column("evidence_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reported_at", BigInteger, nullable=False),
    Column("outcome", Text),
    Column("decided_at", BigInteger),
    Column("decided_by", Text),
)

filter_tightening = Table(
    "filter_tightening",
    metadata,
    Column("id", Text, primary_key=True),
    Column("department_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("destinations", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("ended_by", Text),
)
