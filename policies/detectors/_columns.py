"""The cells of a table's column, for kinds that have no shape to be recognised by: names, passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from policies.page import Page

#: Lines below a head and words that may be heads that are looked at; and how wide a line a person still made.
_ROWS: Final = 5000
_MARKS: Final = ("|", "\t", ",", ";", " / ")
_CELL_ENDS: Final = re.compile(r"[ *_\"'`:]{0,6}(?:\([^()\n]{0,20}\))?[ *_\"'`:\r]{0,6}(?:[|\t,;\n]| /)")
_NOTE: Final = re.compile(r" ?\([^()]{0,20}\)$")
_HEADS: Final = 4000
_WIDEST: Final = 4000
_PADDING: Final = " *_#\"'`\r\t:"
#: What stands between two blanks and the next two.
_PIECES: Final = re.compile(r"[^ \n]+(?: [^ \n]+)*")
_RULE: Final = re.compile(r"[\s|:+=-]*")


def cells(page: Page, role: str, heads: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the cells stand (start, end, without blanks and quotes) below a cell that ends with one of `heads`.

    참가자 이름 and 성명(한글) end with 이름 and 성명. A table is lines one below another with the same mark (bar, tab, comma,
    semicolon, spaced slash) between their cells.
    """
    text = page.text
    if "\n" not in text:
        return
    known: tuple[str, ...] | None = None
    done: set[tuple[int, int]] = set()
    for word in page.words(role)[:_HEADS]:
        if _CELL_ENDS.match(text, word.end) is None:
            continue
        head = _head(page, word.start, word.end)
        if head is None:
            continue
        line, mark, column, name = head
        if known is None:
            known = tuple({head.lower() for head in heads})
        if (line, column) in done or not name.endswith(known):
            continue
        done.add((line, column))
        yield from _below(text, line, mark, column)


def aligned(page: Page, role: str) -> Iterator[tuple[int, int]]:
    """The cells below a head in a table whose columns are apart by two blanks or more, as programs print them."""
    text = page.text
    if "\n" not in text or "  " not in text:
        return
    done: set[int] = set()
    below = 0  # what stands under a head is no head itself: no line is read for two tables
    for word in page.words(role)[:_HEADS]:
        if text[word.end : word.end + 2] != "  " and text[word.end : word.end + 1] != "\n":
            continue
        line = text.rfind("\n", max(0, word.start - _WIDEST), word.start) + 1
        stop = text.find("\n", word.end, word.end + _WIDEST)
        if line in done or line < below or stop < 0:
            continue
        heads = _PIECES.findall(text, line, stop)
        column = len(_PIECES.findall(text, line, word.end)) - 1
        if len(heads) < 2 or any(mark in text[line:stop] for mark in _MARKS[:2]):
            continue
        done.add(line)
        for _ in range(_ROWS):
            begin, stop = stop + 1, text.find("\n", stop + 1, stop + 1 + _WIDEST)
            stop = min(len(text), begin + _WIDEST) if stop < 0 else stop
            below = stop
            pieces = list(_PIECES.finditer(text, begin, stop))
            if len(pieces) != len(heads):
                if _RULE.fullmatch(text, begin, stop) is None or begin >= stop:
                    break
            else:
                yield pieces[column].span()
            if stop >= len(text):
                break


def _head(page: Page, start: int, end: int) -> tuple[int, str, int, str] | None:
    """(start of its line, mark, number of the column, what the cell says) of the cell a word stands in."""
    text = page.text
    line = text.rfind("\n", max(0, start - _WIDEST), start) + 1
    if not line and start > _WIDEST:
        return None
    stop = text.find("\n", end, end + _WIDEST)
    if stop < 0:
        return None
    for mark in _MARKS:
        if text.find(mark, line, stop) >= 0:
            break
    else:
        return None
    left = text.rfind(mark, line, start)
    left = line if left < 0 else left + len(mark)
    right = text.find(mark, end, stop)
    name = _NOTE.sub("", page.lower[left : stop if right < 0 else right].strip(_PADDING))
    return line, mark, text.count(mark, line, start), name


def _below(text: str, line: int, mark: str, column: int) -> Iterator[tuple[int, int]]:
    at = text.find("\n", line) + 1
    for _ in range(_ROWS):
        if not at or at >= len(text):
            return
        stop = text.find("\n", at)
        stop = len(text) if stop < 0 else stop
        if text.find(mark, at, min(stop, at + _WIDEST)) < 0:
            return
        if _RULE.fullmatch(text, at, stop) is None:
            start = at
            for _ in range(column):
                start = text.find(mark, start, stop)
                if start < 0:
                    break
                start += len(mark)
            else:
                end = text.find(mark, start, stop)
                end = stop if end < 0 else end
                while start < end and text[start] in _PADDING:
                    start += 1
                while end > start and text[end - 1] in _PADDING:
                    end -= 1
                if start < end:
                    yield start, end
        at = stop + 1
