"""What the filters decided, who may be treated less strictly until when, who says a filter was wrong, and masked values.

Revision ID: 0006
Revises: 0005

Safe: creates only, and the program before it does not look at it. `evidence` and `evidence_item` are only ever added to; what a
`filter_exception` was agreed as never changes, only its end may come sooner. No text of a request is in any of them, except in
`mask_vault`, encrypted and for hours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPEND_ONLY = ("evidence", "evidence_item")

#: All of an exception that may change: it may be taken back.
REVOCATION = ("revoked_at", "revoked_by")


def upgrade() -> None:
    _evidence()
    _oversight()
    _vault()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    raise RuntimeError("Books and records are not taken down by a migration. Restore a backup instead.")


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("surface", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("department_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("declared", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("id", name="uq_evidence_id"),
        sa.CheckConstraint("stage IN ('input','output')", name="ck_evidence_stage"),
    )
    op.create_index("ix_evidence_month", "evidence", ["month", "department_id"])
    op.create_index("ix_evidence_request", "evidence", ["request_id"])
    op.create_table(
        "evidence_item",
        sa.Column("evidence_id", sa.Text(), primary_key=True),
        sa.Column("n", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("digests", sa.Text(), nullable=False),
    )


def _oversight() -> None:
    op.create_table(
        "filter_exception",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("department_id", sa.Text(), sa.ForeignKey("department.id"), nullable=True),
        sa.Column("destinations", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("begins_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.CheckConstraint("ends_at > begins_at", name="ck_filter_exception_dates"),
        sa.CheckConstraint("length(reason) > 0 AND length(created_by) > 0", name="ck_filter_exception_answered_for"),
    )
    op.create_index("ix_filter_exception_ends", "filter_exception", ["ends_at"])
    op.create_table(
        "false_alarm",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("evidence_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reported_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.UniqueConstraint("evidence_id", name="uq_false_alarm_evidence"),
        sa.CheckConstraint("outcome IN ('false_alarm','correct')", name="ck_false_alarm_outcome"),
    )
    still = sa.text("outcome IS NULL")
    op.create_index("ix_false_alarm_open", "false_alarm", ["reported_at"], sqlite_where=still, postgresql_where=still)


def _vault() -> None:
    op.create_table(
        "mask_vault",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("conversation", sa.Text(), primary_key=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_mask_vault_expires", "mask_vault", ["expires_at"])


def _agreed() -> str:
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns("filter_exception")]
    return ", ".join(name for name in columns if name not in REVOCATION)


def _guard_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER filter_exception_no_delete BEFORE DELETE ON filter_exception "
        "BEGIN SELECT RAISE(ABORT, 'filter_exception is append-only'); END"
    )
    op.execute(
        f"CREATE TRIGGER filter_exception_as_agreed BEFORE UPDATE OF {_agreed()} ON filter_exception "
        "BEGIN SELECT RAISE(ABORT, 'filter_exception is append-only'); END"
    )


def _guard_postgresql() -> None:
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
        )
    op.execute(
        "CREATE TRIGGER filter_exception_no_delete BEFORE DELETE ON filter_exception "
        "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER filter_exception_as_agreed BEFORE UPDATE OF {_agreed()} ON filter_exception "
        "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
    )
    for table in (*APPEND_ONLY, "filter_exception"):
        # Row triggers do not see TRUNCATE.
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION haechi_append_only()"
        )
