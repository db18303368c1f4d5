"""Other readings of a text, each built only when there is something to read differently.

    spelled   digits put apart (0 1 0 1 2 …), in words (공일공 다시 …, 〇一〇), or as letters that look like them (O1O, О1О);
              marks in words (하이픈, 골뱅이, (at), [.], dot)
    decoded   base64, hex, %41, &#65;, \\u0041, one level deep; what is found there is never more than a warning

A rewriting may spoil what stood there, so these are read beside the main view and never instead of it. Long texts are rewritten
only around what was found.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from policies.normalise import View, ViewKind

#: Up to here a text is rewritten whole; of a longer one, this much is kept around each rewriting for labels and values.
_WHOLE: Final = 2000
_AROUND: Final = 80

_HANGUL: Final = "공영일이삼사오육륙칠팔구"
_HAN: Final = "〇零一二三四五六七八九"
_VALUES: Final = dict(zip(_HANGUL, "001234566789", strict=True)) | dict(zip(_HAN, "00123456789", strict=True))
_WORDED: Final = frozenset(_HANGUL + _HAN)

#: Letters that pass for digits, and letters of other scripts that pass for Latin ones.
_LATIN_DIGITS: Final = {"O": "0", "o": "0", "Q": "0", "l": "1", "I": "1", "|": "1", "S": "5", "B": "8", "Z": "2"}
_FOREIGN_DIGITS: Final = {
    "О": "0", "о": "0", "З": "3", "з": "3", "б": "6", "Ч": "4", "В": "8", "І": "1", "і": "1", "ӏ": "1",
    "Ο": "0", "ο": "0", "Ι": "1", "ι": "1", "Β": "8", "Ζ": "2", "օ": "0", "Ѕ": "5",
}  # fmt: skip
_LIKE: Final = _LATIN_DIGITS | _FOREIGN_DIGITS
_FOREIGN_LETTERS: Final = dict(
    zip(
        "аеорсухіѕјһԁԛԝгпкмтвАВЕКМНОРСТХІЅЈαοερνικτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcyxisjhdqwrnkmtbABEKMHOPCTXISJaoepviktuABEZHIKMNOPTYX",
        strict=True,
    )
)


class _Change(NamedTuple):
    """`text` stands for the view's characters from `start` to `end`; one for one where the lengths agree."""

    start: int
    end: int
    text: str


def alternatives(view: View) -> Iterator[View]:
    """Each reading that differs from `view`; none for almost every text."""
    spelled = _spelled(view.text)
    if spelled:
        yield _rewrite(view, spelled, "spelled")
    decoded = _decoded(view.text)
    if decoded:
        yield _rewrite(view, decoded, "decoded")


# ── spelled ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMERAL: Final = f"[0-9{_HANGUL}{_HAN}]"
_JOINT: Final = r"(?: ?(?:다시|하이픈|대시|에|의|[\-./_]) ?| )"
#: Whether there is anything to look at: four numerals the first of which is a word, four digits apart, a mark in words, a
#: look-alike.
_HINT: Final = re.compile(
    rf"[0-9{_HANGUL}{_HAN}{''.join(_LIKE)}](?:"
    rf"(?<=[{_HANGUL}{_HAN}])(?:[ \-]?{_NUMERAL}){{3}}"
    rf"|(?<=[0-9])(?: (?:- )?[0-9]){{3}}(?![0-9])"
    rf"|(?<={_NUMERAL}) ?(?:다시|하이픈|대시) ?{_NUMERAL}"
    rf"|(?<=[0-9])[\-.]?[{''.join(_LIKE)}]"
    r"|(?<![0-9])[\-.]?[0-9])"
)
_RUN: Final = re.compile(rf"{_NUMERAL}(?:{_JOINT}?+{_NUMERAL}){{7,}}+")
_PIECE: Final = re.compile(rf"(?P<numerals>{_NUMERAL}+)|(?P<mark> ?(?:다시|하이픈|대시|에|의|[\-./_]) ?)|(?P<space> )")
#: After a number, 이 may begin 이다, 이고, 이며.
_PARTICLE: Final = frozenset("다고며라에니요네나었")
_LOOKS: Final = "".join(re.escape(char) for char in _LIKE if char != "|")
_CHAIN: Final = re.compile(rf"(?<![0-9A-Za-z])[0-9|{_LOOKS}]++(?:[\-. ][0-9|{_LOOKS}]++){{0,5}}+(?![0-9A-Za-z@])")
_GROUPS: Final = re.compile(r"[^\-. ]+")

