"""The data grade that is assumed of what a department's people send, and of what comes with an API key.

Revision ID: 0005
Revises: 0004

Safe: adds two columns that may be null, which neither rewrites nor locks a table for long; the program before it does not
look at them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("department", sa.Column("grade", sa.Text(), nullable=True))
    op.add_column("api_key", sa.Column("grade", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("api_key", "grade")
    op.drop_column("department", "grade")
