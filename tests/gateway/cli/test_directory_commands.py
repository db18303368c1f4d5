"""The commands for departments, people, pledges and keys: their answers, their exit codes, and who is recorded."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.__main__ import main
from gateway.database import open_engine
from gateway.directory import keys
from gateway.directory.tables import api_key, audit, department
from gateway.principal import Authenticator
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]


class Console:
    """A command line whose data folder and database are this test's own."""

    def __init__(self, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        self.env = env
        self._capsys = capsys

    def __call__(self, line: str, *more: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        self._capsys.readouterr()
        code = main([*line.split(), *more], self.env)
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def json(self, line: str, *more: str) -> dict[str, Any]:
        code, out, err = self(line, *more, "--json")
        assert (code, err) == (0, "")
        answer: dict[str, Any] = json.loads(out)
        return answer


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "HAECHI_CONFIG": str(ROOT / "config.yaml"),
        "HAECHI_DATA": str(tmp_path / "data"),
        "HAECHI_DATABASE_URL": database_url,
    }


@pytest.fixture
def console(env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(env, capsys)


@pytest.fixture
def staffed(console: Console) -> Console:
    console("department add --code FIN --name 재무국")
    console("user add --email kim@city.example --department FIN --role staff")
    return console


def test_migrate_says_where_the_database_is(console: Console, tmp_path: Path) -> None:
    console.env["HAECHI_DATABASE_URL"] = f"sqlite:///{tmp_path}/fresh.db"
    revision = console.json("migrate")["revision"]
    assert revision.isdigit()
    assert console.json("migrate") == {"revision": revision}


def test_a_department_a_person_and_a_key(console: Console) -> None:
    city = console.json("department add --code CITY --name 데모시")
    tax = console.json("department add --code TAX --parent CITY --name", "세정과 1팀")
    assert tax == {"id": tax["id"], "code": "TAX", "name": "세정과 1팀", "parent": "CITY"}
    assert city["parent"] is None
    person = console.json("user add --email Kim@City.example --department TAX --role staff --role manager --signed")
    assert person == {
        "id": person["id"],
        "email": "kim@city.example",
        "name": "kim",
        "department": "TAX",
        "roles": ["manager", "staff"],
        "signed": True,
    }
    made = console.json("key create --user KIM@city.example")
    assert set(made) == {"key", "prefix", "expires"}
    assert keys.well_formed(made["key"])
    assert made["key"].startswith(made["prefix"])
    assert console.json(f"key revoke {made['prefix']}") == {
        "prefix": made["prefix"],
        "last4": made["key"][-4:],
        "revoked": True,
    }
    assert console(f"key revoke {made['prefix']}")[0] == 1


def test_a_default_grade_is_set_and_taken_back(console: Console) -> None:
    console("department add --code CITY --name 데모시 --grade S")
    console("user add --email kim@city.example --department CITY --role staff")
    console("key create --user kim@city.example --grade C")

    def grades() -> list[str | None]:
        engine = open_engine(console.env["HAECHI_DATABASE_URL"])
        with engine.connect() as connection:
            found = [connection.scalar(sa.select(table.c.grade)) for table in (department, api_key)]
        engine.dispose()
        return found

    assert grades() == ["S", "C"]
    assert console.json("department grade --code CITY --grade none") == {"code": "CITY", "grade": None}
    assert grades() == [None, "C"]
    assert console("department grade --code CITY --grade X")[0] == 2
    assert console("department grade --code NONE --grade S")[0] == 1


@pytest.mark.parametrize(
    ("given", "expires"),
    [
        ("2020-01-31", "2020-02-01T00:00:00+09:00"),  # the last day it works, where the organisation is
        ("2030-06-30T18:00:00+09:00", "2030-06-30T18:00:00+09:00"),
        ("2030-06-30T09:00:00Z", "2030-06-30T18:00:00+09:00"),
    ],
)
def test_a_key_ends_when_it_was_told_to(staffed: Console, given: str, expires: str) -> None:
    assert staffed.json(f"key create --user kim@city.example --expires {given}")["expires"] == expires


async def test_a_past_date_makes_an_expired_key(staffed: Console) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    key = staffed.json(f"key create --user kim@city.example --expires {yesterday}")["key"]
    env = staffed.env
    engine = open_engine(env["HAECHI_DATABASE_URL"])
    settings = load_settings(Path(env["HAECHI_CONFIG"]), Path(env["HAECHI_DATA"]), env)
    with pytest.raises(Exception, match="expired"):
        await Authenticator(engine, settings, lambda: time.time_ns() // 1000).authenticate(
            [(b"x-api-key", key.encode())]
        )
    engine.dispose()


def test_a_pledge_is_published_and_signed_on_paper(staffed: Console, tmp_path: Path) -> None:
    (tmp_path / "ko.txt").write_text("서약합니다", encoding="utf-8")
    (tmp_path / "en.txt").write_text("I pledge", encoding="utf-8")
    assert staffed.json(f"pledge publish --ko {tmp_path}/ko.txt --en {tmp_path}/en.txt") == {"version": 1}
    signed = staffed.json("pledge sign --user kim@city.example")
    assert (signed["email"], signed["version"]) == ("kim@city.example", 1)
    assert datetime.fromisoformat(signed["signed_at"]).utcoffset() == timedelta(hours=9)
    assert staffed.json("pledge sign --user kim@city.example") == signed


def test_a_password_is_given_out_once(staffed: Console) -> None:
    first = staffed.json("user password --user kim@city.example")
    assert len(first["password"]) == 20
    assert staffed.json("user password --user kim@city.example") != first


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("department add --code FIN --name 또", 1),
        ("department add --code NEW --name 새 --parent NONE", 1),
        ("department add --code A,B --name 이름", 2),
        ("department add --code NEW", 2),
        ("user add --email kim@city.example --department FIN --role staff", 1),
        ("user add --email lee@city.example --department NONE --role staff", 1),
        ("user add --email lee --department FIN --role staff", 2),
        ("user add --email lee@city.example --department FIN --role boss", 2),
        ("pledge sign --user lee@city.example", 1),
        ("pledge publish --ko /nowhere --en /nowhere", 2),
        ("key create --user lee@city.example", 1),
        ("key create --user kim@city.example --expires soon", 2),
        ("key create --user kim@city.example --expires 2030-06-30T18:00:00", 2),
        ("key revoke hc_live_none", 1),
        ("key", 2),
        ("", 2),
        ("nonsense", 2),
    ],
)
def test_exit_codes(staffed: Console, line: str, code: int) -> None:
    told = staffed(line)
    assert told[0] == code
    assert told[1] == ""
    assert told[2]
    if line.count("--"):
        as_json = staffed(line, "--json")
        assert as_json[0] == code
        if not as_json[2].startswith("usage:"):
            assert set(json.loads(as_json[2])["error"]) == {"code", "message"}


