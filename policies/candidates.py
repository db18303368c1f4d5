"""Every number on a page, found in one pass: groups of digits with what may stand between them.

Most identifiers are groups of digits of known lengths (`010-1234-5678` is (3, 4, 4)). One expression finds the chains of groups;
from every group a walk down a tree of all wanted shapes picks the windows that fit. Detectors only judge what they are shown.
The walk ends after a few groups, so the time is linear in the text, also for a page of nothing but digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

#: Between two groups: at most three marks or spaces, of which one may be a line end. Never a comma: that is for amounts and CSV.
GAP: Final = r"(?:[ \t.\-/_~()]{1,3}+(?:\r?\n[ \t]{0,2}+)?|\r?\n[ \t]{0,2}+)"
#: Shorter chains identify nobody.
FEWEST: Final = 7

#: (No possessive repetition of groups here or elsewhere: Python before 3.11.5 may lose its place in them.)
#: Begins with a digit and looks back from behind it, so that the search skips to the next digit.
_CHAIN: Final = re.compile(rf"[0-9](?<![0-9][0-9])(?=(?:[0-9]|{GAP}[0-9]){{{FEWEST - 1}}})[0-9]*+(?:{GAP}[0-9]++)*")
_GROUP: Final = re.compile(r"[0-9]+")
_SPLIT: Final = re.compile(r"([0-9]+)")
#: More groups than this with spaces between are a table's.
_SPACED_GROUPS: Final = 5


class Number(NamedTuple):
    """Groups of digits: where they stand, as written, the digits alone, and the lengths of the groups."""

    start: int
    end: int
    raw: str
    digits: str
    shape: tuple[int, ...]

    @property
    def solid(self) -> bool:
        return len(self.shape) == 1

    @property
    def hyphened(self) -> bool:
        """Whether every gap is one hyphen, spaces around it allowed."""
        gaps = _GROUP.split(self.raw)[1:-1]
        return bool(gaps) and all(gap.strip(" ") == "-" for gap in gaps)

    @property
    def gaps(self) -> list[str]:
        return _GROUP.split(self.raw)[1:-1]


class Shape(NamedTuple):
    """Groups that are only wanted when the first digit is one of these: most numbers on a page then cost nothing."""

    groups: tuple[int, ...]
    first: str


def _number(fields: tuple[int, int, str, str, tuple[int, ...]]) -> Number:
    """Thousands are made on a page of digits; this is a third of the time of calling the class."""
    return tuple.__new__(Number, fields)


class _Node:
    __slots__ = ("below", "first", "shape")

    def __init__(self) -> None:
        self.below: dict[int, _Node] = {}
        self.shape: tuple[int, ...] | None = None
        self.first: frozenset[str] = frozenset()


_DIGITS: Final = "0123456789"

#: First digit → how many groups make a shape that is wanted with it, and that shape.
Windows: TypeAlias = Mapping[str, Sequence[tuple[int, tuple[int, ...]]]]
#: How many kinds of chains are remembered, and of how many groups at most.
_KEPT: Final = 1024
_KEPT_GROUPS: Final = 16


class Shapes:
    """All shapes anybody wants, as a tree by the length of one group after the other."""

    __slots__ = ("_begun", "_deepest", "_known", "root")

    def __init__(self, shapes: Iterable[tuple[int, ...] | Shape]) -> None:
        self._known: dict[tuple[int, ...], Sequence[tuple[int, Windows]]] = {}
        self._begun: dict[tuple[int, ...], Windows] = {}
        self._deepest = 1
        self.root = _Node()
        for wanted in shapes:
            groups, first = wanted if isinstance(wanted, Shape) else (wanted, _DIGITS)
            node = self.root
            for length in groups:
                node = node.below.setdefault(length, _Node())
            node.shape = groups
            node.first |= frozenset(first)
            self._deepest = max(self._deepest, len(groups))

    def windows(self, lengths: tuple[int, ...]) -> Sequence[tuple[int, Windows]]:
        """Which groups of a chain begin a wanted shape. Pages repeat a few kinds of chains, so the answers are kept."""
        known = self._known.get(lengths)
        if known is None:
            deepest = self._deepest
            known = []
            windows: Windows = {}
            last: tuple[int, ...] = ()
            for first in range(len(lengths)):
                ahead = lengths[first : first + deepest]
                if ahead != last:  # a page of numbers says the same over and over
                    last, windows = ahead, self._from(ahead)
                if windows:
                    known.append((first, windows))
            if len(self._known) < _KEPT and len(lengths) <= _KEPT_GROUPS:
                self._known[lengths] = known
        return known

    def _from(self, lengths: tuple[int, ...]) -> Windows:
        """The shapes that begin with the first of these groups."""
        known = self._begun.get(lengths)
        if known is None:
            wanted: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
            below = self.root.below
            for count, length in enumerate(lengths, 1):
                node = below.get(length)
                if node is None:
                    break
                if node.shape is not None:
                    for digit in node.first:
                        wanted.setdefault(digit, []).append((count, node.shape))
                below = node.below
            known = {digit: tuple(ends) for digit, ends in wanted.items()}
            if len(self._begun) < _KEPT:
                self._begun[lengths] = known
        return known


class Numbers:
    """What one pass found: the windows by shape, in the order of the text, and the whole chains."""

    __slots__ = ("by_shape", "chains")

    def __init__(self, text: str, shapes: Shapes) -> None:
        self.by_shape: dict[tuple[int, ...], list[Number]] = {}
        self.chains: list[Number] = []
        root = shapes.root.below
        for chain in _CHAIN.finditer(text):
            start, end = chain.span()
            raw = chain[0]
            if raw.isdigit():
                shape = (end - start,)
                number = _number((start, end, raw, raw, shape))
                self.chains.append(number)
                node = root.get(end - start)
                if node is not None and node.shape is not None and raw[0] in node.first:
                    self.by_shape.setdefault(shape, []).append(number)
            else:
                self._windows(start, raw, shapes)

    def _windows(self, start: int, raw: str, shapes: Shapes) -> None:
        pieces = _SPLIT.split(raw)  # "", digits, gap, digits, …, ""
        groups = pieces[1::2]
        lengths = tuple(map(len, groups))
        chain = _number((start, start + len(raw), raw, "".join(groups), lengths))
        self.chains.append(chain)
        by_shape = self.by_shape
        count = len(groups)
        places: list[int] | None = None
        for first, windows in shapes.windows(lengths):
            for size, shape in windows.get(groups[first][0], ()):
                if size == count:
                    window = chain
                elif not first and size == 1:
                    window = _number((start, start + lengths[0], groups[0], groups[0], shape))
                else:
                    if places is None:
                        places = list(accumulate(map(len, pieces), initial=start))
                    place, end = places[2 * first + 1], places[2 * (first + size)]
                    digits = "".join(groups[first : first + size])
                    window = _number((place, end, raw[place - start : end - start], digits, shape))
                if shape in by_shape:
                    by_shape[shape].append(window)
                else:
                    by_shape[shape] = [window]

    def of(self, shapes: Iterable[tuple[int, ...] | Shape]) -> list[Number]:
        found: list[Number] = []
        by_shape = self.by_shape
        if not by_shape:
            return found
        for shape in shapes:
            windows = by_shape.get(shape.groups if isinstance(shape, Shape) else shape)
            if windows:
                found += windows
        return found


def stretches(chain: Number, fewest: int, most: int) -> Iterator[Number]:
    """The parts of a chain that could be one number of so many digits, however grouped: those without a space, then all of it.

    For kinds that are believed only beside a label, and so need no shape.
    """
    if chain.solid:
        if fewest <= len(chain.digits) <= most:
            yield chain
        return
    pieces = _SPLIT.split(chain.raw)
    places = list(accumulate(map(len, pieces), initial=chain.start))
    first, count, spaced = 1, len(pieces) - 1, 0
    for index in range(1, count, 2):
        gap = pieces[index + 1]
        if index + 2 > count or not gap or gap.isspace() or "\n" in gap:
            spaced += index + 2 <= count
            if index - first <= 2 * most:
                yield from _stretch(pieces, places, slice(first, index + 1), range(fewest, most + 1))
            first = index + 2
    if spaced and len(chain.shape) <= _SPACED_GROUPS:
        yield from _stretch(pieces, places, slice(1, count), range(fewest, most + 1))


def _stretch(pieces: list[str], places: list[int], of: slice, lengths: range) -> Iterator[Number]:
    inside = pieces[of]
    groups = inside[::2]
    digits = "".join(groups)
    if len(digits) in lengths:
        start = places[of.start]
        raw = "".join(inside)
        yield Number(start, start + len(raw), raw, digits, tuple(map(len, groups)))
