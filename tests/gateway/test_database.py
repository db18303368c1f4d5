"""Either database keeps what it has acknowledged, lets writers queue instead of fail, and is migrated whole or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from gateway.database import DatabaseError, head, lock_sqlite, migrate, open_engine, reading, revision


def test_sqlite_is_durable(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with engine.begin() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _DURABLE}
    assert found == _DURABLE
    engine.dispose()


def test_a_new_ledger_is_its_owner_s_alone(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("new.db*")}
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
    engine.dispose()


_DURABLE = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_writer_waits_for_the_one_before_it(engine: Engine) -> None:
    """Each reads the number, then writes it plus one. Left to the driver, SQLite would refuse all but one of them at once."""
    t = sa.table("department", sa.column("id"), sa.column("code"), sa.column("name"), sa.column("created_at"))
    with engine.begin() as connection:
        connection.execute(sa.insert(t).values(id="d", code="D", name="0", created_at=0))
    failures: list[Exception] = []

    def count_up() -> None:
        try:
            for _ in range(20):
                with engine.begin() as connection:
                    now = connection.scalar(sa.select(t.c.name).with_for_update())
                    connection.execute(sa.update(t).values(name=str(int(now) + 1)))
        except Exception as e:  # noqa: BLE001 – a thread's failure has to reach the test
            failures.append(e)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with reading(engine).connect() as connection:
        assert connection.scalar(sa.select(t.c.name)) == "80"


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(engine: Engine) -> None:
    t = sa.table("department", sa.column("id"), sa.column("code"), sa.column("name"), sa.column("created_at"))
    with engine.begin() as connection:
        connection.execute(sa.insert(t).values(id="d", code="D", name="n", created_at=0))
        began = time.monotonic()
        with reading(engine).connect() as reader:
            assert reader.scalar(sa.select(sa.func.count()).select_from(t)) == 0
        assert time.monotonic() - began < 2


def test_a_reader_cannot_write_on_postgresql(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with pytest.raises(sa.exc.InternalError, match="read-only"), reading(engine).connect() as connection:
        connection.execute(sa.text("DELETE FROM department"))
    with engine.begin() as connection:  # the same pooled connection writes again
        connection.execute(sa.text("DELETE FROM department"))
    engine.dispose()


@pytest.mark.parametrize("setting", ["synchronous_commit"])
def test_a_postgresql_that_may_lose_commits_is_refused(postgresql_url: str, setting: str) -> None:
    engine = open_engine(f"{postgresql_url}{'&' if '?' in postgresql_url else '?'}options=-c%20{setting}%3Doff")
    with pytest.raises(DatabaseError, match="may lose commits"):
        engine.connect()
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y"])
def test_what_cannot_be_a_ledger_is_refused(url: str) -> None:
    with pytest.raises((DatabaseError, sa.exc.ArgumentError)):
        open_engine(url)


def test_one_server_per_folder(tmp_path: Path) -> None:
    with lock_sqlite(tmp_path), pytest.raises(DatabaseError, match="another server"), lock_sqlite(tmp_path):
        pass
    with lock_sqlite(tmp_path):  # free again
        pass


def test_migrating_twice_and_at_once_is_migrating(tmp_path: Path, engine: Engine) -> None:
    assert revision(engine) == head() == migrate(engine)
    engines = [open_engine(f"sqlite:///{tmp_path}/new.db") for _ in range(3)]
    assert revision(engines[0]) is None
    done: list[str] = []
    threads = [threading.Thread(target=lambda e=e: done.append(migrate(e))) for e in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [head()] * 3
    for opened in engines:
        opened.dispose()
