"""Text as detectors read it: one view with the disguises taken off, and offsets back to the code points that were given.

    full-width １２３, ①②③, 𝟎𝟙 → 123        zero-width characters, marks on digits → gone
    decomposed Hangul (NFD) → syllables       any other script's digits → 0-9
    – — − ‐ ～ · ・ → -    ／ → /   ．→ .     every kind of space → " ", of line end → "\n"

Nothing here judges. Text without any of these (almost all text) is its own view and costs one search. Rewritings that could
also spoil a value (letters that look like digits, numbers in words) are *other* views, in `policies.alternatives`.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Literal

ViewKind = Literal["literal", "normal", "spelled", "decoded", "joined"]

#: What needs no second look: ASCII but controls that act as line ends, Hangul, Han, and the marks Korean offices write with.
_PLAIN: Final = (
    r"\t\n\r\x20-\x7e가-힣ㄱ-ㅎㅏ-ㅣ一-鿿‘’“”…※○●◎◇◆□■△▲▽▼☆★☎☏♠♣♥→←↑↓↔⇒▶▷◀◁「」『』【】《》〈〉〔〕、。°±×÷§¶†‡•"
    r"─│┌┐└┘├┤┬┴┼━┃┏┓┗┛┣┫┳┻╋"
)
_UNUSUAL: Final = re.compile(f"[^{_PLAIN}]")

#: One for one, and common: done by themselves, so that a text with a middle dot stays on the fast path.
_DASHES: Final = "‐‑‒–—―−⁃﹘﹣－～〜·・ㆍ‧∙⋅･ー"
_COMMON: Final = (*((dash, "-") for dash in "–—―−·ㆍ・～‧∼"), ("\u00a0", " "), ("\u3000", " "))

#: Hangul Jamo, leading or not; the clusters that NFC puts together. Fillers are blank and dropped.
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u2800")


def _one(char: str) -> str:
    """What one character stands for; empty for one that is not seen."""
    if char in _FILLERS:
        return ""
    if char in _DASHES or char == "∼":
        return "-"
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category in {"Cf", "Cc", "Cs"}:
        return "\n" if char in "\x0b\x0c\x85" else ("" if category == "Cf" else " ")
    if category in {"Zs"}:
        return " "
    if category in {"Zl", "Zp"}:
        return "\n"
    if category in {"Mn", "Me"}:
        return char if unicodedata.combining(char) else ""
    if category == "Pd":
        return "-"
    return _settle(unicodedata.normalize("NFKC", char))


def _settle(text: str) -> str:
    """Compatibility forms may hide further ones, such as a fraction slash, a no-break space or a mark on a space."""
    text = "".join(char for char in text if unicodedata.category(char) not in {"Mn", "Me"})
    return text.replace("\u2044", "/").replace("\u2215", "/") if text.isprintable() else re.sub(r"\s", " ", text)


class _Table(dict[int, str]):
    """code point → what it stands for, worked out once per character ever seen (bounded by Unicode itself)."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        value = self[code] = char if _UNUSUAL.match(char) is None else _one(char)
        return value


_TABLE: Final = _Table()


class _Singles(dict[int, str]):
    """The same, for what stands for exactly one character; everything else stays for the second pass."""

    def __missing__(self, code: int) -> str:
        value = _TABLE[code]
        self[code] = value if len(value) == 1 and not unicodedata.combining(value) else chr(code)
        return self[code]


_SINGLES: Final = _Singles()

#: A run of plain text · a syllable in pieces · a character with marks on it · anything else unusual.
_PIECES: Final = re.compile(
    f"(?P<plain>[{_PLAIN}]+(?![\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u1160-\u11ff]))"
    "|(?P<cluster>[\u1100-\u115e\uac00-\ud7a3][\u1161-\u11ff]+"
    "|.[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+)"
    "|(?P<one>.)",
    re.S,
)


