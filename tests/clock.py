"""A clock that stands still until it is told, in UTC microseconds as everywhere."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: 2026-11-23 09:00:00 in Seoul.
MORNING = 1_795_392_000_000_000


@dataclass
class Clock:
    """Every look is one microsecond later, so that no two deeds are at the same instant."""

    now: int = MORNING

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, us: int) -> None:
        self.now += us
