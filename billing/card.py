"""The prices that hold for one key at one time, and the arithmetic on them.

RateCard.charge(usage)             ──▶ Charge: what it cost
RateCard.ceiling(input, output)    ──▶ ticks that no answer within those bounds can exceed: what is held for it
RateCard.input/output_unit_pico()  ──▶ the dearest token: what a budget divides by to clamp an answer
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from billing.charge import (
    Charge,
    ChargeLine,
    booked_as_reported,
    in_suspense,
    raised_to_reported,
    shares,
    unreadable,
)
from billing.money import PICO_PER_TICK
from billing.usage import FALLBACKS, INPUT_METERS, OUTPUT_METERS, Usage, split_reasoning


class NoPrice(LookupError):
    """The book has no price for what was asked: the caller books suspense and tells somebody."""


@dataclass(frozen=True, slots=True)
class Price:
    """One dated unit price, as it stands in a price file or in the database.

    `unit_price_pico`: 1e-12 of `currency` for a single unit of `meter`.
    `tier_gt` / `tier_ge`: holds only when all prompt tokens of the request are more than / at least that many; one or neither.
    `conditions`: what else must be so, such as `service_tier: batch` or `calendar: <calendar id>`.
    `valid_from`: aware UTC. There is no end: the next `valid_from` of the same key is the end.
    """

    id: str
    provider: str
    key: str
    meter: str
    currency: str
    unit_price_pico: int
    valid_from: datetime
    tier_gt: int | None = None
    tier_ge: int | None = None
    conditions: Mapping[str, str] | None = None
    source: str = ""
    confirmed: bool = False

    @property
    def threshold(self) -> int:
        """The smallest prompt this price holds for."""
        if self.tier_gt is not None:
            return self.tier_gt + 1
        return self.tier_ge if self.tier_ge is not None else 0


class _Rate(NamedTuple):
    pico: int
    price_id: str
    confirmed: bool


Siblings = Callable[[str, Mapping[str, object]], "RateCard"]
_ALWAYS = datetime.max.replace(tzinfo=UTC)
_NEVER = datetime.min.replace(tzinfo=UTC)
# A vendor that prices cache writes by lifetime writes its cache only when the request asks for it; one that prices them without a
# lifetime writes it unasked.
_ASKED_INPUT = ("cache_write_5m", "cache_write_1h")
_UNASKED_INPUT = ("input", "cache_write")
_WRITING_INPUT = (*_UNASKED_INPUT, *_ASKED_INPUT)


class RateCard:
    """Prices by meter and prompt size.

    `prices`: the rows that apply; one per meter and tier. `ceiling_prices`: the same plus the rows a clock may turn to while a
    request runs. `limits`: meter → the prompt size from which it has no price (a variant that says nothing about a tier the plain
    list has). `sibling(model, conditions)` finds the card of another model of the vendor, or this one under other conditions
    when the model is `""`; it raises NoPrice.
    """

    __slots__ = (
        "_dearest_from",
        "_edges",
        "_floors",
        "_rates",
        "_sibling",
        "_splits",
        "_unit",
        "conditions",
        "confirmed",
        "currency",
        "key",
        "model",
        "valid_from",
        "valid_until",
        "version",
    )

    def __init__(
        self,
        key: str,
        prices: Sequence[Price],
        *,
        version: str,
        sibling: Siblings | None = None,
        ceiling_prices: Sequence[Price] = (),
        limits: Mapping[str, int] | None = None,
        conditions: Mapping[str, str] | None = None,
        valid_from: datetime = _NEVER,
        valid_until: datetime = _ALWAYS,
        calendars_known: bool = True,
    ) -> None:
        if not prices:
            raise NoPrice(f"no price for {key}")
        self.key = key
        self.model = key.partition("/")[2] or key
        self.version = version
        self.currency = prices[0].currency
        self.conditions = dict(conditions or {})
        self.valid_from = valid_from
        self.valid_until = valid_until
        self._sibling = sibling
        self._unit = PICO_PER_TICK[self.currency]
        limits = limits or {}
        self._edges = sorted({price.threshold for price in prices if price.threshold} | {*limits.values()})
        self._rates = [_at_prompt(prices, basis, limits, known=calendars_known) for basis in (0, *self._edges)]
        self._splits = any("output_reasoning" in rates for rates in self._rates)
        ceiling = ceiling_prices or prices
        self._floors = sorted({price.threshold for price in ceiling} | {0})
        self._dearest_from = [_dearest_at(ceiling, floor) for floor in self._floors]
        self.confirmed = _text_confirmed(prices) and calendars_known

    @classmethod
    def given(cls, unit_prices_pico: Mapping[str, int], *, currency: str = "USD", model: str = "") -> RateCard:
        """A card of prices somebody handed in: no tiers, no conditions, the same for every model. Raises NoPrice when empty."""
        prices = [
            Price("given", "given", f"given/{model}", meter, currency, pico, _NEVER, source="given", confirmed=True)
            for meter, pico in unit_prices_pico.items()
        ]
        card = cls(f"given/{model}", prices, version="given")
        card._sibling = lambda model, conditions: card
        return card

    @property
    def meters(self) -> frozenset[str]:
        """The meters that have a price, by themselves or by falling back."""
        return frozenset().union(*self._rates)

    def metered(self, usage: Usage) -> Mapping[str, int]:
        """The quantities of a usage as this card prices them: reasoning apart if and only if it has a price of its own."""
        return split_reasoning(usage.meters, usage.reasoning_tokens) if self._splits else usage.meters

    def charge(self, usage: Usage, *, trust_reported: bool = False, **conditions: object) -> Charge:
        """Price a usage. Never raises for a usage that `extract` made.

        A usage in suspense, a quantity without a price or a condition nobody priced gives a charge in suspense.
        `trust_reported`: the vendor's own charge counts (see `Charge`). `conditions` beyond those of the card, and what the
        usage says about itself, choose the prices: the answer's own word on its service tier wins over what was asked for.
        """
        if usage.quality == "suspense":
            return unreadable(usage, self.model, self.currency, trust_reported=trust_reported)
        if conditions or usage.conditions:
            try:
                card = self._under({**conditions, **usage.conditions})
            except NoPrice as missing:
                return _unpriced(self, usage, str(missing), trust_reported=trust_reported)
        else:
            card = self
        charge = card._charge_served(usage) if usage.served else card._charge_own(usage)
        if usage.reported_ticks is not None and trust_reported and self.currency == "USD":
            if charge.ticks is None:
                return booked_as_reported(charge.meters, self.model, usage.reported_ticks)
            return raised_to_reported(charge, self.model, usage.reported_ticks)
        return charge

    def ceiling(
        self,
        input_bound: int,
        output_cap: int,
        *,
        cache_write: bool = False,
        extras: Mapping[str, int] | None = None,
    ) -> int:
        """Ticks no answer can exceed that sends at most `input_bound` and answers with at most `output_cap` tokens.

        The dearest price a text token can meet is taken on either side, over every tier such a prompt can reach and whatever a
        clock may turn to meanwhile, rounded up. `cache_write`: the request asks for cache writes with a time to live.
        `extras`: bounds for other meters (calls of server tools, audio or image tokens); a `request` fee is always counted.
        Raises NoPrice when a side has no price.
        """
        pico = input_bound * self.input_unit_pico(input_bound, cache_write=cache_write) if input_bound else 0
        if output_cap:
            pico += output_cap * self.output_unit_pico(input_bound)
        if "request" in self._dearest_from[0] and "request" not in (extras or ()):
            pico += self._dearest(("request",), input_bound)
        for meter, quantity in (extras or {}).items():
            pico += quantity * self._dearest((meter, FALLBACKS.get(meter, meter)), input_bound)
        return -(-pico // self._unit)

    def input_unit_pico(self, input_bound: int | None = None, *, cache_write: bool = False) -> int:
        """The dearest price of one text token sent, in prompts of up to `input_bound` tokens. Raises NoPrice."""
        lifetimes = not self._dearest_from[0].keys().isdisjoint(_ASKED_INPUT)
        meters = _WRITING_INPUT if cache_write else ("input",) if lifetimes else _UNASKED_INPUT
        return self._dearest(meters, input_bound)

    def output_unit_pico(self, input_bound: int | None = None) -> int:
        """The dearest price of one text token answered, reasoning included. Raises NoPrice."""
        return self._dearest(("output", "output_reasoning"), input_bound)

    def _dearest(self, meters: Sequence[str], input_bound: int | None) -> int:
        reached = -1 if input_bound is None else bisect_right(self._floors, input_bound) - 1
        dearest = self._dearest_from[reached]
        picos = [dearest[meter] for meter in meters if meter in dearest]
        if not picos:
            raise NoPrice(f"{self.key} has no price for {' or '.join(meters)}")
        return max(picos)

    def _under(self, conditions: Mapping[str, object]) -> RateCard:
        if self._sibling is None:
            raise NoPrice(f"{self.key} has no other conditions")
        return self._sibling("", {**self.conditions, **conditions})

    def _rates_at(self, prompt_tokens: int | None, meters: Mapping[str, int]) -> Mapping[str, _Rate]:
        if not self._edges:
            return self._rates[0]
        if prompt_tokens is None:
            prompt_tokens = sum(meters.get(meter, 0) for meter in INPUT_METERS)
        return self._rates[bisect_right(self._edges, prompt_tokens)]

    def _charge_own(self, usage: Usage) -> Charge:
        meters = usage.meters
        if self._splits:
            meters = split_reasoning(meters, usage.reasoning_tokens)
        rates = self._rates_at(usage.prompt_tokens, meters)
        unit, model = self._unit, self.model
        lines: list[ChargeLine] = []
        exact = whole = 0
        confirmed = True
        for meter, quantity in meters.items():
            if not quantity:
                continue  # nothing used needs no price and no line
            rate = rates.get(meter)
            if rate is None:
                reason = f"no price for {meter} of {self.key}"
                return in_suspense(reason, self.currency, meters, usage.reported_ticks)
            pico, price_id, sure = rate
            amount = quantity * pico
            ticks = amount // unit
            exact += amount
            whole += ticks
            if not sure:
                confirmed = False
            # A named tuple without its own constructor: this loop runs for every answer, and that is a third of its time.
            lines.append(tuple.__new__(ChargeLine, (meter, model, quantity, price_id, pico, ticks)))
        if whole * unit != exact:
            whole, lines = _rounded(lines, unit)
        return Charge(
            self.currency,
            whole,
            tuple(lines),
            usage.quality,
            usage.reason,
            exact,
            meters,
            confirmed,
            whole,
            usage.reported_ticks,
        )

    def _charge_served(self, usage: Usage) -> Charge:
        """Each part at its own model's prices; rounded once, over all of them."""
        lines: list[ChargeLine] = []
        meters: dict[str, int] = {}
        confirmed = True
        for part in usage.served:
            try:
                card = self._sibling(part.model, self.conditions) if part.model and self._sibling else self
            except NoPrice as missing:
                return in_suspense(str(missing), self.currency, usage.meters, usage.reported_ticks)
            own = Usage(
                part.meters, usage.extractor, prompt_tokens=part.prompt_tokens, reasoning_tokens=part.reasoning_tokens
            )
            charge = card._charge_own(own)
            if charge.ticks is None or card.currency != self.currency:
                reason = charge.reason or f"{card.key} is priced in {card.currency}"
                return in_suspense(reason, self.currency, usage.meters, usage.reported_ticks)
            lines += [line._replace(model=part.model or self.model) for line in charge.lines]
            confirmed &= charge.confirmed
            for meter, quantity in charge.meters.items():
                meters[meter] = meters.get(meter, 0) + quantity
        total, lines = _rounded(lines, self._unit)
        exact = sum(line.amount_pico for line in lines)
        return Charge(
            self.currency,
            total,
            tuple(lines),
            usage.quality,
            usage.reason,
            exact,
            meters,
            confirmed,
            total,
            usage.reported_ticks,
        )


