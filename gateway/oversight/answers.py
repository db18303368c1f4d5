"""What is told of the filters, to pages and on the command line alike: ids as codes and addresses, instants in the
organisation's zone. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from billing.reports import usage
from gateway.directory import store as people
from gateway.directory.ids import rfc3339
from gateway.errors import BadRequest
from gateway.evidence.reports import overview
from gateway.evidence.reports.dry_run import dry_run
from gateway.oversight import store
from gateway.oversight.oversight import REASONS
from gateway.oversight.store import Alarm, FilterException, FilterTightening
from policies.decision import ACTIONS, DESTINATIONS
from policies.rules.actions import DEFAULT_TABLE, Actions, TableRefused, read_table
from policies.subject import Tightening

Answer = dict[str, Any]


def the_overview(connection: Connection, months: Sequence[str], department_ids: Sequence[str] | None = None) -> Answer:
    """{"months", "rows": [{"month", "department", "requests", "stopped", "decisions", "answers", "findings"}]}

    `requests` is how many were answered at all (the ledger's count), `stopped` how many the filters blocked or kept inside;
    `decisions` are those in which something was found or decided.
    """
    rows = overview.by_department(connection, months, department_ids)
    served = {(month, row.key): row.requests for month in months for row in usage.rows(connection, month, "department")}
    keys = {(row.month, row.department_id) for row in rows} | {
        key for key in served if department_ids is None or key[1] in department_ids
    }
    found = {(row.month, row.department_id): row for row in rows}
    codes = _codes(connection, {department for _, department in keys})
    told = []
    for month, department in sorted(keys, key=lambda key: (key[0], codes.get(key[1], key[1]))):
        row = found.get((month, department))
        decisions = {} if row is None else dict(row.decisions)
        told.append(
            {
                "month": month,
                "department": codes.get(department, department),
                "requests": served.get((month, department), 0),
                "stopped": decisions.get("block", 0) + decisions.get("route_local", 0),
                "decisions": {action: decisions.get(action, 0) for action in ACTIONS},
                "answers": {} if row is None else dict(row.answers),
                "findings": {} if row is None else dict(row.findings),
            }
        )
    return {"months": list(months), "rows": told}


def the_rules(connection: Connection, month: str) -> Answer:
    """{"month", "rows": [{"kind", "rule", "findings", "decisions", "reports", "false_alarms", "correct"}]}"""
    reported = store.alarms_by_rule(connection, month)
    rows = []
    for row in overview.by_rule(connection, month):
        reports, wrong, right = reported.get((row.kind, row.rule), (0, 0, 0))
        rows.append(
            {
                "kind": row.kind,
                "rule": row.rule,
                "findings": dict(row.findings),
                "decisions": dict(row.decisions),
                "reports": reports,
                "false_alarms": wrong,
                "correct": right,
            }
        )
    return {"month": month, "rows": rows}


def the_alarms(
    connection: Connection, alarms: Iterable[tuple[Alarm, Mapping[str, Any]]], zone: ZoneInfo, *, who: bool
) -> list[Answer]:
    """Reports and what they are about: kinds and counts, never text. `who` names the people, for those whose task it is."""
    listed = list(alarms)
    codes = _codes(connection, {about["department_id"] for _, about in listed})
    told = []
    for alarm, about in listed:
        answer: Answer = {
            "id": alarm.id,
            "decision": alarm.evidence_id,
            "request": about["request_id"],
            "reason": alarm.reason,
            "reason_text": REASONS.get(alarm.reason, alarm.reason),
            "reported_at": rfc3339(alarm.reported_at, zone),
            "outcome": alarm.outcome,
            "decided_at": None if alarm.decided_at is None else rfc3339(alarm.decided_at, zone),
            "action": about["action"],
            "kinds": [
                {"kind": item["kind"], "count": item["count"], "action": item["action"]}
                | ({"rule": item["rule"], "sure": item["band"]} if who else {})
                for item in about["items"]
            ],
        }
        if who:
            person = people.person_by_id(connection, alarm.user_id)
            answer |= {
                "by": person.email if person else alarm.user_id,
                "department": codes.get(about["department_id"], about["department_id"]),
                "model": about["model"],
                "destination": about["destination"],
                "decided_by": alarm.decided_by,
                "version": about["version"],
            }
        told.append(answer)
    return told


def the_exceptions(
    connection: Connection, exceptions: Iterable[FilterException], zone: ZoneInfo, now: int
) -> list[Answer]:
    listed = list(exceptions)
    codes = _codes(connection, {e.department_id for e in listed if e.department_id is not None})
    return [
        {
            "id": e.id,
            "kind": e.kind,
            "rule": e.rule,
            "action": e.action,
            "department": None if e.department_id is None else codes.get(e.department_id, e.department_id),
            "destinations": sorted(e.destinations),
            "reason": e.reason,
            "by": e.created_by,
            "begins": rfc3339(e.begins_at, zone),
            "ends": rfc3339(e.ends_at, zone),
            "state": e.state(now),
            "revoked_by": e.revoked_by,
        }
        for e in listed
    ]


def the_tightenings(connection: Connection, tightenings: Iterable[FilterTightening], zone: ZoneInfo) -> list[Answer]:
    listed = list(tightenings)
    codes = _codes(connection, {t.department_id for t in listed})
    return [
        {
            "id": t.id,
            "department": codes.get(t.department_id, t.department_id),
            "kind": t.kind,
            "action": t.action,
            "destinations": sorted(t.destinations),
            "reason": t.reason,
            "by": t.created_by,
            "since": rfc3339(t.created_at, zone),
            "ended": None if t.ended_at is None else rfc3339(t.ended_at, zone),
        }
        for t in listed
    ]


def the_dry_run(connection: Connection, month: str, rules: Actions, now: int) -> Answer:
    """What a month would have been under other rules; the exceptions of the time count, those since then do not."""

    @cache
    def path(department: str) -> tuple[str, ...]:
        ids = people.path_to_root(connection, department, now)
        # By code as well: that is what dictionaries are written with.
        return (*ids, *(one.code for one in people.departments_by_id(connection, ids).values()))

    exemptions = tuple(e.exemption() for e in store.exceptions(connection))
    run = dry_run(connection, month, rules, path=path, exemptions=exemptions)
    codes = _codes(connection, {row.department_id for row in run.departments})
    return {
        "month": month,
        "decisions": run.decisions,
        "was": {action: run.was.get(action, 0) for action in ACTIONS},
        "would_be": {action: run.would_be.get(action, 0) for action in ACTIONS},
        "newly_stopped": run.newly_stopped,
        "newly_passed": run.newly_passed,
        "changes": [asdict(change) for change in run.changes],
        "departments": [
            {
                "department": codes.get(row.department_id, row.department_id),
                "decisions": row.decisions,
                "stopped": row.stopped,
                "would_be_stopped": row.would_be_stopped,
            }
            for row in run.departments
        ],
        "note": "기록된 종류로만 계산했습니다. 당시 찾지 못한 것은 알 수 없습니다. "
        "From recorded kinds: what no rule saw then is not in it.",
    }


def proposed(
    connection: Connection, data: object, configured: Actions, in_force: Callable[[], tuple[Tightening, ...]]
) -> Actions:
    """Rules somebody wants to try: {"actions": {kind: action …}, "tightenings": [{"department", "kind", "action",
    "destinations"}]}. `actions` are over the default table. What is left out is as it is now: as `configured`, with the
    tightenings `in_force`. Raises BadRequest with everything that is wrong; nothing of a bad set is
    used."""
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise _invalid(["a mapping with `actions` and `tightenings`"])
    problems = [f"{key[:40]!r} is neither actions nor tightenings" for key in data.keys() - {"actions", "tightenings"}]
    table = configured.table
    try:
        if "actions" in data:
            table = read_table(data["actions"])
    except TableRefused as refused:
        problems += refused.problems
    tightenings = in_force() if "tightenings" not in data else ()
    given = data.get("tightenings", [])
    if not isinstance(given, list):
        problems.append("tightenings: a list")
        given = []
    for number, one in enumerate(given):
        read = _tightening(connection, one)
        if isinstance(read, str):
            problems.append(f"tightenings[{number}]: {read}")
        else:
            tightenings += (read,)
    if problems:
        raise _invalid(problems)
    return replace(configured, table=table, tightenings=tightenings)


def _tightening(connection: Connection, one: object) -> Tightening | str:
    if not isinstance(one, Mapping) or not {"department", "kind", "action"} <= one.keys() <= _TIGHTENING:
        return f"needs department, kind and action, and may have destinations: {', '.join(sorted(_TIGHTENING))}"
    department = people.department_by_code(connection, str(one["department"]))
    if department is None:
        return f"no department has the code {str(one['department'])[:64]}"
    if one["kind"] != "*" and one["kind"] not in DEFAULT_TABLE:
        return f"{str(one['kind'])[:40]!r} is no kind"
    if one["action"] not in ACTIONS:
        return f"{str(one['action'])[:40]!r} is no action"
    places = one.get("destinations", [])
    if not isinstance(places, list) or not set(map(str, places)) <= set(DESTINATIONS):
        return f"destinations are some of {', '.join(DESTINATIONS)}"
    return Tightening(department.id, one["kind"], one["action"], frozenset(places))


_TIGHTENING = frozenset({"department", "kind", "action", "destinations"})


def _invalid(problems: Iterable[str]) -> BadRequest:
    return BadRequest(
        f"The rules were refused whole: {'; '.join(problems)}. / 규칙을 적용하지 않았습니다.", code="invalid_rules"
    )


def _codes(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    return {id_: department.code for id_, department in people.departments_by_id(connection, ids).items()}
