"""Row ids (UUID version 7 as text, so that rows sort by when they were made) and instants (UTC microseconds since 1970)."""

from __future__ import annotations

import os
import time
from collections import deque
from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """The clock every process uses unless it is given another: UTC microseconds since 1970."""
    return time.time_ns() // 1000


#: Random bits asked of the kernel in one go: asking for each id lets go of the interpreter every time.
_POOL: deque[int] = deque()
_POOLED = 512


def _random() -> int:
    """62 random bits. Safe in several threads: taking from a deque is one step."""
    try:
        return _POOL.popleft()
    except IndexError:
        drawn = os.urandom(8 * _POOLED)
        _POOL.extend(int.from_bytes(drawn[i : i + 8], "big") >> 2 for i in range(8, len(drawn), 8))
        return int.from_bytes(drawn[:8], "big") >> 2


def uuid7(at_us: int | None = None) -> str:
    """RFC 9562 §5.7: 48 bits of milliseconds, 12 bits of the fraction of that millisecond, 62 random bits."""
    at = now_us() if at_us is None else at_us
    milliseconds, fraction = divmod(at, 1000)
    random = _random()
    value = milliseconds << 80 | 7 << 76 | (fraction * 4096 // 1000) << 64 | 2 << 62 | random
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def rfc3339(at_us: int, zone: tzinfo) -> str:
    """To the second, with the offset of the zone: 2026-11-23T09:00:00+09:00. Past the year 9999 it stays there."""
    latest = datetime(9999, 12, 30, tzinfo=UTC)
    at = _EPOCH + min(timedelta(microseconds=at_us), latest - _EPOCH)
    return at.astimezone(zone).isoformat(timespec="seconds")


def to_us(at: datetime) -> int:
    """Of an aware datetime, without passing through a float."""
    return (at - _EPOCH) // timedelta(microseconds=1)
