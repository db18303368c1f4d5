"""What becomes of holds whose process died: one row for each request an upstream saw, and nothing guessed passes for exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clock import SECOND
from ledgers import LEASE, Ledger, card, open_ledger, place
from msgspec.structs import replace

from billing.holds import Checkpoint, Hold, Place, Seen, Settle, Void
from billing.recovery import hold_from, resolve


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


def stored(ledger: Ledger, hold: Hold) -> dict[str, Any]:
    """The hold as a restart finds it."""
    row: dict[str, Any] = ledger.book.transact(lambda tx: tx.live_hold(hold.id))
    return row


@pytest.mark.parametrize(
    "where", [place(), place(vat_bp=1000), place("hangang/won"), replace(place("inside/free"), fx_provisional=True)]
)
def test_a_stored_hold_is_the_hold_that_was_made(ledger: Ledger, where: Place) -> None:
    hold = ledger.held(where=where)
    assert hold_from(stored(ledger, hold)) == hold
    full = ledger.request()
    full = replace(full, who=replace(full.who, key_id=None, project="상수도 요금", stream=False, grade="S"))
    other = ledger.do(full)
    assert hold_from(stored(ledger, other)) == other


def test_what_had_not_left_is_given_back_whole(ledger: Ledger) -> None:
    hold = ledger.held()
    ledger.clock.advance(LEASE + SECOND)
    ((op, answer),) = ledger.sweep()
    assert isinstance(op, Void)
    assert answer is True
    assert ledger.states() == {hold.id: "voided"}
    assert ledger.rows("SELECT outcome FROM hold") == [("expired",)]
    assert ledger.rows("SELECT id FROM usage_event") == []
    assert ledger.counters() == {}


@pytest.mark.parametrize(
    ("output", "won", "cases"),
    [
        # 250 × $1 + 512 × $4 a million at ₩1,400: ₩0.35 + ₩2.8672
        (512, 3_217_200, []),
        (0, 350_000, []),  # it says that nothing was generated yet
        (None, 350_000, ["crash_unknown"]),  # nobody knows
    ],
)
def test_what_had_left_is_billed_by_its_last_checkpoint(
    ledger: Ledger, output: int | None, won: int, cases: list[str]
) -> None:
    hold = ledger.sent()
    if output is not None:
        ledger.do(Checkpoint(hold.id, f'{{"output_tokens":{output}}}', ledger.clock()))
    ledger.clock.advance(LEASE + SECOND)
    ((op, answer),) = ledger.sweep()
    assert isinstance(op, Settle)
    assert answer.state == "booked"
    assert ledger.rows("SELECT id, outcome, quality, won, tokens FROM usage_event") == [
        (hold.id, "expired", "estimated", won, 250 + (output or 0))
    ]
    assert [kind for kind, _ in ledger.cases()] == cases
    assert ledger.counter("user:kim", "2026-11") == (won, 0)
    ledger.seal()
    assert ledger.faults() == {}


def test_a_crash_over_midnight_is_billed_in_the_day_it_began(ledger: Ledger) -> None:
    ledger.clock.now = 1_795_445_999_000_000  # 2026-11-23 23:59:59 in Seoul
    ledger.sent()
    ledger.clock.advance(LEASE + SECOND)
    ledger.sweep()
    assert ledger.counter("user:kim", "2026-11-23") == (350_000, 0)
    assert ledger.counter("user:kim", "2026-11-24") == (0, 0)
    assert ledger.rows("SELECT service_date FROM usage_event") == [("2026-11-23",)]


def test_a_price_that_is_gone_leaves_a_row_without_an_amount_and_a_free_budget(ledger: Ledger) -> None:
    hold = ledger.sent()
    ledger.do(Checkpoint(hold.id, '{"output_tokens":5}', ledger.clock()))
    op = resolve(stored(ledger, hold), None, ledger.clock())
    assert ledger.do(op).state == "booked"
    assert ledger.rows("SELECT quality, won, tokens FROM usage_event") == [("suspense", None, 255)]
    assert ledger.cases() == [("suspense_usage", hold.id)]
    assert ledger.counters() == {}


def test_only_what_lapsed_is_touched(ledger: Ledger) -> None:
    dead = ledger.held()
    ledger.clock.advance(LEASE + SECOND)
    alive = ledger.held()
    assert [op.hold.id for op, _ in ledger.sweep()] == [dead.id]
    assert ledger.states()[alive.id] == "open"
    assert ledger.sweep() == []


def test_the_oldest_are_resolved_first_and_a_batch_at_a_time(ledger: Ledger) -> None:
    holds = [ledger.held() for _ in range(5)]
    ledger.clock.advance(LEASE + SECOND)
    rows = ledger.book.transact(lambda tx: tx.lapsed_holds(ledger.clock(), all_of=None, limit=3))
    assert [row["id"] for row in rows] == [hold.id for hold in holds[:3]]


def test_the_operation_says_how_the_hold_was_seen(ledger: Ledger) -> None:
    """So that an owner who was only slow keeps what is his."""
    for hold, state in ((ledger.held(), "open"), (ledger.sent(), "sent")):
        row = stored(ledger, hold)
        op = resolve(row, card("acme/plain"), ledger.clock())
        assert op.seen == Seen(state, row["lease_until"])  # type: ignore[arg-type]
