"""HWP 5: every record of a document that holds text, from wherever in the document it stands.

Source: 한글 문서 파일 형식 5.0 (revision 1.3) and 배포용 문서 파일 형식 (revision 1.2), both published by Hancom.

    FileHeader          flags: compressed, password, distribution (배포용), DRM, certificate
    BodyText/SectionN   records; of a distribution document ViewText/SectionN, encrypted under a key that is in the file
    BinData             pictures and embedded objects
    \\x05HwpSummaryInformation, PrvText

A record is (tag, level, size). Text stands in PARA_TEXT records whatever they belong to, so headers, footnotes, hidden
comments, memos and boxes are all found by one pass; of tables the cells are told apart, to keep rows together.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.attachments.compound import MAGIC as COMPOUND
from gateway.attachments.compound import Compound, properties
from gateway.attachments.embedded import read_object
from gateway.attachments.extracted import Uninspectable
from gateway.attachments.hangul_xml import unseen
from gateway.attachments.reading import PROPERTIES, Reading, section
from gateway.attachments.sniff import PICTURES, sniff
from gateway.attachments.zipped import inflate

_COMPRESSED, _PASSWORD, _DISTRIBUTION = 1 << 0, 1 << 1, 1 << 2
_LOCKED = 1 << 4 | 1 << 8 | 1 << 10  # DRM, encrypted by certificate, DRM by certificate

_BEGIN = 0x10
_DISTRIBUTE_DOC_DATA = _BEGIN + 12
_PARA_HEADER = _BEGIN + 50
_PARA_TEXT = _BEGIN + 51
_CTRL_HEADER = _BEGIN + 55
_LIST_HEADER = _BEGIN + 56
_TABLE = _BEGIN + 61
_EQUATION = _BEGIN + 72
_TEXT_ART = _BEGIN + 74
_FORM_OBJECT = _BEGIN + 75

#: Characters below 32 that stand alone; every other one is followed by seven more units of its control.
_ALONE = frozenset({0, 10, 13, *range(24, 32)})
_SHOWN = {9: "\t", 10: "\n", 24: "-", 30: " ", 31: " "}

_PICTURE_NAME = re.compile(r".*\.(png|jpe?g|gif|bmp|tiff?|webp|emf|wmf|pcx|svg|wdp)", re.I)


def is_hwp(compound: Compound) -> bool:
    return "FileHeader" in compound.streams and compound.read("FileHeader").startswith(b"HWP Document File")


def read_hwp(compound: Compound, reading: Reading) -> list[str]:
    """All lines of the document. Raises Uninspectable: encrypted, drm, malformed …"""
    header = compound.read("FileHeader")
    if len(header) < 40:
        raise Uninspectable("malformed")
    (flags,) = struct.unpack_from("<I", header, 36)
    if flags & _LOCKED:
        raise Uninspectable("drm")
    if flags & _PASSWORD:
        raise Uninspectable("encrypted")
    folder = "ViewText" if flags & _DISTRIBUTION else "BodyText"
    names = [name for name in compound.streams if re.fullmatch(folder + r"/Section\d{1,6}", name)]
    if not names:
        raise Uninspectable("malformed")
    body: list[str] = []
    for name in sorted(names, key=lambda name: int(name.rpartition("Section")[2])):
        raw = compound.read(name)
        if flags & _DISTRIBUTION:
            raw = decipher(raw)
        body += _Section().read(inflate(raw, reading.budget) if flags & _COMPRESSED else raw)
    other = _objects(compound, reading, compressed=bool(flags & _COMPRESSED))
    if "\x05HwpSummaryInformation" in compound.streams:
        other += section(PROPERTIES, properties(compound.read("\x05HwpSummaryInformation")))
    preview: list[str] = []
    if "PrvText" in compound.streams and not flags & _DISTRIBUTION:
        preview = compound.read("PrvText").decode("utf-16-le", "replace").splitlines()
    return body + other + unseen(preview, body)


def decipher(raw: bytes) -> bytes:
    """A section of a distribution document. The key stands in its first record, hidden under a known sequence of numbers.

    The first four bytes of the record seed the sequence; the 252 after them are xored with it, run by run; the key begins
    4 + (seed & 15) bytes in. What follows the record is AES-128 in ECB mode.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 – few files need it

    try:
        tag, _, size, at = _record(raw, 0)
    except struct.error as e:
        raise Uninspectable("malformed") from e
    hidden = bytearray(raw[at : at + 256])
    if tag != _DISTRIBUTE_DOC_DATA or size != 256 or len(hidden) != 256:
        raise Uninspectable("malformed")
    (seed,) = struct.unpack_from("<I", hidden)
    state, run, mask = seed, 0, 0
    for index in range(256):
        if run == 0:
            state, mask = _next(state)
            state, run = _next(state)
            run = (run & 0xF) + 1
        if index >= 4:
            hidden[index] ^= mask & 0xFF
        run -= 1
    start = 4 + (seed & 0xF)
    text = raw[at + 256 :]
    # ECB has no choice in it: it is how these files are. Nothing is protected by it here, only read.
    machine = Cipher(algorithms.AES(bytes(hidden[start : start + 16])), modes.ECB()).decryptor()  # noqa: S305
    return machine.update(text[: len(text) // 16 * 16])


def _next(state: int) -> tuple[int, int]:
    """The C library's rand() of the program that made the file: (state, number)."""
    state = (state * 214013 + 2531011) & 0xFFFFFFFF
    return state, state >> 16 & 0x7FFF


def _record(raw: bytes, at: int) -> tuple[int, int, int, int]:
    """(tag, level, size, where its content begins)"""
    (head,) = struct.unpack_from("<I", raw, at)
    size = head >> 20
    at += 4
    if size == 0xFFF:
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
    return head & 0x3FF, head >> 10 & 0x3FF, size, at


def records(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(tag, level, content) of every record. A stream that ends inside one is damaged; zeros at the end are padding."""
    at = 0
    while at + 4 <= len(raw):
        if not any(raw[at : at + 16]) and not raw[at:].strip(b"\x00"):
            return
        try:
            tag, level, size, at = _record(raw, at)
        except struct.error as e:
            raise Uninspectable("malformed") from e
        if at + size > len(raw):
            raise Uninspectable("malformed")
        yield tag, level, raw[at : at + size]
        at += size


def paragraph(content: bytes) -> str:
    """The characters of a PARA_TEXT record without its controls."""
    units = struct.unpack(f"<{len(content) // 2}H", content[: len(content) // 2 * 2])
    kept: list[int] = []
    index = 0
    while index < len(units):
        unit = units[index]
        if unit >= 32:
            kept.append(unit)
            index += 1
            continue
        if unit in _SHOWN:
            kept.append(ord(_SHOWN[unit]))
        index += 1 if unit in _ALONE else 8
    return struct.pack(f"<{len(kept)}H", *kept).decode("utf-16-le", "replace")


@dataclass
class _Table:
    level: int
    rows: dict[int, dict[int, list[str]]] = field(default_factory=dict)
    cell: list[str] | None = None
    begun: bool = False


class _Section:
    """One section's records in order. A table's cells are collected until a record of a lower level ends it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._tables: list[_Table] = []

    def read(self, raw: bytes) -> list[str]:
        for tag, level, content in records(raw):
            while self._tables and level <= self._tables[-1].level:
                self._close()
            if tag == _CTRL_HEADER:
                self._control(level, content)
            elif tag == _TABLE and self._tables:
                self._tables[-1].begun = True  # a list before it is the caption
            elif tag == _LIST_HEADER and self._is_cell(level, content):
                column, row = struct.unpack_from("<HH", content, 8)
                self._tables[-1].cell = self._tables[-1].rows.setdefault(row, {}).setdefault(column, [])
            elif tag == _PARA_TEXT:
                self._say(paragraph(content))
            elif tag == _EQUATION and len(content) >= 6:
                (length,) = struct.unpack_from("<H", content, 4)
                self._say(content[6 : 6 + length * 2].decode("utf-16-le", "replace"))
            elif tag == _TEXT_ART:
                self._say(_strings(content, 32))
            elif tag == _FORM_OBJECT:
                self._say(_strings(content, 0))
        while self._tables:
            self._close()
        return self._lines

    def _is_cell(self, level: int, content: bytes) -> bool:
        table = self._tables[-1] if self._tables else None
        return table is not None and table.begun and level == table.level + 1 and len(content) >= 16

    def _control(self, level: int, content: bytes) -> None:
        name = content[3::-1]
        if name == b"tbl ":
            self._tables.append(_Table(level))
        elif name[:1] == b"%" and len(content) >= 11:
            # A field: what stands behind a link, a click-here box, a memo.
            (length,) = struct.unpack_from("<H", content, 9)
            self._say(content[11 : 11 + length * 2].decode("utf-16-le", "replace").strip("\x00"))

    def _say(self, text: str) -> None:
        target = self._lines
        for table in reversed(self._tables):
            if table.cell is not None:
                target = table.cell
                break
        if text.strip():
            target.append(text.rstrip())

    def _close(self) -> None:
        table = self._tables.pop()
        for _, cells in sorted(table.rows.items()):
            shown = [" ".join(" ".join(cells[column]).split()) for column in sorted(cells)]
            self._say("\t".join(shown))


def _strings(content: bytes, start: int) -> str:
    """Counted strings (WORD length, characters) from `start` on, as far as they make sense."""
    found: list[str] = []
    at = start
    while at + 2 <= len(content):
        (length,) = struct.unpack_from("<H", content, at)
        if length == 0 or at + 2 + length * 2 > len(content):
            break
        found.append(content[at + 2 : at + 2 + length * 2].decode("utf-16-le", "replace"))
        at += 2 + length * 2
    return " ".join(found)


def _objects(compound: Compound, reading: Reading, *, compressed: bool) -> list[str]:
    """Pictures and embedded files. Whether a stream is compressed is tried: the flag can differ for each."""
    found: list[str] = []
    for path in sorted(compound.streams):
        if not path.startswith("BinData/"):
            continue
        name = path.removeprefix("BinData/")
        data = compound.read(path)
        if compressed:
            try:
                data = inflate(data, reading.budget)
            except Uninspectable as refused:
                if refused.code == "bomb":
                    raise
        kind = sniff(data)
        if kind in PICTURES:
            found += reading.picture(data, name)
        elif _PICTURE_NAME.fullmatch(name):
            reading.leave(name)
        elif data.startswith(COMPOUND):
            found += read_object(data, name, reading)
        elif data[4:12] == COMPOUND:  # HWP puts the object's length before it
            found += read_object(data[4:], name, reading)
        else:
            found += reading.inner(data, name)
    return found
