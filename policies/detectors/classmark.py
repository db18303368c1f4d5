"""Marks of how closely a document is held: 대외비, Ⅰ·Ⅱ·Ⅲ급비밀, 비공개(n호), 부분공개, 기밀(C), 민감(S), CONFIDENTIAL.

A word is a mark where marks stand, and talk everywhere else ("대외비가 뭐야", "비공개 면접", "S등급 평가"):

    대외비 │ - 대외비 - │ 대외비 제2025-3호        a line of its own
    [대외비] 사업 계획 │ 사업 계획(대외비)          a bracket at the edge of a line
    보안등급: 대외비 │ "공개여부": "비공개(5호)"     a metadata field, also as the head of a table's column
    이 문서는 대외비입니다                        a sentence that declares it

What a mark says about the data is in its evidence as `grade:S` or `grade:C`; `grade_of` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from policies.decision import GRADES, Grade, stricter
from policies.detector import Match
from policies.detectors._columns import cells
from policies.pack import Marks, compiled, every_word, shipped
from policies.page import Page, Word

KIND: Final = "CLASSMARK"

_MARK: Final = "CLASSMARK"
_FIELD: Final = "CLASSMARK:field"
_SCORE: Final = 0.95
#: A text with so many marks of a kind is marked; a longer line is none.
_ENOUGH: Final = 8
_WIDEST_MARK: Final = 80
#: The marks of a decision whether to disclose name the items of the law they rest on.
_WITH_ITEMS: Final = ("closed", "partial")

#: Marks that mean nothing else, wherever a bracket holds them.
_STRONG: Final = ("secret", "restricted", "classified")

#: Marks stand on short lines or at the edges of long ones; how far from a word its line is read.
_REACH: Final = 160
_DECORATION: Final = " \t\r-–—*=_#>|※◆◇■□▶▷●○◎•☆★.,:;~·\"'`“”‘’"
_OPEN: Final = "[(<{【〔「『《〈"
_CLOSE: Final = "])>}】〕」』》〉"
_EDGES: Final = _DECORATION + _OPEN + _CLOSE

#: Items of article 9, paragraph 1 of the Information Disclosure Act; after normalisation a middle dot is a hyphen.
_LIST: Final = r"[1-8](?: ?호)?(?: ?(?:[,/-]|및) ?제?[1-8](?: ?호)?){0,7}"
_ITEMS: Final = (
    rf"(?: ?[\[(:,] ?(?:(?:정보공개법|법)? ?제? ?9조 ?(?:제? ?1항)? ?)?제?({_LIST}) ?호? ?[\])]?| ?제?({_LIST}) ?호)?"
)
#: What may be written with a mark on its line.
_TAIL: Final = (
    r"(?: ?(?:문서|자료|보고서|회의자료|등급))?[*_]{0,2}"
    r"(?: ?[-(]? ?(?:제? ?[0-9]{1,4}(?:-[0-9]{1,5})? ?호?|[0-9]{1,3} ?/ ?[0-9]{1,3}|사본번호.{0,12}) ?\)?)?"
    r"(?: ?[-(/,:]? ?(?:취급 ?주의|(?:외부 ?)?유출 ?금지|무단 ?(?:전재|복제|배포|유출).{0,10}금지|복사 ?금지"
    r"|열람 ?제한|열람 후 파기|보존기간.{0,10}|예고문.{0,20}|관련자 외 열람 ?금지) ?\)?)?"
)
_ITEM: Final = re.compile(r"[1-8]")
_AFTER_FIELD: Final = re.compile(
    r"(?:은|는|이|가|을|를)?[\"'\])*]{0,3}(?P<sign>[ \t]{0,6}(?:[:=|>\t→▶▷☞⇒(\[-]|:\s?\n)[ \t]{0,6}|[ \t]{1,6})[\"'\[(<*【]{0,3}"
)
_TICKED: Final = re.compile(r"(?:[■☑✔✓▣◉●☒√]|\[ ?[vVxX√✓] ?\]|\( ?[vVxXoO√✓○] ?\)) ?")
_DECLARES: Final = re.compile(
    r"(?:^|[\s\[(※*\"'-])(?:"
    r"(?:본|이|해당|동|위|첨부|붙임|첨부된|첨부한|아래|상기|다음)\s?(?:[가-힣]{1,6} ?){0,2}"
    r"(?:문서|자료|보고서|계획|계획서|계획안|파일|내용|건|회의록|공문|메일|명단|데이터|정보|사항|자료집|대장|검토서|안건|글|것)[은는이가]?"
    r"|이거|이건|이게|다음은|아래는|위는|다음|아래|이|본|첨부한?|위)[^\n.]{0,16}$"
)
_SUBJECT: Final = re.compile(r"[가-힣](?:은|는) ?$")
_OF_SUBJECT: Final = re.compile(
    r"\.?$|입니다|임(?=[\s.,)]|$)|이다(?=[\s.,)]|$)|이므로|이니|이에요|예요|인데|로 (?:부탁|(?:취급|관리|처리) ?(?:바|해|부))"
)
_SAID: Final = (
    r"입니다|임(?=[\s.,)]|$)|이다(?=[\s.,)]|$)|이고|므로|이므로|이니|이며|이오니"
    r"|으?로 (?:분류|지정|관리|취급|처리|설정|부탁|해 ?주)|에 해당|로서"
    r"|인데|이라서|라서|이라 |니까|이니까|이에요|예요|야(?=[\s.,!]|$)|인 만큼|인(?= )"
)
_DECLARED: Final = re.compile(rf"[\"'”’)\]]?(?: ?(?:문서|자료|등급|정보|사항|데이터|건|파일))?(?:{_SAID}|[,.] ?)")
_OPENING: Final = re.compile(
    rf"(?: ?(?:문서|자료|등급|정보|사항|건|파일))?(?!으?로 (?:분류|지정|관리|취급)(?:되|된|될|하|한|할))(?:{_SAID})"
)
#: `다음 대외비 문서를 요약해줘`: what is meant is the text that follows.
_POINTED: Final = re.compile(r"(?:^|[\s\"'(])(?:다음|아래|이|위|본|첨부한?|붙임) ?$")
_POINTED_AT: Final = re.compile(r" ?(?:문서|자료|보고서|내용|파일|계획서?|공문|회의록|안건|글)")
_APART: Final = re.compile(r"(?:\t| {2,}|[|/] ?)$")
_APART_AFTER: Final = re.compile(r"\s*$|\t| {2,}| ?[|/]")
#: 3쪽 / 10쪽 - 대외비 -
_DASH_AFTER: Final = re.compile(r" ?-\s*$")
_FILES: Final = (".hwp", ".pdf", ".doc", ".xls", ".ppt", ".txt")
_DENIED: Final = re.compile(r"아니|아닌|아님|않|해제|없")
#: Things that are held behind closed doors; a bracket beside them says how they go, not what a document is.
_EVENTS: Final = re.compile(
    r"면접|회의|심의|진행|행사|위원회|투표|방청|토론|간담회|심사|평가|재판|공판|협상|입찰|오디션|녹화|촬영|만찬|일정"
)

_TITLES: Final = re.compile(
    r"(?:회의록|의사록|보고서?|계획서?|계획안|자료|문서|결과|명단|대장|의견서|검토서|조서|방안|내역)$"
)

#: Where a string of JSON (also one inside another) or the text of an element begins and ends.
_INSIDE: Final = re.compile(
    r"[:\[] ?\\{0,3}\"|(?<=[^\\])\\{1,3}n|<(?P<tag>[A-Za-z][A-Za-z0-9]{0,10})(?: [^<>\n]{0,120})?>"
)
_STRING_ENDS: Final = re.compile(r"\\{0,3}\"(?= ?[,}\]]|$)|\\{1,3}n")
_ELEMENT_ENDS: Final = re.compile(r"</?[A-Za-z]")
#: Elements that offer something to choose or to press.
_CHOICES: Final = frozenset({"option", "label", "button", "li", "a", "th", "code", "input"})

EXAMPLES: Final = (
    ("대외비\n\n2026년 조직개편 계획", "대외비"),
    ("- 대 외 비 -\n1. 개요", "대 외 비"),
    ("[대외비] 2026년 조직개편 계획", "대외비"),
    ("2026년 조직개편 계획(대외비)", "대외비"),
    ("【對外秘】 인사 운영안", "對外秘"),
    ("Ⅱ급비밀\n작전 협조 사항", "Ⅱ급비밀"),
    ("3급 비밀 제2025-12호", "3급 비밀"),
    ("보안등급: Ⅲ급비밀", "Ⅲ급비밀"),
    ("보안등급 : 대외비", "대외비"),
    ("공개구분: 비공개(5호)", "비공개(5호)"),
    ("공개여부 | 부분공개(6호) |", "부분공개(6호)"),
    ("공개여부  □공개  ■비공개(5호)", "비공개(5호)"),
    ('{"title": "예산 조정안", "security_level": "C"}', "C"),
    ("N2SF 등급: S", "S"),
    ("기밀(C)\n재난안전 통신망 구성도", "기밀(C)"),
    ("[N2SF C등급] 통신망 구성", "N2SF C등급"),
    ("민감(S)\n민원 처리 대장", "민감(S)"),
    ("본 문서는 대외비입니다. 외부 유출을 금합니다.", "대외비"),
    ("※ 이 자료는 비공개 자료임", "비공개 자료"),
    ("문서명,보안등급\n조직개편안,대외비\n홍보계획,공개", "대외비"),
    ("CONFIDENTIAL\n\nProcurement plan", "CONFIDENTIAL"),
    ("비공개\n\n내부 검토 자료", "비공개"),
    ("열람제한: 대외비", "대외비"),
    ("데모시 총무과            대외비", "대외비"),
    ("공개구분(비공개)", "비공개"),
    ("회의 결과는 대외비로 부탁드립니다", "대외비"),
    ("이거 대외비인데 요약해줘", "대외비"),
    ("다음 대외비 문서를 요약해줘", "대외비"),
    ("문서 보안등급은 대외비이고 제목은 후보지 분석", "대외비"),
    ("공개구분이 부분공개(6호)인 문서", "부분공개(6호)"),
    ("대·외·비", "대·외·비"),
    ("3쪽 / 10쪽 - 대외비 -", "대외비"),
    ("파일명: 2026_교섭안_대외비.hwpx", "대외비"),
    ("이사회 회의록(비공개)", "비공개"),
    ('{"text": "[대외비] 도시개발 후보지 검토"}', "대외비"),
    ('{"arguments": "{\\"body\\": \\"[대외비] 협상안\\"}"}', "대외비"),
    ('<h1>조직개편안</h1><p class="mark">대외비</p>', "대외비"),
    ("**대외비** - 외부 유출 금지", "대외비"),
    ("N2SF 등급: S등급", "S등급"),
)
NEAR_MISSES: Final = (
    "대외비가 뭐야?",
    "대외비 문서의 관리 방법을 알려줘",
    "비공개 면접은 3월 2일에 진행합니다",
    "S등급 평가를 받은 직원에게 포상합니다",
    "공정 C등급 설비를 교체한다",
    "교량 안전등급: C",
    "시설물 종합평가 결과 C등급",
    "공개구분: 공개",
    "공개여부: 공개( ) 부분공개( ) 비공개( )",
    "공개여부  ■공개  □부분공개  □비공개",
    "비공개 대상 정보의 범위(정보공개법 제9조)",
    "급비밀이라는 말의 어원",
    "Ⅰ급비밀, Ⅱ급비밀, Ⅲ급비밀의 차이",
    "공개구분은 다음과 같다.\n- 공개\n- 부분공개\n- 비공개",
    "이 문서는 대외비가 아닙니다",
    "이 문서가 대외비인가요?",
    "This e-mail is confidential and may be privileged.",
    "N2SF 등급은 C, S, O로 나뉜다",
    "기밀성, 무결성, 가용성",
    "민감정보 처리 동의",
    "신용등급: C",
    "제3차 위원회(비공개) 개최 알림",
    "classification: C++ compiler errors",
    "비밀번호는 대외비처럼 다루어야 한다",
    "표지 오른쪽 위에 (대외비) 표시를 넣어주세요",
    "대외비로 분류되던 문서가 공개되었다는 기사",
    "1급 비밀이라도 되는 듯 말했다",
    "<select><option>공개</option><option>대외비</option></select>",
    '{"question": "대외비 문서의 보존기간은 어떻게 되나요"}',
    '["공개", "대외비"]',
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A mark compiled: alone on a line with what may stand with it, at the beginning of a text, and as a field's value."""

    variant: str
    grade: Grade
    alone: Any
    leading: Any
    value: Any


