"""Integer money: half-even, exact parsing, plain writing."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    apply_vat,
    decimal_string,
    format_krw,
    format_ticks,
    round_half_even,
    scaled,
    to_krw_micro,
    vat_of,
)


@pytest.mark.parametrize(
    ("ticks", "rate_e6", "micro"),
    [
        (10_000_000_000, 1_400_500_000, 1_400_500_000),  # 1 USD × 1400.5 = ₩1400.5
        (1, 1_400_500_000, 0),  # 1e-10 USD × 1400.5 = 1.4005e-7 won = 0.14005 micro-won
        (5, 1_000_000_000, 0),  # 5e-10 × 1000 = 5e-7 won = exactly half a micro-won: to the even 0
        (15, 1_000_000_000, 2),  # 1.5 micro-won: to the even 2
        (30_000_000, 1_400_000_000, 4_200_000),  # 0.003 USD × 1400 = ₩4.2
        (-15, 1_000_000_000, -2),  # a reversal is the mirror image
        (0, 1_400_500_000, 0),
    ],
)
def test_dollars_to_won(ticks: int, rate_e6: int, micro: int) -> None:
    assert to_krw_micro(ticks, rate_e6) == micro


@pytest.mark.parametrize(
    ("net", "bp", "tax"),
    [
        (1_000_000, 1000, 100_000),  # ₩1 × 10 % = ₩0.1
        (5, 1000, 0),  # half a micro-won to the even 0
        (15, 1000, 2),
        (1_234_567, 0, 0),
    ],
)
def test_vat(net: int, bp: int, tax: int) -> None:
    assert vat_of(net, bp) == tax
    assert apply_vat(net, bp) == net + tax


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (1_234_500_000, "1234.5"),
        (4_200_000, "4.2"),
        (-1_500_000, "-1.5"),
        (10**15, "1000000000"),
    ],
)
def test_won_is_written_plainly(micro: int, text: str) -> None:
    assert format_krw(micro) == text


def test_ticks_are_written_in_their_currency() -> None:
    assert format_ticks(1_641_500, "USD") == "0.00016415"
    assert format_ticks(1_641_500, "KRW") == "1.6415"
    assert decimal_string(7, 0) == "7"
    with pytest.raises(KeyError):
        format_ticks(1, "EUR")


@pytest.mark.parametrize(
    ("text", "pico"), [("0.25", 250_000_000_000), ("1E-12", 1), ("0", 0), ("-0.5", -500_000_000_000), ("3", 3 * 10**12)]
)
def test_a_price_is_read_exactly(text: str, pico: int) -> None:
    assert scaled(text, 12) == pico


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "1e-13", "0.0000000000001", "1e999999999", "1,5"])
def test_a_price_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        scaled(text, 12)


@given(st.integers(-(10**24), 10**24), st.integers(1, 10**12))
def test_rounding_agrees_with_decimal_arithmetic(numerator: int, denominator: int) -> None:
    from decimal import localcontext

    with localcontext() as context:
        context.prec = 80
        whole = (Decimal(numerator) / Decimal(denominator)).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert round_half_even(numerator, denominator) == int(whole)


@given(st.integers(0, 10**18), st.integers(1, 10**10))
def test_a_reversal_is_the_exact_negative(ticks: int, rate_e6: int) -> None:
    assert to_krw_micro(-ticks, rate_e6) == -to_krw_micro(ticks, rate_e6)


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_what_is_written_reads_back(value: int, places: int) -> None:
    text = decimal_string(value, places)
    assert "e" not in text.lower()
    assert scaled(text, places) == value
