"""Exceptions have a name, a reason and an end; a report about a decision is about one's own; both are on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from clock import DAY, MINUTE, SECOND, Clock
from decisions import decision, item
from ledgers import Ledger, open_ledger
from sqlalchemy import Engine

from gateway.audit import Actor
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.directory.tables import audit
from gateway.errors import BadRequest, NotFound
from gateway.evidence import store as evidence_store
from gateway.evidence.records import Evidence
from gateway.evidence.reports import overview
from gateway.evidence.reports.dry_run import Change, DepartmentChange, dry_run
from gateway.oversight import store
from gateway.oversight.oversight import LONGEST_US, Overrides, Oversight
from policies.rules.actions import Actions, read_table
from policies.subject import Exemption, Tightening

REASON = "지방세 징수 업무 위탁에 따른 처리"


@pytest.fixture
def oversight(engine: Engine, clock: Clock) -> Oversight:
    return Oversight(engine, clock, uuid7)


@pytest.fixture
def ledger(database_url: str, clock: Clock) -> Iterator[Ledger]:
    with open_ledger(database_url, clock=clock) as opened:
        yield opened


@pytest.fixture
def kim(city: Directory) -> str:
    return city.person("kim@city.example").id


def keep(ledger: Ledger, *records: Evidence) -> None:
    ledger.book.transact(lambda tx: evidence_store.add(tx, records))


def audited(engine: Engine) -> list[tuple[str, str]]:
    """(actor, action) of what the filters' overseers did, oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(audit.c.actor, audit.c.action).where(audit.c.action.startswith("filter.")).order_by(audit.c.id)
        )
        return [(actor, action) for actor, action in rows]


# ── exceptions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_exception_lives_and_ends(
    oversight: Oversight, city: Directory, clock: Clock, engine: Engine, by: Actor
) -> None:
    granted = oversight.grant("RRN", "mask", reason=REASON, ends_at=clock.now + DAY, by=by, department="TAX")
    planned = oversight.grant(
        "PHONE", "allow", reason=REASON, ends_at=clock.now + 3 * DAY, begins_at=clock.now + 2 * DAY, by=by
    )
    assert [(e.kind, e.state(clock.now)) for e in oversight.exceptions()] == [("RRN", "in_force"), ("PHONE", "planned")]
    assert granted.department_id == city.department("TAX").id
    assert (granted.created_by, granted.reason) == (by.name, REASON)
    clock.now += DAY
    assert [e.id for e in oversight.exceptions()] == [planned.id]
    revoked = oversight.revoke(planned.id, by=Actor("boss@city.example", "10.0.0.9"))
    assert (revoked.state(clock.now), revoked.revoked_by) == ("revoked", "boss@city.example")
    assert oversight.exceptions() == []
    assert [(e.id, e.state(clock.now)) for e in oversight.exceptions(over=True)] == [
        (granted.id, "expired"),
        (planned.id, "revoked"),
    ]
    for over in (granted.id, planned.id):
        with pytest.raises(BadRequest, match="over already"):
            oversight.revoke(over, by=by)
    with pytest.raises(NotFound):
        oversight.revoke("nobody", by=by)
    assert audited(engine) == [
        (by.name, "filter.exception.grant"),
        (by.name, "filter.exception.grant"),
        ("boss@city.example", "filter.exception.revoke"),
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"reason": ""}, "invalid_reason"),
        ({"reason": "    급함    "}, "invalid_reason"),
        ({"reason": "x" * 501}, "invalid_reason"),
        ({"reason": "line\nbreaks"}, "invalid_reason"),
        ({"ends": 0}, "invalid_end"),
        ({"ends": -DAY}, "invalid_end"),
        ({"ends": LONGEST_US + MINUTE}, "invalid_end"),
        ({"begins": 2 * DAY}, "invalid_end"),
        ({"kind": "IRIS"}, "invalid_kind"),
        ({"kind": "CLASSMARK/partial"}, "invalid_kind"),
        ({"action": "block"}, "invalid_action"),
        ({"action": "ignore"}, "invalid_action"),
        ({"destinations": ["mars"]}, "invalid_destination"),
        ({"kind": "SECRET", "action": "warn"}, "below_floor"),
        ({"kind": "CLASSMARK", "action": "mask"}, "below_floor"),
        ({"department": "NONE"}, "not_found"),
    ],
)
def test_an_exception_without_what_it_needs_is_refused(
    *, oversight: Oversight, city: Directory, clock: Clock, engine: Engine, by: Actor, change: dict[str, Any], code: str
) -> None:
    given = {"kind": "RRN", "action": "warn", "reason": REASON, "ends": DAY, "begins": None, **change}
    begins = None if given["begins"] is None else clock.now + given.pop("begins")
    with pytest.raises((BadRequest, NotFound)) as refused:
        oversight.grant(
            given["kind"],
            given["action"],
            reason=given["reason"],
            ends_at=clock.now + given["ends"],
            begins_at=begins,
            by=by,
            department=given.get("department"),
            destinations=given.get("destinations", ()),
        )
    assert refused.value.code == code
    assert oversight.exceptions(over=True) == []
    assert audited(engine) == []


