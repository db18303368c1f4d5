"""Run by alembic for `haechi migrate` (which hands over its open transaction) and for the `alembic` command itself.

All revisions run in one transaction on both databases, under a lock, so a failed upgrade leaves the schema as it was.
Revisions are written by hand: what they create has to be the same on SQLite and PostgreSQL, down to the triggers.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from gateway.database import migrating, open_engine
from gateway.settings import load_settings, locate


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def database_url() -> str:
    return (
        context.config.get_main_option("sqlalchemy.url")
        or load_settings(*locate(os.environ), os.environ).database_url.get_secret_value()
    )


if context.is_offline_mode():
    raise SystemExit("migrations need the database: run `haechi migrate`")
if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    engine = open_engine(database_url())
    with migrating(engine) as opened:
        run(opened)
    engine.dispose()
