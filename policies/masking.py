"""Placeholders instead of values on the way out, values instead of placeholders on the way back.

    text + spans ─▶ mask ─▶ "[[이름:k7f2]]님께 [[전화:m3qa]]로 …" ─▶ model ─▶ Restorer ─▶ the caller's own words
                      └▶ Vault: token → value, of one conversation and one person

    token      [[type word:id]], id = base32(HMAC-SHA-256(conversation key, kind NUL value)), its first 4 letters; longer where
               two values of one conversation would share them
    one way    a password is replaced by [[비밀제거]] and kept nowhere: nothing brings it back

The same value is the same token in the whole conversation, whichever turn it stands in and in whatever order, because the
token is made of the value and not of a count. Models repeat tokens imperfectly, so a token is found again with other brackets,
spaces, case, a colon of another width or a particle that slipped inside. What looks like a token and is not known stays as
it is and is reported. Nothing here writes anywhere: the gateway keeps a vault encrypted, or not at all.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from policies.decision import Action, strictest_action

#: What a token calls its kind: the model reads it, so it has to say what stood there.
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "RRN": "주민번호",
        "FRN": "외국인번호",
        "PASSPORT": "여권번호",
        "DRIVER_LICENSE": "면허번호",
        "PHONE": "전화",
        "EMAIL": "이메일",
        "ADDRESS": "주소",
        "ACCOUNT": "계좌",
        "CARD": "카드",
        "BRN": "사업자번호",
        "CORP": "법인번호",
        "NHIS": "건강보험증",
        "PLATE": "차량번호",
        "BIRTHDATE": "생년월일",
        "PERSON": "이름",
        "IP": "아이피",
        "KEYWORD": "단어",
    }
)
_OTHER = "가림"

#: Replaces what nothing may bring back.
REMOVED = "[[비밀제거]]"
ONE_WAY = frozenset({"SECRET", "CLASSMARK"})

#: Told to the model beside a masked text.
HINT = (
    "본문의 [[이름:k7f2]]와 같은 표시는 가려진 값입니다. 표시를 바꾸거나 풀지 말고 그대로 옮겨 쓰십시오. "
    "Markers like [[이름:k7f2]] stand for hidden values. Copy them exactly as they are; never alter, translate or guess them."
)

_ID_LETTERS = 4
_ID_MOST = 52  # base32 of the whole digest

#: Beyond its own length a token may be written with so many more characters and is still found; so much more is held back.
SLACK = 8


def conversation_key(secret: bytes, *context: str) -> bytes:
    """32 bytes for one conversation of one person; `context` names both. Other conversations cannot be told to share a value."""
    return hmac.digest(secret, "\0".join(("haechi mask 1", *context)).encode("utf-8", "surrogatepass"), "sha256")


@dataclass(frozen=True, slots=True)
class Span:
    """What to take out: code points in the text at hand. `kind` decides the type word and whether it can come back."""

    kind: str
    start: int
    end: int


@dataclass(slots=True)
class Vault:
    """Token → value of one conversation. Grows while texts are masked; `dump` and `load` are for encrypted storage.

    Never shown: neither tokens nor values are in its representation.
    """

    key: bytes = field(repr=False)
    values: dict[str, str] = field(default_factory=dict, repr=False)

    def token(self, kind: str, value: str) -> str:
        """The token of a value, remembered so that it can be restored; REMOVED for what may not come back."""
        if kind in ONE_WAY:
            return REMOVED
        word = WORDS.get(kind, _OTHER)
        digest = hmac.digest(self.key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")
        letters = base64.b32encode(digest).decode("ascii").lower().rstrip("=")
        for length in range(_ID_LETTERS, _ID_MOST + 1):
            token = f"[[{word}:{letters[:length]}]]"
            if self.values.setdefault(token, value) == value:
                return token
        raise AssertionError("two values with one SHA-256")

    @property
    def longest(self) -> int:
        """Characters of its longest token; 0 when empty."""
        return max(map(len, self.values), default=0)

    def dump(self) -> bytes:
        """For encryption. The conversation key is derived again and not part of it."""
        return json.dumps(self.values, ensure_ascii=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def load(cls, key: bytes, data: bytes) -> Vault:
        """Raises ValueError for anything but a dump."""
        stored = json.loads(data)
        if not isinstance(stored, dict) or not all(isinstance(value, str) for value in stored.values()):
            raise ValueError("not a vault")
        return cls(key, stored)


@dataclass(frozen=True, slots=True)
class Piece:
    """A replaced place: where it stood and where its token stands now."""

    start: int
    end: int
    masked_start: int
    masked_end: int


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked text and how its positions correspond to those of the original."""

    text: str
    pieces: tuple[Piece, ...]

    def original(self, position: int) -> int:
        """The original's position of one in the masked text; inside a token it is the beginning of what it replaced."""
        shift = 0
        for piece in self.pieces:
            if position < piece.masked_start:
                break
            if position < piece.masked_end:
                return piece.start
            shift = piece.end - piece.masked_end
        return position + shift


