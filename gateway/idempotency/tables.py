"""The one table of this package; `migrations/versions/0003_idempotency.py` creates it.

A row is forgotten after a day. `digest` stands for (person, surface, key) and `fingerprint` for what was asked: both are keyed
hashes, so that whoever reads the table can neither see nor try out what they stand for. `answer` is sealed (see repeats.py).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

metadata = MetaData()

idempotency = Table(
    "idempotency",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("answer", LargeBinary),
)
