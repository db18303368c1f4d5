"""Tables in plain text: which cells head the column that a position is in. Markdown, tab, comma and semicolon."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

#: Beyond this, a line is data in one piece and no table a person made.
_WIDEST: Final = 4000
_COLUMNS: Final = 64
#: A caption with a comma in it may look like a table's first line, and some tables have two lines of heads.
_HEAD_LINES: Final = 3

_QUOTED: Final = re.compile(r'"[^"\n]*"')
_BREAK: Final = re.compile(r"\n")


class Tables:
    """The lines of one text and the tables among them. Built in one pass; answers are remembered per column."""

    __slots__ = ("_cells", "_first", "_lines", "_marks", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *[match.end() for match in _BREAK.finditer(text)]]
        self._marks: list[str] = []
        self._first: list[int] = []
        self._cells: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
        before = ""
        first = 0
        lines = self._lines
        for index, start in enumerate(lines):
            stop = lines[index + 1] if index + 1 < len(lines) else len(text)
            mark = self._mark(start, stop)
            if not mark or mark != before:
                first = index
            before = mark
            self._marks.append(mark)
            self._first.append(first)

    def _mark(self, start: int, stop: int) -> str:
        find = self._text.find
        for mark in "|\t,;":
            if find(mark, start, stop) >= 0:
                return mark
        return ""

    def heads(self, position: int) -> tuple[tuple[int, int], ...]:
        """(start, end) of the cells above `position` at the top of its table; none outside a table or in its first line."""
        index = bisect_right(self._lines, position) - 1
        mark = self._marks[index]
        first = self._first[index]
        start = self._lines[index]
        if not mark or index == first or position - start > _WIDEST:
            return ()
        column = self._column(start, position, mark)
        if column > _COLUMNS:
            return ()
        heads = min(first + _HEAD_LINES, index)
        key = (first * 4 + heads - first, column)
        if key not in self._cells:
            self._cells[key] = tuple(
                cell
                for line in range(first, heads)
                if (cell := self._cell(self._lines[line], column, mark)) is not None
            )
        return self._cells[key]

    def _column(self, start: int, position: int, mark: str) -> int:
        if self._text.find('"', start, position) < 0:
            return self._text.count(mark, start, position)
        return _QUOTED.sub("", self._text[start:position]).count(mark)

    def _cell(self, start: int, column: int, mark: str) -> tuple[int, int] | None:
        text = self._text
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        line = text[start:stop]
        if '"' in line:
            line = _QUOTED.sub(lambda quoted: quoted[0].replace(mark, " "), line)
        at = 0
        for _ in range(column):
            at = line.find(mark, at) + 1
            if not at:
                return None
        end = line.find(mark, at)
        return start + at, (stop if end < 0 else start + end)