def mask(text: str, spans: Iterable[Span], vault: Vault) -> Masked:
    """Replace every span. Of spans that overlap one place becomes one token, named after the longest of them, so that no
    end of any of them is left standing; if one of them may not come back, the whole place may not."""
    out: list[str] = []
    pieces: list[Piece] = []
    at = length = 0
    for place in _merged(spans, len(text)):
        before = text[at : place.start]
        token = vault.token(place.kind, text[place.start : place.end])
        length += len(before)
        pieces.append(Piece(place.start, place.end, length, length + len(token)))
        length += len(token)
        out += (before, token)
        at = place.end
    return Masked("".join((*out, text[at:])), tuple(pieces))


def _merged(spans: Iterable[Span], size: int) -> list[Span]:
    places: list[tuple[Span, int]] = []  # the place so far, and the length of the span that named it
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not 0 <= span.start < span.end <= size:
            raise ValueError(f"a span outside the text: {span.start} to {span.end} of {size}")
        if not places or span.start >= places[-1][0].end:
            places.append((span, span.end - span.start))
            continue
        last, named = places[-1]
        kind, length = last.kind, span.end - span.start
        if kind not in ONE_WAY and (span.kind in ONE_WAY or length > named):
            kind, named = span.kind, length
        places[-1] = (Span(kind, last.start, max(last.end, span.end)), named)
    return [place for place, _ in places]


# ── the way back ─────────────────────────────────────────────────────────────────────────────────────────────────────

#: Round brackets are not among them: in "(이름:k7f2)" they are more likely the sentence's own.
_PAIRS = ("[]", "［］", "〔〕", "【】", "〖〗", "{}", "<>", "《》")
_OPEN = frozenset(pair[0] for pair in _PAIRS)
_CLOSE = frozenset(pair[1] for pair in _PAIRS)
_COLON = frozenset(":：︰﹕")
_SPACE = frozenset(" \u00a0\u3000\t\u200b\u2009\u202f")
_ID = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_ESCAPE = frozenset("\\")  # Markdown's, in front of a bracket
_KNOWN_WORDS = frozenset((*WORDS.values(), _OTHER))
#: Where a token may begin: a bracket, a backslash, a type word.
_BEGINNERS = _OPEN | _ESCAPE | {word[0] for word in _KNOWN_WORDS}
_BEGIN = re.compile(f"[{re.escape(''.join(sorted(_BEGINNERS)))}]")


def _begun(word: str, stop: str) -> str:
    """An expression of the whole word, or of as much of it as stands in front of `stop`."""
    rest = ""
    for letter in reversed(word[1:]):
        rest = f"(?:{letter}{rest}|{stop})"
    return word[0] + rest


def _maybe(escape: str, stop: str) -> re.Pattern[str]:
    bracket = f"{escape}[{re.escape(''.join(sorted(_OPEN)))}][{''.join(sorted(_SPACE))}]*"
    words = "|".join(_begun(word, stop) for word in sorted(_KNOWN_WORDS))
    space, colon = (f"[{''.join(sorted(letters))}]" for letters in (_SPACE, _COLON))
    # The Kelvin sign is a k to whoever compares without case.
    behind = f"{space}*(?:{stop}|{colon}{space}*(?:[a-zA-Z2-7\u212a]|{stop}))"
    return re.compile(f"(?:{bracket}){{0,2}}(?:(?:{words}){behind}|{stop})")


