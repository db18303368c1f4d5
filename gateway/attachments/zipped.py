"""A ZIP archive read within bounds: how many entries, how far they unpack, how much in all.

The sizes in a directory are claims. They are added up first, so that a bomb is refused before a byte of it is unpacked; then
each entry is read no further than its claim, and `zipfile` refuses it where claim, content and checksum disagree.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator

from gateway.attachments.extracted import Bounds, Uninspectable


class Budget:
    """How much may still be unpacked: one for a file and everything nested in it."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._left = bounds.unpacked
        self._entries = bounds.entries

    def spend(self, size: int, packed: int) -> None:
        """Before unpacking `packed` bytes to `size`. Raises Uninspectable("bomb")."""
        self._left -= size
        self._entries -= 1
        # A small file may be as regular as it likes: an empty table packs 500 to 1.
        swollen = size > 4 * 1024 * 1024 and size > packed * self.bounds.ratio
        if self._left < 0 or self._entries < 0 or swollen:
            raise Uninspectable("bomb")


class Zipped:
    """An opened archive. Two entries of one name are both seen, for programs differ in which one they show."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        try:
            self._file = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as e:
            raise Uninspectable("malformed") from e
        self._budget = budget
        self._entries = [entry for entry in self._file.infolist() if not entry.is_dir()]
        if (
            len(self._entries) > budget.bounds.entries
            or sum(e.file_size for e in self._entries) > budget.bounds.unpacked
        ):
            raise Uninspectable("bomb")
        if any(entry.flag_bits & 1 for entry in self._entries):
            raise Uninspectable("encrypted")

    @property
    def names(self) -> list[str]:
        return [entry.filename for entry in self._entries]

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Every entry with its bytes, unpacked one after the other."""
        for entry in self._entries:
            yield entry.filename, self._read(entry)

    def read(self, name: str, limit: int | None = None) -> bytes | None:
        """One entry by its exact name; None where there is none."""
        found = [entry for entry in self._entries if entry.filename == name]
        if not found or (limit is not None and found[-1].file_size > limit):
            return None
        return self._read(found[-1])

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        self._budget.spend(entry.file_size, entry.compress_size)
        try:
            return self._file.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as e:
            raise Uninspectable("malformed", entry.filename) from e


def inflate(data: bytes, budget: Budget) -> bytes:
    """Raw deflate, as HWP keeps its streams: unpacked within the budget."""
    machine = zlib.decompressobj(-15)
    limit = budget.bounds.unpacked
    try:
        text = machine.decompress(data, limit + 1)
    except zlib.error as e:
        raise Uninspectable("malformed") from e
    if len(text) > limit:
        raise Uninspectable("bomb")
    if not machine.eof:
        raise Uninspectable("malformed")
    budget.spend(len(text), len(data))
    return text