def test_what_was_agreed_cannot_be_changed_in_the_database(
    oversight: Oversight, clock: Clock, engine: Engine, by: Actor
) -> None:
    oversight.grant("RRN", "mask", reason=REASON, ends_at=clock.now + DAY, by=by)
    for statement in (
        "UPDATE filter_exception SET ends_at = ends_at + 1",
        "UPDATE filter_exception SET reason = 'other'",
        "UPDATE filter_exception SET action = 'allow'",
        "DELETE FROM filter_exception",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(statement))


async def test_the_filters_hear_of_exceptions_within_a_second_and_forget_them_without_a_database(
    oversight: Oversight, clock: Clock, engine: Engine, by: Actor
) -> None:
    known = Overrides(engine, clock)
    assert known.exemptions() == ()
    granted = oversight.grant("RRN", "mask", reason=REASON, ends_at=clock.now + MINUTE, by=by)
    await known.look()
    (exemption,) = known.exemptions()
    assert (exemption.id, exemption.by, exemption.in_force(clock.now)) == (granted.id, by.name, True)
    clock.now += Overrides.BELIEVED_US
    assert known.exemptions() == (), "nobody has looked: what was taken back meanwhile must not hold on"
    await known.look()
    assert known.exemptions() == (exemption,)
    oversight.revoke(granted.id, by=by)
    await known.look()
    assert known.exemptions() == ()


async def test_a_database_that_is_away_grants_nothing(
    oversight: Oversight, clock: Clock, engine: Engine, by: Actor
) -> None:
    oversight.grant("RRN", "mask", reason=REASON, ends_at=clock.now + MINUTE, by=by)
    known = Overrides(engine, clock)
    await known.start()
    assert len(known.exemptions()) == 1
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE filter_exception RENAME TO elsewhere"))
    clock.now += Overrides.BELIEVED_US
    await known.look()
    assert known.exemptions() == ()
    await known.stop()