#: What a place has to look like to be looked at letter by letter: brackets and a type word, as far as the text goes. Nearly all
#: places do not, and in a text made of brackets they are many. In JSON a backslash may hide any letter.
_MAYBE = _maybe(r"\\?", r"(?=\\?\Z)")
_MAYBE_JSON = _maybe("", r"(?=\\|\Z)")

#: Particles that depend on whether the word before them ends in a consonant: (after a consonant, after a vowel).
_PARTICLES = (
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("으로", "로"),
    ("이나", "나"),
    ("이라", "라"),
    ("이며", "며"),
)
_FORM = {form: pair for pair in _PARTICLES for form in pair}
_PARTICLE_MOST = 2
_DIGITS_WITH_CONSONANT = frozenset("013678")
_RIEUL = frozenset("178")


class _More(Exception):
    """What stands at the end of the text so far may still become a token."""


@dataclass(frozen=True, slots=True)
class _Match:
    """A token as the model wrote it: up to `end`, meaning `token`; `particle` slipped inside its brackets."""

    end: int
    token: str
    particle: str = ""


class Restorer:
    """Puts values back into an answer, whole or in chunks. One for each text: a message, a tool call's arguments.

    `text` = restorer.feed(chunk), … and `restorer.finish()` at the end; or `restore(text)` for a whole one. However a text is cut
    into chunks, what comes out together is the same. Held back is at most the longest token and SLACK more, and only where
    something that may become a token stands at the end. `json`: the text is JSON (a tool's arguments), so a value is written
    escaped and a token may be. `particles`: mend 은/는, 이/가 … behind a restored value where a word ends after it.
    """

    def __init__(self, vault: Vault, *, json: bool = False, particles: bool = False) -> None:
        self._values = vault.values
        self._tokens = {token[2:-2]: token for token in vault.values}
        self._json = json
        self._maybe = _MAYBE_JSON if json else _MAYBE
        self._particles = particles and not json
        self.hold_back = max(vault.longest, len(REMOVED)) + SLACK
        #: How long a token may be written; a particle behind it and the letter after that have to fit as well.
        self._most = self.hold_back - (_PARTICLE_MOST + 1 if self._particles else 0)
        self._text = ""
        #: Tokens in the answer that nobody knows.
        self.unresolved: list[str] = []
        #: How many values were put back.
        self.restored = 0

    def feed(self, chunk: str) -> str:
        """The part that is certain now."""
        self._text += chunk
        return self._take(final=False)

    def finish(self) -> str:
        """The rest."""
        return self._take(final=True)

    def restore(self, text: str) -> str:
        return self.feed(text) + self.finish()

    def _take(self, *, final: bool) -> str:
        text, done = self._text, 0
        out: list[str] = []
        ready = len(text)
        begin = _BEGIN.search(text)
        while begin is not None:
            at = begin.start()
            try:
                letter, step = _logical(text, at, final=final) if self._json else (text[at], 1)
                begins = letter in _BEGINNERS and self._maybe.match(text, at) is not None
                found = self._match(text, at, final=final) if begins else None
                if found is not None:
                    value, end = self._value(text, found, final=final)
                    out += (text[done:at], value)
                    done = end
                    step = end - at
            except _More:
                ready = at
                break
            begin = _BEGIN.search(text, at + step)
        self._text = text[ready:]
        return "".join((*out, text[done:ready]))

    def _match(self, text: str, at: int, *, final: bool) -> _Match | None:
        """A token that begins here, if it does. Raises _More where only the next chunk can tell."""
        read = _Reader(text, at, self._most, final=final, json=self._json)
        opened, escaped = read.brackets(_OPEN, most=2)
        word = self._word(read)
        if word is None:
            return None
        read.skip(_SPACE)
        if read.peek() not in _COLON:
            return None
        read.take()
        read.skip(_SPACE)
        letters = ""
        while (letter := read.peek().lower()) in _ID:
            letters += letter
            read.take()
        token = self._tokens.get(f"{word}:{letters}")
        if not opened:
            # Bare, only what we know counts, and only as a word of its own.
            follows = read.peek()
            return _Match(read.at, token) if token and not (follows.isascii() and follows.isalnum()) else None
        particle = ""
        while len(particle) < _PARTICLE_MOST and "가" <= read.peek() <= "힣":
            particle += read.take()
        closed, escaped_too = read.brackets(_CLOSE, most=opened)
        if not closed or escaped != escaped_too:
            return None  # a backslash on one side only is the text's own: a folder named after somebody
        if token is None:
            if opened > 1 and len(letters) >= _ID_LETTERS:
                self._flag(f"[[{word}:{letters}]]")
            return None
        return _Match(read.at, token, particle)

    def _flag(self, written: str) -> None:
        if written not in self.unresolved:
            self.unresolved.append(written)

    def _word(self, read: _Reader) -> str | None:
        """The type word."""
        read.skip(_SPACE)
        word = ""
        while (letter := read.peek()) and letter not in _COLON and letter not in _SPACE:
            word += letter
            if not any(known.startswith(word) for known in _KNOWN_WORDS):
                return None
            read.take()
        return word if word in _KNOWN_WORDS else None

    def _value(self, text: str, found: _Match, *, final: bool) -> tuple[str, int]:
        value, end = self._values[found.token], found.end
        particle = found.particle
        if self._particles:
            form, behind = particle, end
            if not form:
                form, behind = _particle_behind(text, end, final=final)
            if form in _FORM:
                particle, end = _fitting(value, form), behind
        self.restored += 1
        written = json.dumps(value, ensure_ascii=False)[1:-1] if self._json else value
        return written + particle, end


