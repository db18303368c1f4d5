"""One price file → prices, calendars and other names. The grammar is in the README beside this module.

Everything in the YAML is read as text and turned into whole pico by decimal arithmetic: no price ever passes through a float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from billing.calendars import Calendar, Window
from billing.card import Price
from billing.money import PICO_PER_TICK, PICO_PLACES, scaled
from billing.usage import METERS, TOKEN_METERS

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_PER = {"per_million": 1_000_000, "per_thousand": 1_000, "per_unit": 1}
_DEFAULTS = frozenset({"provider", "currency", "source", "confirmed", "reason", "valid_from"})
_FILE_KEYS = _DEFAULTS | {"calendars", "prices"}
_TIER_KEYS = frozenset({"above", "from", *_PER})
_WHEN_KEYS = frozenset({"if", "times", "tiers", "confirmed", *_PER})
_LIST_KEYS = (_DEFAULTS - {"provider"}) | {"key", "aliases", "same_as", "tiers", "when", *_PER}
_CALENDAR_KEYS = frozenset({"hours_utc", "weekdays", "holidays", "known_until", "source"})


class PriceFileError(ValueError):
    """A price file that cannot be used. The message is `file:line: what is wrong: what to do`."""

    def __init__(self, file: str, line: int, problem: str, remedy: str) -> None:
        super().__init__(f"{file}:{line}: {problem}: {remedy}")
        self.file = file
        self.line = line


class Block(dict[str, Any]):
    """A YAML mapping that remembers where each of its keys stands."""

    line: int
    lines: dict[str, int]


@dataclass(slots=True)
class PriceFile:
    """What one file says, and on which line each price list begins."""

    name: str
    prices: list[Price] = field(default_factory=list)
    calendars: list[Calendar] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    lines: dict[tuple[str, datetime], int] = field(default_factory=dict)


def read(path: Path) -> PriceFile:
    """Read one file. Raises PriceFileError naming file, line and remedy; OSError when it cannot be opened."""
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PriceFileError(path.name, line, f"not YAML ({error.problem})", "correct the syntax") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PriceFileError(path.name, 1, f"not YAML ({error})", "save it as UTF-8 YAML") from None
    return _Reader(path.name).file(node)


class _Reader:
    """Reads one file; holds its name for the errors and what is found so far."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._out = PriceFile(name)
        self._defaults = Block()

    def fail(self, line: int, problem: str, remedy: str) -> PriceFileError:
        return PriceFileError(self._name, line, problem, remedy)

    def file(self, node: yaml.Node | None) -> PriceFile:
        top = self._plain(node) if node is not None else None
        if not isinstance(top, Block):
            raise self.fail(1, "not a price file", "begin with `provider:` and a list under `prices:`")
        self._known(top, _FILE_KEYS)
        if not isinstance(top.get("provider"), str):
            raise self.fail(top.line, "no provider", "say whose prices these are: `provider: openai`")
        for name, block in self._mapping(top, "calendars").items():
            self._out.calendars.append(self._calendar(name, block, top["calendars"].lines[name]))
        lists = top.get("prices")
        if not isinstance(lists, list):
            raise self.fail(top.lines.get("prices", top.line), "no prices", "put a list under `prices:`")
        self._defaults = top
        for block in lists:
            if not isinstance(block, Block):
                raise self.fail(top.lines["prices"], "a price list that is no mapping", "begin it with `- key: …`")
            self._price_list(block)
        return self._out

    def _line(self, block: Block, name: str) -> int:
        """Where a value that a list may take from the head of the file stands."""
        return block.lines.get(name) or self._defaults.lines.get(name) or block.line

    def _price_list(self, block: Block) -> None:
        self._known(block, _LIST_KEYS)
        key = self._text(block, "key", "name the key, such as `openai/gpt-5-mini`")
        whole = {**{name: value for name, value in self._defaults.items() if name in _DEFAULTS}, **block}
        if "valid_from" not in whole:
            raise self.fail(block.line, f"{key} has no valid_from", "say from when it holds: `valid_from: 2026-01-01`")
        valid_from = self._instant(whole["valid_from"], self._line(block, "valid_from"))
        currency = whole.get("currency")
        if not isinstance(currency, str) or currency not in PICO_PER_TICK:
            line = self._line(block, "currency")
            raise self.fail(line, f"unknown currency {currency}", f"use one of {', '.join(sorted(PICO_PER_TICK))}")
        source = whole.get("source")
        if not isinstance(source, str) or not source:
            raise self.fail(block.line, f"{key} has no source", "say where the price was seen and when")
        sure = self._confirmed(whole, block, key)
        base = Price("", whole["provider"], key, "", currency, 0, valid_from, source=source)
        rows = self._rows(block, base)
        rows += self._copies(self._mapping(block, "same_as"), rows, optional=False)
        if not rows:
            raise self.fail(block.line, f"{key} has no prices", f"add one of {', '.join(_PER)}")
        # A list of confirmed meters speaks of the plain prices: not of tiers, not of variants.
        rows = [
            replace(row, confirmed=sure is True or (sure is not False and not row.threshold and row.meter in sure))
            for row in rows
        ]
        same = self._mapping(block, "same_as")
        for variant in self._list(block, "when"):
            rows += self._variant(variant, base, rows, same, confirmed=sure is True)
        for row in rows:
            self._out.prices.append(replace(row, id=_identity(row)))
        line = self._out.lines.setdefault((key, valid_from), block.line)
        if line != block.line:
            raise self.fail(
                block.line, f"{key} has a list from {valid_from:%Y-%m-%d} on line {line}", "keep one of them"
            )
        for alias in self._list(block, "aliases"):
            if not isinstance(alias, str):
                raise self.fail(block.lines["aliases"], "an alias that is no text", "give whole keys")
            if self._out.aliases.setdefault(alias, key) != key:
                raise self.fail(block.lines["aliases"], f"{alias} is another name of two keys", "keep one of them")

    def _rows(self, block: Block, base: Price) -> list[Price]:
        """The prices of a list or of one of its variants: the plain ones, then the tiers."""
        rows = list(self._amounts(block, base))
        for tier in self._list(block, "tiers"):
            if not isinstance(tier, Block):
                raise self.fail(block.lines["tiers"], "a tier that is no mapping", "write `- above: 200000`")
            self._known(tier, _TIER_KEYS)
            if ("above" in tier) == ("from" in tier):
                raise self.fail(
                    tier.line, "a tier without one beginning", "give `above: N` (more than) or `from: N` (at least)"
                )
            name = "above" if "above" in tier else "from"
            if not isinstance(tier[name], str) or not tier[name].isdigit():
                raise self.fail(tier.lines[name], f"a tier beginning at {tier[name]}", "give a whole number of tokens")
            edge = int(tier[name])
            stepped = replace(base, tier_gt=edge) if name == "above" else replace(base, tier_ge=edge)
            rows += self._amounts(tier, stepped)
        return rows

    def _copies(self, same: Block, rows: list[Price], *, optional: bool) -> list[Price]:
        """The prices that `same_as` says are another meter's. `optional`: a variant need not price every meter."""
        copied: list[Price] = []
        priced = {row.meter for row in rows}
        for meter, other in same.items():
            line = same.lines[meter]
            self._meter(meter, line)
            if other in priced and not (optional and meter in priced):
                copied += [replace(row, meter=meter) for row in rows if row.meter == other]
            elif not optional:
                raise self.fail(line, f"{meter} is the same as {other}, which has no price here", "price it first")
        return copied

    def _amounts(self, block: Block, base: Price) -> Iterator[Price]:
        for per, divisor in _PER.items():
            amounts = self._mapping(block, per)
            for meter, text in amounts.items():
                line = amounts.lines[meter]
                self._meter(meter, line)
                yield replace(base, meter=meter, unit_price_pico=self._pico(text, divisor, meter, line))

    def _variant(self, block: object, base: Price, rows: list[Price], same: Block, *, confirmed: bool) -> list[Price]:
        if not isinstance(block, Block):
            raise self.fail(0, f"{base.key}: a variant that is no mapping", "write `- if: {service_tier: batch}`")
        self._known(block, _WHEN_KEYS)
        conditions = dict(self._mapping(block, "if"))
        if not conditions or not all(isinstance(value, str) for value in conditions.values()):
            raise self.fail(block.line, "a variant without conditions", "write `if: {service_tier: batch}`")
        if block.get("confirmed", "false") not in ("true", "false"):
            raise self.fail(block.lines["confirmed"], f"confirmed is {block['confirmed']}", "write true or false")
        found = self._rows(block, replace(base, conditions=conditions))
        found += self._copies(same, found, optional=True)
        if "times" in block:
            line = block.lines["times"]
            factor = self._factor(block["times"], line)
            # Fees are not tokens: discounts and uplifts that vendors publish are on tokens. Alternatives of one condition
            # exclude each other, different conditions multiply.
            for row in rows:
                if row.meter in TOKEN_METERS and not conditions.keys() & (row.conditions or {}).keys():
                    pico, rest = divmod(row.unit_price_pico * factor[0], factor[1])
                    if rest:
                        raise self.fail(
                            line, f"{row.meter} × {block['times']} is finer than 1e-12", "write the prices out"
                        )
                    found.append(
                        replace(row, unit_price_pico=pico, conditions={**(row.conditions or {}), **conditions})
                    )
        if not found:
            raise self.fail(block.line, "a variant without prices", f"add `times:` or one of {', '.join(_PER)}")
        sure = block["confirmed"] == "true" if "confirmed" in block else confirmed
        return [replace(row, confirmed=sure) for row in found]

    def _calendar(self, name: str, block: object, line: int) -> Calendar:
        if not isinstance(block, Block):
            raise self.fail(
                line, f"calendar {name} is no mapping", "give hours_utc, weekdays, holidays, known_until, source"
            )
        self._known(block, _CALENDAR_KEYS)
        try:
            weekdays = frozenset(int(day) for day in block["weekdays"])
            hours = [tuple(_minutes(end) for end in span.split("-")) for span in block["hours_utc"]]
            return Calendar(
                name,
                tuple(Window(weekdays, start, end) for start, end in hours),
                frozenset(date.fromisoformat(day) for day in block["holidays"]),
                date.fromisoformat(block["known_until"]),
                block["source"],
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise self.fail(
                block.line,
                f"calendar {name} is not readable ({error})",
                'write hours_utc: ["01:00-04:00"], weekdays: [1, 2], holidays: [2026-01-01], known_until: a date, source: text',
            ) from None

    def _confirmed(self, whole: Mapping[str, Any], block: Block, key: str) -> bool | frozenset[str]:
        said = whole.get("confirmed")
        line = self._line(block, "confirmed")
        if said == "true":
            return True
        if not isinstance(whole.get("reason"), str) or not whole["reason"]:
            raise self.fail(line, f"{key} is not all confirmed and does not say why", "add `reason:`")
        if said == "false":
            return False
        if isinstance(said, list):
            for meter in said:
                self._meter(meter, line)
            return frozenset(said)
        raise self.fail(line, f"confirmed is {said}", "write true, false or the list of meters that are")

    def _pico(self, text: object, divisor: int, meter: str, line: int) -> int:
        try:
            amount = scaled(text, PICO_PLACES) if isinstance(text, str) else None
        except ValueError as error:
            raise self.fail(line, f"the price of {meter}: {error}", 'write a plain decimal such as "0.25"') from None
        if amount is None:
            raise self.fail(line, f"the price of {meter} is no number", 'write a plain decimal such as "0.25"')
        if amount < 0:
            raise self.fail(line, f"the price of {meter} is negative", "a price is 0 or more; a refund is a correction")
        pico, rest = divmod(amount, divisor)
        if rest:
            raise self.fail(line, f"the price of {meter} is finer than 1e-12 a unit", "write a rounder price")
        return pico

    def _factor(self, text: object, line: int) -> tuple[int, int]:
        try:
            factor = scaled(text, PICO_PLACES) if isinstance(text, str) else -1
        except ValueError:
            factor = -1
        if factor < 0:
            raise self.fail(line, f"times {text}", 'write a plain decimal such as "0.5"')
        return factor, int("1" + "0" * PICO_PLACES)

    def _instant(self, text: object, line: int) -> datetime:
        try:
            instant = datetime.fromisoformat(text) if isinstance(text, str) else None
        except ValueError:
            instant = None
        if instant is None:
            raise self.fail(line, f"valid_from is {text}", "write a date (midnight UTC) or 2026-01-01T00:00:00Z")
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)

    def _meter(self, meter: object, line: int) -> None:
        if meter not in METERS:
            raise self.fail(line, f"unknown meter {meter}", f"use one of {', '.join(METERS)}")

    def _known(self, block: Block, names: frozenset[str]) -> None:
        for name in block:
            if name not in names:
                raise self.fail(block.lines[name], f"unknown key {name}", f"use one of {', '.join(sorted(names))}")

    def _text(self, block: Block, name: str, remedy: str) -> str:
        value = block.get(name)
        if not isinstance(value, str) or not value:
            raise self.fail(block.lines.get(name, block.line), f"no {name}", remedy)
        return value

    def _mapping(self, block: Block, name: str) -> Block:
        value = block.get(name)
        if value is None:
            value = Block()
        if not isinstance(value, Block):
            raise self.fail(block.lines[name], f"{name} is no mapping", f"write `{name}: {{name: value}}`")
        return value

    def _list(self, block: Block, name: str) -> list[Any]:
        value = block.get(name, [])
        if not isinstance(value, list):
            raise self.fail(block.lines[name], f"{name} is no list", f"write `{name}: [...]`")
        return value

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            block = Block()
            block.line = node.start_mark.line + 1
            block.lines = {}
            for name_node, value_node in node.value:
                name, line = str(name_node.value), name_node.start_mark.line + 1
                if name in block:
                    raise self.fail(
                        line, f"{name} stands twice", f"keep one (the other is on line {block.lines[name]})"
                    )
                block[name] = self._plain(value_node)
                block.lines[name] = line
            return block
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item) for item in node.value]
        return node.value


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _identity(price: Price) -> str:
    """A name a person can read on a statement line: key, meter, since when, and what it is limited to."""
    limit = f">{price.tier_gt}" if price.tier_gt is not None else ""
    limit = f">={price.tier_ge}" if price.tier_ge is not None else limit
    conditions = "".join(f"[{name}={value}]" for name, value in sorted((price.conditions or {}).items()))
    since = price.valid_from.strftime(
        "%Y-%m-%d" if price.valid_from.time().isoformat() == "00:00:00" else "%Y-%m-%dT%H:%M:%SZ"
    )
    return f"{price.key}#{price.meter}@{since}{limit}{conditions}"
