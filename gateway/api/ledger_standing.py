"""What the ledger knows about one person, for their own pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from billing.money import format_krw
from billing.periods import Calendar, to_us
from billing.reports import standing, usage
from gateway.api.me import ScopeStanding
from gateway.database import reading
from gateway.principal import Principal


class LedgerStanding:
    """Reads in a thread, from a snapshot: a page never waits for the writer, nor the writer for a page."""

    def __init__(self, engine: Engine, calendar: Callable[[], Calendar], clock: Callable[[], int]) -> None:
        self._engine = reading(engine)
        self._calendar = calendar
        self._clock = clock

    async def standing(self, principal: Principal) -> Sequence[ScopeStanding]:
        return await asyncio.to_thread(self._standing, principal)

    async def usage(self, principal: Principal, month: str) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._usage, principal, month)

    def _standing(self, principal: Principal) -> list[ScopeStanding]:
        now, calendar = self._clock(), self._calendar()
        with self._engine.connect() as connection:
            found = standing.standings(connection, principal.scopes, calendar.periods(now))
        return [
            ScopeStanding(
                scope=one.quota.scope,
                period=one.quota.period,
                limit=one.quota.amount,
                used=one.posted,
                held=one.held,
                resets_at=to_us(calendar.resets_at(one.quota.period, now)),
                hard=one.quota.hard,
            )
            for one in found
        ]

    def _usage(self, principal: Principal, month: str) -> dict[str, Any]:
        with self._engine.connect() as connection:
            found = usage.rows(connection, month, "model", user_id=principal.user_id)
        return {
            "month": month,
            "rows": [
                {"key": row.key, "requests": row.requests, "tokens": row.tokens, "krw": format_krw(row.won)}
                for row in found
            ],
            "total_krw": format_krw(sum(row.won for row in found)),
        }
