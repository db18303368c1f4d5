"""The cells of an XLSX: each row one line, cells parted by tabs under their columns, numbers exactly as they are stored.

A number format that is nothing but zeros and hyphens (`000000-0000000`, how Korean forms keep a 주민등록번호) is applied, for
without it the leading zeros of a number are lost; a date is written as the day it is. No other format is: the stored digits
are what counts. Hidden sheets, rows and columns are cells like all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from gateway.attachments.extracted import Bounds, Uninspectable
from gateway.attachments.reading import section
from gateway.attachments.sweep import Sweep, local

#: Built-in formats that are dates (ECMA-376 part 1, 18.8.30), the Korean ones among them.
_DATES: Final = frozenset({14, 15, 16, 17, 22, *range(27, 37), *range(50, 59)})
_ZEROS = re.compile(r"[0\- ]*0[0\- ]*")  # a point would be where the fraction begins
_DATE_LETTERS = re.compile(r"[yd]|m{3,}", re.I)
_QUOTED = re.compile(r'"([^"]*)"|\\(.)|\[[^\]]*\]|_.|\*.')
_REFERENCE = re.compile(r"([A-Z]{1,3})\d+")
_PAGE_CODES = re.compile(r'&(?:[LCRPNDTFAGZBIUESXYOH]|"[^"]*"|K[0-9A-F+\-]{5,6}|\d{1,3})')
_SHEET = re.compile(r"xl/(worksheets|dialogsheets|chartsheets|macrosheets)/[^/]+\.xml", re.I)

#: More empty cells than this between two filled ones are drawn as one tab: a sheet has 16,384 columns.
_WIDEST_GAP: Final = 64


class Workbook:
    """Collects the parts that cells are made of, then puts them together."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._strings: list[str] = []
        self._formats: list[str | None] = []
        self._sheets: dict[str, bytes] = {}
        self._titles: _Titles | None = None
        self._targets: dict[str, str] = {}

    def takes(self, name: str, data: bytes) -> bool:
        """Whether the part is one of ours; it is kept."""
        low = name.lower()
        if _SHEET.fullmatch(name):
            self._sheets[name] = data
        elif low == "xl/sharedstrings.xml":
            reader = _Strings()
            reader.read(data)
            self._strings += reader.found
        elif low == "xl/styles.xml":
            styles = _Styles()
            styles.read(data)
            self._formats = styles.formats()
        elif low == "xl/workbook.xml":
            self._titles = _Titles()
            self._titles.read(data)
        elif low == "xl/_rels/workbook.xml.rels":
            targets = _Targets()
            targets.read(data)
            self._targets = targets.found
        else:
            return False
        return True

    def lines(self) -> list[str]:
        """Sheet by sheet in the workbook's order, then what no sheet shows."""
        found: list[str] = []
        used: set[int] = set()
        titles = self._titles or _Titles()
        left = dict(self._sheets)
        for title, state, relation in titles.sheets:
            path = self._targets.get(relation, "")
            data = left.pop(path, None)
            hidden = "" if state == "visible" else " (숨김)"
            found.append(f"[시트 {title}{hidden}]")
            if data is not None:
                found += self._sheet(data, used, titles.date1904)
        for path, data in left.items():
            found += section(path, self._sheet(data, used, titles.date1904))
        found += section("이름과 속성", titles.lines)
        # Excel leaves strings of deleted cells behind; whoever opens the file with another program sees them.
        orphans = [text for index, text in enumerate(self._strings) if index not in used]
        return found + section("셀에 없는 문자열", orphans)

    def _sheet(self, data: bytes, used: set[int], date1904: bool) -> list[str]:
        if len(data) > self._bounds.xml:
            raise Uninspectable("bomb")
        return _Sheet(self._strings, self._formats, used, date1904=date1904).read(data)


