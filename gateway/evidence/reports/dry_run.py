"""What would a month have looked like under other rules?

    recorded kinds × certainty × place × department ─▶ the other rule set ─▶ what would have become of each decision

Nothing but what was recorded is read: no text was kept. So it answers for actions (what becomes of a finding) exactly, for
exceptions too, and for detectors not at all: what nobody saw then is in no record. What a data grade decided stays decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from gateway.evidence.tables import evidence, evidence_item
from policies.decision import BANDS, Action, Found, rule_of, strictest_action
from policies.rules.actions import Actions
from policies.subject import Exemption, Subject

_SCORE = dict(BANDS)


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of finding that would be treated otherwise: in how many decisions, how many findings."""

    kind: str
    rule: str
    was: Action
    would_be: Action
    decisions: int
    findings: int


@dataclass(frozen=True, slots=True)
class DepartmentChange:
    """Of one department: requests stopped (blocked or kept inside) then, and under the other rules."""

    department_id: str
    decisions: int
    stopped: int
    would_be_stopped: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """`was` and `would_be`: action → decisions. `newly_stopped`: decisions that were let go then and would be stopped."""

    month: str
    decisions: int
    was: Mapping[Action, int]
    would_be: Mapping[Action, int]
    newly_stopped: int
    newly_passed: int
    changes: tuple[Change, ...]
    departments: tuple[DepartmentChange, ...]


_STOPS = frozenset({"block", "route_local"})


def dry_run(
    connection: Connection,
    month: str,
    rules: Actions,
    *,
    path: Callable[[str], tuple[str, ...]],
    exemptions: tuple[Exemption, ...] = (),
) -> DryRun:
    """`path` gives a department and those above it, by id and by code; of `exemptions` those count that were in force then."""
    was: Counter[Action] = Counter()
    would: Counter[Action] = Counter()
    newly_stopped = newly_passed = 0
    decisions_of: Counter[tuple[str, str, Action, Action]] = Counter()
    findings_of: Counter[tuple[str, str, Action, Action]] = Counter()
    departments: dict[str, list[int]] = {}
    for decision, parts in _decisions(connection, month):
        subject = Subject("O", "C", decision.destination, (), path(decision.department_id), exemptions, decision.at)
        # Kept inside and allowed there: whether it would be again is for the place to say where it was not let go.
        kept = decision.decided == "route_local" and decision.destination == "inside"
        outside = replace(subject, destination="foreign")
        # A grade is not this rule set's to change: what it decided stays the least of it.
        graded: Action = decision.decided if decision.decided_by.startswith("data_grade") else "allow"
        actions: list[Action] = [graded]
        seen: set[tuple[str, str, Action, Action]] = set()
        for part in parts:
            found = Found(
                part.kind,
                part.rule,
                _SCORE[part.band],
                "",
                0,
                0,
                newest=bool(part.newest),
                variant=rule_of(part.rule).partition(":")[2] if part.kind == "CLASSMARK" else "",
            )
            action = rules.action(found, subject) or "allow"
            if part.action == "mask" and not part.newest and action in _STOPS:
                action = "mask"  # a mark in an earlier turn was left out with its whole message, and would be again
            actions.append(action if not kept else _kept(rules.action(found, outside)))
            if action != part.action:
                change = (part.kind, part.rule, part.action, action)
                findings_of[change] += part.count
                seen.add(change)
        decisions_of.update(seen)
        now = strictest_action(*actions)
        was[decision.decided] += 1
        would[now] += 1
        stopped, would_stop = decision.decided in _STOPS, now in _STOPS
        newly_stopped += would_stop and not stopped
        newly_passed += stopped and not would_stop
        counted = departments.setdefault(decision.department_id, [0, 0, 0])
        for n, more in enumerate((1, stopped, would_stop)):
            counted[n] += more
    return DryRun(
        month=month,
        decisions=sum(was.values()),
        was=dict(was),
        would_be=dict(would),
        newly_stopped=newly_stopped,
        newly_passed=newly_passed,
        changes=tuple(Change(*key, decisions_of[key], findings_of[key]) for key in sorted(findings_of)),
        departments=tuple(DepartmentChange(id_, *departments[id_]) for id_ in sorted(departments)),
    )


def _kept(action: Action | None) -> Action:
    """What a finding makes of a request that goes inside where it may not go outside."""
    return "route_local" if action in _STOPS else action or "allow"


def _decisions(connection: Connection, month: str) -> Iterator[tuple[Any, list[Any]]]:
    """(decision, its items) of the month's requests, a few thousand rows in memory at a time."""
    rows = connection.execution_options(yield_per=2000).execute(
        select(
            evidence.c.seq,
            evidence.c.at,
            evidence.c.department_id,
            evidence.c.destination,
            evidence.c.action.label("decided"),
            evidence.c.rule.label("decided_by"),
            evidence_item.c.kind,
            evidence_item.c.rule,
            evidence_item.c.band,
            evidence_item.c.action,
            evidence_item.c.newest,
            evidence_item.c.count,
        )
        .outerjoin(evidence_item, evidence_item.c.evidence_id == evidence.c.id)
        .where(evidence.c.month == month, evidence.c.stage == "input")
        .order_by(evidence.c.seq, evidence_item.c.n)
    )
    for _, group in groupby(rows, key=lambda row: row.seq):
        parts = list(group)
        yield parts[0], [part for part in parts if part.kind is not None]
