"""What a usage costs: exact in pico, booked in ticks, split over lines that add up to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from billing.money import PICO_PER_TICK, round_half_even
from billing.usage import Quality, Usage

# The line that carries a vendor's own charge, or what it asks beyond the sum of our lines. No price list has such a meter.
REPORTED = "reported"
# A reported and a computed charge further apart than 1e-6 USD open a reconciliation case: rounding explains less than that.
_CASE_TICKS = 10_000


class ChargeLine(NamedTuple):
    """One quantity at one price. `amount_ticks` is this line's share of the rounded total."""

    meter: str
    model: str
    quantity: int
    price_id: str
    unit_price_pico: int
    amount_ticks: int

    @property
    def amount_pico(self) -> int:
        """The exact amount, 1e-12 of the currency."""
        return self.quantity * self.unit_price_pico


class Charge(Struct, frozen=True):
    """The priced usage.

    `ticks`: the amount, 1e-10 USD or 1e-6 KRW; None when it is in suspense, and then `reason` says why.
    `amount_pico`: the same before rounding, 1e-12 of the currency.
    `meters`: the quantities as they were priced (reasoning on its own line where it has a price).
    `computed_ticks` and `reported_ticks`: our sum and the vendor's own, each where known. `ticks` is the larger one when the
    vendor is trusted; `differs` says that the two are more than 1e-6 USD apart.
    `confirmed`: every price used is confirmed.
    """

    currency: str
    ticks: int | None
    lines: tuple[ChargeLine, ...]
    quality: Quality
    reason: str | None = None
    amount_pico: int | None = None
    meters: Mapping[str, int] = field(default_factory=dict)
    confirmed: bool = True
    computed_ticks: int | None = None
    reported_ticks: int | None = None

    @property
    def differs(self) -> bool:
        """Whether the vendor's charge and ours are too far apart for rounding to explain."""
        computed, reported = self.computed_ticks, self.reported_ticks
        return computed is not None and reported is not None and abs(computed - reported) > _CASE_TICKS


def shares(amounts: Sequence[int], unit: int) -> tuple[int, list[int]]:
    """The sum of `amounts` in whole `unit`s, half-even, and each amount's share of it by largest remainder.

    Pico 150, 150, 100 at 100 to the tick: the sum is 4 ticks; floors are 1, 1, 1; the first of the two largest remainders
    gets the fourth: 2, 1, 1.
    """
    total = round_half_even(sum(amounts), unit)
    floors = [amount // unit for amount in amounts]
    short = total - sum(floors)
    if short > 0:
        by_remainder = sorted(range(len(amounts)), key=lambda index: -(amounts[index] % unit))
        for index in by_remainder[:short]:
            floors[index] += 1
    return total, floors


def booked_as_reported(meters: Mapping[str, int], model: str, reported_ticks: int) -> Charge:
    """A trusted vendor's own charge for something the price list cannot price."""
    line = ChargeLine(REPORTED, model, 1, REPORTED, reported_ticks * PICO_PER_TICK["USD"], reported_ticks)
    return Charge(
        "USD", reported_ticks, (line,), "exact", None, line.amount_pico, meters, reported_ticks=reported_ticks
    )


def raised_to_reported(charge: Charge, model: str, reported_ticks: int) -> Charge:
    """The larger of our sum and a trusted vendor's charge; a larger charge adds one line with the difference."""
    assert charge.ticks is not None
    assert charge.amount_pico is not None
    extra = reported_ticks - charge.ticks
    lines, pico, ticks = charge.lines, charge.amount_pico, charge.ticks
    if extra > 0:
        lines = (*lines, ChargeLine(REPORTED, model, 1, REPORTED, extra * PICO_PER_TICK["USD"], extra))
        ticks = reported_ticks
        pico = ticks * PICO_PER_TICK["USD"]
    return Charge(
        charge.currency,
        ticks,
        lines,
        charge.quality,
        charge.reason,
        pico,
        charge.meters,
        charge.confirmed,
        computed_ticks=charge.ticks,
        reported_ticks=reported_ticks,
    )


def unreadable(usage: Usage, model: str, currency: str, *, trust_reported: bool) -> Charge:
    """The charge of a usage in suspense. Something used that has no meter is covered by a trusted vendor's own charge;
    numbers that contradict each other are not: then neither is believed."""
    reason = usage.reason or "unknown"
    if trust_reported and usage.reported_ticks is not None and currency == "USD" and reason.startswith("unknown"):
        return booked_as_reported(usage.meters, model, usage.reported_ticks)
    return in_suspense(reason, currency, usage.meters, usage.reported_ticks)


def in_suspense(
    reason: str, currency: str = "USD", meters: Mapping[str, int] | None = None, reported_ticks: int | None = None
) -> Charge:
    """An amount nobody may book yet."""
    return Charge(currency, None, (), "suspense", reason, None, meters or {}, reported_ticks=reported_ticks)
