"""From what an attempt used to what is booked. Pure.

    Usage ──RateCard.charge──▶ Charge ──rate, tax──▶ Settle

The one place that decides between exact, estimated and suspense:

    provider usage, readable and plausible   exact      payable:<provider>
    no usage (cut, lost, left, crashed)      estimated  payable:<provider>            our own count
    unreadable or impossible usage           suspense   suspense:<reason>             our own count, and a case
    a quantity nobody priced                 suspense   suspense:<reason>             what our count costs, and a case
    no price at all                          suspense   nothing is booked             a case

In suspense the department's budget carries our own count (so that a broken provider is no free lunch) but the provider's
payable does not: the amount waits in an account of its own until someone has looked.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from msgspec.structs import replace

from billing.card import RateCard
from billing.charge import Charge
from billing.holds import Case, Hold, MeterLine, Outcome, Quality, Settle
from billing.money import to_krw_micro, vat_of
from billing.quota import SCALE, Ask
from billing.usage import TOKEN_METERS, Usage

_TOKEN_METERS = frozenset(TOKEN_METERS)

#: A usage that costs more than this many times the proven ceiling is not a large bill but a wrong one.
ABSURD = 4

#: The ledger's columns hold 63 bits; what is larger was never an amount.
_LARGEST = 2**62

#: What a suspense account may be named after: the first word of the reason. Anything else is a price nobody knows.
_KINDS = ("missing", "malformed", "inconsistent", "unknown", "absurd")

#: Rounding up to ticks, to micro-won and to whole micro-won of tax: less than one each.
_SLACK = 2

_PAR = 1_000_000
_BASIS_POINTS = 10_000


def estimate(input_tokens: int, output_tokens: int, reason: str) -> Usage:
    """A usage we counted ourselves."""
    return Usage({"input": input_tokens, "output": output_tokens}, "estimate/1", "estimated", reason)


def rate_of(card: RateCard, fx_rate_e6: int) -> int:
    """Won per unit of the card's currency × 1e6."""
    return _PAR if card.currency == "KRW" else fx_rate_e6


def ask(
    cards: list[tuple[RateCard, int, int]], *, input_bound: int, wanted: int, choices: int, searches: int = 0
) -> Ask:
    """What to set aside so that the dearest of `cards` (card, won rate × 1e6, tax in basis points) is covered.

    Where nothing is `wanted`, as for embeddings, a card needs no price for answers. `searches`: how many of its own calls of a
    search a model may bill for, where its card prices them.
    """
    fixed = per_output = 0
    for card, rate, vat_bp in cards:
        unit = rate * (_BASIS_POINTS + vat_bp)
        extras = {"web_search": searches} if searches and "web_search" in card.meters else None
        pico = card.ceiling(input_bound, 0, extras=extras) * (100 if card.currency == "USD" else 1_000_000)
        cost = -(-pico * unit // SCALE)
        fixed = max(fixed, cost)
        if wanted:
            per_output = max(per_output, card.output_unit_pico(input_bound) * unit)
    if fixed or per_output:
        fixed += _SLACK
    return Ask(fixed, per_output, wanted, choices)


def settle(
    hold: Hold,
    usage: Usage,
    fallback: Usage,
    card: RateCard | None,
    *,
    outcome: Outcome,
    started_at: int,
    ended_at: int,
    trust_reported: bool = False,
    raw_usage: str | None = None,
    usage_context: str | None = None,
    http_status: int | None = None,
    provider_request_id: str | None = None,
    upstream_model: str | None = None,
) -> Settle:
    """What is booked for one attempt. `fallback` is our own count, for when `usage` cannot be booked."""
    charge = card.charge(usage, trust_reported=trust_reported) if card is not None else None
    reason = usage.reason
    doubt = usage.reason if usage.quality == "suspense" else None
    reported = usage.reported_ticks
    cases: list[Case] = []
    creditor: str | None = None
    if reported is not None and reported > _LARGEST:
        reported = None
        doubt = "absurd: the provider states a charge that no ledger can hold"
        charge = None
    elif charge is not None and charge.ticks is not None and _absurd(hold, charge):
        doubt = "absurd: more than four times what the request could have cost"
        charge = None
    if charge is None or charge.ticks is None:
        reason = doubt or (charge.reason if charge is not None else None) or "no price"
        cases.append(Case("suspense_usage", hold.id, _detail(reason, raw_usage)))
        kind = reason.split(":", 1)[0]
        creditor = f"suspense:{kind if kind in _KINDS else 'unpriced'}"
        charge = card.charge(replace(fallback, quality="exact")) if card is not None else None
    quality: Quality = "suspense" if creditor is not None or charge is None else charge.quality
    if charge is not None and charge.differs and not creditor:
        cases.append(Case("reported_cost", hold.id, "{}", ours=charge.computed_ticks, theirs=charge.reported_ticks))
    counted = fallback.meters.get("output", 0)
    if quality == "exact" and outcome == "completed" and counted and not usage.tokens:
        cases.append(Case("zero_usage", hold.id, _detail("the provider states no tokens for an answer", raw_usage)))
    won, vat = _won(hold, charge)
    return Settle(
        hold=hold,
        outcome=outcome,
        started_at=started_at,
        ended_at=ended_at,
        quality=quality,
        currency=charge.currency if charge is not None else "USD",
        ticks=charge.ticks if charge is not None else None,
        won=won,
        vat=vat,
        tokens=_tokens(charge.meters) if charge is not None else usage.tokens,
        lines=tuple(
            MeterLine(line.model, line.meter, line.quantity, line.price_id, line.amount_ticks) for line in charge.lines
        )
        if charge is not None
        else (),
        extractor=usage.extractor,
        raw_usage=raw_usage,
        usage_context=usage_context,
        reason=reason,
        reported_ticks=reported,
        http_status=http_status,
        provider_request_id=provider_request_id,
        upstream_model=upstream_model,
        creditor=creditor,
        provisional=hold.where.fx_provisional or (charge is not None and not charge.confirmed),
        cases=tuple(cases),
    )


def nothing_used(hold: Hold, *, started_at: int, ended_at: int, reason: str, http_status: int | None) -> Settle:
    """An attempt the upstream saw and refused: a row without quantities, so that every request it saw has one."""
    return Settle(
        hold=hold,
        outcome="failed",
        started_at=started_at,
        ended_at=ended_at,
        quality="exact",
        currency="KRW",
        ticks=0,
        won=0,
        vat=0,
        tokens=0,
        lines=(),
        extractor="none/1",
        reason=reason,
        http_status=http_status,
    )


def _tokens(meters: Mapping[str, int]) -> int:
    return sum(quantity for meter, quantity in meters.items() if meter in _TOKEN_METERS)


def _won(hold: Hold, charge: Charge | None) -> tuple[int | None, int]:
    if charge is None or charge.ticks is None:
        return None, 0
    where = hold.where
    won = charge.ticks if charge.currency == "KRW" else to_krw_micro(charge.ticks, where.fx_rate_e6)
    return won, vat_of(won, where.vat_bp) if where.vat_bp else 0


def _absurd(hold: Hold, charge: Charge) -> bool:
    """More than a proven ceiling allows, or than the ledger holds. A free model has no ceiling."""
    won, vat = _won(hold, charge)
    if won is None or charge.ticks is None:
        return False
    return max(won + vat, charge.ticks) > _LARGEST or 0 < ABSURD * hold.amount < won + vat


def _detail(reason: str, raw_usage: str | None) -> str:
    return orjson.dumps({"reason": reason, "raw_usage": raw_usage}).decode()
