"""The two tables of the evidence; `migrations/versions/0006_filters.py` creates them.

`evidence` is one decision of the filters, `evidence_item` what it rests on: a row for each (kind, rule, certainty, action, new or
old). Neither holds text, positions in a text, or anything a value could be read from: only counts and keyed hashes. Numbers
(`seq`) are taken in the order of the commits, so that a row that is missing is missed. Append-only by trigger in both databases.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

metadata = MetaData()

evidence = Table(
    "evidence",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("month", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("surface", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("department_id", Text, nullable=False),
    Column("key_id", Text),
    Column("model", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("declared", Text, nullable=False),
    Column("grade", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("seen", BigInteger, nullable=False),
)

evidence_item = Table(
    "evidence_item",
    metadata,
    Column("evidence_id", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("band", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("newest", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("digests", Text, nullable=False),
)
