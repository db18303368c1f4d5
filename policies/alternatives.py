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
import html.entities
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from policies.normalise import View, ViewKind
from policies.spoken import spoken

#: Up to here a text is rewritten whole; of a longer one, this much is kept around each rewriting for labels and values.
_WHOLE: Final = 2000
_AROUND: Final = 80

_HANGUL: Final = "공영일이삼사오육륙칠팔구"
_HAN: Final = "〇零一二三四五六七八九"
_VALUES: Final = dict(zip(_HANGUL, "001234566789", strict=True)) | dict(zip(_HAN, "00123456789", strict=True))
_WORDED: Final = frozenset(_HANGUL + _HAN)

#: Letters that pass for digits, and letters of other scripts that pass for Latin ones.
_LATIN_DIGITS: Final = {"O": "0", "o": "0", "Q": "0", "l": "1", "I": "1", "S": "5", "B": "8", "Z": "2"}
_FOREIGN_DIGITS: Final = {
    "О": "0", "о": "0", "З": "3", "з": "3", "б": "6", "Ч": "4", "В": "8", "І": "1", "і": "1", "ӏ": "1",
    "Ο": "0", "ο": "0", "Ι": "1", "ι": "1", "Β": "8", "Ζ": "2", "օ": "0", "Ѕ": "5", "ㅇ": "0", "ㅣ": "1",
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
    """`text` stands for the view's characters from `start` to `end`.

    `offsets[i]`, from `start`, is where `text[i]` comes from; None: one for one where the lengths agree, else all from all.
    """

    start: int
    end: int
    text: str
    offsets: Sequence[int] | None = None


def alternatives(view: View) -> Iterator[View]:
    """Each reading that differs from `view`; none for almost every text."""
    spelled = _spelled(view)
    if spelled:
        yield _rewrite(view, spelled, "spelled")
    decoded = _decoded(view.text)
    if decoded:
        yield _rewrite(view, decoded, "decoded")


# ── spelled ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMERAL: Final = f"[0-9{_HANGUL}{_HAN}]"
_JOINT: Final = r"(?: ?(?:다시|하이픈|대시|에|의|[\-./_]) ?| )"
#: Whether there is anything to look at. None of them begins with a digit: a page of digits then costs nothing.
_WORDED_HINT: Final = re.compile(rf"[{_HANGUL}{_HAN}](?:[ \-]?{_NUMERAL}){{3}}")
_APART_HINT: Final = re.compile(r" [0-9] (?:- )?[0-9] (?:- )?[0-9](?![0-9])")
_MARKS: Final = ("다시", "하이픈", "대시")
#: 8.5.0.3.1.2.…: one digit, one mark, again and again.
_DOTTED_HINT: Final = re.compile(r"([\-._,/*])[0-9]\1[0-9]\1[0-9]\1")
_DOTTED: Final = re.compile(r"(?<![0-9])[0-9](?:([\-._,/*])[0-9])(?:\1[0-9]){7,}(?![0-9])")
#: A mark between digits that is written as something else: a Hangul or Han stroke, an escape.
_STROKE: Final = re.compile(r"(?<=[0-9])[ ]?(?:[ㅡ一]|%2[Dd]|%20|&nbsp;|&#45;|\\u002[dD])[ ]?(?=[0-9])")
_STROKES: Final = ("ㅡ", "一", "%2", "&nbsp;", "&#45;", "\\u002")
#: A mobile number with marks that no other number has.
_STARRED: Final = re.compile(r"01[016789]([,*:=#+])[0-9]{3,4}(\1)[0-9]{4}(?![0-9])")
_LOOKS: Final = "".join(_LIKE)
_LOOK: Final = re.compile(f"[{_LOOKS}]")
_LOOK_HINT: Final = re.compile(rf"[0-9](?:[\-.]?[{_LOOKS}]|(?<=[{_LOOKS}].)|(?<=[{_LOOKS}][\-.].))")
#: The stroke of a 1, but not the line of a table: inside a group, and a hyphen after it.
_BAR: Final = re.compile(r"(?<![0-9|\-])[0-9]{1,6}(\|)[0-9]{0,6}-[0-9]")
#: Begins with the bar, so that the search is one for it.
_BAR_HINT: Final = re.compile(r"\|(?<=[0-9]\|)[0-9]{0,6}-[0-9]")
_RUN: Final = re.compile(rf"{_NUMERAL}(?:{_JOINT}?+{_NUMERAL}){{7,}}")
_NUMERALS: Final = re.compile(rf"{_NUMERAL}+")
_MARK_IN_WORDS: Final = re.compile(r" ?(?:다시|하이픈|대시|에|의) ?")
_TO_DIGITS: Final = str.maketrans(_VALUES)
#: After a number, 이 may begin 이다, 이고, 이며.
_PARTICLE: Final = frozenset("다고며라에니요네나었")
_CHAIN: Final = re.compile(
    rf"[0-9{_LOOKS}](?<![0-9A-Za-z].)[0-9{_LOOKS}]*+(?:[\-. ][0-9{_LOOKS}]++){{0,5}}(?![0-9A-Za-z@])"
)
_DIGIT: Final = re.compile(r"[0-9]")
_LATIN: Final = re.compile(f"[{''.join(_LATIN_DIGITS)}]")
_FROM_LOOKS: Final = str.maketrans(_LIKE)

_DOT: Final = re.compile(
    r"\[\.\]|\(\.\)|\{\.\}| ?[\[({](?:dot|닷|점)[\])}] ?|(?<=[a-z0-9]) (?:dot|닷|점) (?=[a-z0-9])"
    r"|(?<=[a-z0-9])(?:닷|쩜)(?=[a-z0-9])",
)
_AT: Final = re.compile(
    r" ?[(\[<{] ?(?:at|앳|골뱅이|@) ?[)\]>}] ?"
    r"|(?<=[a-z0-9._\-]) ?(?:골뱅이|앳) ?(?=[a-z0-9가-힣])"
    r"|(?<=[a-z0-9]) at (?=[a-z0-9\-]{1,40}+(?: dot | ?[\[(]dot|\.|\[\.\]| 닷 ))"
    r"|(?<=[a-z0-9])(?: @ ?|@ )(?=[a-z0-9])",
)
#: By a letter of each that most texts do not have: to search for one letter is many times cheaper than for two.
_AT_HINTS: Final = {
    "@": ("[@", "(@", " @", "@ "), "(": ("(at",), "[": ("[at",), "{": ("{at",), "<": ("<at",), "뱅": ("골뱅이",), "앳": ("앳",),
    "t": (" at ",),
}  # fmt: skip
_DOT_HINTS: Final = {
    "(": ("(.)", "(점"), "[": ("[.]", "[점"), "{": ("{.}",), "닷": ("닷",), "쩜": ("쩜",), "점": (" 점 ",), "d": ("dot",),
}  # fmt: skip

_MIXED: Final = re.compile(
    rf"[A-Za-z0-9@._%+\-]*[{''.join(_FOREIGN_LETTERS)}][A-Za-z0-9@._%+\-{''.join(_FOREIGN_LETTERS)}]*"
)
_FOREIGN: Final = re.compile(r"[Ͱ-Ͽ\u0400-\u052f\u0531-\u058f]")


def _spelled(view: View) -> list[_Change]:
    text = view.text
    said = [_Change(*change) for change in spoken(text)]
    changes = [*_numerals(view), *_strokes(view), *_mail_marks(view)]
    if said:  # a number said aloud is a piece of the whole that was said
        changes = [
            change for change in changes if all(change.end <= s.start or s.end <= change.start for s in said[:64])
        ]
        changes += said
    if not view.is_plain and _FOREIGN.search(text) is not None:
        for token in _MIXED.finditer(text):
            if any(char.isascii() and char.isalpha() for char in token[0]):
                latin = "".join(_FOREIGN_LETTERS.get(char, char) for char in token[0])
                changes.append(_Change(*token.span(), latin))
    return _in_order(changes)


def _numerals(view: View) -> Iterator[_Change]:
    """Digits in words, put apart, or as letters."""
    text = view.text
    worded = not text.isascii() and (_WORDED_HINT.search(text) is not None or any(mark in text for mark in _MARKS))
    if worded or (view.numeric and _APART_HINT.search(text) is not None):
        for run in _RUN.finditer(text):
            yield from _run(run)
    if not view.numeric:
        return
    if _DOTTED_HINT.search(text) is not None:
        for dotted in _DOTTED.finditer(text):
            yield _Change(*dotted.span(), dotted[0][::2], range(0, len(dotted[0]), 2))
    # Tables have many digits and hardly such letters.
    if _LOOK.search(text) is not None and _LOOK_HINT.search(text) is not None:
        for chain in _CHAIN.finditer(text):
            yield from _looks(chain)
    if "|" in text and _BAR_HINT.search(text) is not None:
        for bar in _BAR.finditer(text):
            yield _Change(*bar.span(1), "1")


def _strokes(view: View) -> Iterator[_Change]:
    """What stands for a hyphen between digits."""
    if not view.numeric:
        return
    text = view.text
    if any(stroke in text for stroke in _STROKES):
        for stroke in _STROKE.finditer(text):
            yield _Change(*stroke.span(), "-")
    if "01" in text:
        for starred in _STARRED.finditer(text):
            yield _Change(*starred.span(1), "-")
            yield _Change(*starred.span(2), "-")


def _mail_marks(view: View) -> Iterator[_Change]:
    """The at and the dot of an address, in words or brackets."""
    low = view.lower
    if _hinted(low, _AT_HINTS):
        for at in _AT.finditer(low):
            yield _Change(*at.span(), "@")
    if _hinted(low, _DOT_HINTS):
        for dot in _DOT.finditer(low):
            yield _Change(*dot.span(), ".")


def _hinted(text: str, hints: Mapping[str, Sequence[str]]) -> bool:
    for letter, of in hints.items():
        if letter in text:
            for hint in of:
                if hint in text:
                    return True
    return False


def _run(run: re.Match[str]) -> Iterator[_Change]:
    """Numerals in words, or one by one, as digits. A space between groups stays, between single digits it goes."""
    text = run[0]
    if text.isascii() and " " not in text:
        return
    groups = _NUMERALS.findall(text)
    single = max(map(len, groups)) == 1
    worded = sum(map(text.count, _WORDED)) if not text.isascii() else 0
    lettered = run.start() > 1 and run.string[run.start() - 1] == " " and run.string[run.start() - 2].isalpha()
    apart = single and len(groups) > (7 if lettered else 8)
    if not (worded > 1 or apart or _MARK_IN_WORDS.search(text)):
        return
    if worded and _ends_in_particle(text, run.string[run.end() : run.end() + 1], worded):
        text = text.rstrip("이").rstrip()
    start = run.start()
    offsets: Sequence[int] = range(len(text))
    if single:
        offsets = [index for index, char in enumerate(text) if char != " "]
        text = text.replace(" ", "")
    if _MARK_IN_WORDS.search(text) is None:
        yield _Change(start, start + offsets[-1] + 1, text.translate(_TO_DIGITS), offsets)
        return
    pieces: list[str] = []
    kept: list[int] = []
    at = 0
    for mark in _MARK_IN_WORDS.finditer(text):
        pieces += [text[at : mark.start()], "-"]
        kept += [*offsets[at : mark.start()], offsets[mark.start()]]
        at = mark.end()
    pieces.append(text[at:])
    kept += offsets[at:]
    yield _Change(start, start + kept[-1] + 1, "".join(pieces).translate(_TO_DIGITS), kept)


def _ends_in_particle(text: str, after: str, worded: int) -> bool:
    """`…5678이다`: the 이 is grammar when a word goes on after it, or when it is the only numeral in words at all."""
    if text[-1] == "이" and after and after in _PARTICLE:
        return True
    return text[-1] == "이" and worded == 1


def _looks(chain: re.Match[str]) -> Iterator[_Change]:
    """Letters among digits. Groups without any digit at the ends are words that happen to stand there."""
    text = chain[0]
    if _LOOK.search(text) is None:
        return
    start, end = 0, len(text)
    if " " in text:
        while (space := text.find(" ", start, end)) >= 0 and not _DIGIT.search(text, start, space):
            start = space + 1
        while (space := text.rfind(" ", start, end)) >= 0 and not _DIGIT.search(text, space, end):
            end = space
        text = text[start:end]
    digits = sum(map(str.isdigit, text))
    letters = len(_LOOK.findall(text))
    latin = letters if text.isascii() else len(_LATIN.findall(text))
    if letters and digits >= 3 and digits + letters >= 7 and latin <= digits:
        yield _Change(chain.start() + start, chain.start() + end, text.translate(_FROM_LOOKS))


# ── decoded ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-][A-Za-z0-9+/_\-]{15,}={0,2}")
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
        entities = [
            _Change(*found.span(), char) for found in _ENTITY.finditer(text) if (char := _entity(found[0][1:-1]))
        ]
        changes += entities if len(entities) >= _FEWEST else []
    if "\\" in text:
        escapes = [
            _Change(*found.span(), chr(code))
            for found in _ESCAPE.finditer(text)
            if (code := int(found[1] or found[2] or found[3], 16)) <= 0x10FFFF
        ]
        changes += escapes if len(escapes) >= _FEWEST else []
    for token in _BASE64.finditer(text) if _has_token(text) else ():
        decoded = _token(token[0])
        if decoded is not None:
            changes.append(_Change(*token.span(), decoded))
    return _in_order(changes)


#: Bytes of tokens as x, all others as blanks.
_TOKENS: Final = bytes(
    ord("x") if char.isascii() and (char.isalnum() or char in "+/_-") else ord(" ") for char in map(chr, range(256))
)
_TOKEN: Final = b"x" * 16


def _has_token(text: str) -> bool:
    """Whether sixteen characters of base64 stand side by side: prose in Latin letters would try the expression at each one."""
    return _TOKEN in text.encode("utf-8", "surrogatepass").translate(_TOKENS)


def _entity(name: str) -> str:
    """What stands between & and ; as a character; empty where it names none."""
    if name[0] != "#":
        return html.entities.html5.get(f"{name};", "")
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if code <= sys.maxunicode else ""


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


_LINE_MARKS: Final = str.maketrans("\r\n\t", "   ")


def _text(data: bytes) -> str | None:
    """Bytes as text that a person could have written."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text and text.translate(_LINE_MARKS).isprintable() else None


# ── rewriting ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_order(changes: list[_Change]) -> list[_Change]:
    """By place, none overlapping an earlier one."""
    changes.sort(key=_place)
    kept: list[_Change] = []
    end = -1
    for change in changes:
        if change.start >= end:
            kept.append(change)
            end = change.end
    return kept


_place: Final = itemgetter(0, 1, 2)


def _rewrite(view: View, changes: list[_Change], kind: ViewKind) -> View:
    text = view.text
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    places = list(range(len(text) + 1))  # slices of it are faster than ranges made anew

    def keep(start: int, end: int) -> None:
        nonlocal starts, ends
        pieces.append(text[start:end])
        starts += places[start:end]
        ends += places[start + 1 : end + 1]

    whole = len(text) <= _WHOLE
    at = 0 if whole else max(changes[0].start - _AROUND, 0)
    for start, end, new, offsets in changes:
        if not whole and start - at > 2 * _AROUND:
            keep(at, at + _AROUND)
            at = start - _AROUND
            pieces.append("\n\n\n")
            starts += [at] * 3
            ends += [at] * 3
        if at < start:
            keep(at, start)
        pieces.append(new)
        if offsets is not None:
            from_there = [start + offset for offset in offsets]
            starts += from_there
            ends += [place + 1 for place in from_there[:-1]]
            ends.append(end)
        elif len(new) == end - start:
            starts += places[start:end]
            ends += places[start + 1 : end + 1]
        elif len(new) == 1:
            starts.append(start)
            ends.append(end)
        else:
            starts += [start] * len(new)
            ends += [end] * len(new)
        at = end
    keep(at, len(text) if whole else min(at + _AROUND, len(text)))
    return view.rewritten("".join(pieces), kind, starts, ends)
