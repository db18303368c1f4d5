"""Dated exchange rates: which one counts for a day, and whether it is final.

The rate of a service date is the basic rate (매매기준율) of that day. On a weekend or holiday none is published and the previous
business day's counts: that is normal, not provisional. A gap of more than five days is not a weekend, even a long one with a
holiday beside it is shorter, so an older rate is only provisional, and so is a rate nobody has confirmed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from billing.money import scaled

BASIC = "매매기준율"
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_SEED = Path(__file__).with_name("fx.yaml")
_PLACES = 6


class NoRate(LookupError):
    """No rate of this pair and kind on or before the day."""


@dataclass(frozen=True, slots=True)
class FxRate:
    """`rate_e6`: quote units per base unit × 1e6 (won per dollar × 1e6). `provisional` is set by the lookup, for its day."""

    rate_e6: int
    effective_date: date
    kind: str = BASIC
    source: str = ""
    confirmed: bool = False
    provisional: bool = True
    base: str = "USD"
    quote: str = "KRW"


class FxTable:
    """The rates that are known, in the order they became known: a later one for the same day supersedes the earlier.

    Looking up a day answers the newest rate on or before it. Raises ValueError for a rate that is not positive.
    """

    def __init__(self, rates: Iterable[FxRate], *, stale_after_days: int = 5) -> None:
        self._stale_after = stale_after_days
        series: dict[tuple[str, str, str], dict[date, FxRate]] = {}
        for rate in rates:
            if rate.rate_e6 <= 0:
                raise ValueError(f"the {rate.base}/{rate.quote} rate of {rate.effective_date} is not positive")
            series.setdefault((rate.base, rate.quote, rate.kind), {})[rate.effective_date] = rate
        self._series = {pair: sorted(days.items(), key=lambda item: item[0]) for pair, days in series.items()}
        self._dates = {pair: [day for day, _ in days] for pair, days in self._series.items()}

    def at(self, day: date, *, kind: str = BASIC, base: str = "USD", quote: str = "KRW") -> FxRate:
        """The rate for a service date. Raises NoRate when every known rate is later, or there is none."""
        pair = (base, quote, kind)
        index = bisect_right(self._dates.get(pair, ()), day) - 1
        if index < 0:
            raise NoRate(f"no {kind} {base}/{quote} rate on or before {day}")
        rate = self._series[pair][index][1]
        old = (day - rate.effective_date).days > self._stale_after
        return replace(rate, provisional=old or not rate.confirmed)


def load(path: Path | str | None = None) -> tuple[FxRate, ...]:
    """The rates of a YAML file; by default the seed rate shipped beside this module.

    Each entry: `date, base, quote, rate` (a quoted decimal), `kind, source, confirmed`. Raises ValueError naming the file and
    the entry.
    """
    file = Path(path) if path is not None else _SEED
    entries = yaml.load(file.read_text("utf-8"), Loader=_LOADER)  # noqa: S506 – the base loader builds strings only
    if not isinstance(entries, dict) or not isinstance(entries.get("rates"), list):
        raise ValueError(f"{file.name}: expected a list under `rates:`")
    rates: dict[tuple[str, str, str, date], FxRate] = {}
    for number, entry in enumerate(entries["rates"], 1):
        try:
            rate = FxRate(
                rate_e6=scaled(entry["rate"], _PLACES),
                effective_date=date.fromisoformat(entry["date"]),
                kind=entry.get("kind", BASIC),
                source=entry["source"],
                confirmed={"true": True, "false": False}[entry["confirmed"]],
                base=entry.get("base", "USD"),
                quote=entry.get("quote", "KRW"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{file.name}: rate {number} is not readable ({error}): "
                "it needs date: YYYY-MM-DD, rate: a quoted decimal, source: text, confirmed: true or false"
            ) from None
        identity = (rate.base, rate.quote, rate.kind, rate.effective_date)
        if identity in rates:
            raise ValueError(
                f"{file.name}: rate {number} is for a day that has one already ({rate.effective_date}): drop one"
            )
        rates[identity] = rate
    return tuple(rates.values())
