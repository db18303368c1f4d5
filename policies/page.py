"""A view with what all detectors share, each found once and only when somebody asks: words, numbers, tables."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeVar

from ahocorasick_rs import AhoCorasick, Implementation

from policies.candidates import Number, Numbers, Shape, Shapes
from policies.normalise import View, folded
from policies.ruleset import Rules
from policies.tables import Tables

_Found = TypeVar("_Found")

#: How far left of a value, on its line, the word stands that says what it is.
REACH: Final = 20
#: A word that says what a number is *not* must be nearer.
NEGATIVE_REACH: Final = 12


def listed(words: str) -> tuple[str, ...]:
    """A list of words as a file writes it: with commas."""
    return tuple(word for part in words.split(",") if (word := part.strip()))


class Word(NamedTuple):
    """Where a wanted word stands in the view."""

    start: int
    end: int


#: The same for a whole list at a time.
_AS_WORD: Final[Callable[[type[Word], tuple[int, int]], Word]] = tuple.__new__


def _word(fields: tuple[int, int]) -> Word:
    """As `Word(…)`, in a third of the time."""
    return tuple.__new__(Word, fields)


class Words:
    """The hits of one role, in the order of their ends."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Word]:
        return map(_AS_WORD, repeat(Word), zip(self.starts, self.ends, strict=True))


class Lexicon:
    """Every word any detector wants, compiled into one automaton that reads a text once. Matches without case."""

    def __init__(self, wanted: Iterable[Mapping[str, Sequence[str]]]) -> None:
        roles: dict[str, set[str]] = {}
        for mapping in wanted:
            for role, words in mapping.items():
                for word in words:
                    roles.setdefault(folded(word), set()).add(role)
        self._roles = tuple(tuple(sorted(of)) for word, of in roles.items() if word)
        self.size = len(self._roles)
        # The larger of the automata: a few megabytes once, and two thirds of the time with every text.
        known = [word for word in roles if word]
        self._automaton = AhoCorasick(known, implementation=Implementation.DFA) if self.size else None

    def find(self, text: str) -> dict[str, Words]:
        """Role → its hits. `text` is folded already."""
        found: dict[str, Words] = {}
        if self._automaton is None or not text:
            return found
        roles_of = self._roles
        for index, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            for role in roles_of[index]:
                words = found.get(role)
                if words is None:
                    words = found[role] = Words()
                words.ends.append(end)
                words.starts.append(start)
        return found