def test_a_broken_installation_is_told_in_a_line(console: Console, tmp_path: Path) -> None:
    """Not migrated, no server, no configuration: exit 1 and what to do, never a traceback."""
    for change, says in (
        ({"HAECHI_DATABASE_URL": f"sqlite:///{tmp_path}/fresh.db"}, "haechi migrate"),
        ({"HAECHI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "did not answer"),
        ({"HAECHI_CONFIG": "/nowhere.yaml"}, "no such file"),
    ):
        console.env.update(change)
        code, out, err = console("key create --user kim@city.example")
        assert (code, out) == (1, "")
        assert says in err
        assert "Traceback" not in err


def test_people_read_two_languages_and_programs_json(staffed: Console) -> None:
    _, out, _ = staffed("key create --user kim@city.example")
    key, note = out.strip().splitlines()
    assert keys.well_formed(key)
    assert "다시 표시되지 않습니다" in note
    assert "Shown once" in note


def test_the_operating_system_s_user_is_recorded(staffed: Console) -> None:
    engine = open_engine(staffed.env["HAECHI_DATABASE_URL"])
    with engine.connect() as connection:
        rows = connection.execute(sa.select(audit.c.actor, audit.c.origin, audit.c.action).order_by(audit.c.at)).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [
        (f"os:{getpass.getuser()}", "cli", "department.add"),
        (f"os:{getpass.getuser()}", "cli", "user.add"),
    ]


def test_help_names_every_command(console: Console) -> None:
    code, out, _ = console("--help")
    assert code == 0
    for name in ("migrate", "department", "user", "pledge", "key"):
        assert name in out


@pytest.fixture
def modules_of() -> Callable[[str], set[str]]:
    def loaded(line: str) -> set[str]:
        program = f"import sys; from gateway.__main__ import main; main({line.split()!r}); print(*sys.modules)"
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
        return set(told.stdout.split())

    return loaded


def test_a_command_loads_what_it_needs_and_no_more(modules_of: Callable[[str], set[str]]) -> None:
    """Most of a command's second is imports; a server's would triple it."""
    loaded = modules_of("key revoke hc_live_none --config /nowhere.yaml")
    assert "gateway.cli.key" in loaded
    assert not loaded & {"fastapi", "uvicorn", "aiohttp", "alembic", "sqlmodel", "gateway.app", "gateway.cli.serve"}
