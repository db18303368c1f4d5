"""The tables of what belongs to one person; `migrations/versions/0006_filters.py` creates the first.

A row of `mask_vault` is one conversation's masked values, sealed (see mask_vault.py), and is deleted when it expires.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

metadata = MetaData()

mask_vault = Table(
    "mask_vault",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("conversation", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

#: What was uploaded: numbers in clear, the name and the text sealed.
stored_file = Table(
    "stored_file",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("chars", BigInteger, nullable=False),
    Column("grade", Text, nullable=False),
    Column("label", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
