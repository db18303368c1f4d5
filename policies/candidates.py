"""Every number on a page, found in one pass: groups of digits with what may stand between them.

Most identifiers are groups of digits of known lengths (`010-1234-5678` is (3, 4, 4)). One expression finds the chains of groups;
from every group a walk down a tree of all wanted shapes picks the windows that fit. Detectors only judge what they are shown.
The walk ends after a few groups, so the time is linear in the text, also for a page of nothing but digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

#: Between two groups: at most three marks or spaces, of which one may be a line end. Never a comma: that is for amounts and CSV.
GAP: Final = r"(?:[ \t.\-/_~()]{1,3}+(?:\r?\n[ \t]{0,2}+)?|\r?\n[ \t]{0,2}+)"
#: Shorter chains identify nobody.
FEWEST: Final = 7

_CHAIN: Final = re.compile(rf"(?<![0-9])(?=[0-9](?:{GAP}?[0-9]){{{FEWEST - 1}}})[0-9]++(?:{GAP}[0-9]++)*+")
_GROUP: Final = re.compile(r"[0-9]+")


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


class _Node:
    __slots__ = ("below", "shape")

    def __init__(self) -> None:
        self.below: dict[int, _Node] = {}
        self.shape: tuple[int, ...] | None = None


class Shapes:
    """All shapes anybody wants, as a tree by the length of one group after the other."""

    __slots__ = ("root",)

    def __init__(self, shapes: Iterable[tuple[int, ...]]) -> None:
        self.root = _Node()
        for shape in shapes:
            node = self.root
            for length in shape:
                node = node.below.setdefault(length, _Node())
            node.shape = shape


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
                number = Number(start, end, raw, raw, shape)
                self.chains.append(number)
                node = root.get(end - start)
                if node is not None and node.shape is not None:
                    self.by_shape.setdefault(shape, []).append(number)
            else:
                self._windows(start, raw, root)

    def _windows(self, start: int, raw: str, root: dict[int, _Node]) -> None:
        groups = [(match.start(), match.end(), match[0]) for match in _GROUP.finditer(raw)]
        self.chains.append(
            Number(
                start,
                start + len(raw),
                raw,
                "".join([group[2] for group in groups]),
                tuple([group[1] - group[0] for group in groups]),
            )
        )
        by_shape = self.by_shape
        count = len(groups)
        for first in range(count):
            below = root
            last = first
            while last < count:
                group = groups[last]
                node = below.get(group[1] - group[0])
                if node is None:
                    break
                last += 1
                if node.shape is not None:
                    begin = groups[first][0]
                    window = Number(
                        start + begin,
                        start + group[1],
                        raw[begin : group[1]],
                        "".join([groups[index][2] for index in range(first, last)]),
                        node.shape,
                    )
                    by_shape.setdefault(node.shape, []).append(window)
                below = node.below

    def of(self, shapes: Iterable[tuple[int, ...]]) -> list[Number]:
        found: list[Number] = []
        for shape in shapes:
            windows = self.by_shape.get(shape)
            if windows:
                found += windows
        return found