def test_a_department_is_made_stricter_and_relaxed(
    oversight: Oversight, city: Directory, engine: Engine, by: Actor
) -> None:
    tax = city.department("TAX").id
    one = oversight.tighten("TAX", "PHONE", "block", reason=REASON, by=by, destinations=["foreign"])
    every = oversight.tighten("FIN", "*", "warn", reason=REASON, by=by)
    assert [t.tightening() for t in oversight.tightenings()] == [
        Tightening(tax, "PHONE", "block", frozenset({"foreign"})),
        Tightening(city.department("FIN").id, "*", "warn"),
    ]
    oversight.relax(one.id, by=by)
    with pytest.raises(NotFound):
        oversight.relax(one.id, by=by)
    assert [t.id for t in oversight.tightenings()] == [every.id]
    assert [(t.id, t.ended_by) for t in oversight.tightenings(ended=True)] == [(one.id, by.name), (every.id, None)]
    assert [action for _, action in audited(engine)] == ["filter.tightening.set"] * 2 + ["filter.tightening.end"]
    for statement in ("UPDATE filter_tightening SET action = 'warn'", "DELETE FROM filter_tightening"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("department", "kind", "action", "reason", "code"),
    [
        ("NONE", "PHONE", "block", REASON, "not_found"),
        ("TAX", "IRIS", "block", REASON, "invalid_kind"),
        ("TAX", "PHONE", "allow", REASON, "invalid_action"),
        ("TAX", "PHONE", "shout", REASON, "invalid_action"),
        ("TAX", "CLASSMARK", "mask", REASON, "invalid_action"),
        ("TAX", "PHONE", "block", " ", "invalid_reason"),
    ],
)
def test_a_tightening_that_makes_no_sense_is_refused(
    *, oversight: Oversight, city: Directory, by: Actor, department: str, kind: str, action: Any, reason: str, code: str
) -> None:
    with pytest.raises((BadRequest, NotFound)) as refused:
        oversight.tighten(department, kind, action, reason=reason, by=by)
    assert refused.value.code == code
    assert oversight.tightenings(ended=True) == []


async def test_a_database_that_goes_away_relaxes_nothing(
    oversight: Oversight, city: Directory, clock: Clock, engine: Engine, by: Actor
) -> None:
    oversight.tighten("TAX", "PHONE", "block", reason=REASON, by=by)
    known = Overrides(engine, clock)
    await known.start()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE filter_tightening RENAME TO elsewhere"))
    clock.now += 10 * Overrides.BELIEVED_US
    await known.look()
    assert len(known.tightenings()) == 1
    await known.stop()
    with pytest.raises(sa.exc.DBAPIError):
        await Overrides(engine, clock).start()


# ── false alarms ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alarm_is_reported_decided_and_counted(
    *, oversight: Oversight, ledger: Ledger, clock: Clock, engine: Engine, kim: str, by: Actor
) -> None:
    one = decision(item(), item("PHONE", "mask", 4), at=clock.now, user_id=kim)
    other = decision(item(), at=clock.now, user_id=kim)
    keep(ledger, one, other)
    me = Actor("kim@city.example", "10.0.0.1")
    alarm = oversight.report(kim, one.id, "example", by=me)
    assert oversight.report(kim, one.id, "public", by=me) == alarm, "a second report changes nothing"
    by_request = oversight.report(kim, other.request_id, "public", by=me)
    assert by_request.evidence_id == other.id
    assert [(a.id, about["action"], [i["kind"] for i in about["items"]]) for a, about in oversight.alarms()] == [
        (alarm.id, "block", ["RRN", "PHONE"]),
        (by_request.id, "block", ["RRN"]),
    ]
    decided = oversight.decide(alarm.id, "false_alarm", by=by)
    assert (decided.outcome, decided.decided_by) == ("false_alarm", by.name)
    assert decided.decided_at is not None
    assert decided.decided_at > alarm.reported_at
    oversight.decide(by_request.id, "false_alarm", by=by)
    oversight.decide(by_request.id, "correct", by=by)
    assert oversight.alarms() == []
    assert {a.id: a.outcome for a, _ in oversight.alarms(still_open=False)} == {
        alarm.id: "false_alarm",
        by_request.id: "correct",
    }
    assert oversight.alarms(still_open=False, user_id="nobody") == []
    with engine.connect() as connection:
        assert store.alarms_by_rule(connection, one.month) == {
            ("RRN", "rrn.shape"): (2, 1, 1),
            ("PHONE", "phone.shape"): (1, 1, 0),
        }
        assert store.alarms_by_rule(connection, "1999-01") == {}
    assert [action for _, action in audited(engine)] == ["filter.alarm.report"] * 2 + ["filter.alarm.decide"] * 3


