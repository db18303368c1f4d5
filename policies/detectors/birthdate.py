"""생년월일, dates of birth: a real day from 1900 to today, only beside a label, before 생, or under its column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from policies import scoring
from policies.detector import Match
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
)

_DATE: Final = re.compile(
    r"(?<![0-9])(?:"
    r"(?P<y>(?:19|20)?[0-9]{2})(?:[ ]?년[ ]?|[ ]?[.\-/~][ ]?|[ ])(?P<m>0?[1-9]|1[0-2])(?:[ ]?월[ ]?|[ ]?[.\-/~][ ]?|[ ])"
    r"(?P<d>3[01]|[12][0-9]|0?[1-9])(?:[ ]?일)?"
    r"|(?P<solid>(?:19|20)?[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))"
    r")(?![0-9])"
)
#: From a label to its date there is no other number and no end of the line.
_LEAD: Final = re.compile(r"[^0-9\n]{0,20}+(?:\n[^0-9\n]{0,4}+)?")
_SUFFIX: Final = re.compile(r"\.?[ ]?(?:출)?생(?!산|활|각|성|명|태|물|중|애|방|업|존|략|수|계)")

EXAMPLES: Final = (
    ("생년월일 1985.03.12", "1985.03.12"),
    ("생년월일: 1985년 3월 12일", "1985년 3월 12일"),
    ("생년월일850312입니다", "850312"),
    ("생년월일 19850312", "19850312"),
    ("홍길동(1985. 3. 12.생)", "1985. 3. 12"),
    ("김철수 85.03.12생", "85.03.12"),
    ("1985년 3월 12일생 남성", "1985년 3월 12일"),
    ("이름,생년월일\n홍길동,1985-03-12", "1985-03-12"),
    ('{"birth_date": "1985-03-12"}', "1985-03-12"),
)
NEAR_MISSES: Final = (
    "시행일 2025.03.12",
    "회의 일시 2025년 3월 12일",
    "생년월일 1985.13.12",
    "생년월일 2030.01.01",
    "출생아 수는 2024년 기준",
    "2025년 3월 12일 생산",
    "생년월일 확인 후 19850230 처리",
)


@dataclass(frozen=True, slots=True)
class Birthdate:
    name: str = "birthdate"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS, _BORN: BORN})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        if not (page.has(KIND) or page.has(_BORN)):
            return
        seen: set[int] = set()
        for word in page.labels(KIND):
            lead = _LEAD.match(page.text, word.end)
            found = _DATE.match(page.text, lead.end()) if lead is not None else None
            if found is not None and found.start() not in seen and _real(found, page.today):
                if page.nearest(("RRN", "FRN", KIND, scoring.NOT), found.start()) not in {None, KIND}:
                    continue
                seen.add(found.start())
                yield scoring.match(KIND, found.start(), found.end(), 0.2, "birthdate", label="label")
        for found in _DATE.finditer(page.text):
            if found.start() in seen:
                continue
            born = page.has(_BORN) and _SUFFIX.match(page.text, found.end()) is not None
            if (born or page.heads(KIND, found.start())) and _real(found, page.today):
                why = "label" if born else "column"
                yield scoring.match(KIND, found.start(), found.end(), 0.2, "birthdate", label=why)


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
