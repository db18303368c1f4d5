"""Admit, clamp or refuse: the arithmetic of a budget, written out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ledgers import WON, card

from billing.card import Price, RateCard
from billing.holds import Hold
from billing.money import to_krw_micro, vat_of
from billing.periods import Periods
from billing.quota import FLOOR, SCALE, Ask, Granted, Quota, Refused, Standing, decide, labels
from billing.settlement import ask, rate_of
from billing.usage import Usage

DAY = "2026-11-23"


def standing(
    amount: int, posted: int = 0, held: int = 0, *, scope: str = "organisation", hard: bool = True
) -> Standing:
    """Amounts in won."""
    return Standing(Quota(scope, "day", amount * WON, hard), DAY, posted * WON, held * WON)


def price(fixed: int, per_token: Fraction | int, wanted: int, choices: int = 1, floor: int = FLOOR) -> Ask:
    """Amounts in won."""
    per_output = Fraction(per_token) * WON * SCALE
    assert per_output.denominator == 1
    return Ask(fixed * WON, int(per_output), wanted, choices, floor)


# A token costs ₩0.01, the input ₩2; 1,000 tokens are wanted, which makes ₩12.
TWELVE = price(2, Fraction(1, 100), 1000)


@pytest.mark.parametrize(
    ("ask", "available", "cap", "amount"),
    [
        (TWELVE, 100, 1000, 12),  # all of it
        (TWELVE, 12, 1000, 12),  # exactly
        (TWELVE, 11, 900, 11),  # 11 − 2 = 9 won, at 0.01 a token
        (TWELVE, 5, 300, 5),  # 5 − 2 = 3
        (price(2, Fraction(1, 100), 1000, floor=300), 5, 300, 5),  # the floor itself
        (price(2, Fraction(1, 100), 100), 3, 100, 3),  # less than the floor is wanted: then that is enough
        (price(2, Fraction(1, 100), 1000, choices=3), 11, 300, 11),  # 9 won for three answers: 300 tokens each
        (price(2, Fraction(1, 100), 1000, choices=4), 100, 1000, 42),  # 2 + 4 × 1,000 × 0.01
        (price(0, Fraction(1, 100), 1000), 3, 300, 3),  # nothing for the input
        (price(5, 0, 1000), 5, 1000, 5),  # nothing for the output: a fee
        (price(5, Fraction(1, 100), 0), 5, 0, 5),  # nothing is generated: embeddings
        (price(5, 0, 0), 7, 0, 5),
    ],
)
def test_what_fits_is_admitted_and_shortened_where_it_must_be(ask: Ask, available: int, cap: int, amount: int) -> None:
    assert decide(ask, [standing(available)]) == Granted(cap, amount * WON)


@pytest.mark.parametrize(
    ("ask", "available", "needed"),
    [
        (TWELVE, 4, Fraction(456, 100)),  # 4 − 2 = 2 won are 200 tokens, less than 256: 2 + 2.56 are needed
        (TWELVE, 2, Fraction(456, 100)),
        (TWELVE, 0, Fraction(456, 100)),
        (TWELVE, -3, Fraction(456, 100)),  # over its limit already
        (price(2, Fraction(1, 100), 100), 2, 3),  # 100 are wanted: 2 + 1
        (price(2, Fraction(1, 100), 1000, choices=3), 9, Fraction(968, 100)),  # 7 won are 233 each; 2 + 3 × 2.56
        (price(5, 0, 1000), 4, 5),
        (price(5, Fraction(1, 100), 0), 4, 5),  # embeddings that do not fit
    ],
)
def test_what_does_not_fit_is_refused_with_what_it_would_need(ask: Ask, available: int, needed: Fraction) -> None:
    answer = decide(ask, [standing(available)])
    assert isinstance(answer, Refused)
    assert answer.needed == needed * WON
    assert not answer.would_fit


def test_a_quota_of_zero_admits_nothing_but_what_is_free() -> None:
    assert isinstance(decide(TWELVE, [standing(0)]), Refused)
    assert isinstance(decide(Ask(0, 1, 1), [standing(0)]), Refused), (
        "a ten-thousandth of a millionth of a won is not free"
    )
    assert decide(Ask(0, 0, 4096), [standing(0)]) == Granted(4096, 0)
    assert decide(Ask(0, 0, 4096), [standing(0, posted=50)]) == Granted(4096, 0), "nor is a debt in its way"


def test_soft_quotas_never_refuse_and_none_is_no_limit() -> None:
    assert decide(TWELVE, [standing(0, hard=False)]) == Granted(1000, 12 * WON)
    assert decide(TWELVE, []) == Granted(1000, 12 * WON)
    assert decide(TWELVE, [standing(1, hard=False), standing(5)]) == Granted(300, 5 * WON)


def test_the_narrowest_hard_quota_decides_and_is_named() -> None:
    wide, narrow = standing(100, scope="organisation"), standing(20, 5, 10, scope="department:water")
    assert decide(TWELVE, [wide, narrow]) == Granted(300, 5 * WON)
    answer = decide(TWELVE, [wide, replace_held(narrow, 14)])
    assert isinstance(answer, Refused)
    assert answer.standing.quota.scope == "department:water"
    assert answer.standing.available == 1 * WON


def replace_held(one: Standing, won: int) -> Standing:
    return one._replace(held=won * WON)


@pytest.mark.parametrize(
    ("standings", "would_fit"),
    [
        ([standing(10, posted=0, held=9)], True),
        ([standing(10, posted=9, held=0)], False),
        ([standing(10, posted=5, held=3)], True),  # 10 − 5 covers the 4.56 that are needed at least
        ([standing(10, posted=6, held=3)], False),
        # the narrowest would fit once holds are released, but another has really spent its money
        ([standing(10, held=10, scope="user:kim"), standing(10, posted=7, held=1, scope="organisation")], False),
        ([standing(10, held=10, scope="user:kim"), standing(10, posted=5, held=1, scope="organisation")], True),
        # soft quotas have no say in it
        ([standing(10, held=10, scope="user:kim"), standing(1, posted=9, hard=False)], True),
    ],
)
def test_waiting_helps_only_where_every_budget_has_room_without_what_is_held(
    standings: list[Standing], would_fit: bool
) -> None:
    answer = decide(TWELVE, standings)
    assert isinstance(answer, Refused)
    assert answer.would_fit is would_fit


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**23),
    st.integers(0, 200_000),
    st.integers(1, 8),
    st.integers(-(10**12), 10**14),
)
def test_a_grant_never_exceeds_what_is_there_and_leaves_no_token_unused(
    fixed: int, per_output: int, wanted: int, choices: int, available: int
) -> None:
    ask_ = Ask(fixed, per_output, wanted, choices)
    answer = decide(ask_, [Standing(Quota("s", "day", available), DAY, 0, 0)])
    least = min(FLOOR, wanted)
    if isinstance(answer, Refused):
        assert ask_.ceiling(least) > available
        return
    assert answer.amount == ask_.ceiling(answer.output_cap)
    assert least <= answer.output_cap <= wanted
    if ask_.ceiling(wanted):
        assert answer.amount <= available
    if answer.output_cap < wanted:
        assert ask_.ceiling(answer.output_cap + 1) > available


def test_counters_are_named_in_one_order() -> None:
    periods = Periods("2026-11-23", "2026-11", "2026")
    assert labels(("user:kim", "organisation"), periods) == [
        ("organisation", "2026"),
        ("organisation", "2026-11"),
        ("organisation", "2026-11-23"),
        ("user:kim", "2026"),
        ("user:kim", "2026-11"),
        ("user:kim", "2026-11-23"),
    ]


# -- the ceiling is one ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "rate", "vat_bp", "bound", "wanted", "choices", "fixed", "ceiling"),
    [
        # 1,000 × $1 a million = $0.001 = ₩1.40, and 2 for rounding; 500 × $4 a million = $0.002 = ₩2.80
        ("acme/plain", 1400, 0, 1000, 500, 1, 1_400_002, 4_200_002),
        # with 10 % tax ₩1.54 and ₩3.08
        ("acme/plain", 1400, 1000, 1000, 500, 1, 1_540_002, 4_620_002),
        # three answers
        ("acme/plain", 1400, 0, 1000, 500, 3, 1_400_002, 9_800_002),
        # ₩0.0015 × 1,000 = ₩1.50; ₩0.006 × 500 = ₩3
        ("hangang/won", 1, 0, 1000, 500, 1, 1_500_002, 4_500_002),
        # 1,000 tokens stay below the tier; 1,001 can reach it: 1,001 × $2.50 a million, 100 × $15
        ("acme/tiered", 1000, 0, 1000, 100, 1, 1_250_002, 2_250_002),
        ("acme/tiered", 1000, 0, 1001, 100, 1, 2_502_502, 4_002_502),
        ("inside/free", 1, 0, 1000, 500, 1, 0, 0),
    ],
)
def test_the_ceiling_of_a_request(
    *, key: str, rate: int, vat_bp: int, bound: int, wanted: int, choices: int, fixed: int, ceiling: int
) -> None:
    cards = [(card(key), rate_of(card(key), rate * 1_000_000), vat_bp)]
    found = ask(cards, input_bound=bound, wanted=wanted, choices=choices)
    assert (found.fixed, found.ceiling(wanted)) == (fixed, ceiling)


def test_the_first_hold_covers_the_dearest_of_all_places() -> None:
    """The dearer input of one and the dearer output of the other."""
    cheap_in, cheap_out = card("acme/plain"), card("hangang/won")
    both = ask([(cheap_in, 1_000_000_000, 0), (cheap_out, 1_000_000, 0)], input_bound=100, wanted=100, choices=1)
    # in: max(100 × $1 a million × 1,000 = ₩0.10, 100 × ₩0.0015 = ₩0.15); out: max(100 × $4 … = ₩0.40, ₩0.60)
    assert (both.fixed, both.ceiling(100)) == (150_002, 750_002)


picos = st.one_of(st.just(0), st.integers(1, 10**9), st.sampled_from((1, 99, 100, 101, 333_333)))
won_picos = st.one_of(st.just(0), st.integers(1, 10**13), st.sampled_from((1, 999_999, 1_000_001)))


@st.composite
def cards(draw: st.DrawFn, key: str) -> tuple[RateCard, int]:
    """A card in dollars or won, with or without a tier, a fee and prices for reasoning and caching; and its rate."""
    currency = draw(st.sampled_from(("USD", "KRW")))
    amounts = picos if currency == "USD" else won_picos
    since = datetime(2026, 1, 1, tzinfo=UTC)
    meters = ["input", "output", *draw(st.sets(st.sampled_from(("output_reasoning", "cache_write", "request"))))]
    prices = [Price(meter, "p", key, meter, currency, draw(amounts), since) for meter in meters]
    edge = draw(st.one_of(st.none(), st.integers(1, 5000)))
    if edge is not None:
        tiered = [price for price in prices if price.meter != "request"]
        prices += [replace(one, id=f"{one.id}>", unit_price_pico=draw(amounts), tier_gt=edge) for one in tiered]
    rate = 1_000_000 if currency == "KRW" else draw(st.integers(1, 10_000 * 1_000_000))
    return RateCard(key, prices, version="v"), rate


@given(st.data())
def test_no_answer_within_its_bounds_costs_more_than_was_held(data: st.DataObject) -> None:
    """Dollars and won, tax or none, tiers, fees, reasoning, cache writes, several answers, whichever place answers."""
    places = [data.draw(cards(f"p/{n}")) for n in range(data.draw(st.integers(1, 3)))]
    vat_bp = data.draw(st.sampled_from((0, 1000, 333)))
    bound = data.draw(st.integers(0, 10_000))
    wanted = data.draw(st.integers(0, 10_000))
    choices = data.draw(st.integers(1, 4))
    held_ask = ask([(one, rate, vat_bp) for one, rate in places], input_bound=bound, wanted=wanted, choices=choices)
    available = data.draw(st.integers(0, 2 * held_ask.ceiling(wanted) + 10))
    granted = decide(held_ask, [Standing(Quota("s", "day", available), DAY, 0, 0)])
    assume(isinstance(granted, Granted))
    assert isinstance(granted, Granted)
    one, rate = data.draw(st.sampled_from(places))
    sent = data.draw(st.integers(0, bound))
    written = data.draw(st.integers(0, sent)) if "cache_write" in one.meters else 0
    answered = data.draw(st.integers(0, granted.output_cap * choices))
    meters = {"input": sent - written, "cache_write": written, "output": answered}
    if "request" in one.meters:
        meters["request"] = 1
    usage = Usage(meters, "test/1", prompt_tokens=sent, reasoning_tokens=data.draw(st.integers(0, answered)))
    charge = one.charge(usage)
    assert charge.ticks is not None
    won = charge.ticks if charge.currency == "KRW" else to_krw_micro(charge.ticks, rate)
    assert won + vat_of(won, vat_bp) <= granted.amount


def test_a_hold_is_named_after_its_request_and_attempt() -> None:
    assert Hold("r", 2, None, None, 0, 0, 0, 0, 0).id == "r:2"  # type: ignore[arg-type]