class _Reader:
    """Reads a possible token letter by letter, at most `most` of them; an escaped letter of JSON is one."""

    __slots__ = ("_final", "_json", "_left", "_text", "at")

    def __init__(self, text: str, at: int, most: int, *, final: bool, json: bool) -> None:
        self._text = text
        self.at = at
        self._left = most
        self._final = final
        self._json = json

    def peek(self) -> str:
        """The next letter; "" at the end of the text and where a token would be too long."""
        return self._next()[0]

    def take(self) -> str:
        letter, size = self._next()
        self.at += size
        self._left -= 1
        return letter

    def skip(self, letters: frozenset[str]) -> None:
        while self.peek() in letters:
            self.take()

    def brackets(self, letters: frozenset[str], *, most: int) -> tuple[int, int]:
        """How many of one sort of them, and how many of those behind a backslash. Spaces between them are forgiven; stops
        behind the last one."""
        count = escaped = 0
        sort = letters
        while count < most:
            here, left = self.at, self._left
            self.skip(_SPACE)
            backslash = not self._json and self.peek() in _ESCAPE
            if backslash:
                self.take()
            if self.peek() not in sort:
                self.at, self._left = here, left
                break
            sort = frozenset(self.take())
            count += 1
            escaped += backslash
        return count, escaped

    def _next(self) -> tuple[str, int]:
        if self._left <= 0:
            return "", 0
        if self.at >= len(self._text):
            if self._final:
                return "", 0
            raise _More
        if self._json:
            return _logical(self._text, self.at, final=self._final)
        return self._text[self.at], 1


def _logical(text: str, at: int, *, final: bool) -> tuple[str, int]:
    """The letter that JSON text means here, and how many characters it takes."""
    if text[at] != "\\":
        return text[at], 1
    if at + 1 >= len(text):
        if final:
            return "\\", 1
        raise _More
    if text[at + 1] != "u":
        return {"n": "\n", "t": "\t"}.get(text[at + 1], text[at + 1]), 2
    digits = text[at + 2 : at + 6]
    try:
        if len(digits) == 4:
            return chr(int(digits, 16)), 6
    except ValueError:
        return "u", 2
    if final:
        return "u", 2
    raise _More


def _particle_behind(text: str, at: int, *, final: bool) -> tuple[str, int]:
    """A particle that stands here with the end of a word behind it: ("은", where it ends), or ("", here)."""
    for length in range(_PARTICLE_MOST, 0, -1):
        behind = at + length
        if behind >= len(text) and not final:
            # Only where what is there so far may still be a particle.
            so_far = text[at:]
            if any(form.startswith(so_far) for form in _FORM):
                raise _More
            continue
        if text[at:behind] in _FORM and len(text[at:behind]) == length:
            follows = text[behind : behind + 1]
            if not ("가" <= follows <= "힣") and not (follows.isascii() and follows.isalnum()):
                return text[at:behind], behind
    return "", at


