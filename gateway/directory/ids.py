"""Row ids: UUID version 7 as text, so that rows sort by when they were made."""

from __future__ import annotations

import os
import time


def now_us() -> int:
    """The clock every process uses unless it is given another: UTC microseconds since 1970."""
    return time.time_ns() // 1000


def uuid7(at_us: int | None = None) -> str:
    """RFC 9562 §5.7: 48 bits of milliseconds, 12 bits of the fraction of that millisecond, 62 random bits."""
    at = now_us() if at_us is None else at_us
    milliseconds, fraction = divmod(at, 1000)
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = milliseconds << 80 | 7 << 76 | (fraction * 4096 // 1000) << 64 | 2 << 62 | random
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