class _Line(NamedTuple):
    """Where a word's line begins and stops, and what is on it between its decoration (left, right)."""

    text: str
    begin: int
    stop: int
    left: int
    right: int
    whole: bool

    @classmethod
    def around(cls, text: str, word: Word) -> _Line:
        """`whole` is false where the line goes on beyond what is read of it."""
        floor = max(0, word.start - _REACH)
        begin = text.rfind("\n", floor, word.start) + 1 or floor
        stop = text.find("\n", word.end, word.end + _REACH)
        if stop < 0:
            stop = min(len(text), word.end + _REACH)
        whole = (begin == 0 or text[begin - 1] == "\n") and (stop == len(text) or text[stop] == "\n")
        left, right = begin, stop
        while left < right and text[left] in _EDGES:
            left += 1
        while right > left and text[right - 1] in _EDGES:
            right -= 1
        return cls(text, begin, stop, left, right, whole)


class _Notes:
    """What was found out about lines of one page, for the same line may come again and again."""

    __slots__ = ("_choices", "_matches", "_talk")

    def __init__(self) -> None:
        self._matches: dict[tuple[str, str], Any] = {}
        self._choices: dict[str, bool] = {}
        self._talk: dict[str, bool] = {}

    def fullmatch(self, mark: _Kind, line: _Line, start: int) -> Any:
        """The mark that fills a line from `start` on; the bracket that closes its items belongs to it."""
        closed = line.right < line.stop and line.text[line.right] in _CLOSE
        core = line.text[start : line.right + closed]
        key = (mark.variant, core)
        if key not in self._matches:
            self._matches[key] = mark.alone.fullmatch(core) or (mark.alone.fullmatch(core[:-1]) if closed else None)
        return self._matches[key]

    def is_choice(self, marks: Iterable[_Kind], core: str) -> bool:
        if core not in self._choices:
            self._choices[core] = core == "공개" or (
                len(core) <= _WIDEST_MARK and any(mark.alone.fullmatch(core) for mark in marks)
            )
        return self._choices[core]

    def is_talk(self, talk: re.Pattern[str] | None, line: _Line) -> bool:
        words = line.text[line.begin : line.stop]
        if words not in self._talk:
            self._talk[words] = talk is not None and talk.search(words) is not None
        return self._talk[words]