def _rounded(lines: list[ChargeLine], unit: int) -> tuple[int, list[ChargeLine]]:
    total, parts = shares([line.amount_pico for line in lines], unit)
    return total, [line._replace(amount_ticks=ticks) for line, ticks in zip(lines, parts, strict=True)]


def _unpriced(card: RateCard, usage: Usage, reason: str, *, trust_reported: bool) -> Charge:
    if trust_reported and usage.reported_ticks is not None:
        return booked_as_reported(usage.meters, card.model, usage.reported_ticks)
    return in_suspense(reason, card.currency, usage.meters, usage.reported_ticks)


def _at_prompt(prices: Sequence[Price], basis: int, limits: Mapping[str, int], *, known: bool) -> dict[str, _Rate]:
    """The rate of each meter for a prompt of `basis` tokens: the highest tier it reaches, fallbacks filled in."""
    reached: dict[str, Price] = {}
    for price in prices:
        if price.threshold <= basis < limits.get(price.meter, basis + 1) and (
            price.meter not in reached or price.threshold > reached[price.meter].threshold
        ):
            reached[price.meter] = price
    rates = {
        meter: _Rate(
            price.unit_price_pico, price.id, price.confirmed and (known or "calendar" not in (price.conditions or {}))
        )
        for meter, price in reached.items()
    }
    for meter, other in FALLBACKS.items():
        if meter not in rates and other in rates:
            rates[meter] = rates[other]
    return rates


def _dearest_at(prices: Sequence[Price], floor: int) -> dict[str, int]:
    """The dearest price of each meter over every tier that begins at or below `floor`."""
    dearest: dict[str, int] = {}
    for price in prices:
        if price.threshold <= floor:
            dearest[price.meter] = max(dearest.get(price.meter, 0), price.unit_price_pico)
    return dearest


def _text_confirmed(prices: Sequence[Price]) -> bool:
    """Whether what an ordinary text request uses is confirmed; a card without text prices asks for all of them."""
    text = [price for price in prices if price.meter in ("input", "output", "request") and not price.threshold]
    return all(price.confirmed for price in text or prices)


assert set(_WRITING_INPUT) <= set(INPUT_METERS)
assert "output_reasoning" in OUTPUT_METERS