def test_nobody_reports_what_is_somebody_else_s(
    *, oversight: Oversight, ledger: Ledger, clock: Clock, engine: Engine, kim: str, by: Actor
) -> None:
    record = decision(item(), at=clock.now, user_id="lee")
    keep(ledger, record)
    for about in (record.id, record.request_id, "nothing", "", "결정"):
        with pytest.raises(NotFound):
            oversight.report(kim, about, "example", by=by)
    with pytest.raises(BadRequest):
        oversight.report("lee", record.id, "제 번호는 …", by=by)
    with pytest.raises(NotFound):
        oversight.decide("nobody", "correct", by=by)
    with pytest.raises(BadRequest):
        oversight.decide("nobody", "perhaps", by=by)  # type: ignore[arg-type]
    assert audited(engine) == []


# ── overview and dry run ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def november(ledger: Ledger, clock: Clock) -> str:
    """A month of two departments; and one decision of the month before, which is in none of its numbers."""
    at = clock.now
    keep(
        ledger,
        decision(item(), item("PHONE", "mask", 2), at=at, department_id="tax"),
        decision(item("PHONE", "mask", 3), at=at, department_id="tax", action="mask", rule="actions:PHONE"),
        decision(item("PHONE", "allow", 1), at=at, department_id="tax", action="allow", rule="", destination="inside"),
        decision(item("IP", "warn"), at=at, department_id="water", action="warn", rule="actions:IP"),
        decision(at=at, department_id="water", action="route_local", rule="data_grade:destination", grade="S"),
        decision(item("PERSON", "warn", band="possible"), at=at, department_id="water", action="warn", stage="output"),
        decision(item(), at=at - 40 * DAY, department_id="tax"),
    )
    return "2026-11"


def test_the_overview(engine: Engine, november: str) -> None:
    with engine.connect() as connection:
        tax, water = overview.by_department(connection, [november])
        assert (tax.department_id, tax.decisions) == ("tax", {"block": 1, "mask": 1, "allow": 1})
        assert (tax.answers, tax.findings) == ({}, {"PHONE": 6, "RRN": 1})
        assert (water.decisions, water.answers, water.findings) == (
            {"warn": 1, "route_local": 1},
            {"warn": 1},
            {"IP": 1},
        )
        assert [r.department_id for r in overview.by_department(connection, [november], ["water"])] == ["water"]
        months = [(r.month, r.department_id) for r in overview.by_department(connection, ["2026-10", november])]
        assert months == [("2026-10", "tax"), ("2026-11", "tax"), ("2026-11", "water")]
        phone = next(r for r in overview.by_rule(connection, november) if r.kind == "PHONE")
        assert phone == overview.RuleRow("PHONE", "phone.shape", {"mask": 5, "allow": 1}, {"mask": 2, "allow": 1})
        assert [r.kind for r in overview.by_rule(connection, november)] == ["IP", "PERSON", "PHONE", "RRN"]


def no_path(department: str) -> tuple[str, ...]:
    return (department, "city")


def test_the_same_rules_would_have_done_the_same(engine: Engine, november: str) -> None:
    with engine.connect() as connection:
        run = dry_run(connection, november, Actions(), path=no_path)
    assert run.was == run.would_be == {"block": 1, "mask": 1, "allow": 1, "warn": 1, "route_local": 1}
    assert (run.decisions, run.newly_stopped, run.newly_passed, run.changes) == (5, 0, 0, ())
    assert run.departments == (DepartmentChange("tax", 3, 1, 1), DepartmentChange("water", 2, 1, 1))


