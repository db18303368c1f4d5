"""The filters on the command line: the same answers as the pages give, exit codes, and everything that changes on record."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from decisions import decision, item
from ledgers import Ledger, open_ledger

from gateway.__main__ import main
from gateway.database import open_engine
from gateway.directory.tables import audit
from gateway.evidence import store as evidence_store
from gateway.evidence.reports.verification import CHECKS

ROOT = Path(__file__).resolve().parents[3]
REASON = ("--reason", "지방세 징수 업무 위탁에 따른 처리")
TOMORROW = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()


class Console:
    """A command line on a ledger of this test's own."""

    def __init__(self, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        self.env = env
        self._capsys = capsys

    def __call__(self, line: str, *more: str) -> tuple[int, str, str]:
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
def console(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Console:
    made = Console(
        {
            "HAECHI_CONFIG": str(ROOT / "config.yaml"),
            "HAECHI_DATA": str(tmp_path / "data"),
            "HAECHI_DATABASE_URL": database_url,
        },
        capsys,
    )
    made("department add --code TAX --name 세정과")
    made("user add --email kim@city.example --department TAX --role staff")
    return made


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


@pytest.fixture
def tax(console: Console, ledger: Ledger) -> str:
    """The id of the department, for which one decision blocked and one masked."""
    ((tax,),) = ledger.rows("SELECT id FROM department")
    ((kim,),) = ledger.rows("SELECT id FROM person")
    at = ledger.clock()
    records = [
        decision(item(), item("PHONE", "mask", 2), at=at, department_id=tax, user_id=kim),
        decision(item("PHONE", "mask"), at=at, department_id=tax, action="mask", user_id=kim),
    ]
    ledger.book.transact(lambda tx: evidence_store.add(tx, records))
    return str(tax)


def test_overview_and_rules(console: Console, tax: str) -> None:
    (row,) = console.json("policies overview --month 2026-11")["rows"]
    assert (row["department"], row["stopped"], row["requests"], row["findings"]) == (
        "TAX",
        1,
        0,
        {"PHONE": 3, "RRN": 1},
    )
    assert console.json("policies overview --month 2026-12 --months 2")["months"] == ["2026-11", "2026-12"]
    rules = console.json("policies rules --month 2026-11")["rows"]
    assert [(r["kind"], r["decisions"]) for r in rules] == [("PHONE", {"mask": 2}), ("RRN", {"block": 1})]
    _, out, _ = console("policies overview --month 2026-11")
    assert "TAX" in out
    assert "RRN 1" in out
    assert "기록이 없습니다" in console("policies rules --month 1999-01")[1]


def test_exceptions_come_and_go(console: Console) -> None:
    made = console.json(
        f"policies except --kind RRN --action mask --department TAX --to domestic --until {TOMORROW}", *REASON
    )
    assert (made["kind"], made["department"], made["destinations"], made["state"]) == (
        "RRN",
        "TAX",
        ["domestic"],
        "in_force",
    )
    assert made["by"] == f"os:{getpass.getuser()}"
    assert console.json("policies exceptions") == {"exceptions": [made]}
    assert made["id"] in console("policies exceptions")[1]
    assert console.json(f"policies revoke {made['id']}") == {"id": made["id"], "revoked": True}
    assert console.json("policies exceptions") == {"exceptions": []}
    assert [e["state"] for e in console.json("policies exceptions --all")["exceptions"]] == ["revoked"]
    assert console(f"policies revoke {made['id']}")[0] == 1


def test_a_stricter_department(console: Console, tax: str) -> None:
    made = console.json("policies tighten --department TAX --kind * --action block", *REASON)
    assert console.json("policies tightenings") == {"tightenings": [made]}
    run = console.json("policies dry-run --month 2026-11")
    assert (run["was"]["block"], run["would_be"]["block"], run["newly_stopped"]) == (1, 2, 1)
    assert console.json(f"policies relax {made['id']}")["ended"] is True
    assert console.json("policies dry-run --month 2026-11")["newly_stopped"] == 0
    assert console(f"policies relax {made['id']}")[0] == 1


def test_a_dry_run_of_a_file(console: Console, tax: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "actions: {RRN: warn}\ntightenings:\n  - {department: TAX, kind: PHONE, action: block, destinations: [foreign]}\n",
        encoding="utf-8",
    )
    run = console.json(f"policies dry-run --month 2026-11 --rules {rules}")
    assert run["would_be"]["block"] == 2
    assert [(c["kind"], c["was"], c["would_be"], c["findings"]) for c in run["changes"]] == [
        ("PHONE", "mask", "block", 3),
        ("RRN", "block", "warn", 1),
    ]
    _, out, _ = console(f"policies dry-run --month 2026-11 --rules {rules}")
    assert "mask → block" in out
    for bad in ("actions: {PHONES: warn}", "- a list", "actions: [", "\udcff"):
        rules.write_bytes(bad.encode("utf-8", "surrogateescape"))
        assert console(f"policies dry-run --month 2026-11 --rules {rules}")[0] == 2


def test_alarms_are_listed_and_decided(console: Console, tax: str, ledger: Ledger) -> None:
    from gateway.audit import Actor
    from gateway.directory.ids import now_us, uuid7
    from gateway.oversight.oversight import Oversight

    ((about, kim),) = ledger.rows("SELECT id, user_id FROM evidence WHERE action = 'block'")
    watch = Oversight(ledger.engine, now_us, uuid7)
    alarm = watch.report(kim, about, "example", by=Actor("kim@city.example", "10.0.0.1"))
    (listed,) = console.json("policies alarms")["alarms"]
    assert (listed["id"], listed["by"], listed["department"]) == (alarm.id, "kim@city.example", "TAX")
    assert "kim@city.example" in console("policies alarms")[1]
    assert console.json(f"policies alarms --decide {alarm.id} --outcome false_alarm")["outcome"] == "false_alarm"
    assert console.json("policies alarms") == {"alarms": []}
    assert [a["outcome"] for a in console.json("policies alarms --all")["alarms"]] == ["false_alarm"]
    assert console("policies alarms --decide nobody --outcome correct")[0] == 1
    assert console(f"policies alarms --decide {alarm.id}")[0] == 2


@pytest.mark.parametrize(
    ("line", "reason", "code"),
    [
        ("policies overview", (), 2),
        ("policies overview --month 2026-13", (), 2),
        ("policies overview --month 2026-11 --months 99", (), 2),
        (f"policies except --kind RRN --action mask --until {TOMORROW}", (), 2),
        (f"policies except --kind RRN --action mask --until {TOMORROW}", ("--reason", ""), 2),
        ("policies except --kind RRN --action mask --until soon", REASON, 2),
        ("policies except --kind RRN --action mask --until 2020-01-01", REASON, 2),
        (f"policies except --kind IRIS --action mask --until {TOMORROW}", REASON, 2),
        (f"policies except --kind SECRET --action allow --until {TOMORROW}", REASON, 1),
        (f"policies except --kind RRN --action mask --until {TOMORROW} --department NONE", REASON, 1),
        ("policies tighten --department NONE --kind RRN --action block", REASON, 1),
        ("policies revoke nobody", (), 1),
        ("policies", (), 2),
    ],
)
def test_exit_codes(console: Console, line: str, reason: tuple[str, ...], code: int) -> None:
    told = console(line, *reason)
    assert told[0] == code
    assert told[1] == ""
    assert told[2]


def test_what_changes_is_on_record(console: Console, database_url: str) -> None:
    made = console.json(f"policies except --kind RRN --action mask --until {TOMORROW}", *REASON)
    console.json(f"policies revoke {made['id']}")
    engine = open_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(audit.c.actor, audit.c.origin, audit.c.action, audit.c.object)
            .where(audit.c.action.startswith("filter."))
            .order_by(audit.c.at)
        ).all()
    engine.dispose()
    me = (f"os:{getpass.getuser()}", "cli")
    about = f"exception:{made['id']}"
    assert [tuple(row) for row in rows] == [
        (*me, "filter.exception.grant", about),
        (*me, "filter.exception.revoke", about),
    ]


def test_verify_walks_the_evidence(console: Console, tax: str, ledger: Ledger) -> None:
    names = [check["name"] for check in console.json("verify")["checks"]]
    assert set(CHECKS) <= set(names)
    with ledger.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            connection.execute(sa.text("DROP TRIGGER evidence_no_update"))
        connection.execute(sa.text("UPDATE evidence SET action = 'allow' WHERE action = 'block'"))
    code, out, _ = console("verify", "--json")
    broken = {c["name"]: c["first_bad"]["table"] for c in json.loads(out)["checks"] if not c["ok"]}
    assert (code, broken) == (1, {"evidence_follows": "evidence"})
