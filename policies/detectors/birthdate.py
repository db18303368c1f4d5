"""생년월일, dates of birth: a real day from 1900 to today, only beside a label, before 생, or under its column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from policies import scoring
from policies.candidates import Shape
from policies.detector import Match
from policies.detectors._columns import aligned
from policies.page import Page, listed

KIND: Final = "BIRTHDATE"

LABELS: Final = listed(
    "생년월일, 생년 월일, 출생일자, 출생일, 출생, 생일, 생년, date of birth, birth date, birthdate, birthday, "
    "birth, dob, d.o.b, 출생연월일"
)
_BORN: Final = "birthdate:born"
#: 생 after a day; the page is only searched when one of these stands on it.
BORN: Final = (
    "일생",
    "일 생",
    "0생",
    "1생",
    "2생",
    "3생",
    "4생",
    "5생",
    "6생",
    "7생",
    "8생",
    "9생",
    ".생",
    "일출생",
    "일 출생",
    ") 생",
    ".출생",
    ". 출생",
    "에 태어",
    "일 태어",
    *(f"{digit} 출생" for digit in range(10)),
)

_DATE: Final = re.compile(
    r"(?<![0-9])(?:"
    r"(?P<y>(?:19|20)?[0-9]{2})(?:[ ]?년[ ]?|[ ]?[.\-/~][ ]?|[ ])(?P<m>0?[1-9]|1[0-2])(?:[ ]?월[ ]?|[ ]?[.\-/~][ ]?|[ ])"
    r"(?P<d>3[01]|[12][0-9]|0?[1-9])(?:[ ]?일)?"
    r"|(?P<solid>(?:19|20)?[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))"
    r")(?![0-9])"
)
#: From a label to its date there is no other number and no end of the line.
_LEAD: Final = re.compile(r"[^0-9\n]{0,20}+(?:[68] ?자리[^0-9\n]{0,6}+)?(?:\n[^0-9\n]{0,4}+)?")
#: The date of an example or of another sentence.
_ELSEWHERE: Final = re.compile(r"예[:)]|예시|형식|[다요]\. |[을를] ")
#: Between a name and a mobile number, as lists of people have it: 김서준 / 1985.10.27 / 010-….
_LISTED: Final = re.compile(
    r"[가-힣]{2,4}[ ]?[/,|(;\t][ ]?(?P<date>[0-9][0-9 ./\-년월일]{5,13}?)[ ]?[/,|);\t][ ]?\(?\Z"
)
#: … or before somebody's sex: 김서준, 850312, 남.
_SEX: Final = "birthdate:sex"
SEXES: Final = (
    *(f"{mark}{blank}{sex}" for mark in ",/|\t" for blank in ("", " ") for sex in "남여"),
    *(")님", ") 님", ")씨", ") 씨"),
)
_MOBILES: Final = tuple(Shape(groups, "0") for groups in ((3, 4, 4), (11,), (3, 3, 4)))
_SUFFIX: Final = re.compile(
    r"에? ?태어난?|\.?[ ]?(?:출)?생(?!산|활|각|성|명|태|물|중|애|방|업|존|략|수|계|아|률|신고| 신고|통계| 통계|등록| 등록|지)"
)

#: The characters a row of a list needs at least, and at most, before its mobile number.
_CLOSEST: Final = 9
_ROW: Final = 28
#: Between a date and its mobile number stand four marks at most; before these, what a date ends with.
_MARKED: Final = 5
_DATE_ENDS: Final = frozenset("0123456789.-년월일")
_MARKS: Final = frozenset(" /,|;\t(")

EXAMPLES: Final = (
    ("생년월일 1985.03.12", "1985.03.12"),
    ("생년월일: 1985년 3월 12일", "1985년 3월 12일"),
    ("생년월일850312입니다", "850312"),
    ("생년월일 19850312", "19850312"),
    ("홍길동(1985. 3. 12.생)", "1985. 3. 12"),
    ("김철수 85.03.12생", "85.03.12"),
    ("1999.1.15. 출생", "1999.1.15"),
    ("노우진, 950420, 남", "950420"),
    ("성영호(940810) 님", "940810"),
    ("1960년 11월 29일에 태어난 분", "1960년 11월 29일"),
    ("성명  생년월일    연락처\n김서준  1981-09-26  없음", "1981-09-26"),
    ("생년월일(6자리) 420118", "420118"),
    ("주은정 / 1985.10.27 / 010-8394-5980", "1985.10.27"),
    ("1985년 3월 12일생 남성", "1985년 3월 12일"),
    ("이름,생년월일\n홍길동,1985-03-12", "1985-03-12"),
    ('{"birth_date": "1985-03-12"}', "1985-03-12"),
)
NEAR_MISSES: Final = (
    "시행일 2025.03.12",
    "생년월일(예: 900101)을 입력",
    "서른 번째 생일을 맞는 뜻깊은 날입니다. 1978년 5월 20일",
    "회의 일시 2025년 3월 12일",
    "생년월일 1985.13.12",
    "생년월일 2030.01.01",
    "출생아 수는 2024년 기준",
    "2025년 3월 12일 생산",
    "2025.3.12. 출생신고 접수",
    "동대문, 250312, 여러 곳",
    "생년월일 확인 후 19850230 처리",
)


@dataclass(frozen=True, slots=True)
class Birthdate:
    name: str = "birthdate"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS, _BORN: BORN, _SEX: SEXES})
    shapes: tuple[Shape, ...] = _MOBILES

    def detect(self, page: Page, /) -> Iterable[Match]:
        seen: set[int] = set()
        for number in page.numbers(_MOBILES):
            if number.start > _CLOSEST and page.text[number.start - 1] in _MARKS and number.digits[1] == "1":
                listed_date = self._listed(page, number.start)
                if listed_date is not None:
                    seen.add(listed_date.start)
                    yield listed_date
        if page.has(_SEX):
            for match in self._before_sex(page):
                if match.start not in seen:
                    seen.add(match.start)
                    yield match
        if page.has(KIND) or page.has(_BORN):
            yield from self._announced(page, seen)

    def _announced(self, page: Page, seen: set[int]) -> Iterator[Match]:
        for word in page.labels(KIND):
            lead = _LEAD.match(page.text, word.end)
            found = _DATE.match(page.text, lead.end()) if lead is not None else None
            if lead is not None and _ELSEWHERE.search(lead[0]):
                continue
            if found is not None and found.start() not in seen and _real(found, page.today):
                if page.nearest(("RRN", "FRN", KIND, scoring.NOT), found.start()) not in {None, KIND}:
                    continue
                seen.add(found.start())
                yield scoring.match(KIND, found.start(), found.end(), 0.2, "birthdate", label="label")
        for start, end in aligned(page, KIND):
            cell = _DATE.fullmatch(page.text, start, end)
            if cell is not None and start not in seen and _real(cell, page.today):
                seen.add(start)
                yield scoring.match(KIND, start, end, 0.2, "birthdate", label="column")
        for found in _DATE.finditer(page.text):
            if found.start() in seen:
                continue
            born = page.has(_BORN) and _SUFFIX.match(page.text, found.end()) is not None
            if (born or page.heads(KIND, found.start())) and _real(found, page.today):
                why = "label" if born else "column"
                yield scoring.match(KIND, found.start(), found.end(), 0.2, "birthdate", label=why)

    def _before_sex(self, page: Page) -> Iterator[Match]:
        for word in page.words(_SEX):
            after = page.text[word.end : word.end + 1]
            found = None if "가" <= after <= "힣" and after not in "자성" else self._listed(page, word.start + 1)
            if found is not None:
                yield found

    def _listed(self, page: Page, mobile: int) -> Match | None:
        before = page.text[max(mobile - _MARKED, 0) : mobile].rstrip(" /,|;\t()")
        if before and before[-1] not in _DATE_ENDS:
            return None
        row = _LISTED.search(page.text, max(mobile - _ROW, 0), mobile)
        if row is None:
            return None
        date_of = _DATE.match(page.text, row.start("date"))
        if date_of is None or date_of.end() != row.end("date") or not _real(date_of, page.today):
            return None
        start, end = date_of.span()
        return scoring.match(KIND, start, end, 0.35, "birthdate:listed", neighbour=True)


def _real(found: re.Match[str], today: date) -> bool:
    """A day that was, and on which somebody now living may have been born."""
    solid = found["solid"]
    year, month, day = (solid[:-4], solid[-4:-2], solid[-2:]) if solid else (found["y"], found["m"], found["d"])
    number = int(year)
    if len(year) == 2:
        number += 2000 if 2000 + number <= today.year else 1900
    try:
        return date(1900, 1, 1) <= date(number, int(month), int(day)) <= today
    except ValueError:
        return False


detector: Final = Birthdate()
