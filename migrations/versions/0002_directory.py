"""The directory: departments, people, roles, pledges, keys and sessions, with the dates they hold; and the audit record.

Revision ID: 0002
Revises: 0001

Safe: creates only. Memberships, parents and roles are rows with a beginning and an end, so a statement of last year can be
made with last year's departments. The ledger keeps plain ids of these rows and no foreign key points here from it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: What somebody signed, published or did stays as it was written.
APPEND_ONLY = ("pledge_text", "pledge_signature", "audit")


def upgrade() -> None:
    _departments()
    _people()
    _pledges()
    _credentials()
    _records()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    raise RuntimeError("Books and records are not taken down by a migration. Restore a backup instead.")


def _departments() -> None:
    op.create_table(
        "department",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("code", name="uq_department_code"),
    )
    op.create_table(
        "department_parent",
        sa.Column("department_id", sa.Text(), sa.ForeignKey("department.id"), primary_key=True),
        sa.Column("parent_id", sa.Text(), sa.ForeignKey("department.id"), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="ck_department_parent_dates"),
        sa.CheckConstraint("department_id <> parent_id", name="ck_department_parent_self"),
    )
    _one_open("department_parent", "department_id")


def _people() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("email", name="uq_person_email"),
        sa.CheckConstraint("email = lower(email)", name="ck_person_email"),
        sa.CheckConstraint("status IN ('active','disabled')", name="ck_person_status"),
    )
    op.create_table(
        "membership",
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), primary_key=True),
        sa.Column("department_id", sa.Text(), sa.ForeignKey("department.id"), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="ck_membership_dates"),
    )
    _one_open("membership", "user_id")
    op.create_index("ix_membership_department", "membership", ["department_id"])
    op.create_table(
        "role_grant",
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), primary_key=True),
        sa.Column("role", sa.Text(), primary_key=True),
        sa.Column("valid_from", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('staff','manager','finance','it_admin','auditor')", name="ck_role_grant_role"),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="ck_role_grant_dates"),
    )
    _one_open("role_grant", "user_id", "role")


def _one_open(table: str, *columns: str) -> None:
    """At most one row without an end per subject: two writers that both forget to close the old one cannot both commit."""
    still = sa.text("valid_to IS NULL")
    op.create_index(f"uq_{table}_open", table, list(columns), unique=True, sqlite_where=still, postgresql_where=still)


def _pledges() -> None:
    op.create_table(
        "pledge_text",
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("body_ko", sa.Text(), nullable=False),
        sa.Column("body_en", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "pledge_signature",
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), primary_key=True),
        # No foreign key: a paper pledge may be booked before its text is published here.
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("booked_by", sa.Text(), nullable=False),
        sa.CheckConstraint("method IN ('online','paper')", name="ck_pledge_signature_method"),
    )


def _credentials() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
    )
    op.create_index("ix_api_key_prefix", "api_key", ["prefix"])
    op.create_index("ix_api_key_user", "api_key", ["user_id"])
    op.create_table(
        "session",
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('cookie','bearer')", name="ck_session_kind"),
    )
    op.create_index("ix_session_user", "session", ["user_id"])
    op.create_index("ix_session_expires", "session", ["expires_at"])


def _records() -> None:
    op.create_table(
        "change",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_object", "audit", ["object"])


def _guard_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _guard_postgresql() -> None:
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
        )
        # Row triggers do not see TRUNCATE.
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION haechi_append_only()"
        )
