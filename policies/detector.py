"""What a detector is and what it says. Scores: block from 0.8, mask from 0.5, warn from 0.35; below that nothing is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from policies.candidates import Shape
from policies.page import Page

Band = Literal["block", "mask", "warn"]

BLOCK: Final = 0.8
MASK: Final = 0.5
WARN: Final = 0.35


class Match(NamedTuple):
    """Something that looks like `kind`. Never the text itself: offsets, the rule that saw it, and why.

    A detector gives offsets in the view it was given; the scanner turns them into offsets of the original text.
    """

    kind: str
    start: int
    end: int
    score: float
    rule: str
    evidence: tuple[str, ...] = ()

    @property
    def band(self) -> Band | None:
        """How sure: the strictest action this score can carry; None where it is too little to say anything."""
        return band(self.score)


def band(score: float) -> Band | None:
    if score >= BLOCK - 1e-9:
        return "block"
    if score >= MASK - 1e-9:
        return "mask"
    return "warn" if score >= WARN - 1e-9 else None


class Detector(Protocol):
    """Finds one kind of sensitive text in a view. Compiled once, holds no state, takes time linear in the text.

    `words` are looked for in one pass with everybody else's (role → words; matched without case); `shapes` are the lengths of
    digit groups to be shown, such as (3, 4, 4). Both are found on the page: `page.words(role)`, `page.numbers(shapes)`.
    A detector that wants only text reads `page.text` and leaves both empty.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def words(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def shapes(self) -> Sequence[tuple[int, ...] | Shape]: ...

    def detect(self, page: Page, /) -> Iterable[Match]: ...
