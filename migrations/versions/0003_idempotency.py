"""Which requests came under an `Idempotency-Key`, for the day in which a repeated one is recognised.

Revision ID: 0003
Revises: 0002

Safe: creates only, and the program before it does not look at it. Rows are deleted when their day is over; no money is in
them, and neither a key nor a question stands in them in clear.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency",
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
    )
    op.create_index("ix_idempotency_expires", "idempotency", ["expires_at"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_expires", "idempotency")
    op.drop_table("idempotency")