_AT: Final = re.compile(
    r" ?[(\[<{] ?(?:at|앳|골뱅이|@) ?[)\]>}] ?"
    r"|(?<=[A-Za-z0-9._\-]) ?(?:골뱅이|앳) ?(?=[A-Za-z0-9가-힣])"
    r"|(?<=[A-Za-z0-9]) at (?=[A-Za-z0-9\-]+(?: dot | ?[\[(]dot|\.|\[\.\]| 닷 ))"
    r"|(?<=[A-Za-z0-9])(?: @ ?|@ )(?=[A-Za-z0-9])",
    re.I,
)
_DOT: Final = re.compile(
    r"\[\.\]|\(\.\)|\{\.\}| ?[\[({](?:dot|닷|점)[\])}] ?|(?<=[A-Za-z0-9]) (?:dot|닷|점) (?=[A-Za-z0-9])"
    r"|(?<=[A-Za-z0-9])(?:닷|쩜)(?=[A-Za-z0-9])",
    re.I,
)
_AT_HINTS: Final = ("골뱅이", "(at", "[at", "{at", "<at", "[@", "(@", " at ", " @", "@ ", "앳")
_DOT_HINTS: Final = ("[.]", "(.)", "{.}", "dot", "닷", "점", "쩜")

_MIXED: Final = re.compile(
    rf"[A-Za-z0-9@._%+\-]*[{''.join(_FOREIGN_LETTERS)}][A-Za-z0-9@._%+\-{''.join(_FOREIGN_LETTERS)}]*"
)
_FOREIGN: Final = re.compile(r"[Ͱ-Ͽ\u0400-\u052f\u0531-\u058f]")


def _spelled(text: str) -> list[_Change]:
    changes: list[_Change] = []
    if _HINT.search(text) is not None:
        for run in _RUN.finditer(text):
            changes += _run(run)
        for chain in _CHAIN.finditer(text):
            changes += _looks(chain)
    low = text.lower()
    if any(hint in low for hint in _AT_HINTS):
        changes += [_Change(*found.span(), "@") for found in _AT.finditer(text)]
    if any(hint in low for hint in _DOT_HINTS):
        changes += [_Change(*found.span(), ".") for found in _DOT.finditer(text)]
    if _FOREIGN.search(text) is not None:
        for token in _MIXED.finditer(text):
            if any(char.isascii() and char.isalpha() for char in token[0]):
                latin = "".join(_FOREIGN_LETTERS.get(char, char) for char in token[0])
                changes.append(_Change(*token.span(), latin))
    return _in_order(changes)


def _run(run: re.Match[str]) -> Iterable[_Change]:
    """Numerals in words, or one by one, as digits. A space between groups stays, between single digits it goes."""
    text = run[0]
    pieces = list(_PIECE.finditer(text))
    numerals = [piece[0] for piece in pieces if piece.lastgroup == "numerals"]
    marks = [piece[0].strip() for piece in pieces if piece.lastgroup == "mark"]
    worded = sum(char in _WORDED for group in numerals for char in group)
    single = all(len(group) == 1 for group in numerals)
    lettered = run.start() > 1 and run.string[run.start() - 1] == " " and run.string[run.start() - 2].isalpha()
    apart = single and len(numerals) > (7 if lettered else 8)
    if not (worded > 1 or apart or any(mark and mark[0] not in "-./_" for mark in marks)):
        return
    end = len(text)
    if worded and _ends_in_particle(text, run.string[run.end() : run.end() + 1], worded):
        end = len(text.rstrip("이").rstrip())
    for piece in pieces:
        start, stop = run.start() + piece.start(), run.start() + piece.end()
        if piece.start() >= end:
            return
        if piece.lastgroup == "numerals":
            digits = "".join(_VALUES.get(char, char) for char in piece[0][: end - piece.start()])
            yield _Change(start, min(stop, run.start() + end), digits)
        elif piece.lastgroup == "mark":
            mark = piece[0].strip()
            yield _Change(start, stop, mark if mark in {".", "/", "_"} else "-")
        elif single:
            yield _Change(start, stop, "")


def _ends_in_particle(text: str, after: str, worded: int) -> bool:
    """`…5678이다`: the 이 is grammar when a word goes on after it, or when it is the only numeral in words at all."""
    if text[-1] == "이" and after and after in _PARTICLE:
        return True
    return text[-1] == "이" and worded == 1


