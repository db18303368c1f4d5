"""The oversight's SQL: named statements on an open connection, the same on both databases. Whoever opened it commits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from gateway.evidence.tables import evidence, evidence_item
from gateway.oversight.tables import false_alarm, filter_exception, filter_tightening
from policies.decision import Action, Destination
from policies.subject import Exemption, Tightening

Outcome = Literal["false_alarm", "correct"]
OUTCOMES: tuple[Outcome, ...] = ("false_alarm", "correct")


@dataclass(frozen=True, slots=True)
class FilterException:
    """A loosening as somebody agreed to it, and who took it back when. Times in UTC microseconds."""

    id: str
    kind: str
    rule: str | None
    department_id: str | None
    destinations: frozenset[Destination]
    action: Action
    reason: str
    created_by: str
    created_at: int
    begins_at: int
    ends_at: int
    revoked_at: int | None = None
    revoked_by: str | None = None

    def state(self, now: int) -> Literal["planned", "in_force", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.ends_at:
            return "expired"
        return "in_force" if now >= self.begins_at else "planned"

    def exemption(self) -> Exemption:
        """As the filters read it; one that was taken back ends when it was."""
        ends = self.ends_at if self.revoked_at is None else min(self.ends_at, self.revoked_at)
        return Exemption(
            id=self.id,
            kind=self.kind,
            action=self.action,
            by=self.created_by,
            reason=self.reason,
            begins=self.begins_at,
            ends=ends,
            department=self.department_id,
            rule=self.rule,
            destinations=self.destinations,
        )


@dataclass(frozen=True, slots=True)
class FilterTightening:
    """Where a department and those below it are stricter. `kind` may be `*`; without `destinations` it holds everywhere."""

    id: str
    department_id: str
    kind: str
    action: Action
    destinations: frozenset[Destination]
    reason: str
    created_by: str
    created_at: int
    ended_at: int | None = None
    ended_by: str | None = None

    def tightening(self) -> Tightening:
        """As the filters read it."""
        return Tightening(self.department_id, self.kind, self.action, self.destinations)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Somebody's word that a decision was wrong, and what came of it."""

    id: str
    evidence_id: str
    user_id: str
    reason: str
    reported_at: int
    outcome: Outcome | None = None
    decided_at: int | None = None
    decided_by: str | None = None


# ── exceptions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def insert_exception(connection: Connection, added: FilterException) -> None:
    connection.execute(
        insert(filter_exception).values(
            id=added.id,
            kind=added.kind,
            rule=added.rule,
            department_id=added.department_id,
            destinations=json.dumps(sorted(added.destinations)),
            action=added.action,
            reason=added.reason,
            created_by=added.created_by,
            created_at=added.created_at,
            begins_at=added.begins_at,
            ends_at=added.ends_at,
        )
    )


def _exception(row: Row[Any]) -> FilterException:
    return FilterException(**{**row._mapping, "destinations": frozenset(json.loads(row.destinations))})


def exception_by_id(connection: Connection, id_: str) -> FilterException | None:
    row = connection.execute(select(filter_exception).where(filter_exception.c.id == id_)).one_or_none()
    return _exception(row) if row else None


def exceptions(connection: Connection, *, not_over_at: int | None = None) -> list[FilterException]:
    """All of them, or those that are not over at an instant; oldest first."""
    statement = select(filter_exception).order_by(filter_exception.c.created_at, filter_exception.c.id)
    if not_over_at is not None:
        statement = statement.where(filter_exception.c.revoked_at.is_(None), filter_exception.c.ends_at > not_over_at)
    return [_exception(row) for row in connection.execute(statement)]


def revoke_exception(connection: Connection, id_: str, at: int, by: str) -> bool:
    """Whether it was not taken back before."""
    done = connection.execute(
        update(filter_exception)
        .where(filter_exception.c.id == id_, filter_exception.c.revoked_at.is_(None))
        .values(revoked_at=at, revoked_by=by)
    )
    return done.rowcount > 0


# ── tightenings ──────────────────────────────────────────────────────────────────────────────────────────────────────


def insert_tightening(connection: Connection, added: FilterTightening) -> None:
    connection.execute(
        insert(filter_tightening).values(
            id=added.id,
            department_id=added.department_id,
            kind=added.kind,
            action=added.action,
            destinations=json.dumps(sorted(added.destinations)),
            reason=added.reason,
            created_by=added.created_by,
            created_at=added.created_at,
        )
    )


