"""What may be done by those who watch the filters, and by whoever was stopped by one.

    staff        "잘못 걸렸어요" about a decision of their own ─▶ open alarm ─▶ outcome by IT or security
    it_admin     grant and revoke exceptions: a kind, for a department or all, with a reason and an end; make a department
                 stricter; decide alarms
    auditor      read all of it

Each method is one short transaction, with its audit record in it. All of them block; a server calls them in a thread. No
free text of a caller is stored: what they would write about a blocked message is all too often the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit import Actor, Record
from gateway.database import DatabaseError, reading
from gateway.directory import store as people
from gateway.errors import BadRequest, NotFound
from gateway.oversight import store
from gateway.oversight.store import OUTCOMES, Alarm, FilterException, FilterTightening, Outcome
from policies.decision import ACTIONS, DESTINATIONS, Action, Destination
from policies.rules.actions import DEFAULT_TABLE, FLOORS, UNMASKABLE
from policies.subject import Exemption, Tightening

log = logging.getLogger("haechi.oversight")

DAY_US: Final = 86_400_000_000

#: An exception is looked at again at least once a year; one for ever is a rule, and rules are in the pack.
LONGEST_US: Final = 366 * DAY_US

#: Why somebody thinks a filter was wrong.
REASONS: Final[Mapping[str, str]] = {
    "not_sensitive": "민감한 내용이 아님 · not sensitive",
    "public": "공개된 정보 · public information",
    "example": "예시·가상의 값 · a made-up example",
    "wrong_kind": "다른 종류의 값 · something of another kind",
    "other": "그 밖 · something else",
}

_LONGEST_REASON = 500
_SHORTEST_REASON = 5


class Oversight:
    """`clock` gives UTC microseconds, `ids` UUIDv7 text."""

    def __init__(self, engine: Engine, clock: Callable[[], int], ids: Callable[[], str]) -> None:
        self._begin = engine.begin
        self._look = reading(engine).connect
        self._clock = clock
        self._ids = ids

    # ── exceptions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def grant(
        self,
        kind: str,
        action: Action,
        *,
        reason: str,
        ends_at: int,
        by: Actor,
        department: str | None = None,
        rule: str | None = None,
        destinations: Iterable[Destination] = (),
        begins_at: int | None = None,
    ) -> FilterException:
        """A loosening in force until an instant; for a department (a code) and those below it, or for everybody."""
        places = frozenset(destinations)
        now = self._clock()
        begins = max(now, begins_at or now)  # nobody excuses what has happened
        _loosening(kind, action)
        _known_places(places)
        said = _said(reason)
        if not max(now, begins) < ends_at <= begins + LONGEST_US:
            raise _bad(
                "invalid_end",
                "An exception ends in the future and within a year. / 예외는 앞으로 1년 안에 끝나야 합니다.",
            )
        with self._begin() as connection:
            home = None if department is None else _department(connection, department)
            added = FilterException(self._ids(), kind, rule, home, places, action, said, by.name, now, begins, ends_at)
            store.insert_exception(connection, added)
            detail = {
                "kind": kind,
                "rule": rule,
                "action": action,
                "department": department,
                "destinations": sorted(places),
                "reason": said,
                "begins_at": begins,
                "ends_at": ends_at,
            }
            self._audit(connection, by, "filter.exception.grant", f"exception:{added.id}", detail)
            people.append_change(connection, now, "filter")
        return added

    def revoke(self, id_: str, *, by: Actor) -> FilterException:
        """End it now. Raises NotFound, or BadRequest when it is over already."""
        now = self._clock()
        with self._begin() as connection:
            found = store.exception_by_id(connection, id_)
            if found is None:
                raise NotFound(f"There is no exception {id_[:64]}. / 그런 예외가 없습니다.")
            if found.state(now) in ("expired", "revoked") or not store.revoke_exception(connection, id_, now, by.name):
                raise _bad("exception_over", "This exception is over already. / 이미 끝난 예외입니다.")
            self._audit(connection, by, "filter.exception.revoke", f"exception:{id_}", {"kind": found.kind})
            people.append_change(connection, now, "filter")
            ended = store.exception_by_id(connection, id_)
        assert ended is not None
        return ended

    def exceptions(self, *, over: bool = False) -> list[FilterException]:
        """Those planned and in force; with `over` the past ones too."""
        with self._look() as connection:
            return store.exceptions(connection, not_over_at=None if over else self._clock())

    # ── tightenings ──────────────────────────────────────────────────────────────────────────────────────────────────

    def tighten(
        self,
        department: str,
        kind: str,
        action: Action,
        *,
        reason: str,
        by: Actor,
        destinations: Iterable[Destination] = (),
    ) -> FilterTightening:
        """From now on a department (a code) and those below it are stricter, for a kind or for all (`*`), until somebody ends
        it. Where the table is stricter still, the table counts."""
        places = frozenset(destinations)
        if kind != "*":
            _known_kind(kind)
        if action not in ACTIONS or action == "allow" or (action == "mask" and kind in UNMASKABLE):
            raise _bad("invalid_action", "It warns, masks, keeps inside or blocks. / 강화할 조치를 고르십시오.")
        _known_places(places)
        said = _said(reason)
        now = self._clock()
        with self._begin() as connection:
            home = _department(connection, department)
            added = FilterTightening(self._ids(), home, kind, action, places, said, by.name, now)
            store.insert_tightening(connection, added)
            detail = {
                "department": department,
                "kind": kind,
                "action": action,
                "destinations": sorted(places),
                "reason": said,
            }
            self._audit(connection, by, "filter.tightening.set", f"tightening:{added.id}", detail)
            people.append_change(connection, now, "filter")
        return added

    def relax(self, id_: str, *, by: Actor) -> None:
        """End a tightening. Raises NotFound where none holds."""
        now = self._clock()
        with self._begin() as connection:
            if not store.end_tightening(connection, id_, now, by.name):
                raise NotFound(f"No tightening {id_[:64]} holds. / 그런 강화 설정이 없습니다.")
            self._audit(connection, by, "filter.tightening.end", f"tightening:{id_}", {})
            people.append_change(connection, now, "filter")

    def tightenings(self, *, ended: bool = False) -> list[FilterTightening]:
        """Those that hold; with `ended` the past ones too."""
        with self._look() as connection:
            return store.tightenings(connection, ended=ended)

    # ── false alarms ─────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self, user_id: str, decision: str, reason: str, *, by: Actor) -> Alarm:
        """Somebody says a decision about a request of their own was wrong. `decision` is its id, or the request's.

        A second report of the same decision changes nothing. Raises NotFound for a decision of somebody else.
        """
        if reason not in REASONS:
            raise _bad("invalid_reason", f"reason is one of {', '.join(REASONS)}. / 사유를 골라 주십시오.")
        now = self._clock()
        with self._begin() as connection:
            people.lock_directory(connection)  # of two that come at once the second is a second one
            about = store.latest_of(connection, user_id, decision) if decision.isascii() and decision else None
            if about is None:
                raise NotFound(
                    "There is no such decision about a request of yours. / 본인 요청의 판단 기록이 없습니다."
                )
            before = store.alarm_about(connection, about)
            if before is not None:
                return before
            added = Alarm(self._ids(), about, user_id, reason, now)
            store.insert_alarm(connection, added)
            self._audit(connection, by, "filter.alarm.report", f"decision:{about}", {"reason": reason})
        return added

    def decide(self, alarm_id: str, outcome: Outcome, *, by: Actor) -> Alarm:
        """Was it one? May be decided again; every time is on record."""
        if outcome not in OUTCOMES:
            raise _bad("invalid_outcome", f"outcome is one of {', '.join(OUTCOMES)}. / 결과를 골라 주십시오.")
        now = self._clock()
        with self._begin() as connection:
            found = store.alarm_by_id(connection, alarm_id)
            if found is None:
                raise NotFound(f"There is no report {alarm_id[:64]}. / 그런 신고가 없습니다.")
            store.decide_alarm(connection, alarm_id, outcome, now, by.name)
            detail = {"old": found.outcome, "new": outcome, "decision": found.evidence_id}
            self._audit(connection, by, "filter.alarm.decide", f"alarm:{alarm_id}", detail)
        return Alarm(found.id, found.evidence_id, found.user_id, found.reason, found.reported_at, outcome, now, by.name)

    def alarms(self, *, still_open: bool = True, user_id: str | None = None) -> list[tuple[Alarm, Mapping[str, Any]]]:
        """Reports with the decisions they are about."""
        with self._look() as connection:
            found = store.alarms(connection, still_open=still_open, user_id=user_id)
            about = store.decisions_of(connection, {alarm.evidence_id for alarm in found})
        return [(alarm, about[alarm.evidence_id]) for alarm in found if alarm.evidence_id in about]

    def _audit(self, connection: Connection, by: Actor, action: str, about: str, detail: Mapping[str, Any]) -> None:
        people.append_audit(connection, Record(self._ids(), self._clock(), by, action, about, detail))


class Overrides:
    """Where departments are stricter and who is excepted, in memory, looked at again every second. One per process.

    When nobody could look for BELIEVED_US, no exception is in force, because what was taken back meanwhile must not hold on;
    tightenings stay as they were last seen.
    """

    CHECK_SECONDS = 1.0
    BELIEVED_US = 4_000_000

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        self._look = reading(engine).connect
        self._clock = clock
        self._exemptions: tuple[Exemption, ...] = ()
        self._tightenings: tuple[Tightening, ...] = ()
        self._believed_until = 0
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read them, and go on reading. Raises what the database raises: without tightenings nobody may begin."""
        await self._read()
        self._watching = asyncio.create_task(self._watch(), name="filter-overrides")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None

    def exemptions(self) -> tuple[Exemption, ...]:
        """What may be in force; the rule still compares the instant."""
        if not self._exemptions or self._clock() >= self._believed_until:
            return ()
        return self._exemptions

    def tightenings(self) -> tuple[Tightening, ...]:
        return self._tightenings

    async def look(self) -> None:
        """Read them again now; a database that is away is a warning."""
        try:
            await self._read()
        except (SQLAlchemyError, DatabaseError) as error:
            log.warning("cannot look for exceptions of the filters: %s", type(error).__name__)

    async def _read(self) -> None:
        began = self._clock()
        self._exemptions, self._tightenings = await asyncio.to_thread(self._stored, began)
        self._believed_until = began + self.BELIEVED_US

    def _stored(self, now: int) -> tuple[tuple[Exemption, ...], tuple[Tightening, ...]]:
        with self._look() as connection:
            return (
                tuple(granted.exemption() for granted in store.exceptions(connection, not_over_at=now)),
                tuple(set_.tightening() for set_ in store.tightenings(connection)),
            )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.CHECK_SECONDS)
            await self.look()