def test_other_rules_would_have_done_otherwise(engine: Engine, november: str) -> None:
    rules = Actions(read_table({"PHONE": "block", "RRN": "mask"}), (Tightening("water", "IP", "block"),))
    with engine.connect() as connection:
        run = dry_run(connection, november, rules, path=no_path)
    # tax: one is still blocked (for the phone now), one newly blocked, one inside; water: the IP blocked, the grade stays
    assert run.would_be == {"block": 3, "allow": 1, "route_local": 1}
    assert (run.newly_stopped, run.newly_passed) == (2, 0)
    assert run.changes == (
        Change("IP", "ip.shape", "warn", "block", 1, 1),
        Change("PHONE", "phone.shape", "mask", "block", 2, 5),
        Change("RRN", "rrn.shape", "block", "mask", 1, 1),
    )
    assert run.departments == (DepartmentChange("tax", 3, 1, 2), DepartmentChange("water", 2, 1, 2))


def test_a_looser_rule_and_the_exceptions_of_the_time(engine: Engine, november: str, clock: Clock) -> None:
    with engine.connect() as connection:
        loose = dry_run(connection, november, Actions(read_table({"RRN": "warn"})), path=no_path)
    assert (loose.newly_stopped, loose.newly_passed) == (0, 1)
    granted = (Exemption("e1", "RRN", "warn", "boss", REASON, clock.now - DAY, clock.now + DAY),)
    with engine.connect() as connection:
        then = dry_run(connection, november, Actions(), path=no_path, exemptions=granted)
        before = dry_run(connection, "2026-10", Actions(), path=no_path, exemptions=granted)
    assert then.newly_passed == 1
    assert (before.decisions, before.newly_passed) == (1, 0), "it was not in force then"


def test_a_request_that_was_kept_inside_is_asked_about_outside(ledger: Ledger, engine: Engine, clock: Clock) -> None:
    """It is on record where it went, with what became of it there; whether it would leave is another place's to say."""
    keep(
        ledger,
        decision(item("RRN", "allow"), at=clock.now, action="route_local", rule="actions:RRN", destination="inside"),
        decision(item("RRN", "allow"), at=clock.now, action="allow", rule="", destination="inside"),
        decision(
            item("CLASSMARK", "allow", rule="classmark:partial+joined"),
            at=clock.now,
            action="route_local",
            rule="actions:CLASSMARK",
            destination="inside",
        ),
    )
    with engine.connect() as connection:
        same = dry_run(connection, "2026-11", Actions(), path=no_path)
        loose = dry_run(connection, "2026-11", Actions(read_table({"RRN": "warn"})), path=no_path)
    assert same.was == same.would_be == {"route_local": 2, "allow": 1}
    assert loose.would_be == {"route_local": 1, "warn": 1, "allow": 1}
    assert (same.newly_passed, loose.newly_passed) == (0, 1)


def test_a_message_of_history_that_was_left_out_stays_left_out(ledger: Ledger, engine: Engine, clock: Clock) -> None:
    """A mark in an earlier turn took its whole message out and the conversation went on; in the newest turn it stops it."""
    keep(
        ledger,
        decision(item("CLASSMARK", "mask", newest=False), at=clock.now, action="mask", rule="actions:CLASSMARK"),
        decision(item("CLASSMARK", "block"), at=clock.now, rule="actions:CLASSMARK"),
    )
    with engine.connect() as connection:
        same = dry_run(connection, "2026-11", Actions(), path=no_path)
    assert same.was == same.would_be == {"mask": 1, "block": 1}
    assert (same.newly_stopped, same.newly_passed, same.changes) == (0, 0, ())


def test_an_empty_month(engine: Engine) -> None:
    with engine.connect() as connection:
        run = dry_run(connection, "1999-01", Actions(), path=no_path)
        assert overview.by_department(connection, ["1999-01"]) == []
        assert overview.by_rule(connection, "1999-01") == []
    assert (run.decisions, run.was, run.changes, run.departments) == (0, {}, (), ())


def test_a_second_is_a_second() -> None:
    assert Overrides.CHECK_SECONDS * SECOND < Overrides.BELIEVED_US < 5 * SECOND
