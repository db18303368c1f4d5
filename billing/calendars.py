"""When a price that depends on the clock applies: hours of UTC weekdays, less the public holidays of a country.

Holidays are announced a year at a time. After `known_until` nobody can say which days are free: the windows then apply as if
none were (the dearer reading) and whatever was priced by them is not confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of a day, `[start, end)` in minutes after midnight UTC, on ISO weekdays (Monday is 1)."""

    weekdays: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """A set of instants. Windows and holidays are read in UTC."""

    id: str
    windows: tuple[Window, ...]
    holidays: frozenset[date]
    known_until: date
    source: str = ""

    def contains(self, at: datetime) -> bool:
        """Whether `at` (aware) lies in a window on a day that is no holiday."""
        moment = at.astimezone(UTC)
        if moment.date() in self.holidays:
            return False
        minute = moment.hour * 60 + moment.minute
        weekday = moment.isoweekday()
        return any(weekday in window.weekdays and window.start <= minute < window.end for window in self.windows)

    def knows(self, at: datetime) -> bool:
        """Whether the holidays of that day have been announced."""
        return at.astimezone(UTC).date() <= self.known_until

    def next_edge(self, at: datetime) -> datetime:
        """The first instant after `at` where the answer of `contains` can change; midnight counts as one."""
        moment = at.astimezone(UTC)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = [
            midnight + timedelta(minutes=minute) for window in self.windows for minute in (window.start, window.end)
        ]
        return min([edge for edge in edges if edge > moment], default=midnight + _DAY)

    def last_edge(self, at: datetime) -> datetime:
        """The latest instant at or before `at` where the answer can have changed."""
        moment = at.astimezone(UTC)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = [
            midnight + timedelta(minutes=minute) for window in self.windows for minute in (window.start, window.end)
        ]
        return max([edge for edge in edges if edge <= moment], default=midnight)
