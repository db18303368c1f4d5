"""What the reading of a usage rested on beside the usage itself, kept with the event.

Revision ID: 0004
Revises: 0003

Safe: adds one empty column. The program before it writes rows without it, and a row without it is sealed as it was before there
was one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage_event", sa.Column("usage_context", sa.Text(), nullable=True))


def downgrade() -> None:
    raise RuntimeError("Books and records are not taken down by a migration. Restore a backup instead.")