def tightenings(connection: Connection, *, ended: bool = False) -> list[FilterTightening]:
    """Those that hold; with `ended` the past ones too; oldest first."""
    statement = select(filter_tightening).order_by(filter_tightening.c.created_at, filter_tightening.c.id)
    if not ended:
        statement = statement.where(filter_tightening.c.ended_at.is_(None))
    return [
        FilterTightening(**{**row._mapping, "destinations": frozenset(json.loads(row.destinations))})
        for row in connection.execute(statement)
    ]


def end_tightening(connection: Connection, id_: str, at: int, by: str) -> bool:
    """Whether there was one that held."""
    done = connection.execute(
        update(filter_tightening)
        .where(filter_tightening.c.id == id_, filter_tightening.c.ended_at.is_(None))
        .values(ended_at=at, ended_by=by)
    )
    return done.rowcount > 0


# ── false alarms ─────────────────────────────────────────────────────────────────────────────────────────────────────


def insert_alarm(connection: Connection, added: Alarm) -> None:
    connection.execute(
        insert(false_alarm).values(
            id=added.id,
            evidence_id=added.evidence_id,
            user_id=added.user_id,
            reason=added.reason,
            reported_at=added.reported_at,
        )
    )


def alarm_by_id(connection: Connection, id_: str) -> Alarm | None:
    row = connection.execute(select(false_alarm).where(false_alarm.c.id == id_)).one_or_none()
    return Alarm(**row._mapping) if row else None


def alarm_about(connection: Connection, evidence_id: str) -> Alarm | None:
    row = connection.execute(select(false_alarm).where(false_alarm.c.evidence_id == evidence_id)).one_or_none()
    return Alarm(**row._mapping) if row else None


def alarms(connection: Connection, *, still_open: bool, user_id: str | None = None, limit: int = 500) -> list[Alarm]:
    """Those without an outcome, oldest first; or all, newest first. With `user_id` one person's."""
    statement = select(false_alarm).limit(limit)
    if user_id is not None:
        statement = statement.where(false_alarm.c.user_id == user_id)
    if still_open:
        statement = statement.where(false_alarm.c.outcome.is_(None)).order_by(
            false_alarm.c.reported_at, false_alarm.c.id
        )
    else:
        statement = statement.order_by(false_alarm.c.reported_at.desc(), false_alarm.c.id.desc())
    return [Alarm(**row._mapping) for row in connection.execute(statement)]


def decide_alarm(connection: Connection, id_: str, outcome: Outcome, at: int, by: str) -> None:
    connection.execute(
        update(false_alarm).where(false_alarm.c.id == id_).values(outcome=outcome, decided_at=at, decided_by=by)
    )


def alarms_by_rule(connection: Connection, month: str) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(kind, rule) → reports about that month's decisions: (all, found to be false alarms, found to be correct).

    A decision that rests on two rules counts for both: who reports it does not know which one they mean.
    """
    touched = (
        select(evidence_item.c.kind, evidence_item.c.rule, false_alarm.c.id, false_alarm.c.outcome)
        .join(evidence, evidence.c.id == evidence_item.c.evidence_id)
        .join(false_alarm, false_alarm.c.evidence_id == evidence.c.id)
        .where(evidence.c.month == month)
        .distinct()
        .subquery()
    )
    rows = connection.execute(
        select(
            touched.c.kind,
            touched.c.rule,
            func.count(),
            func.count().filter(touched.c.outcome == "false_alarm"),
            func.count().filter(touched.c.outcome == "correct"),
        ).group_by(touched.c.kind, touched.c.rule)
    )
    return {(kind, rule): (all_, wrong, right) for kind, rule, all_, wrong, right in rows}


def decisions_of(connection: Connection, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What alarms are about: evidence id → its columns and its items."""
    wanted = list(ids)
    found: dict[str, dict[str, Any]] = {
        row.id: {**row._mapping, "items": []}
        for row in connection.execute(select(evidence).where(evidence.c.id.in_(wanted)))
    }
    for part in connection.execute(
        select(evidence_item)
        .where(evidence_item.c.evidence_id.in_(wanted))
        .order_by(evidence_item.c.evidence_id, evidence_item.c.n)
    ):
        found[part.evidence_id]["items"].append(dict(part._mapping))
    return found


def latest_of(connection: Connection, user_id: str, request_id: str) -> str | None:
    """The newest decision about one request of one person's."""
    newest: str | None = connection.scalar(
        select(evidence.c.id)
        .where(
            and_(evidence.c.user_id == user_id, or_(evidence.c.request_id == request_id, evidence.c.id == request_id))
        )
        .order_by(evidence.c.seq.desc())
        .limit(1)
    )
    return newest