def _fitting(value: str, form: str) -> str:
    """은 or 는 … as the value's last sound wants it; as it was written where that cannot be told."""
    consonant, vowel = _FORM[form]
    last = value.rstrip(" \"')]")[-1:]
    if "가" <= last <= "힣":
        final = (ord(last) - ord("가")) % 28
        rieul, closed = final == 8, final != 0
    elif last.isascii() and last.isdigit():
        rieul, closed = last in _RIEUL, last in _DIGITS_WITH_CONSONANT
    else:
        return form
    if consonant == "으로" and rieul:
        return vowel
    return consonant if closed else vowel


# ── looking at an answer ─────────────────────────────────────────────────────────────────────────────────────────────


class Seen(Protocol):
    """What a scanner says about a text; offsets are code points."""

    @property
    def kind(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def rule(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard can say at the end. `seen` is how many characters it looked at, `passed` how many of them it let go on.

    `complete` is false where the answer was cut before its end was looked at: then nothing is claimed about the rest.
    """

    action: Action
    seen: int
    passed: int
    complete: bool
    findings: tuple[tuple[str, str, float, Action], ...]

    @property
    def clean(self) -> bool:
        """Everything was looked at and nothing was found."""
        return self.complete and not self.findings


class OutputGuard:
    """An optional look at an answer while it streams: the same detectors, on a bounded hold-back.

    feed(chunk) gives what may go on; what is to be masked is replaced one way by its type word; at what is to be blocked it
    ends: nothing more is given, `blocked` is true. `scan` reads a text, `act` says what becomes of a finding. A finding is seen
    wherever the chunks are cut, if it and the words around it that matter fit into HOLD characters.
    """

    #: Characters that wait for what comes after them; what was let go is looked back at as far.
    HOLD = 160
    #: New characters that are waited for before looking again: a look costs the same for one as for these.
    STEP = 32

    def __init__(self, scan: Callable[[str], Sequence[Seen]], act: Callable[[Seen], Action]) -> None:
        self._scan = scan
        self._act = act
        self._before = ""
        self._waiting = ""
        self._looked = 0
        self._seen = 0
        self._passed = 0
        self._finished = False
        self._findings: list[tuple[str, str, float, Action]] = []
        self.blocked = False

    def feed(self, chunk: str) -> str:
        if self.blocked:
            return ""
        self._waiting += chunk
        if len(self._waiting) < max(self.HOLD, self._looked) + self.STEP:
            return ""
        return self._look(final=False)

    def finish(self) -> str:
        """The rest of the answer, which ends here."""
        if self.blocked:
            return ""
        rest = self._look(final=True)
        self._finished = not self.blocked
        return rest

    def verdict(self) -> Verdict:
        action = strictest_action(*(finding[3] for finding in self._findings))
        return Verdict(action, self._seen, self._passed, self._finished, tuple(self._findings))

    def _look(self, *, final: bool) -> str:
        window = self._before + self._waiting
        begin = len(self._before)
        until = len(window) if final else len(window) - self.HOLD
        found = sorted((m for m in self._scan(window) if m.end > begin), key=lambda m: (m.start, -m.end))
        self._seen = self._passed + len(self._waiting)
        if not final and len(self._waiting) < 3 * self.HOLD:
            # What reaches over the edge waits as a whole, unless it is longer than anything waits for. From the back, because
            # the edge moves.
            for match in reversed(found):
                if match.start < until < match.end:
                    until = max(begin, match.start)
        out: list[str] = []
        at = begin
        for match in found:
            if match.start >= until or match.end <= at:
                continue
            action = self._act(match)
            if action == "allow":
                continue
            self._findings.append((match.kind, match.rule, match.score, action))
            if action in ("block", "route_local"):
                self.blocked = True
                out.append(window[at : max(at, match.start)])
                self._passed += max(at, match.start) - begin
                self._waiting = ""
                return "".join(out)
            if action == "mask":
                out += (window[at : max(at, match.start)], f"[[{WORDS.get(match.kind, '비밀제거')}]]")
                at = min(match.end, until)
        out.append(window[at:until])
        self._passed += until - begin
        self._before = window[max(0, until - self.HOLD) : until]
        self._waiting = window[until:]
        self._looked = len(self._waiting)
        return "".join(out)