#: ①850312-… is the first of a list and no eighth digit; ①②③ are digits.
_BULLET: Final = re.compile("(?<![0-9\\-①-⓿❶-➓])[①-⓿❶-➓](?=[0-9])")
#: Marks and pieces of syllables belong to the character before them, which must therefore stay as it is.
_MARKED: Final = re.compile("[\u0300-\u036f\u1100-\u11ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")


class View:
    """`text` is what detectors read; `span` leads back to `original`. Immutable; offsets count code points."""

    __slots__ = ("_ends", "_lower", "_numeric", "_starts", "kind", "original", "text")

    def __init__(
        self,
        original: str,
        text: str,
        kind: ViewKind = "normal",
        starts: Sequence[int] | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        """`starts[i]` and `ends[i]`: where in `original` the character `text[i]` comes from; None where they are the same."""
        self.original = original
        self.text = text
        self.kind: ViewKind = kind
        self._starts = starts
        self._ends = ends
        self._lower: str | None = None
        self._numeric: bool | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Positions in this view → the code points of `original` that must go so that nothing of the value stays."""
        if self._starts is None or self._ends is None:
            return start, end
        if start >= end:
            at = self._starts[start] if start < len(self._starts) else len(self.original)
            return at, at
        return self._starts[start], self._ends[end - 1]

    def find(self, position: int) -> int:
        """The place in this view of a code point of `original`; of a dropped one, the place before it."""
        return position if self._starts is None else max(bisect_right(self._starts, position) - 1, 0)

    @property
    def lower(self) -> str:
        """The text in lower case, at the same offsets."""
        if self._lower is None:
            self._lower = folded(self.text)
        return self._lower

    @property
    def numeric(self) -> bool:
        """Whether a digit 0-9 stands anywhere: most expressions need one, and ten searches for one letter cost less than any."""
        if self._numeric is None:
            text = self.text
            self._numeric = any(digit in text for digit in "0123456789")
        return self._numeric

    @property
    def is_plain(self) -> bool:
        """Whether every character of the view is of the plain ones: no other script, nothing put together."""
        return self._starts is None

    def rewritten(self, text: str, kind: ViewKind, starts: Sequence[int], ends: Sequence[int]) -> View:
        """A view of this view: `starts` and `ends` are positions here and become positions in the same original."""
        if self._starts is None or self._ends is None:
            return View(self.original, text, kind, starts, ends)
        mine, close = self._starts, self._ends
        return View(self.original, text, kind, [mine[at] for at in starts], [close[at - 1] for at in ends])


def normalise(text: str) -> View:
    """The main view. Never fails, whatever the text; linear."""
    if _UNUSUAL.search(text) is None:
        return View(text, text)
    plain = text
    for char, stands_for in _COMMON:
        plain = plain.replace(char, stands_for)
    if _UNUSUAL.search(plain) is None:
        return View(text, plain)
    plain = _BULLET.sub(" ", plain)
    if _MARKED.search(plain) is None:
        plain = plain.translate(_SINGLES)
        if _UNUSUAL.search(plain) is None:
            return View(text, plain)
    table = _TABLE
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for piece in _PIECES.finditer(plain):
        start, end = piece.span()
        group = piece.lastgroup
        if group == "plain":
            pieces.append(piece[0])
            starts.extend(range(start, end))
            ends.extend(range(start + 1, end + 1))
            continue
        stands_for = table[ord(piece[0])] if group == "one" else _cluster(piece[0])
        if stands_for:
            pieces.append(stands_for)
            starts.extend([start] * len(stands_for))
            ends.extend([end] * len(stands_for))
    return View(text, "".join(pieces), "normal", starts, ends)


def _cluster(cluster: str) -> str:
    """Pieces of syllables and letters put together; what stays apart is a mark nobody needs to read a value."""
    composed = unicodedata.normalize("NFC", cluster)
    kept = [_TABLE[ord(char)] for char in composed if not unicodedata.combining(char)]
    return "".join(kept)


def folded(text: str) -> str:
    """Lower case, every character still in its place (a few capitals have longer small letters)."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