def _known_kind(kind: str) -> None:
    if kind not in DEFAULT_TABLE or "/" in kind:
        kinds = ", ".join(k for k in DEFAULT_TABLE if "/" not in k)
        raise _bad("invalid_kind", f"kind is one of {kinds}. / 종류가 올바르지 않습니다.")


def _known_places(destinations: frozenset[Destination]) -> None:
    if unknown := destinations - set(DESTINATIONS):
        raise _bad("invalid_destination", f"No destination is called {min(unknown)[:40]}. / 그런 반출처가 없습니다.")


def _said(reason: str) -> str:
    said = reason.strip()
    if not _SHORTEST_REASON <= len(said) <= _LONGEST_REASON or not said.isprintable():
        raise _bad(
            "invalid_reason",
            f"Say why in {_SHORTEST_REASON} to {_LONGEST_REASON} printable characters. / 사유를 적으십시오.",
        )
    return said


def _loosening(kind: str, action: Action) -> None:
    _known_kind(kind)
    if action not in ACTIONS or action == "block":
        raise _bad("invalid_action", "An exception allows, warns, masks or keeps inside. / 완화할 조치를 고르십시오.")
    floor = FLOORS.get(kind, "allow")
    if ACTIONS.index(action) < ACTIONS.index(floor):
        raise _bad(
            "below_floor", f"{kind} is never treated less strictly than {floor}. / {kind}의 하한은 {floor}입니다."
        )


def _department(connection: Connection, code: str) -> str:
    found = people.department_by_code(connection, code) if code.isprintable() else None
    if found is None or found.closed_at is not None:
        raise NotFound(f"No open department has the code {code[:64]}. / 그런 부서 코드가 없습니다.")
    return found.id


def _bad(code: str, message: str) -> BadRequest:
    return BadRequest(message, code=code)
