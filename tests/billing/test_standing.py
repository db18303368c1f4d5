"""What may still be spent, now: spent and reserved apart, in the period that is open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clock import DAY
from ledgers import SEOUL, WON, Ledger, booking, open_ledger

from billing.quota import Standing
from billing.reports.standing import every, standings
from gateway.database import reading


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


Seen = tuple[str, str, int, int, int, bool]


def _seen(found: list[Standing]) -> list[Seen]:
    return [(s.quota.scope, s.period, s.quota.amount // WON, s.posted, s.held, s.quota.hard) for s in found]


def now(ledger: Ledger, *scopes: str) -> list[Seen]:
    """(scope, period, limit in won, spent, reserved, hard)"""
    with reading(ledger.engine).connect() as connection:
        periods = SEOUL.periods(ledger.clock())
        return _seen(standings(connection, scopes, periods) if scopes else every(connection, periods))


def test_spent_and_reserved_stand_apart(ledger: Ledger) -> None:
    """₩2.80 spent; ₩7.000002 reserved of which most will come back."""
    ledger.quota("user:kim", "month", 100)
    ledger.quota("user:kim", "day", 20, hard=False)
    ledger.booked()
    ledger.held()
    assert now(ledger, "user:kim") == [
        ("user:kim", "2026-11-23", 20, 2_800_000, 7_000_002, False),
        ("user:kim", "2026-11", 100, 2_800_000, 7_000_002, True),
    ]


def test_the_newest_decision_counts(ledger: Ledger) -> None:
    ledger.quota("user:kim", "month", 100)
    ledger.quota("user:kim", "month", 50)
    ledger.quota("user:kim", "year", 500)
    ledger.quota("user:kim", "year", None)
    assert now(ledger, "user:kim") == [("user:kim", "2026-11", 50, 0, 0, True)]
    ledger.quota("user:kim", "month", None)
    assert now(ledger, "user:kim") == []
    ledger.quota("user:kim", "month", 0)
    assert now(ledger, "user:kim") == [("user:kim", "2026-11", 0, 0, 0, True)]


def test_a_new_day_begins_at_nothing_and_the_month_goes_on(ledger: Ledger) -> None:
    ledger.quota("organisation", "day", 20)
    ledger.quota("organisation", "month", 100)
    ledger.quota("organisation", "year", 1000)
    ledger.booked()
    ledger.clock.advance(DAY)
    ledger.booked()
    assert [(period, spent) for _, period, _, spent, _, _ in now(ledger, "organisation")] == [
        ("2026-11-24", 2_800_000),
        ("2026-11", 5_600_000),
        ("2026", 5_600_000),
    ]


def test_only_the_scopes_asked_for_and_all_of_them(ledger: Ledger) -> None:
    for scope in ("user:kim", "user:lee", "department:water", "organisation"):
        ledger.quota(scope, "month", 100)
    ledger.booked()
    assert [seen[0] for seen in now(ledger, "user:kim", "department:water", "department:none")] == [
        "department:water",
        "user:kim",
    ]
    assert [(seen[0], seen[3]) for seen in now(ledger)] == [
        ("department:water", 2_800_000),
        ("organisation", 2_800_000),
        ("user:kim", 2_800_000),
        ("user:lee", 0),
    ]


def test_all_of_a_large_city(ledger: Ledger) -> None:
    """More scopes than a statement takes parameters on PostgreSQL would be asked for in one query."""
    rows = [(f"user:u{n:05d}", "month", "KRW", n * WON, 1, "finance", 1, None) for n in range(35_000)]
    ledger.book.transact(lambda tx: [tx.add_quotas(rows[n : n + 1000]) for n in range(0, len(rows), 1000)])
    found = now(ledger)
    assert (len(found), found[-1][:3]) == (35_000, ("user:u34999", "2026-11", 34_999))


def test_what_is_left_is_what_the_next_request_gets(ledger: Ledger) -> None:
    """₩10 a day: ₩2.80 are spent, ₩7.20 left. The report and the decision see the same."""
    ledger.quota("user:kim", "day", 10)
    ledger.do(booking(ledger.sent()))
    with reading(ledger.engine).connect() as connection:
        (standing,) = standings(connection, ["user:kim"], SEOUL.periods(ledger.clock()))
    assert standing.available == 7_200_000
    held = ledger.held()
    assert held.amount <= 7_200_000
