"""Uploaded files, as the text that was read from them: sealed, expiring, and whose they are.

Revision ID: 0007
Revises: 0006

Safe: creates only, and the program before it does not look at it. The name of a file and its text are encrypted under the
installation's key; the bytes that were uploaded are not kept. Rows are deleted when their time is over.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_file",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("chars", sa.BigInteger(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("label", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("grade IN ('O','S','C')", name="ck_stored_file_grade"),
    )
    op.create_index("ix_stored_file_user", "stored_file", ["user_id", "created_at"])
    op.create_index("ix_stored_file_expires", "stored_file", ["expires_at"])


def downgrade() -> None:
    op.drop_index("ix_stored_file_expires", "stored_file")
    op.drop_index("ix_stored_file_user", "stored_file")
    op.drop_table("stored_file")
