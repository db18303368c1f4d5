"""One `Engine` for either database, with the durability the ledger needs; and the migrations.

                 SQLite (embedded, one server process)            PostgreSQL (several)
    durable      WAL + synchronous=FULL                           refused with fsync or synchronous_commit off
    writers      BEGIN IMMEDIATE: queue at the door, ≤ 5 s         row locks
    readers      `reading(engine)`: a snapshot, never waits        `reading(engine)`: READ ONLY
    one server   `lock_sqlite`: flock, taken by `serve` only       not needed

The SQLite recipe under SQLAlchemy 2.1 and Python 3.11: the driver's own transaction control is switched off
(`isolation_level = None`), and the engine's `begin` event says BEGIN. Were it left to the driver, BEGIN would come with
the first INSERT: a transaction that had already read could then fail with "database is locked" at once, because a snapshot
cannot be upgraded while another writer commits, and no time-out helps. It also makes CREATE TABLE transactional.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

#: How long a SQLite writer waits for the one before it.
BUSY_SECONDS = 5

#: Advisory lock of the migrations (any constant, known to nobody else in the database).
_MIGRATION_LOCK = 0x6861_6563_6869  # "haechi"

_READS = "haechi_reads"


class DatabaseError(Exception):
    """The database cannot be used as it is; the message says what to change."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///…` or `postgresql://…`. Connects lazily; each new connection is checked for durability."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseError("a ledger needs a file: sqlite:///path/ledger.db")
        return _open_sqlite(parsed)
    if parsed.drivername.startswith("postgres"):
        return _open_postgresql(parsed.set(drivername="postgresql+psycopg"))
    raise DatabaseError(f"{parsed.drivername}: use sqlite:/// or postgresql://")


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite ledger; None for another database."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def copy_sqlite(source: Path, target: Path) -> None:
    """One moment of a ledger that may be in use, as a file of its own; on disk when this returns. Writers are not held up.

    Raises DatabaseError where the copy is not sound.
    """
    _create_private(target)
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        # In one step: a copy in several would begin anew with every commit.
        old.backup(new, pages=-1)
        (found,) = new.execute("PRAGMA quick_check").fetchone()
        if found != "ok":
            raise DatabaseError(f"{source}: the copy is not sound ({found})")
    handle = os.open(target, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reading(engine: Engine) -> Engine:
    """The same connections for transactions that only read: no write lock on SQLite, READ ONLY on PostgreSQL."""
    return engine.execution_options(**{_READS: True, "postgresql_readonly": True})


def _open_sqlite(url: sa.URL) -> Engine:
    _create_private(Path(url.database or ""))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "cached_statements": 256})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise DatabaseError(f"SQLite cannot keep a write-ahead log here ({mode}): use a local disk")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=5000")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _create_private(file: Path) -> None:
    """A new ledger is its owner's alone (SQLite gives the -wal and -shm files the mode of the file they belong to)."""
    with contextlib.suppress(FileExistsError, FileNotFoundError, PermissionError):  # connecting says what is wrong
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _open_postgresql(url: sa.URL) -> Engine:
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=8,
        connect_args={"connect_timeout": 5, "application_name": "haechi"},
    )

    @event.listens_for(engine, "connect")
    def check(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
            fsync, synchronous_commit = cursor.fetchone()
        connection.rollback()
        if fsync == "off" or synchronous_commit == "off":
            raise DatabaseError(
                f"PostgreSQL may lose commits (fsync={fsync}, synchronous_commit={synchronous_commit}): turn both on"
            )

    return engine


@contextlib.contextmanager
def lock_sqlite(data: Path) -> Iterator[None]:
    """Held by the one server of an embedded database for its lifetime; DatabaseError where another server holds it.

    The kernel drops it with the process, however that ends. Commands do not take it: they work beside a running server.
    """
    handle = os.open(data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatabaseError(
                f"another server uses {data}: one server per SQLite ledger, or PostgreSQL for several / "
                "다른 서버가 이 데이터 폴더를 쓰고 있습니다"
            ) from None
        yield
    finally:
        os.close(handle)


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def migrate(engine: Engine) -> str:
    """Bring the schema to the newest revision, all of it or nothing; returns that revision.

    Two processes that migrate at once take turns: the second finds nothing to do.
    """
    from alembic import command  # noqa: PLC0415 – 0.4 s that other commands need not wait for

    config = _alembic()
    with migrating(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return head()


@contextlib.contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """The one transaction all migrations run in, locked against another process doing the same."""
    with engine.begin() as connection:  # on SQLite, BEGIN IMMEDIATE is the lock
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        yield connection


def head() -> str:
    """The newest revision this program knows."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 – see migrate

    newest = ScriptDirectory.from_config(_alembic()).get_current_head()
    assert newest is not None
    return newest


def revision(engine: Engine) -> str | None:
    """The revision the database is at; None where nothing was migrated yet."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 – see migrate

    with reading(engine).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _alembic() -> Any:
    """Alembic pointed at the migrations beside this package: the same place in a checkout and in an installed wheel."""
    from alembic.config import Config  # noqa: PLC0415 – see migrate

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).resolve().parent.parent / "migrations"))
    return config
