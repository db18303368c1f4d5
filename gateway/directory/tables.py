"""The directory's tables as Core declares them; `migrations/versions/0002_directory.py` creates them and says more.

Plain Core tables, not SQLModel classes: nothing here loads or tracks an object, every statement is Core, and a command such
as `haechi key create` would wait a third longer for a mapper it never uses.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

department = Table(
    "department",
    metadata,
    Column("id", Text, primary_key=True),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("grade", Text),
)

department_parent = Table(
    "department_parent",
    metadata,
    Column("department_id", Text, primary_key=True),
    Column("parent_id", Text, nullable=False),
    Column("valid_from", BigInteger, primary_key=True),
    Column("valid_to", BigInteger),
)

person = Table(
    "person",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("password_hash", Text),
    Column("created_at", BigInteger, nullable=False),
)

membership = Table(
    "membership",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("department_id", Text, nullable=False),
    Column("valid_from", BigInteger, primary_key=True),
    Column("valid_to", BigInteger),
)

role_grant = Table(
    "role_grant",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("valid_from", BigInteger, primary_key=True),
    Column("valid_to", BigInteger),
    Column("granted_by", Text, nullable=False),
)

pledge_text = Table(
    "pledge_text",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("body_ko", Text, nullable=False),
    Column("body_en", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
)

pledge_signature = Table(
    "pledge_signature",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("signed_at", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("booked_by", Text, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("created_by", Text, nullable=False),
    Column("grade", Text),
)

session = Table(
    "session",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
)

change = Table(
    "change",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", Text, nullable=False),
)
