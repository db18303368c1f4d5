"""Compound files (OLE2, [MS-CFB]): the container of HWP 5, of old Office files, of encrypted Office files, of embedded objects.

Read-only and bounded: every chain of sectors is followed at most as often as there are sectors, so a chain that bites its own
tail ends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.attachments.extracted import Uninspectable

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END = 0xFFFFFFFA  # from here on, numbers are marks and no sectors
_NONE = 0xFFFFFFFF
_DIFAT_IN_HEADER = 109
_MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size: int


class Compound:
    """`streams` maps a path (`BodyText/Section0`) to where its bytes are; `read` gives them."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 512 or not data.startswith(MAGIC):
            raise Uninspectable("malformed")
        self._data = data
        shift, small_shift = struct.unpack_from("<HH", data, 30)
        if shift not in (9, 12) or small_shift != 6:
            raise Uninspectable("malformed")
        self._sector = 1 << shift
        fat_sectors, first_directory = struct.unpack_from("<I", data, 44)[0], struct.unpack_from("<I", data, 48)[0]
        self._cutoff, first_small, small_count, first_difat, _ = struct.unpack_from("<IIIII", data, 56)
        self._fat = self._table(self._fat_sectors(fat_sectors, first_difat))
        entries = self._entries(self._chain(first_directory))
        if not entries or entries[0].kind != 5:
            raise Uninspectable("malformed")
        self._small_fat = self._table(self._sectors(first_small)) if small_count else []
        self._small = self._chain(entries[0].start)[: entries[0].size]
        self.streams: dict[str, _Entry] = {}
        self._walk(entries)

    def read(self, path: str) -> bytes:
        """A stream's bytes; KeyError where there is none."""
        entry = self.streams[path]
        if entry.size >= self._cutoff:
            return self._chain(entry.start)[: entry.size]
        return self._small_chain(entry.start)[: entry.size]

    # ── sectors ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _at(self, sector: int) -> bytes:
        start = (sector + 1) * self._sector
        return self._data[start : start + self._sector]

    def _fat_sectors(self, count: int, difat: int) -> list[int]:
        found = list(struct.unpack_from(f"<{_DIFAT_IN_HEADER}I", self._data, 76))
        per_sector = self._sector // 4 - 1
        most = len(self._data) // self._sector + 1
        for _ in range(most):
            if difat >= _END:
                break
            table = self._at(difat)
            if len(table) < self._sector:
                raise Uninspectable("malformed")
            *more, difat = struct.unpack(f"<{per_sector + 1}I", table)
            found += more
        return [sector for sector in found if sector < _END][: min(count, most)]

    def _table(self, sectors: list[int]) -> list[int]:
        raw = b"".join(self._at(sector) for sector in sectors)
        return list(struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4]))

    def _sectors(self, start: int) -> list[int]:
        found: list[int] = []
        most = len(self._data) // self._sector + 1
        while start < _END:
            if len(found) > most or start >= len(self._fat):
                raise Uninspectable("malformed")
            found.append(start)
            start = self._fat[start]
        return found

    def _chain(self, start: int) -> bytes:
        return b"".join(self._at(sector) for sector in self._sectors(start))

    def _small_chain(self, start: int) -> bytes:
        found: list[bytes] = []
        while start < _END:
            if len(found) > len(self._small_fat) or start >= len(self._small_fat):
                raise Uninspectable("malformed")
            found.append(self._small[start * 64 : start * 64 + 64])
            start = self._small_fat[start]
        return b"".join(found)

    # ── directory ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _entries(self, raw: bytes) -> list[_Entry]:
        found = []
        for at in range(0, min(len(raw), _MOST_ENTRIES * 128) - 127, 128):
            length, kind = struct.unpack_from("<HB", raw, at + 64)
            name = raw[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
            left, right, child = struct.unpack_from("<III", raw, at + 68)
            start, size = struct.unpack_from("<IQ", raw, at + 116)
            if self._sector == 512:
                size &= 0xFFFFFFFF  # in files of this version the upper half may hold rubbish
            found.append(_Entry(name, kind, left, right, child, start, min(size, len(self._data))))
        return found

    def _walk(self, entries: list[_Entry]) -> None:
        seen: set[int] = set()
        waiting = [(entries[0].child, "")]
        while waiting:
            number, folder = waiting.pop()
            if number == _NONE or number >= len(entries) or number in seen:
                continue
            seen.add(number)
            entry = entries[number]
            waiting += [(entry.left, folder), (entry.right, folder)]
            if entry.kind == 1:
                waiting.append((entry.child, f"{folder}{entry.name}/"))
            elif entry.kind == 2:
                self.streams[folder + entry.name] = entry


def properties(raw: bytes) -> list[str]:
    """The strings of a property set ([MS-OLEPS]): title, author, subject, keywords, comments, last saved by …"""
    found: list[str] = []
    if len(raw) < 48 or raw[:2] != b"\xfe\xff":
        return found
    (section,) = struct.unpack_from("<I", raw, 44)
    if section + 8 > len(raw):
        return found
    count = min(struct.unpack_from("<I", raw, section + 4)[0], 256)
    for index in range(count):
        at = section + 8 + index * 8
        if at + 8 > len(raw):
            break
        value = section + struct.unpack_from("<II", raw, at)[1]
        if value + 8 > len(raw):
            continue
        kind, length = struct.unpack_from("<II", raw, value)
        if kind == 0x1F:  # VT_LPWSTR, counted in characters
            text = raw[value + 8 : value + 8 + length * 2].decode("utf-16-le", "replace")
        elif kind == 0x1E:  # VT_LPSTR
            text = raw[value + 8 : value + 8 + length].decode("cp949", "replace")
        else:
            continue
        if text := text.split("\x00")[0].strip():
            found.append(text)
    return found
