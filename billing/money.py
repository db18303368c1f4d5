"""Integer money: ticks, micro-won, VAT and how an amount is written.

USD is counted in ticks of 1e-10 USD and KRW in micro-won of 1e-6 KRW, both whole numbers. Prices are in pico: 1e-12 of the
currency for a single unit. No floats: 1e5 additions of a binary fraction are already a different number.
Whole won is nobody's business here: it is made once, on a payable total.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from types import MappingProxyType

# How many pico are one tick of the currency: 1e-10 / 1e-12 and 1e-6 / 1e-12.
PICO_PER_TICK = MappingProxyType({"USD": 100, "KRW": 1_000_000})
# Decimal places of one tick.
TICK_PLACES = MappingProxyType({"USD": 10, "KRW": 6})
PICO_PLACES = 12
_BASIS_POINTS = 10_000


def round_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` to the nearest whole number, a tie to the even one. `denominator` is positive."""
    quotient, remainder = divmod(numerator, denominator)
    twice = remainder * 2
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def to_krw_micro(usd_ticks: int, rate_e6: int) -> int:
    """Dollars to won: ticks of 1e-10 USD at `rate_e6` (won per dollar × 1e6) → micro-won, rounded half-even once.

    1 USD at 1,400.50 won: 10_000_000_000 × 1_400_500_000 / 1e10 = 1_400_500_000 micro-won = ₩1,400.50.
    """
    return round_half_even(usd_ticks * rate_e6, 10_000_000_000)


def vat_of(micro: int, bp: int) -> int:
    """The tax on a net amount at `bp` basis points (10 % = 1000), rounded half-even."""
    return round_half_even(micro * bp, _BASIS_POINTS)


def apply_vat(micro: int, bp: int) -> int:
    """The gross amount: net plus `vat_of`. ₩1 at 10 %: 1_000_000 + 100_000 = 1_100_000."""
    return micro + vat_of(micro, bp)


def decimal_string(value: int, places: int) -> str:
    """`value × 10^-places` written out: no exponent, no trailing zeros, at least one digit before the point."""
    sign = "-" if value < 0 else ""
    whole, fraction = divmod(abs(value), 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0") if places else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def format_krw(micro: int) -> str:
    """Micro-won as a decimal string with up to 6 places: 1_234_500_000 → `1234.5`."""
    return decimal_string(micro, 6)


def format_ticks(ticks: int, currency: str) -> str:
    """Ticks of `currency` as a decimal string in that currency. Raises KeyError for a currency that is not kept."""
    return decimal_string(ticks, TICK_PLACES[currency])


def scaled(text: str | int | Decimal, places: int) -> int:
    """A decimal number as a whole number of 10^-places, exactly.

    Raises ValueError when it is no plain number or finer than that: a price that does not fit is refused, not rounded.
    """
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{text!r} is not a decimal number") from None
    # The bounds keep a hostile exponent from becoming a billion digits.
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError(f"{text!r} is not a decimal number of ordinary size")
    numerator, denominator = number.as_integer_ratio()
    shifted = numerator * int("1" + "0" * places)
    if shifted % denominator:
        raise ValueError(f"{text!r} has more than {places} decimal places")
    return shifted // denominator
