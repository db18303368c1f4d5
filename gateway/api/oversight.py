"""Watching the filters: overview, rules, false alarms, exceptions, stricter departments, dry runs.

    GET    /api/policies/overview?month=YYYY-MM&months=N      it_admin, auditor; a manager sees the own department's rows
    GET    /api/policies/rules?month=YYYY-MM                  it_admin, auditor
    GET    /api/policies/alarms?state=open|all                it_admin, auditor; everybody else sees their own
    POST   /api/policies/alarms      {"decision", "reason"}   whoever was stopped: about a request of their own
    POST   /api/policies/alarms/{id} {"outcome"}              it_admin
    GET    /api/policies/exceptions?over=true                 it_admin, auditor
    POST   /api/policies/exceptions  {"kind", "action", "reason", "ends", "department"?, "rule"?, "destinations"?, "begins"?}
    DELETE /api/policies/exceptions/{id}                      it_admin, as the line above
    GET    /api/policies/tightenings?over=true                it_admin, auditor
    POST   /api/policies/tightenings {"department", "kind", "action", "reason", "destinations"?}          it_admin
    DELETE /api/policies/tightenings/{id}                     it_admin
    POST   /api/policies/dry-run     {"month", "actions"?, "tightenings"?}                                it_admin, auditor

`decision` is the id of the request as its answer carried it (`x-request-id`), or the decision's. `ends` is a date (the last day
it holds, where the organisation is) or an RFC 3339 instant.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine

from gateway.audit import Actor
from gateway.database import reading
from gateway.directory.ids import to_us
from gateway.errors import BadRequest, NotAllowed
from gateway.oversight import answers
from gateway.oversight.oversight import Oversight
from gateway.principal import Authenticator, Principal
from gateway.settings import Settings
from policies.rules.actions import Actions
from policies.subject import Tightening

T = TypeVar("T")

_MONTH = re.compile(r"2\d{3}-(0[1-9]|1[0-2])")
_DAY = re.compile(r"2\d{3}-\d\d-\d\d")

_READ = frozenset({"it_admin", "auditor"})
_WRITE = frozenset({"it_admin"})

Destinations = Annotated[list[Literal["inside", "government", "domestic", "foreign"]], Field(max_length=4)]


class Report(BaseModel):
    """잘못 걸렸어요. Only a reason from the list: what people would write about it is all too often the text itself."""

    model_config = ConfigDict(extra="forbid")

    decision: str = Field(max_length=64)
    reason: str = Field(default="other", max_length=32)


class Outcome(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: Literal["false_alarm", "correct"]


class Loosening(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=32)
    action: Literal["allow", "warn", "mask", "route_local", "block"]
    reason: str = Field(max_length=2000)
    ends: str = Field(max_length=40)
    begins: str | None = Field(default=None, max_length=40)
    department: str | None = Field(default=None, max_length=64)
    rule: str | None = Field(default=None, max_length=128)
    destinations: Destinations = []


class Stricter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    department: str = Field(max_length=64)
    kind: str = Field(max_length=32)
    action: Literal["allow", "warn", "mask", "route_local", "block"]
    reason: str = Field(max_length=2000)
    destinations: Destinations = []


class Trial(BaseModel):
    model_config = ConfigDict(extra="forbid")

    month: str
    actions: dict[str, Any] | None = None
    tightenings: list[Any] | None = Field(default=None, max_length=1000)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the routes share (see `router`)."""

    authenticator: Authenticator
    oversight: Oversight
    look: Engine
    settings: Callable[[], Settings]
    clock: Callable[[], int]
    configured: Callable[[], Actions]
    tightenings: Callable[[], tuple[Tightening, ...]]
    changed: Callable[[], Awaitable[None]]

    async def caller(self, request: Request) -> Principal:
        return await self.authenticator.authenticate_page(request.method, request.headers.raw)

    async def reader(self, request: Request) -> Principal:
        return _with(await self.caller(request), _READ)

    async def writer(self, request: Request) -> Principal:
        return _with(await self.caller(request), _WRITE)

    async def asked(self, question: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self.look.connect() as connection:
                return question(connection)

        return await asyncio.to_thread(read)


def router(
    authenticator: Authenticator,
    oversight: Oversight,
    engine: Engine,
    settings: Callable[[], Settings],
    *,
    clock: Callable[[], int],
    configured: Callable[[], Actions],
    tightenings: Callable[[], tuple[Tightening, ...]],
    changed: Callable[[], Awaitable[None]],
) -> APIRouter:
    """The routes. `settings` are those in force, `configured` what they say becomes of findings, `tightenings` where
    departments are stricter just now; `changed` makes this process look at what was just changed."""
    desk = _Desk(authenticator, oversight, reading(engine), settings, clock, configured, tightenings, changed)
    routes = APIRouter()
    _reports(routes, desk)
    _alarms(routes, desk)
    _exceptions(routes, desk)
    _tightenings(routes, desk)
    return routes


def _reports(routes: APIRouter, desk: _Desk) -> None:
    Caller = Annotated[Principal, Depends(desk.caller)]  # noqa: N806 – a type
    Reader = Annotated[Principal, Depends(desk.reader)]  # noqa: N806 – a type

    @routes.get("/api/policies/overview")
    async def overview(
        principal: Caller, month: str | None = None, months: Annotated[int, Query(ge=1, le=24)] = 1
    ) -> dict[str, Any]:
        """What the filters stopped, by department and month: `months` of them, up to and including `month`."""
        own: list[str] | None = None
        if _READ.isdisjoint(principal.roles):
            own = [_with(principal, frozenset({"manager"})).department_id]
        asked_for = _months(_month(month or _this_month(desk.clock(), desk.settings())), months)
        return await desk.asked(lambda c: answers.the_overview(c, asked_for, own))

    @routes.get("/api/policies/rules")
    async def rules(_: Reader, month: str | None = None) -> dict[str, Any]:
        """What each rule found, and how often people said it was wrong."""
        of = _month(month or _this_month(desk.clock(), desk.settings()))
        return await desk.asked(lambda c: answers.the_rules(c, of))

    @routes.post("/api/policies/dry-run")
    async def dry_run(_: Reader, body: Trial) -> dict[str, Any]:
        """What a month would have looked like under other actions and tightenings, from what was recorded."""
        month = _month(body.month)
        given = {
            name: value
            for name, value in (("actions", body.actions), ("tightenings", body.tightenings))
            if value is not None
        }

        def run(connection: Connection) -> dict[str, Any]:
            rules = answers.proposed(connection, given, desk.configured(), desk.tightenings)
            return answers.the_dry_run(connection, month, rules, desk.clock())

        return await desk.asked(run)


def _alarms(routes: APIRouter, desk: _Desk) -> None:
    Caller = Annotated[Principal, Depends(desk.caller)]  # noqa: N806 – a type
    Writer = Annotated[Principal, Depends(desk.writer)]  # noqa: N806 – a type

    @routes.get("/api/policies/alarms")
    async def alarms(principal: Caller, state: Literal["open", "all"] = "open") -> dict[str, Any]:
        """Reports that a filter was wrong: all of them for IT and auditors, their own for everybody else."""
        everything = not _READ.isdisjoint(principal.roles)
        found = await asyncio.to_thread(
            desk.oversight.alarms, still_open=state == "open", user_id=None if everything else principal.user_id
        )
        return {
            "alarms": await desk.asked(lambda c: answers.the_alarms(c, found, desk.settings().zone, who=everything)),
        }

    @routes.post("/api/policies/alarms", status_code=201)
    async def report(request: Request, principal: Caller, body: Report) -> dict[str, Any]:
        """잘못 걸렸어요: this decision about a request of mine was wrong."""
        by = _actor(principal, request)
        alarm = await asyncio.to_thread(desk.oversight.report, principal.user_id, body.decision, body.reason, by=by)
        return {"id": alarm.id, "decision": alarm.evidence_id, "outcome": alarm.outcome}

    @routes.post("/api/policies/alarms/{alarm_id}")
    async def decide(alarm_id: str, request: Request, principal: Writer, body: Outcome) -> dict[str, Any]:
        """Was it a false alarm?"""
        alarm = await asyncio.to_thread(desk.oversight.decide, alarm_id, body.outcome, by=_actor(principal, request))
        return {"id": alarm.id, "decision": alarm.evidence_id, "outcome": alarm.outcome}


def _exceptions(routes: APIRouter, desk: _Desk) -> None:
    Reader = Annotated[Principal, Depends(desk.reader)]  # noqa: N806 – a type
    Writer = Annotated[Principal, Depends(desk.writer)]  # noqa: N806 – a type

    @routes.get("/api/policies/exceptions")
    async def exceptions(_: Reader, *, over: bool = False) -> dict[str, Any]:
        """Exceptions planned and in force; with `over` the past ones too."""
        found = await asyncio.to_thread(desk.oversight.exceptions, over=over)
        return {
            "exceptions": await desk.asked(
                lambda c: answers.the_exceptions(c, found, desk.settings().zone, desk.clock())
            ),
        }

    @routes.post("/api/policies/exceptions", status_code=201)
    async def grant(request: Request, principal: Writer, body: Loosening) -> dict[str, Any]:
        """Loosen one kind, for a department or for all, with a reason and an end."""
        now = desk.settings()
        granted = await asyncio.to_thread(
            desk.oversight.grant,
            body.kind,
            body.action,
            reason=body.reason,
            ends_at=_instant(body.ends, now, last=True),
            begins_at=None if body.begins is None else _instant(body.begins, now, last=False),
            by=_actor(principal, request),
            department=body.department,
            rule=body.rule,
            destinations=body.destinations,
        )
        await desk.changed()
        (told,) = await desk.asked(lambda c: answers.the_exceptions(c, [granted], now.zone, desk.clock()))
        return told

    @routes.delete("/api/policies/exceptions/{exception_id}", status_code=204)
    async def revoke(exception_id: str, request: Request, principal: Writer) -> Response:
        """End an exception now."""
        await asyncio.to_thread(desk.oversight.revoke, exception_id, by=_actor(principal, request))
        await desk.changed()
        return Response(status_code=204)


def _tightenings(routes: APIRouter, desk: _Desk) -> None:
    Reader = Annotated[Principal, Depends(desk.reader)]  # noqa: N806 – a type
    Writer = Annotated[Principal, Depends(desk.writer)]  # noqa: N806 – a type

    @routes.get("/api/policies/tightenings")
    async def stricter(_: Reader, *, over: bool = False) -> dict[str, Any]:
        """Where departments are stricter; with `over` where they were."""
        found = await asyncio.to_thread(desk.oversight.tightenings, ended=over)
        return {"tightenings": await desk.asked(lambda c: answers.the_tightenings(c, found, desk.settings().zone))}

    @routes.post("/api/policies/tightenings", status_code=201)
    async def tighten(request: Request, principal: Writer, body: Stricter) -> dict[str, Any]:
        """Make a department and those below it stricter, for one kind or for all (`*`)."""
        added = await asyncio.to_thread(
            desk.oversight.tighten,
            body.department,
            body.kind,
            body.action,
            reason=body.reason,
            by=_actor(principal, request),
            destinations=body.destinations,
        )
        await desk.changed()
        (told,) = await desk.asked(lambda c: answers.the_tightenings(c, [added], desk.settings().zone))
        return told

    @routes.delete("/api/policies/tightenings/{tightening_id}", status_code=204)
    async def relax(tightening_id: str, request: Request, principal: Writer) -> Response:
        """End a tightening."""
        await asyncio.to_thread(desk.oversight.relax, tightening_id, by=_actor(principal, request))
        await desk.changed()
        return Response(status_code=204)


def _with(principal: Principal, roles: frozenset[str]) -> Principal:
    """The principal, if one of the roles is theirs."""
    if roles.isdisjoint(principal.roles):
        raise NotAllowed(
            f"This is for {' or '.join(sorted(roles))}. / 이 기능을 쓸 권한이 없습니다.", code="role_required"
        )
    return principal


def _actor(principal: Principal, request: Request) -> Actor:
    return Actor(principal.email, request.client.host if request.client else "unknown")


def _month(text: str) -> str:
    if not _MONTH.fullmatch(text):
        raise BadRequest("month is YYYY-MM. / 월은 YYYY-MM 형식입니다.", code="invalid_month", param="month")
    return text


def _months(last: str, count: int) -> list[str]:
    year, month = int(last[:4]), int(last[5:])
    return [f"{(m := year * 12 + month - 1 - back) // 12:04d}-{m % 12 + 1:02d}" for back in reversed(range(count))]


def _this_month(at_us: int, settings: Settings) -> str:
    return (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).astimezone(settings.zone).strftime("%Y-%m")
    )


def _instant(text: str, settings: Settings, *, last: bool) -> int:
    """A date (as the last day: to its end) in the organisation's zone, or an RFC 3339 instant; UTC microseconds."""
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=1 if last else 0)
            return to_us(datetime(day.year, day.month, day.day, tzinfo=settings.zone))
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        at = None
    if at is None or at.tzinfo is None:
        raise BadRequest(
            "A date is YYYY-MM-DD, an instant 2026-12-31T18:00:00+09:00. / 날짜 형식이 올바르지 않습니다.",
            code="invalid_date",
        )
    return to_us(at)
