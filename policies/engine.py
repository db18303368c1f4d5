"""The scanner: every detector over every reading of a text, overlaps resolved, nothing of the text kept.

    text ─ normalise ─▶ main view ─┬─ detectors ─▶ matches ─▶ original offsets ─┐
                                   └─ alternatives (only if triggered) ─▶ … ────┴─▶ resolve ─▶ Match…

Time is linear in the text, whatever it holds. An error in a detector is the caller's to see: text does not leave on an error.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from operator import attrgetter
from threading import Lock
from typing import Final

from policies.alternatives import alternatives
from policies.candidates import Shapes
from policies.detector import BLOCK, MASK, WARN, Detector, Match
from policies.detectors import DETECTORS
from policies.normalise import View, normalise
from policies.page import Lexicon, Page, listed
from policies.ruleset import Rules

#: Counted up by hand whenever what the code finds changes, so that stored decisions say what they were made with.
CODE_VERSION: Final = "5"

#: Of two findings that overlap, the riskier kind stays when neither is surer or longer.
RISK: Final = listed(
    "SECRET, RRN, FRN, PASSPORT, DRIVER_LICENSE, CLASSMARK, CARD, ACCOUNT, PHONE, EMAIL, NHIS, ADDRESS, PERSON, "
    "PLATE, BIRTHDATE, BRN, CORP, IP, KEYWORD"
)

#: How much of the end of one message and of the start of the next is read together.
EDGE: Final = 64
#: How far into the next message a label may be followed by its value.
LABEL_EDGE: Final = 24
_APART: Final = "\n\n\n"

#: What is found in a decoded reading is only ever a warning.
_DECODED_AT_MOST: Final = MASK - 0.05
_LEAST: Final = WARN - 1e-9

_KOREA: Final = timezone(timedelta(hours=9))


def today_in_korea() -> date:
    return datetime.now(_KOREA).date()


@dataclass(frozen=True, slots=True)
class Part:
    """One string that would leave. `pointer` says where it stands in the request, `role` whose it is."""

    pointer: str
    text: str
    role: str = "user"
    newest: bool = True


@dataclass(frozen=True, slots=True)
class Located:
    """A match in a part: its place in the sequence given, its pointer, and offsets in its own text."""

    part: int
    pointer: str
    match: Match


class Scanner:
    """Compiled once, used by many threads; `version` changes with the rules and with the code."""

    def __init__(
        self,
        rules: Rules | None = None,
        detectors: Sequence[Detector] = DETECTORS,
        *,
        today: Callable[[], date] = today_in_korea,
        remembers: int = 4096,
    ) -> None:
        self.rules = Rules() if rules is None else rules
        self.detectors = tuple(detector for detector in detectors if detector.name not in self.rules.off)
        self._today = today
        self._lexicon = Lexicon(
            [*(d.words for d in self.detectors), {f"dictionary:{d.name}": d.words for d in self.rules.dictionaries}]
        )
        self._shapes = Shapes(shape for d in self.detectors for shape in d.shapes)
        names = ",".join(detector.name for detector in self.detectors)
        stamp = f"{CODE_VERSION}|{self.rules.fingerprint}|{names}"
        self.version = hashlib.sha256(stamp.encode()).hexdigest()[:12]
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, tuple[Match, ...]] = OrderedDict()
        self._remembers = remembers
        self._lock = Lock()

    def scan(self, text: str) -> tuple[Match, ...]:
        """What stands in `text`, in order, offsets in code points of `text`, none overlapping another."""
        today = self._today()
        data = text.encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(data, key=self._key, salt=today.isoformat().encode(), digest_size=16).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        found = self._read(text, today)
        with self._lock:
            self._known[key] = found
            while len(self._known) > self._remembers:
                self._known.popitem(last=False)
        return found

    def scan_parts(self, parts: Sequence[Part]) -> tuple[Located, ...]:
        """Every part by itself, and the ends of consecutive parts of a role together: a value may be split over them.

        A value over two parts is reported in both, each with its own piece.
        """
        found = [
            Located(index, part.pointer, match) for index, part in enumerate(parts) for match in self.scan(part.text)
        ]
        roles: dict[str, list[int]] = {}
        for index, part in enumerate(parts):
            if part.text:
                roles.setdefault(part.role, []).append(index)
        taken: dict[int, list[Match]] = {}
        for located in found:
            taken.setdefault(located.part, []).append(located.match)
        for indexes in roles.values():
            if len(indexes) > 1:
                for located in self._joined(parts, indexes):
                    have = taken.setdefault(located.part, [])
                    if not any(_covers(match, located.match) for match in have):
                        have.append(located.match)
        return tuple(
            Located(index, parts[index].pointer, match) for index in sorted(taken) for match in resolve(taken[index])
        )

    def _joined(self, parts: Sequence[Part], indexes: Sequence[int]) -> Iterable[Located]:
        """The edges of the parts, one after the other, scanned as one text."""
        pieces: list[str] = []
        edges: list[tuple[int, int, int, int]] = []  # start and end in the joined text, part, offset in the part
        at = 0
        for index in indexes:
            text = parts[index].text
            ranges = [(0, len(text))] if len(text) <= 2 * EDGE else [(0, EDGE), (len(text) - EDGE, len(text))]
            for number, (start, end) in enumerate(ranges):
                if number:
                    pieces.append(_APART)
                    at += len(_APART)
                pieces.append(text[start:end])
                edges.append((at, at + end - start, index, start))
                at += end - start
        for match in self.scan("".join(pieces)):
            touched = [edge for edge in edges if match.start < edge[1] and match.end > edge[0]]
            first = touched[0]
            led = match.start - first[0] <= LABEL_EDGE and first[3] == 0 and "label" in match.evidence
            if len(touched) > 1 or led:
                for start, end, index, offset in touched:
                    begin = max(match.start, start) - start + offset
                    stop = min(match.end, end) - start + offset
                    rule = f"{match.rule}+joined"
                    yield Located(index, parts[index].pointer, match._replace(start=begin, end=stop, rule=rule))

    def _read(self, text: str, today: date) -> tuple[Match, ...]:
        page = self._page(normalise(text), today)
        found = self._view(page)
        for other in alternatives(page):
            found += self._view(self._page(other, today))
        return resolve(found)

    def _page(self, view: View, today: date) -> Page:
        return Page(view, self._lexicon, self._shapes, self.rules, today)

    def _view(self, view: Page) -> list[Match]:
        found: list[Match] = []
        as_given = view.is_plain
        kind = view.kind
        again = "" if kind in {"literal", "normal"} else f"+{kind}"
        at_most = _DECODED_AT_MOST if kind == "decoded" else 1.0
        for detector in self.detectors:
            for match in detector.detect(view):
                if match.score < _LEAST:
                    continue
                if as_given and not again:
                    found.append(match)
                else:
                    start, end = view.span(match.start, match.end)
                    score = min(match.score, at_most)
                    found.append(Match(match.kind, start, end, score, match.rule + again, match.evidence))
        return found


def _covers(match: Match, other: Match) -> bool:
    return match.start <= other.start and match.end >= other.end and match.score >= other.score


def _order(match: Match) -> tuple[int, int, int, float]:
    certain = 0 if match.score >= BLOCK - 1e-9 else 1 if match.score >= MASK - 1e-9 else 2
    risk = RISK.index(match.kind) if match.kind in RISK else len(RISK)
    return certain, match.start - match.end, risk, -match.score


def resolve(found: Sequence[Match]) -> tuple[Match, ...]:
    """Of matches that overlap, the surer band stays, then the longer, then the riskier kind. In the order of the text."""
    if len(found) < 2:
        return tuple(found)
    kept: list[Match] = []
    rest = sorted(found, key=attrgetter("start"))
    if all(first.end <= second.start for first, second in pairwise(rest)):
        return tuple(rest)
    group: list[Match] = []
    end = -1
    for match in rest:
        if match.start >= end and group:
            kept += _settle(group)
            group = []
        group.append(match)
        end = match.end if len(group) == 1 else max(end, match.end)
    kept += _settle(group)
    return tuple(kept)


def _settle(group: list[Match]) -> list[Match]:
    """One cluster of matches that overlap one another."""
    if len(group) == 1:
        return group
    kept: list[Match] = []
    for match in sorted(group, key=_order):
        if all(match.end <= other.start or match.start >= other.end for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda match: match.start)
