"""What price tables other people keep say today, beside ours. It proposes; nothing here changes a price.

    our book at an instant ─┐
    somebody's table ───────┴─▶ Difference, … ─▶ a dated price list to check, and to import if it is right

Compared are the plain prices: of tokens, without tiers, variants or fees, which the tables spell each in their own way. A model
the other table does not have is no difference: they drop models, and that says nothing about a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import yaml

from billing.card import Price
from billing.money import PICO_PLACES, decimal_string, scaled
from billing.pricing import PriceBook

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_MILLION = 1_000_000

#: Where a vendor's models stand under another beginning than ours.
_PREFIXES: Mapping[str, str] = {
    "anthropic": "",
    "aws": "",
    "cohere": "",
    "google": "gemini/",
    "openai": "",
    "together": "together_ai/",
}
_GENAI_VENDORS: Mapping[str, str] = {"xai": "x-ai"}
# Few enough tokens for the first tier of every price.
_ASKED_TOKENS = 1000
_ASKED: Mapping[str, tuple[str, dict[str, int]]] = {
    "input": ("input_price", {"input_tokens": _ASKED_TOKENS}),
    "output": ("output_price", {"output_tokens": _ASKED_TOKENS}),
    "cache_read": ("input_price", {"input_tokens": _ASKED_TOKENS, "cache_read_tokens": _ASKED_TOKENS}),
    "cache_write": ("input_price", {"input_tokens": _ASKED_TOKENS, "cache_write_tokens": _ASKED_TOKENS}),
}
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "input_cost_per_token": ("input",),
    "output_cost_per_token": ("output",),
    "cache_read_input_token_cost": ("cache_read",),
    "cache_creation_input_token_cost": ("cache_write", "cache_write_5m"),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h",),
    "output_cost_per_reasoning_token": ("output_reasoning",),
    "input_cost_per_audio_token": ("input_audio",),
    "output_cost_per_audio_token": ("output_audio",),
}


class Table(Protocol):
    """Somebody's price table. `source` is what a price taken from it says about where it was seen."""

    source: str

    def prices(self, key: str) -> Mapping[str, Decimal]:
        """Meter → USD per token, for the model of this key; empty where the table does not have it."""


class LitellmMap:
    """The price map litellm ships, as parsed from its JSON with decimals kept as they are written."""

    def __init__(self, entries: Mapping[str, Any], source: str) -> None:
        self.source = source
        self._entries = entries

    def prices(self, key: str) -> Mapping[str, Decimal]:
        vendor, _, model = key.partition("/")
        entry = self._entries.get(f"{_PREFIXES.get(vendor, f'{vendor}/')}{model}")
        found: dict[str, Decimal] = {}
        for name, meters in _FIELDS.items():
            value = entry.get(name) if isinstance(entry, Mapping) else None
            if isinstance(value, int | Decimal) and not isinstance(value, bool):
                found.update(dict.fromkeys(meters, Decimal(value)))
        # A model the map lists at nothing is a gap in the map, not a gift.
        return found if any(found.values()) else {}


class GenaiPrices:
    """The genai-prices library, handed in: it is read where it is installed, and not needed anywhere.

    It knows dates and hours. Asked is what it says for noon (UTC) of the day of `at`: nobody's dear hours are then, and what is
    compared are our plain prices.
    """

    def __init__(self, library: Any, source: str, at: datetime) -> None:
        self.source = source
        self._library = library
        self._noon = at.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)

    def prices(self, key: str) -> Mapping[str, Decimal]:
        vendor, _, model = key.partition("/")
        found: dict[str, Decimal] = {}
        for meter, (side, asked) in _ASKED.items():
            try:
                price = self._library.calc_price(
                    self._library.Usage(**asked),
                    model_ref=model,
                    provider_id=_GENAI_VENDORS.get(vendor, vendor),
                    genai_request_timestamp=self._noon,
                )
            except LookupError:
                return {}
            found[meter] = Decimal(getattr(price, side)) / _ASKED_TOKENS
        # What it does not price apart it prices as ordinary input; that says nothing about a price of its own.
        for meter in ("cache_read", "cache_write"):
            if found[meter] in (0, found["input"]):
                del found[meter]
        return found if any(found.values()) else {}


