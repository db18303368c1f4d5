"""The book of dated prices, and which of them hold for a model at an instant.

    all prices of a key ─▶ its newest list not after `at` ─▶ rows whose conditions hold ─▶ the most particular ─▶ RateCard

A dated list is whole: all prices of a key with the same `valid_from` are the price list of that key from that instant until the
key's next one. So a tier or a discount that a vendor drops is gone with the new list, and nothing stored is ever edited.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from billing.calendars import Calendar, Window
from billing.card import NoPrice, Price, RateCard
from billing.charge import REPORTED, Charge, ChargeLine, booked_as_reported, in_suspense, unreadable
from billing.usage import METERS, TOKEN_METERS, Usage

__all__ = [
    "REPORTED",
    "Calendar",
    "Charge",
    "ChargeLine",
    "NoPrice",
    "Price",
    "PriceBook",
    "RateCard",
    "Window",
    "conditions_from",
    "plain_name",
    "undated",
]

# Ways vendors spell "nothing special". `auto` is a wish, not a tier: what was really served is in the answer.
_ORDINARY = MappingProxyType(
    {
        "service_tier": frozenset(
            {"", "default", "standard", "auto", "on_demand", "standard_only", "none", "unspecified"}
        ),
        "speed": frozenset({"", "standard", "default", "normal"}),
        "region": frozenset({"", "global", "not_available", "default", "none"}),
        "deployment": frozenset({"", "global", "global_standard", "standard"}),
    }
)
# These always matter: a tier nobody priced must not be billed at the ordinary price. Others matter to lists that name them.
_ALWAYS_MATTER = ("service_tier", "speed")
# These change the price of every token. A token meter that a list does not price under one of them has no price there, while fees
# go on at the ordinary one.
_CHANGE_TOKENS = ("service_tier", "speed", "region", "deployment")
_DEPLOYMENTS = MappingProxyType(
    {
        "data_zone": "data_zone",
        "datazone": "data_zone",
        "data_zone_standard": "data_zone",
        "datazonestandard": "data_zone",
        "regional": "regional",
        "regional_standard": "regional",
        "provisioned": "provisioned",
        "ptu": "provisioned",
    }
)
_CACHED_CARDS = 4096
_START = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


def conditions_from(context: Mapping[str, object]) -> dict[str, str]:
    """The price conditions in what is known about a request: lower case, with everything ordinary left out.

    Reads `service_tier`, `processing` and `batch` (all three are one condition: a batch is a tier), `speed`, `region`,
    `search_context_size`, `deployment` (its kind; a name of one's own is no condition), `grounding`. Anything else is ignored.
    """
    found: dict[str, str] = {}
    for name in ("service_tier", "speed", "region", "search_context_size", "grounding", "calendar"):
        plain = _plain(context.get(name))
        if plain is not None and plain not in _ORDINARY.get(name, ("",)):
            found[name] = plain
    processing = _plain(context.get("processing"))
    if context.get("batch") in (True, "true") or processing in ("batch", "batches"):
        found["service_tier"] = "batch"
    elif processing is not None and processing not in _ORDINARY["service_tier"]:
        found.setdefault("service_tier", processing)
    kind = _DEPLOYMENTS.get(_plain(context.get("deployment")) or "")
    if kind is not None:
        found["deployment"] = kind
    return found


# The same model under another roof, and what vendors hang behind the name of a model to tell its builds apart.
_ROOFS = ("models/", "publishers/google/models/")
_BUILD = re.compile(r"(-(latest|preview|beta|exp))?(-(\d{8}|\d{6}|\d{3,4}|\d{4}-\d{2}-\d{2}|\d{2}-\d{2,4}))?$")


def plain_name(model: str) -> str:
    """A model's name as price keys have it."""
    for roof in _ROOFS:
        model = model.removeprefix(roof)
    return model


def undated(model: str) -> str:
    """A model's name without what tells its builds apart: `solar-pro2-250909` and `gpt-5-2025-08-07` end in a date."""
    return _BUILD.sub("", model, count=1)


def _plain(value: object) -> str | None:
    return value.strip().lower().replace("-", "_") if isinstance(value, str) else None


class PriceBook:
    """Every dated price, immutable.

    `calendars` by id; `aliases`: other names of a key (`openai/gpt-5-2025-08-07` → `openai/gpt-5`), for names that vendors answer
    with; `version`: pins this book in holds and events. Raises ValueError for an unknown meter, currency mixture, calendar, a
    negative price, a `valid_from` without a zone, or two prices of one key, meter, tier and conditions from the same instant.
    """

    def __init__(
        self,
        prices: Iterable[Price],
        calendars: Mapping[str, Calendar] | Iterable[Calendar] = (),
        version: str = "",
        *,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        listed = calendars.values() if isinstance(calendars, Mapping) else calendars
        self.calendars: Mapping[str, Calendar] = MappingProxyType({calendar.id: calendar for calendar in listed})
        self.prices = tuple(prices)
        self.version = version
        self.aliases: Mapping[str, str] = MappingProxyType(dict(aliases or {}))
        self._lists: dict[str, dict[datetime, list[Price]]] = {}
        seen: set[tuple[object, ...]] = set()
        for price in self.prices:
            _check(price, self.calendars, seen)
            self._lists.setdefault(price.key, {}).setdefault(price.valid_from, []).append(price)
        starts: dict[str, set[datetime]] = {}
        clocks: dict[str, set[str]] = {}
        for key, lists in self._lists.items():
            for valid_from, rows in lists.items():
                if len({row.currency for row in rows}) > 1:
                    raise ValueError(f"{key} from {valid_from:%Y-%m-%d} mixes currencies")
                starts.setdefault(_vendor(key), set()).add(valid_from)
                for row in rows:
                    if row.conditions and "calendar" in row.conditions:
                        clocks.setdefault(_vendor(key), set()).add(row.conditions["calendar"])
        self._starts = {vendor: sorted(instants) for vendor, instants in starts.items()}
        self._clocks = {vendor: [self.calendars[name] for name in sorted(names)] for vendor, names in clocks.items()}
        self._dates = {key: sorted(lists) for key, lists in self._lists.items()}
        self._cards: dict[object, RateCard] = {}

    def keys(self) -> list[str]:
        """Every key that has a price at some time."""
        return sorted(self._lists)

    def has(self, key: str) -> bool:
        """Whether the key, or the one it is another name of, has a price at some time."""
        return self.resolve(key) in self._lists

    def resolve(self, key: str) -> str:
        """The key itself, or the one it is another name of."""
        return key if key in self._lists else self.aliases.get(key, key)

    def valid_to(self, price: Price) -> datetime | None:
        """Where the next list of the price's key ends it; None while there is none."""
        dates = self._dates[price.key]
        after = bisect_right(dates, price.valid_from)
        return dates[after] if after < len(dates) else None

    def card(self, key: str, at: datetime, **conditions: object) -> RateCard:
        """The prices of `key` at `at` (aware) under `conditions` (as `conditions_from` reads them).

        Raises NoPrice when the key has no list at that instant, or a condition that matters is priced by nobody.
        The answer is kept and handed out again until a price or a clock changes.
        """
        held = conditions_from(conditions) if conditions else {}
        wanted: object = (key, *sorted(held.items())) if held else key
        card = self._cards.get(wanted)
        if card is not None and card.valid_from <= at < card.valid_until:
            return card
        card = self._resolved(self.resolve(key), at, held)
        if len(self._cards) >= _CACHED_CARDS:
            self._cards.clear()
        self._cards[wanted] = card
        return card

    def card_served(self, key: str, called: str, served: str, at: datetime, *, inside: bool) -> RateCard:
        """The prices of the model that answered: what a vendor served is what it charges for.

        `key` is the price of the model that was `called`; `served` is the name in the answer. The called model by its own name,
        in another spelling of it or with a date behind it, is priced by `key`. So is whatever a server `inside` calls itself,
        and a deployment at Azure, whose price its model does not tell. Raises NoPrice for a name nobody has a price for.
        """
        if inside or served == called or key.startswith("azure/"):
            return self.card(key, at)
        if called.endswith(f"/{served}") or served.endswith(f"/{called}"):
            return self.card(key, at)
        vendor = _vendor(key)
        answered = self.resolve(f"{vendor}/{plain_name(served)}")
        if answered in self._lists:
            same = answered == self.resolve(f"{vendor}/{plain_name(called)}")
            return self.card(key if same else answered, at)
        if undated(plain_name(served)) == plain_name(called):
            return self.card(key, at)
        raise NoPrice(f"no price for {answered}, which answered for {called}")

    def rate(
        self, key: str, usage: Usage, at: datetime, *, trust_reported: bool = False, **conditions: object
    ) -> Charge:
        """Price a usage, whatever is missing: a key without a price gives a charge in suspense, or the trusted vendor's own."""
        try:
            card = self.card(key, at, **conditions)
        except NoPrice as missing:
            if usage.quality == "suspense":
                return unreadable(usage, key.partition("/")[2], "USD", trust_reported=trust_reported)
            if trust_reported and usage.reported_ticks is not None:
                return booked_as_reported(usage.meters, key.partition("/")[2], usage.reported_ticks)
            return in_suspense(str(missing), "USD", usage.meters, usage.reported_ticks)
        return card.charge(usage, trust_reported=trust_reported)

    def _resolved(self, key: str, at: datetime, conditions: dict[str, str]) -> RateCard:
        dates = self._dates.get(key, [])
        index = bisect_right(dates, at) - 1
        if index < 0:
            raise NoPrice(f"no price for {key}" + (f" before {dates[0]:%Y-%m-%d}" if dates else ""))
        rows = self._lists[key][dates[index]]
        clocks = self._clocks.get(_vendor(key), [])
        named = {name for row in rows for name in (row.conditions or ())}
        held = {name: value for name, value in conditions.items() if name in named or name in _ALWAYS_MATTER}
        for name, value in held.items():
            if not any((row.conditions or {}).get(name) == value for row in rows):
                raise NoPrice(f"no price for {key} with {name} {value}")
        now = {clock.id for clock in clocks if clock.contains(at)}
        strict = {name for name in held if name in _CHANGE_TOKENS}
        usable = [row for row in rows if row.meter not in TOKEN_METERS or strict <= (row.conditions or {}).keys()]
        fitting = [row for row in usable if _holds(row.conditions, held, now)]
        ever = [row for row in usable if _holds(row.conditions, held, {clock.id for clock in clocks})]
        valid_from, valid_until = self._window(key, at, clocks)

        chosen = _most_particular(fitting)

        def sibling(model: str, others: Mapping[str, object]) -> RateCard:
            return self.card(f"{_vendor(key)}/{model}" if model else key, valid_from, **others)

        return RateCard(
            key,
            chosen,
            version=self.version,
            sibling=sibling,
            ceiling_prices=[*_most_particular(ever), *chosen],
            limits=_limits(rows, chosen) if strict else {},
            conditions=held,
            valid_from=valid_from,
            valid_until=valid_until,
            calendars_known=all(clock.knows(at) for clock in clocks),
        )

    def _window(self, key: str, at: datetime, clocks: Sequence[Calendar]) -> tuple[datetime, datetime]:
        """Between which instants no price of this vendor changes: then a card's siblings are constant as long as it is."""
        starts = self._starts[_vendor(key)]
        index = bisect_right(starts, at)
        valid_from = starts[index - 1]
        valid_until = starts[index] if index < len(starts) else _END
        for clock in clocks:
            valid_from = max(valid_from, clock.last_edge(at))
            valid_until = min(valid_until, clock.next_edge(at))
        return valid_from, valid_until


def _vendor(key: str) -> str:
    return key.partition("/")[0]


def _holds(conditions: Mapping[str, str] | None, given: Mapping[str, str], clocks: set[str]) -> bool:
    return not conditions or all(
        value in clocks if name == "calendar" else given.get(name) == value for name, value in conditions.items()
    )


def _most_particular(rows: Sequence[Price]) -> list[Price]:
    """For each meter the rows of the most particular conditions: all tiers of that list and none of a more general one."""
    chosen: dict[str, list[Price]] = {}
    for row in sorted(rows, key=lambda row: -row.unit_price_pico):
        kept = chosen.setdefault(row.meter, [])
        if not kept or row.conditions == kept[0].conditions:
            kept.append(row)
        elif len(row.conditions or ()) > len(kept[0].conditions or ()):
            chosen[row.meter] = [row]
    return [row for kept in chosen.values() for row in kept]


def _limits(rows: Sequence[Price], chosen: Sequence[Price]) -> dict[str, int]:
    """From which prompt size the chosen variant is silent: the first tier of the plain list that it does not price."""
    limits: dict[str, int] = {}
    priced = {(row.meter, row.threshold) for row in chosen}
    for row in rows:
        if not row.conditions and row.meter in TOKEN_METERS and (row.meter, row.threshold) not in priced:
            limits[row.meter] = min(limits.get(row.meter, row.threshold), row.threshold)
    return {meter: edge for meter, edge in limits.items() if edge}


def _check(price: Price, calendars: Mapping[str, Calendar], seen: set[tuple[object, ...]]) -> None:
    where = f"{price.key} {price.meter}"
    if price.meter not in METERS:
        raise ValueError(f"{where}: no such meter")
    if price.unit_price_pico < 0:
        raise ValueError(f"{where}: a price is not negative")
    if price.currency not in ("USD", "KRW"):
        raise ValueError(f"{where}: the currency {price.currency} is not kept")
    if price.valid_from.tzinfo is None:
        raise ValueError(f"{where}: valid_from needs a zone")
    if price.tier_gt is not None and price.tier_ge is not None:
        raise ValueError(f"{where}: a tier begins either above a number or at it")
    clock = (price.conditions or {}).get("calendar")
    if clock is not None and clock not in calendars:
        raise ValueError(f"{where}: no calendar {clock}")
    identity = (price.key, price.meter, price.valid_from, price.threshold, *sorted((price.conditions or {}).items()))
    if identity in seen:
        raise ValueError(f"{where}: two prices from {price.valid_from:%Y-%m-%dT%H:%MZ}")
    seen.add(identity)