class _Tries:
    """How often words were looked at closely where they stand: on one long line full of them, the rest is more of the same."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def often(self, position: int) -> bool:
        bucket = position // 400
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        return self._counts[bucket] > 6


class ClassificationMark:
    """The detector, compiled from the pack's marks, fields and values."""

    name = "classmark"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Marks) -> None:
        self._marks = []
        for mark in pack.marks:
            words = "|".join(mark.words)
            items = _ITEMS if mark.variant in _WITH_ITEMS else "()()"
            values = "|".join([*mark.words, *(w for v in pack.values if v.variant == mark.variant for w in v.words)])
            self._marks.append(
                _Kind(
                    mark.variant,
                    mark.grade,
                    compiled(rf"((?:{words}){items}){_TAIL}"),
                    compiled(rf"((?:{words}){items})"),
                    compiled(rf"((?:{values}){items})"),
                )
            )
        self._talk = re.compile("|".join(map(re.escape, pack.talk))) if pack.talk else None
        self.words: dict[str, tuple[str, ...]] = {
            _MARK: every_word(mark.triggers for mark in pack.marks),
            **{f"{_MARK}:{mark.variant}": mark.triggers for mark in pack.marks},
            _FIELD: pack.fields,
        }

    def detect(self, page: Page, /) -> Iterable[Match]:
        seen: dict[int, Match] = {}
        if page.has(_MARK):
            notes = _Notes()
            for mark in self._marks:
                role = f"{_MARK}:{mark.variant}"
                if page.has(role):
                    self._lines(page, mark, role, notes, seen)
        if page.has(_FIELD):
            self._fields(page, seen)
        return [seen[start] for start in sorted(seen)]

    def _lines(self, page: Page, mark: _Kind, role: str, notes: _Notes, seen: dict[int, Match]) -> None:
        found = 0
        tried = _Tries()
        for word in page.words(role):
            match = self._on_line(_Line.around(page.text, word), mark, word, notes, tried)
            if match is None:
                inner = _inside(page, word)
                match = None if inner is None else self._on_line(inner, mark, word, notes, tried)
            if match is not None and match.start not in seen:
                seen[match.start] = match
                found += 1
                if found == _ENOUGH:
                    return

    def _on_line(self, line: _Line, mark: _Kind, word: Word, notes: _Notes, tried: _Tries) -> Match | None:
        """What a word of this mark is on its line: a mark, or talk (None)."""
        if line.whole and line.right - line.left <= _WIDEST_MARK:
            found = notes.fullmatch(mark, line, line.left)
            if found is not None:
                return None if self._enumerated(line, notes) else self._match(mark, found, line.left, "line")
        if tried.often(word.start) or notes.is_talk(self._talk, line):
            return None
        ahead = line.text[max(line.begin, word.start - 8) : word.start]
        match = self._bracketed(line, mark, word) if any(char in _OPEN for char in ahead) else None
        if match is None and line.whole and ":" in ahead:
            match = self._keyed(line, mark, notes)
        return match or self._declared(line, mark, word) or self._apart(line, mark, word)

    def _apart(self, line: _Line, mark: _Kind, word: Word) -> Match | None:
        """At the edge of a header or footer, away from its other words; or with the items of the law it rests on."""
        text = line.text
        start = word.start - 1 if word.start and text[word.start - 1] in "123I" else word.start
        while start > line.begin and text[start - 1] == "I":
            start -= 1
        strong = mark.variant in _STRONG
        dashed = text[max(line.begin, start - 2) : start] == "- "
        filed = text[max(line.begin, start - 1) : start] in ("_", "-") and text.startswith(_FILES, word.end)
        apart = start == line.begin or _APART.search(text, max(line.begin, start - 4), start) is not None
        if strong and not (apart or dashed or filed):
            return None
        if not strong and "호" not in text[word.end : min(line.stop, word.end + 32)]:
            return None
        found = mark.leading.match(text[start : min(line.stop, word.end + 40)])
        if found is None or start + found.end() < word.end:
            return None
        end = start + found.end()
        if strong:
            if filed or (_APART_AFTER if apart else _DASH_AFTER).match(text, end, line.stop):
                return self._match(mark, found, start, "apart")
        elif _items(found) and "호" in found[0] and not "가" <= text[end : end + 1] <= "힣":
            return self._match(mark, found, start, "items")
        return None

    def _bracketed(self, line: _Line, mark: _Kind, word: Word) -> Match | None:
        """[mark] at the beginning of a line, anywhere in square brackets of its own, or (mark) at the end of a title."""
        text, begin, stop = line.text, line.begin, line.stop
        start = word.start
        while start > begin and text[start - 1] not in _OPEN:
            start -= 1
            if word.start - start > 8:
                return None
        if start == begin or (start - 2 >= begin and text[start - 2] in "'\"‘“`"):
            return None
        found = mark.leading.match(text[start : min(stop, word.end + 40)])
        if found is None or start + found.end() < word.end:
            return None
        end = start + found.end()
        if end >= stop or text[end] not in _CLOSE or _DENIED.search(text, end, stop):
            return None
        opened = text[start - 1]
        behind = text[end + 1 : stop].strip(_DECORATION)
        before = text[begin : start - 1].strip(_EDGES + "0123456789")
        strong = mark.variant in _STRONG
        if opened == "(" and not strong and not _items(found) and not _TITLES.search(before):
            speaks_of = before or behind
            if _EVENTS.search(speaks_of) or _EVENTS.search(behind):
                return None
        edge = not before or not behind or text[end + 1 : end + 6].startswith(_FILES)
        free = not "가" <= text[end + 1 : end + 2] <= "힣"
        if not before or (free and (edge or strong or opened in "[【")):
            return self._match(mark, found, start, "bracket")
        return None

    def _keyed(self, line: _Line, mark: _Kind, notes: _Notes) -> Match | None:
        """`열람제한: 대외비`: a short line of a key and a mark, whatever the key."""
        colon = line.text.rfind(":", line.left, line.right)
        if colon < 0 or colon - line.begin > 16 or line.right - colon > 48:
            return None
        start = colon + 1
        while start < line.right and line.text[start] in _EDGES:
            start += 1
        found = notes.fullmatch(mark, line, start)
        return None if found is None else self._match(mark, found, start, "field")

    def _declared(self, line: _Line, mark: _Kind, word: Word) -> Match | None:
        """이 문서는 대외비입니다; 대외비 자료이므로 …; 다음 대외비 문서를 요약해줘."""
        text, begin, at = line.text, line.begin, word.start
        opens = not text[begin:at].strip(_EDGES)
        pointed = (
            mark.variant in _STRONG
            and _POINTED.search(text[max(begin, at - 8) : at]) is not None
            and _POINTED_AT.match(text, word.end, line.stop) is not None
        )
        subject = (
            mark.variant in _STRONG
            and _SUBJECT.search(text[max(begin, at - 3) : at]) is not None
            and _OF_SUBJECT.match(text, word.end, line.stop) is not None
        )
        if not opens and not pointed and not subject and _DECLARES.search(text[max(begin, at - 60) : at]) is None:
            return None
        level = at
        while level > begin and at - level < 3 and text[level - 1] in "123I일이삼":
            level -= 1
        for start in dict.fromkeys((at, level)):
            found = mark.leading.match(text[start : min(line.stop, word.end + 40)])
            if found is None or start + found.end() < word.end:
                continue
            end = start + found.end()
            if _DENIED.search(text, end, min(line.stop, end + 24)):
                return None
            if pointed or subject or (_OPENING if opens else _DECLARED).match(text, end, line.stop):
                return self._match(mark, found, start, "declared")
        return None

    def _enumerated(self, line: _Line, notes: _Notes) -> bool:
        """Whether the line above or below is another choice of the same list."""
        text, begin, stop = line.text, line.begin, line.stop
        floor = max(0, begin - 61)
        above = text[max(text.rfind("\n", floor, max(begin - 1, 0)), floor) : max(begin - 1, 0)]
        below = text[stop + 1 : stop + 61].split("\n", 1)[0]
        for other in (above, below):
            core = other.strip(_EDGES + "\n0123456789")
            if core and notes.is_choice(self._marks, core):
                return True
        return False

    def _fields(self, page: Page, seen: dict[int, Match]) -> None:
        text = page.text
        tried = _Tries()
        found = 0
        for word in page.labels(_FIELD):
            if word.start and text[word.start - 1].isalpha() and text[word.start - 1].isascii():
                continue
            after = _AFTER_FIELD.match(text, word.end)
            if after is None or tried.often(word.start):
                continue
            at = after.end()
            stop = text.find("\n", at, at + 64)
            stop = min(len(text), at + 64) if stop < 0 else stop
            ticked = [tick.end() for tick in _TICKED.finditer(text, at, stop)]
            signed = bool(after["sign"].strip()) or bool(ticked)
            for place in ticked or ([] if "□" in text[at:stop] else [at]):
                match = self._value(text, place, stop, signed=signed)
                if match is not None:
                    seen.setdefault(match.start, match)
                    found += 1
            if found >= _ENOUGH:
                return
        known: dict[str, bool] = {}
        for start, end in cells(page, _FIELD, self.words[_FIELD]):
            value = text[start:end]
            if known.get(value) is False or end - start > _WIDEST_MARK:
                continue
            match = self._value(text, start, end, signed=True)
            known[value] = match is not None
            if match is not None:
                seen.setdefault(match.start, match)
                found += 1
                if found >= _ENOUGH:
                    return

    def _value(self, text: str, start: int, stop: int, *, signed: bool) -> Match | None:
        for mark in self._marks:
            found = mark.value.match(text[start:stop])
            if found is None:
                continue
            end = start + found.end()
            rest = text[end:stop]
            if rest[:1].isalnum() or rest[:1] in ("+", "#", "/", "_") or rest.lstrip(" ")[:2] in ("()", "( "):
                # 비밀번호, C++, 비공개( ), C/S/O: something else begins so, or nothing is chosen.
                declared = _DECLARED.match(text, end, stop)
                if declared is None or rest[:1] in ("+", "#", "/", "_", "("):
                    continue
            if not signed and (
                (self._talk is not None and self._talk.search(rest))
                or re.match(r" ?(?:대상|결정|사유|여부|기준|이상|범위)", rest)
            ):
                continue
            if re.match(r" ?[,/·-] ?(?:[SCO](?![A-Za-z0-9])|공개|부분공개|비공개|민감|기밀)", rest):
                continue
            return self._match(mark, found, start, "field")
        return None

    def _match(self, mark: _Kind, found: Any, offset: int, where: str) -> Match:
        start, end = found.span(1)
        text = found.group(1)
        if text[-1] in "])" and not any(opened in text for opened in "[("):
            end -= 1
        grade = mark.grade
        items = _items(found)
        if items:
            grade = "C" if min(map(int, _ITEM.findall(items))) <= 4 else "S"
        return Match(KIND, offset + start, offset + end, _SCORE, f"classmark:{mark.variant}", (where, f"grade:{grade}"))


