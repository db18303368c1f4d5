"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision or "nothing"}

Safe: say here why this can run while the previous version of the gateway is still serving.
  - Add first, remove one release later: a new column is nullable or has a server default.
  - Never rewrite, update or delete rows of the ledger or of the audit record; their triggers refuse it, rightly.
  - No long lock: on PostgreSQL create large indexes in a migration of their own.
  - The same result on SQLite and PostgreSQL, triggers included; tests/ runs every revision on both.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    raise RuntimeError("Books and records are not taken down by a migration. Restore a backup instead.")
