"""The `rate` command: JSON lines of raw usage in, priced lines out. Needs no ledger and calls nobody.

in:  {"provider", "flavor", "model", "at", "usage", "context"?, "prices"?}
out: {"meters", "currency", "amount", "ticks", "quality", "reason"?, "lines", "ignored"?}
     each of lines: {"meter", "model", "quantity", "unit_price", "amount"}

`amount` is exact; `ticks` is its half-even rounding to 1e-10 USD (1e-6 KRW). `ignored` names context keys nobody reads.
Lines keep their order. A line that cannot be read gives {"error"} and the rest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from billing.card import NoPrice
from billing.charge import Charge, booked_as_reported, in_suspense, unreadable
from billing.extract import extract
from billing.money import PICO_PLACES, decimal_string, scaled
from billing.pricing import PriceBook, RateCard, conditions_from, plain_name, undated
from billing.usage import METERS, Usage

# A provider's name on a line → the first part of its keys in the book. Local servers share the operator's internal rates.
VENDORS: Mapping[str, str] = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "aws": "aws",
    "google": "google",
    "xai": "xai",
    "perplexity": "perplexity",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "groq": "groq",
    "together": "together",
    "openrouter": "openrouter",
    "upstage": "upstage",
    "naver": "naver",
    "ollama": "local",
    "vllm": "local",
    "llamacpp": "local",
}
FLAVORS = (
    "chat",
    "responses",
    "messages",
    "converse",
    "generateContent",
    "v2",
    "embeddings",
    "images",
    "audio",
    "realtime",
    "rerank",
    "sdk",
    "openai-compat",
)
CONTEXT_KEYS = frozenset(
    {
        "response_model",
        "requested_model",
        "service_tier",
        "processing",
        "batch",
        "output_items",
        "groundingMetadata",
        "search_context_size",
        "region",
        "deployment",
        "tools",
    }
)


class BadLine(ValueError):
    """A line that is no request to rate anything. The message is what the line answers with."""


@dataclass(frozen=True, slots=True)
class _Line:
    provider: str
    flavor: str
    model: str
    at: datetime | None
    usage: object
    context: Mapping[str, Any]
    prices: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One usage. `raw_usage` and `context` are JSON; `called` is the upstream's name for the model that was asked.

    `ticks`: what was booked, 1e-10 USD or 1e-6 KRW; None while it is in suspense without a price.
    """

    id: str
    at: datetime
    family: str
    price_key: str
    called: str
    inside: bool
    provider: str
    answered: str | None
    raw_usage: str
    context: str | None
    currency: str
    ticks: int | None
    quality: str
    extractor: str
    price_version: str


class RatedLines(Iterator[str]):
    """The answers, one JSON text per line that is not blank. `bad` counts the lines that could not be read so far."""

    def __init__(self, lines: Iterable[str], book: PriceBook) -> None:
        self._lines = iter(lines)
        self._book = book
        self.bad = 0

    def __next__(self) -> str:
        line = next(self._lines)
        while not line.strip():
            line = next(self._lines)
        try:
            answer = _answer(_read(line), self._book)
        except BadLine as fault:
            self.bad += 1
            answer = {"error": str(fault)}
        return json.dumps(answer)  # ASCII: a lone surrogate in a model's name must not break the output


def rate_lines(lines: Iterable[str], book: PriceBook) -> RatedLines:
    """Rate JSON lines with the prices of `book`, or those a line brings.

    When the iteration is over, `.bad` says how many lines were unreadable: the command's exit code is 1 if there was one.
    """
    return RatedLines(lines, book)


def rate_again(record: Recorded, book: PriceBook, *, trust_reported: bool) -> dict[str, Any]:
    """A recorded usage as the prices of `book` have it at the moment of its request: the answer of a line, and what was booked.

    `booked`: {"ticks", "quality", "price_version"}. While nothing was added to the book, both say the same.
    """
    provider, _, flavor = record.family.partition("/")
    context = json.loads(record.context) if record.context else {}
    known = {**context, "response_model": record.answered} if record.answered else context
    usage = extract(provider, flavor, json.loads(record.raw_usage), model=record.called, context=known)
    try:
        if record.answered:
            card = book.card_served(record.price_key, record.called, record.answered, record.at, inside=record.inside)
        else:
            card = book.card(record.price_key, record.at)
        charge = card.charge(usage, trust_reported=trust_reported, **conditions_from(context))
    except NoPrice as missing:
        unpriced = replace(usage, quality="suspense", reason=f"unknown: {missing}")
        charge = unreadable(unpriced, record.called, "USD", trust_reported=trust_reported)
    booked = {"ticks": record.ticks, "quality": record.quality, "price_version": record.price_version}
    at = record.at.isoformat().replace("+00:00", "Z")
    return {"id": record.id, "at": at, **_written(charge, ignored=[]), "booked": booked}


