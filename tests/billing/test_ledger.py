"""Journals sum to zero in each currency, a reversal is the exact negative, and the databases refuse to edit the books."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from ledgers import Ledger, booking, open_ledger, place
from sqlalchemy.exc import DBAPIError

from billing import tables
from billing.holds import Void
from billing.ledger import Leg, Unbalanced, check_balance, reversed_legs, usage_legs

EXPENSE = "expense:department:water"


@pytest.mark.parametrize(
    ("creditor", "currency", "ticks", "won", "vat", "treatment", "legs"),
    [
        # $0.002 = 20,000,000 ticks at ₩1,400 = ₩2.80
        (
            "payable:openai",
            "USD",
            20_000_000,
            2_800_000,
            0,
            "none",
            [
                ("clearing:USD", "USD", 20_000_000),
                ("payable:openai:USD", "USD", -20_000_000),
                (EXPENSE, "KRW", 2_800_000),
                ("clearing:KRW", "KRW", -2_800_000),
            ],
        ),
        # the same with 10 % tax: ₩0.28
        (
            "payable:openai",
            "USD",
            20_000_000,
            2_800_000,
            280_000,
            "reverse_charge",
            [
                ("clearing:USD", "USD", 20_000_000),
                ("payable:openai:USD", "USD", -20_000_000),
                (EXPENSE, "KRW", 2_800_000),
                ("clearing:KRW", "KRW", -2_800_000),
                (EXPENSE, "KRW", 280_000),
                ("tax:vat:reverse_charge", "KRW", -280_000),
            ],
        ),
        ("payable:naver", "KRW", 3_000, 3_000, 0, "none", [(EXPENSE, "KRW", 3_000), ("payable:naver:KRW", "KRW", -3_000)]),
        ("internal:vllm", "KRW", 500, 500, 0, "none", [(EXPENSE, "KRW", 500), ("internal:vllm:KRW", "KRW", -500)]),
        ("internal:vllm", "KRW", 0, 0, 0, "none", []),
        (
            "suspense:absurd",
            "USD",
            100,
            0,  # 1e-8 USD at ₩1,400 rounds to ₩0.000014; at a rate that rounds to nothing only the dollar legs remain
            0,
            "none",
            [("clearing:USD", "USD", 100), ("suspense:absurd:USD", "USD", -100)],
        ),
    ],
)  # fmt: skip
def test_legs_of_a_usage(
    *, creditor: str, currency: str, ticks: int, won: int, vat: int, treatment: str, legs: list[tuple[str, str, int]]
) -> None:
    found = usage_legs(
        department_id="water",
        creditor=creditor,
        currency=currency,
        ticks=ticks,
        won=won,
        vat=vat,
        vat_treatment=treatment,
    )
    assert list(found) == legs


amounts = st.integers(0, 2**62)


@given(st.sampled_from(("USD", "KRW")), amounts, amounts, amounts)
def test_any_usage_balances_and_so_does_its_reversal(currency: str, ticks: int, won: int, vat: int) -> None:
    legs = usage_legs(
        department_id="d",
        creditor="payable:p",
        currency=currency,
        ticks=won if currency == "KRW" else ticks,
        won=won,
        vat=vat,
    )
    check_balance(legs)
    back = reversed_legs(legs)
    check_balance(back)
    assert [leg.amount + other.amount for leg, other in zip(legs, back, strict=True)] == [0] * len(legs)
    assert reversed_legs(back) == legs
    expense = sum(leg.amount for leg in legs if leg.account.startswith("expense:"))
    assert expense == won + vat, "what the department carries"


def test_what_does_not_balance_is_refused_before_it_reaches_the_book() -> None:
    with pytest.raises(Unbalanced, match="USD"):
        check_balance([Leg("a", "USD", 5), Leg("b", "KRW", -5)])


# -- the guards in the database ----------------------------------------------------------------------------------------

APPEND_ONLY = {
    "quota": "reason",
    "price_book": "status",
    "price": "unit_price_pico",
    "fx_rate": "rate_e6",
    "usage_event": "won",
    "usage_meter": "quantity",
    "journal": "won",
    "entry": "amount",
    "seal": "hash",
}

#: What a hold may still change until it is resolved.
MOVES = {"state", "outcome", "lease_owner", "lease_until", "sent_at", "checkpoint", "checkpoint_at", "resolved_at"}


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """One row at least in every table."""
    with open_ledger(database_url) as opened:
        opened.quota("organisation", "month", 1000)
        opened.booked(where=place(vat_bp=1000))
        opened.seal()
        opened.book.transact(lambda tx: tx.add_rates([("USD", "KRW", 1, "매매기준율", "2026-11-23", "s", 1, 1, "t")]))
        yield opened


def refused(ledger: Ledger, statement: str) -> str:
    """What the database says to a statement given by somebody who has its password."""
    with ledger.engine.connect() as connection, pytest.raises(DBAPIError) as error:
        connection.exec_driver_sql(statement)
    return str(error.value.orig)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_no_row_of_the_books_is_edited_or_removed(ledger: Ledger, table: str) -> None:
    before = ledger.rows(f"SELECT * FROM {table}")
    assert before
    column = APPEND_ONLY[table]
    assert "append-only" in refused(ledger, f"UPDATE {table} SET {column} = {column}")
    assert "append-only" in refused(ledger, f"DELETE FROM {table}")
    if ledger.engine.dialect.name == "postgresql":
        assert "append-only" in refused(ledger, f"TRUNCATE {table} CASCADE")
    assert ledger.rows(f"SELECT * FROM {table}") == before


def test_no_hold_is_removed(ledger: Ledger) -> None:
    ledger.held()
    assert "append-only" in refused(ledger, "DELETE FROM hold")
    if ledger.engine.dialect.name == "postgresql":
        assert "append-only" in refused(ledger, "TRUNCATE hold")


@pytest.mark.parametrize("column", sorted({c.name for c in tables.HoldRow.__table__.columns} - MOVES))  # type: ignore[attr-defined]
def test_what_a_hold_was_made_for_does_not_change(ledger: Ledger, column: str) -> None:
    hold = ledger.held()
    assert "does not change" in refused(ledger, f"UPDATE hold SET {column} = {column} WHERE id = '{hold.id}'")


@pytest.mark.parametrize("end", ["posted", "voided", "expired"])
@pytest.mark.parametrize(
    "change",
    [
        "state = 'open', resolved_at = NULL",
        "state = 'sent', resolved_at = NULL",
        "outcome = 'failed'",
        "lease_until = 0",
        "checkpoint = '{}'",
        "resolved_at = resolved_at + 1",
    ],
)
def test_a_resolved_hold_does_not_change(ledger: Ledger, end: str, change: str) -> None:
    hold = ledger.sent()
    if end == "posted":
        ledger.do(booking(hold))
    elif end == "voided":
        ledger.do(Void(hold, "failed", ledger.clock()))
    else:
        ledger.clock.advance(60_000_000)
        ledger.sweep()
    assert ledger.states()[hold.id] == end
    assert "resolves once" in refused(ledger, f"UPDATE hold SET {change} WHERE id = '{hold.id}'")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("state = 'open', sent_at = NULL", "never goes back"),
        ("state = 'lost', resolved_at = 5", "ck_hold_state"),
        ("state = 'posted'", "ck_hold_resolved"),  # resolved, and no time of it
        ("resolved_at = 5", "ck_hold_resolved"),  # a time, and not resolved
    ],
)
def test_a_live_hold_moves_forward_only(ledger: Ledger, change: str, why: str) -> None:
    hold = ledger.sent()
    assert why in refused(ledger, f"UPDATE hold SET {change} WHERE id = '{hold.id}'")


def test_a_counter_never_holds_less_than_nothing(ledger: Ledger) -> None:
    assert "ck_counter_held" in refused(ledger, "UPDATE counter SET held = -1")


def test_a_journal_is_reversed_once_whoever_writes_it(ledger: Ledger) -> None:
    (name,) = [row[0] for row in ledger.rows("SELECT id FROM journal")]
    ledger.do(ledger.reverse(name))
    columns = ", ".join(c.name for c in tables.JournalRow.__table__.columns if c.name not in ("seq", "id"))  # type: ignore[attr-defined]
    twin = (
        f"INSERT INTO journal (seq, id, {columns}) SELECT 99, 'twin', {columns} FROM journal WHERE reverses = '{name}'"
    )
    assert "reverses" in refused(ledger, twin)


def test_the_guards_do_not_hinder_what_is_free_to_change(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("UPDATE counter SET version = version + 1"))
        connection.execute(sa.text("UPDATE recon_case SET state = 'resolved'"))