class _Strings(Sweep):
    """Shared strings: the runs of each joined, phonetic hints included."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._now: list[str] | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        tag = local(name)
        if tag == "si":
            self._now = []
        elif tag == "rPh" and self._now is not None:
            self._now.append(" ")
        self._path.append(tag)

    def end(self, name: str) -> None:
        if self._path.pop() == "si" and self._now is not None:
            self.found.append("".join(self._now))
            self._now = None

    def data(self, text: str) -> None:
        if self._now is not None and self._path[-1] == "t":
            self._now.append(text)


class _Styles(Sweep):
    """Which number format each cell style has."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: dict[int, str] = {}
        self._cells: list[int] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        tag = local(name)
        if tag == "numFmt":
            self._codes[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
        elif tag == "xf" and self._path and self._path[-1] == "cellXfs":
            self._cells.append(_number(attributes.get("numFmtId")))
        self._path.append(tag)

    def end(self, name: str) -> None:
        self._path.pop()

    def data(self, text: str) -> None:
        """Styles say nothing."""

    def formats(self) -> list[str | None]:
        """Per style: `date`, a pattern of zeros, or None for digits as they are."""
        return [self._format(number) for number in self._cells]

    def _format(self, number: int) -> str | None:
        code = self._codes.get(number)
        if code is None:
            return "date" if number in _DATES else None
        plain = _QUOTED.sub(lambda found: found[1] or found[2] or "", code.split(";")[0])
        if _ZEROS.fullmatch(plain):
            return plain if len(plain) > 1 else None
        return "date" if _DATE_LETTERS.search(_QUOTED.sub("", code.split(";")[0])) and "0" not in code else None


class _Titles(Sweep):
    """Sheets in order with their states; names, and what else the workbook says, as lines."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[tuple[str, str, str]] = []
        self.date1904 = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        tag = local(name)
        if tag == "sheet":
            relation = next((value for key, value in attributes.items() if key.endswith(":id")), "")
            self.sheets.append((attributes.get("name", ""), attributes.get("state", "visible"), relation))
            attributes = {}  # its name becomes a heading
        elif tag == "workbookPr":
            self.date1904 = attributes.get("date1904") in {"1", "true"}
        super().start(name, attributes)


class _Targets(Sweep):
    """Relation → path in the package."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if local(name) == "Relationship":
            target = attributes.get("Target", "")
            path = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            self.found[attributes.get("Id", "")] = path
        self._path.append(local(name))


class _Sheet(Sweep):
    """One sheet: its cells as rows, and whatever else it says (page headers, hints of validations) as lines after them."""

    def __init__(self, strings: list[str], formats: list[str | None], used: set[int], *, date1904: bool) -> None:
        super().__init__()
        self._strings = strings
        self._formats = formats
        self._used = used
        self._epoch = datetime(1904, 1, 1) if date1904 else datetime(1899, 12, 30)  # noqa: DTZ001 – a day, of no zone
        self._row: list[str] = []
        self._filled = 0
        self._kind = ""
        self._style = 0
        self._column = 0
        self._reference = ""
        self._value: list[str] = []
        self._formula: list[str] = []
        self._formulas: list[str] = []
        self._in_row = False

    def read(self, data: bytes) -> list[str]:
        lines = super().read(data)
        return lines + section("수식", self._formulas)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        tag = local(name)
        if tag == "row":
            self._in_row, self._row, self._filled, self._column = True, [], 0, 0
        elif tag == "c" and self._in_row:
            self._reference = attributes.get("r", "")
            self._column = _column(self._reference) or self._column + 1
            self._kind = attributes.get("t", "n")
            self._style = _number(attributes.get("s"))
            self._value.clear()
            self._formula.clear()
        if self._in_row:
            self._path.append(tag)
        else:
            super().start(name, attributes)

    def end(self, name: str) -> None:
        if not self._in_row:
            super().end(name)
            return
        tag = self._path.pop()
        if tag == "c":
            self._cell()
        elif tag == "row":
            self._in_row = False
            self.emit("".join(self._row))

    def data(self, text: str) -> None:
        if not self._in_row:
            page = self._path and self._path[-1] in _PAGE_PARTS
            super().data(_PAGE_CODES.sub(" ", text) if page else text)
        elif self._path[-1] in {"v", "t"}:
            self._value.append(text)
        elif self._path[-1] == "f":
            self._formula.append(text)

    def _cell(self) -> None:
        stored = "".join(self._value)
        formula = "".join(self._formula)
        # Only formulas that carry text of their own; the others are arithmetic.
        if re.search(r'"|\d{6}', formula):
            self._formulas.append(f"{self._reference} ={formula}")
        if self._kind == "s":
            index = _number(stored)
            known = stored.strip().isdigit() and index < len(self._strings)
            shown = self._strings[index] if known else stored
            self._used.add(index)
        elif self._kind in {"n", ""}:
            shown = self._shown(stored)
        elif self._kind == "b":
            shown = {"1": "TRUE", "0": "FALSE"}.get(stored, stored)
        else:
            shown = stored
        shown = " ".join(shown.split()) if "\n" in shown or "\t" in shown else shown
        if not shown:
            return
        gap = self._column - 1 - self._filled
        if (self._row and gap < 1) or gap > _WIDEST_GAP:
            gap = 1
        self._row.append("\t" * max(0, gap) + shown)
        self._filled = self._column - 1

    def _shown(self, stored: str) -> str:
        digits = plain_number(stored)
        format_ = self._formats[self._style] if self._style < len(self._formats) else None
        if format_ == "date":
            return self._day(digits) or digits
        if format_ is not None and digits.isdigit() and len(digits) <= format_.count("0"):
            left = iter(digits.zfill(format_.count("0")))
            return "".join(next(left) if mark == "0" else mark for mark in format_)
        return digits

    def _day(self, digits: str) -> str | None:
        try:
            days = Decimal(digits)
            if not 0 < days < 2_958_466:
                return None
            at = self._epoch + timedelta(days=float(days))
        except (InvalidOperation, OverflowError):
            return None
        return at.strftime("%Y-%m-%d" if days == int(days) else "%Y-%m-%d %H:%M")


_PAGE_PARTS = frozenset({"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"})


def plain_number(stored: str) -> str:
    """`8.503122345678E12` → `8503122345678`: every digit that is stored, and no other."""
    if "e" not in stored.lower():
        return stored
    try:
        value = Decimal(stored)
    except InvalidOperation:
        return stored
    return f"{value:f}" if -30 < value.adjusted() < 30 else stored


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _column(reference: str) -> int:
    """`AB12` → 28; 0 where there is no reference."""
    match = _REFERENCE.fullmatch(reference)
    number = 0
    for letter in match[1] if match else "":
        number = number * 26 + ord(letter) - 64
    return number
