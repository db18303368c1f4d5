"""What an attempt is booked as: exact, estimated or in suspense, with the arithmetic written out.

The hold of these tests is for 1,000 tokens in and 1,000 out at $1 and $4 a million and ₩1,400 a dollar: ₩7 and a little.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from clock import MORNING
from ledgers import ask_for, card, place, used, who
from msgspec.structs import replace

from billing.holds import Hold, Place, Settle
from billing.ledger import check_balance
from billing.settlement import estimate, nothing_used, settle
from billing.usage import Usage, suspense

RAW = '{"prompt_tokens":800}'


def hold_at(where: Place) -> Hold:
    return Hold("r", 1, who(MORNING), where, ask_for(where).ceiling(1000), 1000, 1000, 250, MORNING)


def booked(usage: Usage, *, where: Place | None = None, fallback: Usage | None = None, **more: Any) -> Settle:
    """`fallback` is what we counted ourselves: 250 in, 100 out."""
    where = where or place()
    given = {"outcome": "completed", "started_at": MORNING, "ended_at": MORNING + 5, "raw_usage": RAW, **more}
    prices = given.pop("card", card(where.price_key))
    op = settle(hold_at(where), usage, fallback or estimate(250, 100, ""), prices, **given)
    check_balance(op.legs())
    return op


def accounts(op: Settle) -> dict[str, int]:
    return {leg.account: leg.amount for leg in op.legs()}


@pytest.mark.parametrize(
    ("where", "tokens", "currency", "ticks", "won", "vat"),
    [
        # 800 × $1 + 300 × $4 a million = $0.002 = 20,000,000 ticks; × 1,400 = ₩2.80
        (place(), (800, 300), "USD", 20_000_000, 2_800_000, 0),
        # 10 % of ₩2.80
        (place(vat_bp=1000), (800, 300), "USD", 20_000_000, 2_800_000, 280_000),
        # 1 × $1 a million = 10,000 ticks; × 1,387 = ₩0.001387 exactly; 10 % of 1,387 is 138.7, so 139
        (place(won_per_dollar=1387, vat_bp=1000), (1, 0), "USD", 10_000, 1_387, 139),
        # 800 × ₩0.0015 + 300 × ₩0.006 = ₩3
        (place("hangang/won"), (800, 300), "KRW", 3_000_000, 3_000_000, 0),
        (place("inside/free"), (800, 300), "KRW", 0, 0, 0),
        # 999 in: the low tier, 999 × $1.25 + 10 × $10 a million = $0.00134875
        (place("acme/tiered"), (999, 10), "USD", 13_487_500, 1_888_250, 0),
        # 1,001 in: all of it in the high one, 1,001 × $2.50 + 10 × $15 = $0.0026525
        (place("acme/tiered"), (1001, 10), "USD", 26_525_000, 3_713_500, 0),
        (place(), (0, 0), "USD", 0, 0, 0),
    ],
)
def test_a_readable_usage_is_exact(
    *, where: Place, tokens: tuple[int, int], currency: str, ticks: int, won: int, vat: int
) -> None:
    op = booked(used(*tokens), where=where, fallback=estimate(250, 0, ""))
    assert (op.quality, op.currency, op.ticks, op.won, op.vat) == ("exact", currency, ticks, won, vat)
    assert op.total == won + vat
    assert op.tokens == sum(tokens)
    assert sum(line.amount_ticks or 0 for line in op.lines) == ticks
    assert op.cases == ()
    assert op.raw_usage == RAW


def test_an_estimate_is_payable_and_says_that_it_is_one() -> None:
    op = booked(estimate(250, 100, "the client left"), outcome="aborted")
    # 250 × $1 + 100 × $4 a million = $0.00065 = ₩0.91
    assert (op.quality, op.reason, op.won) == ("estimated", "the client left", 910_000)
    assert accounts(op)["payable:acme:USD"] == -6_500_000
    assert op.cases == ()


@pytest.mark.parametrize(
    ("usage", "account"),
    [
        (suspense("x/1", "missing: no usage in the answer"), "suspense:missing:USD"),
        (suspense("x/1", "malformed: completion_tokens is no number"), "suspense:malformed:USD"),
        (suspense("x/1", "inconsistent: the total is not input + output"), "suspense:inconsistent:USD"),
        (suspense("x/1", "unknown: prompt_tokens_details.video_tokens"), "suspense:unknown:USD"),
        (used(10**6, 10**6), "suspense:absurd:USD"),  # $5, ₩7,000: a thousand times what was held
        (Usage({"input": 800, "web_search": 3}, "x/1"), "suspense:unpriced:USD"),  # a meter without a price
        (Usage({"input": 800}, "x/1", conditions={"service_tier": "priority"}), "suspense:unpriced:USD"),
    ],
)
def test_in_suspense_the_budget_carries_our_count_and_nobody_is_owed_it_yet(usage: Usage, account: str) -> None:
    """250 × $1 + 100 × $4 a million is $0.00065, ₩0.91."""
    op = booked(usage)
    assert (op.quality, op.won, op.ticks, op.tokens) == ("suspense", 910_000, 6_500_000, 350)
    assert accounts(op) == {
        "clearing:USD": 6_500_000,
        account: -6_500_000,
        "expense:department:water": 910_000,
        "clearing:KRW": -910_000,
    }
    (case,) = op.cases
    assert (case.kind, case.subject) == ("suspense_usage", "r:1")
    assert orjson.loads(case.detail) == {"reason": op.reason, "raw_usage": RAW}


def test_without_any_price_nothing_is_booked_and_somebody_is_asked() -> None:
    op = booked(used(), card=None)
    assert (op.quality, op.reason, op.won, op.ticks, op.total, op.tokens) == (
        "suspense",
        "no price",
        None,
        None,
        0,
        1100,
    )
    assert op.legs() == ()
    assert op.lines == ()
    assert [case.kind for case in op.cases] == ["suspense_usage"]


def test_an_estimate_without_a_price_says_what_is_missing() -> None:
    """Why it is an estimate is one thing; that nobody knows its price is what somebody must mend."""
    op = booked(estimate(10, 10, "the client left"), card=None)
    assert (op.quality, op.reason) == ("suspense", "no price")


@pytest.mark.parametrize(
    ("times", "quality"),
    [(1, "exact"), (4, "exact"), (5, "suspense")],
)
def test_more_than_four_times_the_ceiling_is_a_wrong_bill_and_not_a_large_one(times: int, quality: str) -> None:
    """₩7.000002 was held: 1,000 in and 1,000 out. Four times that fits, five times does not."""
    assert booked(used(1000 * times, 1000 * times)).quality == quality


def test_a_free_model_has_no_ceiling_to_break() -> None:
    op = booked(used(10**9, 10**9), where=place("inside/free"))
    assert (op.quality, op.won, op.tokens) == ("exact", 0, 2 * 10**9)


def test_an_answer_without_any_tokens_is_booked_as_stated_and_looked_at() -> None:
    """Zero is a statement. But we counted text."""
    op = booked(used(0, 0))
    assert (op.quality, op.total) == ("exact", 0)
    assert [case.kind for case in op.cases] == ["zero_usage"]
    assert booked(used(0, 0), outcome="failed").cases == ()
    assert booked(used(0, 0), fallback=estimate(250, 0, "")).cases == ()


@pytest.mark.parametrize(
    ("reported", "trusted", "ticks", "lines", "cases"),
    [
        (20_000_000, True, 20_000_000, 2, []),  # $0.002, as ours
        (20_009_999, True, 20_009_999, 3, []),  # less than $1e-6 more: booked, not worth a case
        (20_010_001, True, 20_010_001, 3, ["reported_cost"]),
        (30_000_000, True, 30_000_000, 3, ["reported_cost"]),  # the larger is booked
        (10_000_000, True, 20_000_000, 2, ["reported_cost"]),  # also where it is ours
        (30_000_000, False, 20_000_000, 2, ["reported_cost"]),  # a provider nobody trusts only raises a question
        (None, True, 20_000_000, 2, []),
    ],
)
def test_a_reported_cost_is_held_against_ours(
    *, reported: int | None, trusted: bool, ticks: int, lines: int, cases: list[str]
) -> None:
    op = booked(replace(used(), reported_ticks=reported), trust_reported=trusted)
    assert (op.quality, op.ticks, len(op.lines), op.reported_ticks) == ("exact", ticks, lines, reported)
    assert [case.kind for case in op.cases] == cases
    assert [(case.ours, case.theirs) for case in op.cases] == [(20_000_000, reported)] * len(cases)


def test_what_only_a_trusted_provider_can_price_is_booked_as_it_says_and_exact() -> None:
    unknown = replace(suspense("x/1", "unknown: a new kind of tool"), reported_ticks=30_000_000)
    op = booked(unknown, trust_reported=True)
    assert (op.quality, op.ticks, op.won) == ("exact", 30_000_000, 4_200_000)
    assert [(line.meter, line.price_id) for line in op.lines] == [("reported", "reported")]
    assert booked(unknown, trust_reported=False).quality == "suspense"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_reported_cost_no_ledger_can_hold_is_suspense(trusted: bool) -> None:
    """A thousand billion dollars: booked as our own count, and somebody is asked."""
    op = booked(replace(used(), reported_ticks=10**22), trust_reported=trusted)
    assert (op.quality, op.won, op.reported_ticks) == ("suspense", 910_000, None)
    assert accounts(op)["suspense:absurd:USD"] == -6_500_000
    assert [case.kind for case in op.cases] == ["suspense_usage"]


def test_a_rate_or_a_price_that_is_not_final_marks_the_amount() -> None:
    assert not booked(used()).provisional
    assert booked(used(), where=replace(place(), fx_provisional=True)).provisional


def test_a_request_the_provider_refused_has_a_row_without_quantities() -> None:
    hold = hold_at(place())
    op = nothing_used(hold, started_at=MORNING, ended_at=MORNING + 1, reason="429", http_status=429)
    assert (op.outcome, op.quality, op.total, op.tokens, op.legs(), op.lines) == ("failed", "exact", 0, 0, (), ())
    assert (op.http_status, op.reason) == (429, "429")


def test_a_local_model_is_owed_to_nobody_outside() -> None:
    where = replace(place("hangang/won"), creditor="internal:hangang")
    assert accounts(booked(used(), where=where)) == {
        "expense:department:water": 3_000_000,
        "internal:hangang:KRW": -3_000_000,
    }


def test_tax_is_an_entry_of_its_own() -> None:
    found = accounts(booked(used(), where=place(vat_bp=1000)))
    assert found["tax:vat:reverse_charge"] == -280_000
