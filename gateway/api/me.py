"""What somebody may know about themselves: who they are, what is left of their budgets, what they have spent.

    GET  /api/me                      → {"email", "name", "department", "roles", "pledge", "scopes": [...]}
    GET  /api/me/usage?month=YYYY-MM  → {"month", "rows": [{"key", "requests", "tokens", "krw"}], "total_krw"}
    GET  /api/me/pledge               → {"version", "ko", "en", "sha256"}
    POST /api/me/pledge {"version"}   → {"version", "signed_at"}

Amounts are decimal strings of won with up to six places. Whose numbers: one's own and one's own department's; those of the
departments above and of the whole organisation are null for whoever has no business with them.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from billing.money import format_krw
from gateway.audit import Actor
from gateway.directory.directory import Directory
from gateway.directory.ids import rfc3339
from gateway.errors import BadRequest, NotFound
from gateway.principal import Authenticator, Principal

_MONTH = re.compile(r"2\d{3}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class ScopeStanding:
    """One budget on the caller's path in its current period. Amounts in micro-won, `resets_at` in UTC microseconds.

    `limit` is None where the scope has no budget; then only what was used is known.
    """

    scope: str
    period: str
    limit: int | None
    used: int
    held: int
    resets_at: int
    hard: bool = True
    unit: str = "KRW"

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used - self.held)


class Standing(Protocol):
    """What the pages ask of the ledger about one person."""

    async def standing(self, principal: Principal) -> Sequence[ScopeStanding]:
        """Every budget on the principal's path, and the principal's own use where it has none."""
        ...

    async def usage(self, principal: Principal, month: str) -> Mapping[str, Any]:
        """What this person used in a month (YYYY-MM), by model: `{"month", "rows", "total_krw"}`."""
        ...


@dataclass
class RememberedStanding:
    """A Standing that says what it was told: for tests, and for pages without a ledger behind them."""

    scopes: list[ScopeStanding] = field(default_factory=list)
    months: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    total_krw: str = "0"

    async def standing(self, principal: Principal) -> Sequence[ScopeStanding]:
        return [scope for scope in self.scopes if scope.scope in principal.scopes]

    async def usage(self, principal: Principal, month: str) -> Mapping[str, Any]:
        return {"month": month, "rows": self.months.get(month, []), "total_krw": self.total_krw}


class SignPledge(BaseModel):
    """The version that was on the screen when somebody signed."""

    model_config = ConfigDict(extra="forbid")

    version: int


def router(
    authenticator: Authenticator,
    directory: Directory,
    standing: Standing,
    organisation: str,
    zone: ZoneInfo,
    *,
    clock: Callable[[], int],
) -> APIRouter:
    """The routes; `organisation` is its name, shown for the scope of the whole."""

    async def caller(request: Request) -> Principal:
        return await authenticator.authenticate_page(request.method, request.headers.raw)

    routes = APIRouter()
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 – a type

    @routes.get("/api/me")
    async def me(principal: Caller) -> dict[str, Any]:
        """Who is asking, whether the pledge is signed, and what is left."""
        identity = await asyncio.to_thread(directory.identity, principal.user_id)
        names = await asyncio.to_thread(_names, directory, principal, organisation, identity.person.name)
        signed_at = identity.pledge.signed_at
        return {
            "email": principal.email,
            "name": identity.person.name,
            "department": principal.department_code,
            "roles": list(principal.roles),
            "pledge": {
                "required": identity.pledge.required,
                "version": identity.pledge.version,
                "signed_at": None if signed_at is None else rfc3339(signed_at, zone),
            },
            "scopes": [
                _shown(scope, names, zone, numbers=_may_see(principal, scope.scope))
                for scope in await standing.standing(principal)
            ],
        }

    @routes.get("/api/me/usage")
    async def usage(principal: Caller, month: str | None = None) -> dict[str, Any]:
        """What the caller used in a month, by model; without `month` in the current one."""
        if month is None:
            month = _this_month(clock(), zone)
        if not _MONTH.fullmatch(month):
            raise BadRequest("month is YYYY-MM. / 월은 YYYY-MM 형식입니다.", code="invalid_month", param="month")
        return dict(await standing.usage(principal, month))

    @routes.get("/api/me/pledge")
    async def pledge(_: Caller) -> dict[str, Any]:
        """The text in force."""
        text = await asyncio.to_thread(directory.pledge_text)
        if text is None:
            raise NotFound("No pledge has been published. / 게시된 서약이 없습니다.", code="no_pledge")
        return {"version": text.version, "ko": text.body_ko, "en": text.body_en, "sha256": text.sha256}

    @routes.post("/api/me/pledge")
    async def sign(request: Request, principal: Caller, body: SignPledge) -> dict[str, Any]:
        """Sign the text in force. A text that was replaced while somebody read it has to be read again."""
        by = Actor(principal.email, request.client.host if request.client else "unknown")
        version, at = await asyncio.to_thread(directory.sign_shown, principal.email, body.version, by=by)
        authenticator.invalidate()
        return {"version": version, "signed_at": rfc3339(at, zone)}

    return routes


def _may_see(principal: Principal, scope: str) -> bool:
    """On their own page a member also sees the pot they share. Error bodies, which programs keep in their logs and send on,
    tell only whoever answers for a budget (refusals.exhausted)."""
    return principal.answers_for(scope) or scope == f"department:{principal.department_id}"


def _shown(scope: ScopeStanding, names: Mapping[str, str], zone: ZoneInfo, *, numbers: bool) -> dict[str, Any]:
    def won(amount: int | None) -> str | None:
        return format_krw(amount) if numbers and amount is not None else None

    return {
        "scope": scope.scope,
        "name": names.get(scope.scope, scope.scope),
        "unit": scope.unit,
        "period": scope.period,
        "hard": scope.hard,
        "limit": won(scope.limit),
        "used": won(scope.used),
        "held": won(scope.held),
        "remaining": won(scope.remaining),
        "resets_at": rfc3339(scope.resets_at, zone),
    }


def _names(directory: Directory, principal: Principal, organisation: str, name: str) -> dict[str, str]:
    """What each scope of the caller is called."""
    departments = directory.departments(principal.department_path)
    named = {f"department:{id_}": department.name for id_, department in departments.items()}
    return {"organisation": organisation, f"user:{principal.user_id}": name, **named}


def _this_month(at_us: int, zone: ZoneInfo) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return at.astimezone(zone).strftime("%Y-%m")