class Page(View):
    """What a detector is given. Lives for one scan of one view."""

    __slots__ = (
        "_made",
        "_numbers",
        "_shapes",
        "_starts_of_chains",
        "_tables",
        "_words",
        "rules",
        "today",
    )

    def __init__(self, view: View, lexicon: Lexicon, shapes: Shapes, rules: Rules, today: date) -> None:
        super().__init__(view.original, view.text, view.kind, view._starts, view._ends)
        self._lower = view._lower
        self._numeric = view._numeric
        self.rules = rules
        self.today = today
        self._made: dict[str, Any] = {}
        self._shapes = shapes
        self._words = lexicon.find(self.lower)
        self._numbers: Numbers | None = None
        self._tables: Tables | None = None
        self._starts_of_chains: list[int] | None = None

    def once(self, name: str, make: Callable[[Page], _Found]) -> _Found:
        """What `make` finds on this page, worked out by the first detector that asks for it by this name."""
        if name not in self._made:
            self._made[name] = make(self)
        found: _Found = self._made[name]
        return found

    def has(self, role: str) -> bool:
        """Whether any word of this role is anywhere on the page."""
        return role in self._words

    def present(self, roles: Iterable[str]) -> list[str]:
        """Those of the roles that have a word anywhere on the page."""
        return [role for role in roles if role in self._words]

    def words(self, role: str) -> Sequence[Word]:
        """Every word of a role, in the order of their ends."""
        found = self._words.get(role)
        return () if found is None else list(found)

    def labels(self, role: str) -> list[Word]:
        """The words of a role that a value may follow: of words that overlap or stand side by side, only the last.

        주민, 주민등록 and 주민등록번호 are one label, and a thousand labels in a row are none but the last.
        """
        found = self._words.get(role)
        if found is None:
            return []
        starts, ends = found.starts, found.ends
        kept: list[Word] = []
        for start, end, following in zip(starts, ends, [*starts[1:], ends[-1] + 2], strict=True):
            if following > end + 1:
                kept.append(_word((start, end)))
        return kept

    def _found(self) -> Numbers:
        if self._numbers is None:
            self._numbers = Numbers(self.text if self.numeric else "", self._shapes)
        return self._numbers

    def numbers(self, shapes: Iterable[tuple[int, ...] | Shape]) -> list[Number]:
        """Groups of digits in these shapes (of those that detectors declare); by shape, then in the order of the text."""
        return self._found().of(shapes)

    @property
    def chains(self) -> list[Number]:
        """Every chain of groups of digits with seven digits or more, in the order of the text, however they are grouped."""
        return self._found().chains

    def neighbours(self, number: Number) -> bool:
        """Whether other groups of digits stand right beside this one, as in a table of numbers."""
        index = bisect_right(self._chain_starts(), number.start) - 1
        chain = self.chains[index]
        return len(chain.digits) > len(number.digits)

    def embedded(self, number: Number) -> bool:
        """Whether it is only the digits of something longer: of a token with letters (a hash, an id), or after a point."""
        text = self.text
        before = text[number.start - 1 : number.start]
        if before == "." and text[number.start - 2 : number.start - 1].isdigit():
            return True
        after = text[number.end : number.end + 1]
        if after.isascii() and (after.isalpha() or after == "_"):
            return True
        if not before.isascii() or not (before.isalpha() or before == "_"):
            return False
        at = number.start - 1
        while at >= 0 and number.start - at <= REACH and _is_letter(text[at]):
            at -= 1
        return at >= 0 and (text[at].isdigit() or text[at] in "-+/" or _is_letter(text[at]))

    def nearest(self, roles: Iterable[str], start: int) -> str | None:
        """Of these roles the one whose word stands nearest to the left of `start`; the longer word where two end together."""
        best: tuple[int, int] | None = None
        nearest = None
        for role in roles:
            if role not in self._words:
                continue
            word = self.before(role, start)
            if word is not None and (best is None or (word.end, -word.start) > best):
                best, nearest = (word.end, -word.start), role
        return nearest

    def _chain_starts(self) -> list[int]:
        if self._starts_of_chains is None:
            self._starts_of_chains = [chain.start for chain in self.chains]
        return self._starts_of_chains

    def before(self, role: str, start: int, reach: int = REACH) -> Word | None:
        """The nearest word of a role that ends at most `reach` characters left of `start` on the same line, or alone on the
        line above."""
        found = self._words.get(role)
        if found is None:
            return None
        ends = found.ends
        index = bisect_right(ends, start) - 1
        if index < 0:
            return None
        end = ends[index]
        if start - end > reach:
            return None
        starts = found.starts
        while index and ends[index - 1] == end and starts[index - 1] < starts[index]:
            index -= 1  # of words that end together (주민번호, 번호) the longest
        if self.text.find("\n", end, start) >= 0 and not _only_a_line_end(self.text[end:start]):
            return None
        return _word((starts[index], end))

    def after(self, role: str, end: int, reach: int = NEGATIVE_REACH) -> Word | None:
        """The nearest word of a role that starts at most `reach` characters right of `end` on the same line."""
        found = self._words.get(role)
        if found is None:
            return None
        index = bisect_left(found.ends, end)
        while index < len(found.ends) and found.ends[index] <= end + reach + 24:
            start = found.starts[index]
            if end <= start <= end + reach:
                return None if "\n" in self.text[end:start] else Word(start, found.ends[index])
            index += 1
        return None

    def heads(self, role: str, start: int) -> bool:
        """Whether a word of this role heads the table column that `start` is in."""
        found = self._words.get(role)
        if found is None:
            return False
        if self._tables is None:
            self._tables = Tables(self.text)
        for start_of, end_of in self._tables.heads(start):
            index = bisect_right(found.ends, start_of)
            while index < len(found.ends) and found.ends[index] <= end_of:
                if found.starts[index] >= start_of:
                    return True
                index += 1
        return False


def _is_letter(char: str) -> bool:
    return char.isascii() and (char.isalpha() or char == "_")


def _only_a_line_end(gap: str) -> bool:
    return gap.count("\n") == 1 and not any(char.isalnum() for char in gap)