def _inside(page: Page, word: Word) -> _Line | None:
    """What a word stands in, read as a line of its own: the string of a JSON field, the text of an HTML element."""
    text = page.text
    openings = list(_INSIDE.finditer(text, max(0, word.start - _REACH), word.start))
    if not openings:
        return None
    opened = openings[-1]
    begin = opened.end()
    closed = (_ELEMENT_ENDS if opened["tag"] else _STRING_ENDS).search(text, word.end, word.end + _REACH)
    stop = min(len(text), word.end + _REACH) if closed is None else closed.start()
    if text.find("\n", begin, stop) >= 0:
        return None
    tag = (opened["tag"] or "").lower()
    if tag in _CHOICES or (tag == "td" and not page.has(_FIELD)):
        return None
    left, right = begin, stop
    while left < right and text[left] in _EDGES:
        left += 1
    while right > left and text[right - 1] in _EDGES:
        right -= 1
    return _Line(text, begin, stop, left, right, closed is not None)


def _items(found: Any) -> str:
    return str(found.group(2) or found.group(3) or "")


def variant_of(rule: str) -> str:
    """`partial` of `classmark:partial`, whatever reading it was seen in; empty for another detector's rule."""
    head, _, variant = rule.partition(":")
    return variant.partition("+")[0] if head == "classmark" else ""


def grade_of(matches: Iterable[Match]) -> Grade:
    """The strictest grade that the marks among some matches give the data; O when there is none."""
    said = [note.removeprefix("grade:") for match in matches if match.kind == KIND for note in match.evidence]
    return stricter(*(grade for grade in GRADES if grade in said))


detector: Final = ClassificationMark(shipped().marks)