def key_for(book: PriceBook, provider: str, model: str, response_model: str | None = None) -> str:
    """The key of the model that answered.

    What the vendor says it served is what it charges for. A served name the book does not know counts as the called model only
    when it is that model's name with a date behind it; otherwise the key of the unknown name is returned, which has no price.
    """
    vendor = VENDORS.get(provider, provider)
    called = f"{vendor}/{plain_name(model)}"
    if not response_model:
        return book.resolve(called)
    served = book.resolve(f"{vendor}/{plain_name(response_model)}")
    if not book.has(served) and f"{vendor}/{undated(plain_name(response_model))}" == called:
        return book.resolve(called)
    return served


def _read(line: str) -> _Line:
    try:
        block = json.loads(line, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        raise BadLine("the line is no JSON") from None
    if not isinstance(block, dict):
        raise BadLine("the line is no JSON object")
    provider, flavor, model = (block.get(name) for name in ("provider", "flavor", "model"))
    if not isinstance(provider, str) or provider not in VENDORS:
        raise BadLine(f"provider: expected one of {', '.join(VENDORS)}")
    if not isinstance(flavor, str) or flavor not in FLAVORS:
        raise BadLine(f"flavor: expected one of {', '.join(FLAVORS)}")
    if not isinstance(model, str) or not model:
        raise BadLine("model: expected the name of a model")
    context = block.get("context")
    if context is None:
        context = {}
    if not isinstance(context, dict):
        raise BadLine("context: expected an object")
    prices = _prices(block.get("prices"))
    return _Line(provider, flavor, model, _instant(block.get("at"), prices), block.get("usage"), context, prices)


def _instant(value: object, prices: Mapping[str, int] | None) -> datetime | None:
    """The moment whose prices count; a line that brings its prices may leave it out."""
    if value is None and prices is not None:
        return None
    try:
        at = datetime.fromisoformat(value.upper()) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadLine("at: expected a time in UTC such as 2026-11-01T00:00:00Z")
    return at.astimezone(UTC)


def _prices(value: object) -> Mapping[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadLine("prices: expected an object of meter → decimal string")
    found: dict[str, int] = {}
    for meter, price in value.items():
        if meter not in METERS:
            raise BadLine(f"prices: unknown meter {meter}")
        if type(price) not in (str, int, Decimal):
            raise BadLine(f"prices.{meter}: expected a decimal string")
        try:
            found[meter] = scaled(price, PICO_PLACES)
        except ValueError as fault:
            raise BadLine(f"prices.{meter}: {fault}") from None
        if found[meter] < 0:
            raise BadLine(f"prices.{meter}: a price is not negative")
    return found


def _answer(line: _Line, book: PriceBook) -> dict[str, Any]:
    usage = extract(line.provider, line.flavor, line.usage, model=line.model, context=line.context)
    response_model = line.context.get("response_model")
    served = response_model if isinstance(response_model, str) and response_model else None
    if line.prices is not None:
        charge = _charge_given(usage, line.prices, served or line.model)
    else:
        assert line.at is not None
        key = key_for(book, line.provider, line.model, served)
        # The line names the vendor, so what the vendor says it charged is the vendor's word.
        charge = book.rate(key, usage, line.at, trust_reported=True, **conditions_from(line.context))
    return _written(charge, ignored=sorted(line.context.keys() - CONTEXT_KEYS))


def _charge_given(usage: Usage, prices: Mapping[str, int], model: str) -> Charge:
    """Prices that stand in for the book. Only where there are none at all is a reported charge booked by itself."""
    try:
        return RateCard.given(prices, model=model).charge(usage)
    except NoPrice:
        pass
    if usage.quality == "suspense":
        return unreadable(usage, model, "USD", trust_reported=True)
    if usage.reported_ticks is not None:
        return booked_as_reported(usage.meters, model, usage.reported_ticks)
    unpriced = [meter for meter, quantity in usage.meters.items() if quantity]
    if unpriced:
        return in_suspense(f"no price for {', '.join(unpriced)} of {model}", "USD", usage.meters)
    return Charge("USD", 0, (), usage.quality, usage.reason, 0, usage.meters, computed_ticks=0)


def _written(charge: Charge, *, ignored: list[str]) -> dict[str, Any]:
    pico = charge.amount_pico
    answer: dict[str, Any] = {
        "meters": dict(charge.meters),
        "currency": charge.currency,
        "amount": None if pico is None else decimal_string(pico, PICO_PLACES),
        "ticks": charge.ticks,
        "quality": charge.quality,
    }
    if charge.reason is not None:
        answer["reason"] = charge.reason
    answer["lines"] = [
        {
            "meter": line.meter,
            "model": line.model,
            "quantity": line.quantity,
            "unit_price": decimal_string(line.unit_price_pico, PICO_PLACES),
            "amount": decimal_string(line.amount_pico, PICO_PLACES),
        }
        for line in charge.lines
    ]
    if ignored:
        answer["ignored"] = ignored
    return answer