def _looks(chain: re.Match[str]) -> Iterable[_Change]:
    """Letters among digits. Groups without any digit at the ends are words that happen to stand there."""
    text = chain[0]
    groups = list(_GROUPS.finditer(text))
    while (
        groups
        and not any(char.isdigit() for char in groups[0][0])
        and text[groups[0].end() : groups[0].end() + 1] == " "
    ):
        groups.pop(0)
    while groups and not any(char.isdigit() for char in groups[-1][0]) and text[groups[-1].start() - 1] == " ":
        groups.pop()
    if not groups:
        return
    start, end = groups[0].start(), groups[-1].end()
    kept = text[start:end]
    digits = sum(char.isdigit() for char in kept)
    latin = sum(char in _LATIN_DIGITS for char in kept)
    foreign = sum(char in _FOREIGN_DIGITS for char in kept)
    if not latin + foreign or digits + latin + foreign < 7 or digits < 3 or latin > digits:
        return
    if "|" in kept and ("-" not in kept or kept.count("|") > 2):
        return  # the columns of a table
    yield _Change(chain.start() + start, chain.start() + end, "".join(_LIKE.get(char, char) for char in kept))


# ── decoded ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_\-=])[A-Za-z0-9+/_\-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}){8,}")
_PERCENT: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2}))")
#: A token longer than this is a picture or an archive, not a sentence.
_LONGEST: Final = 16_384
_FEWEST: Final = 4


def _decoded(text: str) -> list[_Change]:
    changes: list[_Change] = []
    if "%" in text:
        found = [
            _Change(*run.span(), decoded)
            for run in _PERCENT.finditer(text)
            if (decoded := _text(unquote_to_bytes(run[0]))) is not None
        ]
        changes += found if sum(change.end - change.start for change in found) >= 3 * _FEWEST else []
    if "&" in text:
        entities = [_Change(*found.span(), html.unescape(found[0])) for found in _ENTITY.finditer(text)]
        changes += entities if len(entities) >= _FEWEST else []
    if "\\" in text:
        escapes = [
            _Change(*found.span(), chr(code))
            for found in _ESCAPE.finditer(text)
            if (code := int(found[1] or found[2] or found[3], 16)) <= 0x10FFFF
        ]
        changes += escapes if len(escapes) >= _FEWEST else []
    for token in _BASE64.finditer(text):
        decoded = _token(token[0])
        if decoded is not None:
            changes.append(_Change(*token.span(), decoded))
    return _in_order(changes)


def _token(token: str) -> str | None:
    """What a token of hex or base64 says; None where it says nothing readable."""
    if len(token) > _LONGEST:
        return None
    if _HEX.fullmatch(token):
        decoded = _text(bytes.fromhex(token.removeprefix("0x")))
        if decoded is not None:
            return decoded
    bare = token.rstrip("=")
    if len(bare) % 4 == 1 or bare.isdigit():
        return None
    try:
        data = base64.b64decode(bare.translate(_URLSAFE) + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return _text(data)


_URLSAFE: Final = str.maketrans("-_", "+/")


def _text(data: bytes) -> str | None:
    """Bytes as text that a person could have written."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    readable = sum(char.isprintable() or char in "\r\n\t" for char in text)
    return text if text and readable == len(text) else None


# ── rewriting ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_order(changes: list[_Change]) -> list[_Change]:
    """By place, none overlapping an earlier one."""
    changes.sort()
    kept: list[_Change] = []
    end = -1
    for change in changes:
        if change.start >= end:
            kept.append(change)
            end = change.end
    return kept


def _rewrite(view: View, changes: list[_Change], kind: ViewKind) -> View:
    text = view.text
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def keep(start: int, end: int) -> None:
        pieces.append(text[start:end])
        starts.extend(range(start, end))
        ends.extend(range(start + 1, end + 1))

    whole = len(text) <= _WHOLE
    at = 0 if whole else max(changes[0].start - _AROUND, 0)
    for change in changes:
        if not whole and change.start - at > 2 * _AROUND:
            keep(at, at + _AROUND)
            at = change.start - _AROUND
            pieces.append("\n\n\n")
            starts += [at] * 3
            ends += [at] * 3
        keep(at, change.start)
        pieces.append(change.text)
        if len(change.text) == change.end - change.start:
            starts.extend(range(change.start, change.end))
            ends.extend(range(change.start + 1, change.end + 1))
        else:
            starts.extend([change.start] * len(change.text))
            ends.extend([change.end] * len(change.text))
        at = change.end
    keep(at, len(text) if whole else min(at + _AROUND, len(text)))
    return view.rewritten("".join(pieces), kind, starts, ends)
