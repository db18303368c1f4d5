"""Where a department is stricter than everybody.

Revision ID: 0008
Revises: 0007

Safe: creates only, and the program before it does not look at it. What a row was agreed as never changes; it may be ended.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_AGREED = "id, department_id, kind, action, destinations, reason, created_by, created_at"


def upgrade() -> None:
    op.create_table(
        "filter_tightening",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("department_id", sa.Text(), sa.ForeignKey("department.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("destinations", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
    )
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    raise RuntimeError("Books and records are not taken down by a migration. Restore a backup instead.")


def _guard_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER filter_tightening_no_delete BEFORE DELETE ON filter_tightening "
        "BEGIN SELECT RAISE(ABORT, 'filter_tightening is append-only'); END"
    )
    op.execute(
        f"CREATE TRIGGER filter_tightening_as_agreed BEFORE UPDATE OF {_AGREED} ON filter_tightening "
        "BEGIN SELECT RAISE(ABORT, 'filter_tightening is append-only'); END"
    )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER filter_tightening_no_delete BEFORE DELETE ON filter_tightening "
        "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER filter_tightening_as_agreed BEFORE UPDATE OF {_AGREED} ON filter_tightening "
        "FOR EACH ROW EXECUTE FUNCTION haechi_append_only()"
    )
    op.execute(
        "CREATE TRIGGER filter_tightening_no_truncate BEFORE TRUNCATE ON filter_tightening "
        "FOR EACH STATEMENT EXECUTE FUNCTION haechi_append_only()"
    )
