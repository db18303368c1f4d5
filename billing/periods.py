"""Calendar periods in the organisation's own zone. Pure.

A period is a label and nothing else: `2026` (fiscal year), `2026-11` (month), `2026-11-23` (day). Counters are keyed by
it and never reset: a new day is a new key. The label a request belongs to is fixed when it is admitted and stored with
its hold, so a request that runs over midnight belongs to the day it began in. Times are UTC microseconds since 1970.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

PeriodKind = Literal["day", "month", "year"]
KINDS: tuple[PeriodKind, ...] = ("day", "month", "year")

#: `date.fromisoformat` alone would take 2026-W48-1 for a day.
_LABEL = re.compile(r"([0-9]{4})(-[0-9]{2})?(-[0-9]{2})?")


class Periods(NamedTuple):
    """The three labels one instant belongs to."""

    day: str
    month: str
    year: str

    def label(self, kind: PeriodKind) -> str:
        return self.day if kind == "day" else self.month if kind == "month" else self.year


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, without passing through a float."""
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_us(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def kind_of(label: str) -> PeriodKind:
    """`2026` → year, `2026-11` → month, `2026-11-23` → day; ValueError for anything else."""
    found = _LABEL.fullmatch(label)
    if found is None:
        raise ValueError(f"not a period: {label!r} (use 2026, 2026-11 or 2026-11-23)")
    year, month, day = found.groups()
    date.fromisoformat(f"{year}{month or '-01'}{day or '-01'}")
    return "day" if day else "month" if month else "year"


class Calendar:
    """The organisation's zone and fiscal year. `periods` is on the hot path: one comparison while the day lasts.

    `fiscal_start` is (month, day); a year is named after the calendar year it begins in. Raises ValueError for a day that not
    every year has.
    """

    def __init__(self, zone: ZoneInfo, fiscal_start: tuple[int, int] = (1, 1)) -> None:
        date(2001, *fiscal_start)  # no leap year
        self.zone = zone
        self.fiscal_start = fiscal_start
        self._cached: tuple[int, int, Periods] = (0, 0, Periods("", "", ""))

    def local_date(self, at_us: int) -> date:
        return from_us(at_us).astimezone(self.zone).date()

    def periods(self, at_us: int) -> Periods:
        start, end, labels = self._cached
        if start <= at_us < end:
            return labels
        day = self.local_date(at_us)
        labels = Periods(day.isoformat(), day.isoformat()[:7], str(self._fiscal_year(day)))
        self._cached = (self._midnight(day), self._midnight(day + timedelta(days=1)), labels)
        return labels

    def span(self, label: str) -> tuple[int, int]:
        """First microsecond of the period and of the next one, UTC."""
        kind = kind_of(label)
        if kind == "day":
            first = date.fromisoformat(label)
            after = first + timedelta(days=1)
        elif kind == "month":
            first = date.fromisoformat(label + "-01")
            after = _next_month(first)
        else:
            month, day = self.fiscal_start
            first = date(int(label), month, day)
            after = date(int(label) + 1, month, day)
        return self._midnight(first), self._midnight(after)

    def resets_at(self, kind: PeriodKind, at_us: int) -> datetime:
        """When the period of this kind that contains the instant ends, as an aware datetime in the organisation's zone."""
        return from_us(self.span(self.periods(at_us).label(kind))[1]).astimezone(self.zone)

    def _fiscal_year(self, day: date) -> int:
        return day.year if (day.month, day.day) >= self.fiscal_start else day.year - 1

    def _midnight(self, day: date) -> int:
        return to_us(datetime.combine(day, time(), tzinfo=self.zone).astimezone(UTC))


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