@dataclass(frozen=True, slots=True)
class Difference:
    """One meter of one key. Both prices are USD for a million tokens, as decimal strings."""

    key: str
    meter: str
    ours: str
    theirs: str
    source: str


def differences(book: PriceBook, at: datetime, tables: Sequence[Table]) -> list[Difference]:
    """Where a table states another price than the one that holds at `at` (aware), in the book's order."""
    found: list[Difference] = []
    for price in _plain(book, at):
        for table in tables:
            stated = table.prices(price.key).get(price.meter)
            if stated is None:
                continue
            theirs = scaled(stated, PICO_PLACES) if _fine(stated) else None
            if theirs != price.unit_price_pico:
                found.append(
                    Difference(
                        price.key,
                        price.meter,
                        decimal_string(price.unit_price_pico * _MILLION, PICO_PLACES),
                        format((stated * _MILLION).normalize(), "f"),
                        table.source,
                    )
                )
    return found


def _plain(book: PriceBook, at: datetime) -> Iterator[Price]:
    for price in book.prices:
        if price.currency != "USD" or price.threshold or price.conditions or price.valid_from > at:
            continue
        ends = book.valid_to(price)
        if ends is None or at < ends:
            yield price


def _fine(value: Decimal) -> bool:
    """Whether a price is a whole number of 1e-12: nothing finer can be booked."""
    return value.is_finite() and value * 10**PICO_PLACES == int(value * 10**PICO_PLACES)


def proposals(found: Iterable[Difference], folders: Iterable[Path], valid_from: date, at: datetime) -> dict[str, str]:
    """Provider → a price file with one dated list for every key that differs, of the first table that says so.

    A list is whole, so each is a copy of the one that holds at `at` with the differing prices replaced: its tiers, variants and
    fees stand in it as they were, for whoever checks it.
    """
    changed: dict[str, dict[str, Difference]] = {}
    for difference in found:
        changed.setdefault(difference.key, {}).setdefault(difference.meter, difference)
    files: dict[str, dict[str, Any]] = {}
    for provider, block in _lists_in_force(folders, at):
        if block["key"] in changed:
            one = _changed(block, changed[block["key"]], valid_from)
            files.setdefault(provider, {"provider": provider, "prices": []})["prices"].append(one)
    return {
        provider: yaml.safe_dump(file, allow_unicode=True, sort_keys=False, width=130)
        for provider, file in sorted(files.items())
    }


def _lists_in_force(folders: Iterable[Path], at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    newest: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for path in [path for folder in folders for path in sorted(folder.glob("*.yaml"))]:
        file = yaml.load(path.read_text("utf-8"), Loader=_LOADER)  # noqa: S506 – the base loader builds strings only
        for block in file["prices"]:
            whole = {**{name: file[name] for name in ("valid_from", "currency") if name in file}, **block}
            start = str(whole["valid_from"])
            if start[:10] <= at.date().isoformat() and start >= newest.get(block["key"], ("",))[0]:
                newest[block["key"]] = (start, file["provider"], whole)
    for _, provider, block in newest.values():
        yield provider, block


def _changed(block: Mapping[str, Any], meters: Mapping[str, Difference], valid_from: date) -> dict[str, Any]:
    copy = {name: value for name, value in block.items() if name not in {"aliases", "confirmed", "reason", "source"}}
    (source, *_) = [difference.source for difference in meters.values()]
    stated = {meter: difference.theirs for meter, difference in meters.items()}
    return {
        "key": block["key"],
        "valid_from": valid_from.isoformat(),
        "source": source,
        "confirmed": "false",
        "reason": "proposed from a price table; no vendor page was read",
        **{name: value for name, value in copy.items() if name not in {"key", "valid_from"}},
        "per_million": {**block.get("per_million", {}), **stated},
    }
