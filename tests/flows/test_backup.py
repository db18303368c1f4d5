"""Backups taken while people work, restored as docs/backup.md says: whole, able to go on, and honest about what they lack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flows.harness import Gateway, Town, asking, eventually
from sqlalchemy import make_url

from gateway.database import open_engine

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backup.md").read_text()

#: What the page has people type, in its own words; each is run below.
DUMP = 'pg_dump --format=custom --file=/backup/2026-11-24/ledger.dump "$HAECHI_DATABASE_URL"'
CREATE = 'createdb --maintenance-db="$MAINTENANCE_URL" haechi_restored'
RESTORE = 'pg_restore --no-owner --exit-on-error --dbname="$RESTORED_URL" /backup/2026-11-24/ledger.dump'


class Work:
    """People asking all the time, streams and whole answers. `whole` has the request ids of answers that came to their end."""

    def __init__(self, gateway: Gateway) -> None:
        self.whole: list[str] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(6)]

    def _ask(self, stream: bool) -> None:
        while not self._stop.is_set():
            answer = self._gateway.post(asking("[[chunks:12]] [[pace:2]] 백업 중", stream=stream))
            if answer.status == 200:
                self.whole.append(answer.request_id)

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.whole) >= 12, within=30, what="work is going on")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def restored(town: Town, data: Path, database_url: str) -> Iterator[Gateway]:
    """The town's next gateway on a restored installation; the town looks at that ledger meanwhile."""
    before = (town.data, town.database_url, town.engine, dict(town.env))
    town.data, town.database_url, town.engine = data, database_url, open_engine(database_url)
    town.env.update(HAECHI_DATA=str(data), HAECHI_DATABASE_URL=database_url)
    gateway = None
    try:
        # What there is before anything starts is whole already: open holds are a part of it.
        assert town.cli("verify")["ok"]
        gateway = town.gateway()
        yield gateway
    finally:
        if gateway is not None:
            gateway.close()
        town.engine.dispose()
        town.data, town.database_url, town.engine, env = before
        town.env.update(env)


def back_to_work(town: Town, gateway: Gateway, before: list[str], after: list[str]) -> None:
    """Everything that was answered before the backup is in it, nothing is left reserved, and new work is booked."""
    eventually(lambda: not town.open_holds(), within=70, what="what was in flight is resolved")
    booked = {row["request_id"]: row for row in town.events()}
    assert set(before) <= booked.keys()
    assert all(booked[id_]["quality"] == "exact" for id_ in before)
    for row in booked.values():
        assert row["outcome"] in {"completed", "expired"}
    missing = [id_ for id_ in after if id_ not in booked]
    assert missing, "nothing happened after the backup: this proves nothing"
    verdict = town.cli("verify")
    assert verdict["ok"], [check for check in verdict["checks"] if not check["ok"]]
    fresh = gateway.chat("다시 시작")
    assert fresh.status == 200
    assert fresh.request_id not in {*before, *after}
    assert town.event(fresh.request_id)["quality"] == "exact"
    assert town.cli("verify")["ok"]


def revived_key(town: Town, gateway: Gateway, revoked: str) -> None:
    """As the page warns: a key revoked after the backup works again, until it is revoked again."""
    assert gateway.chat("살아났다", key=revoked).status == 200
    town.cli(f"key revoke {revoked[: len('hc_live_') + 4]}")
    eventually(lambda: gateway.chat("이제 아니다", key=revoked).status == 401, what="the key is revoked again")


def test_a_running_sqlite_ledger(found: Callable[..., Town], tmp_path: Path) -> None:
    town = found("sqlite", lease_seconds=2)
    gateway = town.gateway()
    key = town.new_key("lee@town.example")
    copy = tmp_path / "backup" / "2026-11-24"
    with Work(gateway) as work:
        before = list(work.whole)
        said = town.cli(f"backup {copy}")
        after_from = len(work.whole)
        eventually(lambda: len(work.whole) >= after_from + 12, within=30, what="work went on after the backup")
    assert said == {"folder": str(copy), "ledger": True}
    town.cli(f"key revoke {key[: len('hc_live_') + 4]}")
    gateway.close()
    town.books_agree()
    assert (copy.stat().st_mode & 0o777, (copy / "ledger.db").stat().st_mode & 0o777) == (0o700, 0o600)
    assert (copy / "secrets.json").read_bytes() == (town.data / "secrets.json").read_bytes()
    assert not (copy / "serve.lock").exists()
    data = tmp_path / "data"
    shutil.copytree(copy, data)
    with restored(town, data, f"sqlite:///{data / 'ledger.db'}") as again:
        back_to_work(town, again, before, work.whole)
        revived_key(town, again, key)


def test_a_running_postgresql_ledger(found: Callable[..., Town], tmp_path: Path) -> None:
    town = found("postgresql", lease_seconds=2)
    gateway = town.gateway()
    key = town.new_key("lee@town.example")
    copy = tmp_path / "backup"
    name = f"restored_{os.getpid()}_{time.monotonic_ns()}"
    urls = {"HAECHI_DATABASE_URL": town.database_url, "MAINTENANCE_URL": town.database_url}
    urls["RESTORED_URL"] = make_url(town.database_url).set(database=name).render_as_string(hide_password=False)
    with Work(gateway) as work:
        before = list(work.whole)
        assert town.cli(f"backup {copy}") == {"folder": str(copy), "ledger": False}
        typed(DUMP, copy, urls)
        after_from = len(work.whole)
        eventually(lambda: len(work.whole) >= after_from + 12, within=30, what="work went on after the backup")
    town.cli(f"key revoke {key[: len('hc_live_') + 4]}")
    gateway.close()
    town.books_agree()
    typed(CREATE.replace("haechi_restored", name), copy, urls, said=CREATE)
    try:
        typed(RESTORE, copy, urls)
        data = tmp_path / "data"
        shutil.copytree(copy, data)
        with restored(town, data, urls["RESTORED_URL"]) as again:
            back_to_work(town, again, before, work.whole)
            revived_key(town, again, key)
    finally:
        subprocess.run(["dropdb", "--force", "--maintenance-db", town.database_url, name], check=True)


def typed(command: str, copy: Path, urls: dict[str, str], *, said: str | None = None) -> None:
    """Run what the page says, in this test's places."""
    assert (said or command) in PAGE
    line = command.replace("/backup/2026-11-24", str(copy))
    subprocess.run(line, shell=True, check=True, env={"PATH": os.environ["PATH"], **urls}, capture_output=True)


# Each row: where somebody wants the backup, and what it is told.
@pytest.mark.parametrize(("where", "code"), [("there", "folder_exists"), ("data/backup", "inside_data")])
def test_a_backup_never_overwrites_and_never_lies_beside_what_it_protects(
    place: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, code: str
) -> None:
    (tmp_path / "there").mkdir()
    target = place.data.parent / where if where.startswith("data") else tmp_path / where
    with pytest.raises(AssertionError, match=code):
        place.cli(f"backup {target}")
    assert list((tmp_path / "there").iterdir()) == []
    assert not (place.data / "backup").exists()


def test_the_page_names_every_file_of_an_installation(place: Town, gateway: Gateway) -> None:
    """What appears in a data folder is either in a backup and on the page, or belongs to a running server only."""
    known: dict[str, Any] = {"secrets.json": True, "ledger.db": True, "prices": True, "serve.lock": False}
    found_here = {re.sub(r"-(wal|shm)$", "", path.name) for path in place.data.iterdir()}
    assert found_here <= known.keys()
    assert all(name in PAGE for name, kept in known.items() if kept)
