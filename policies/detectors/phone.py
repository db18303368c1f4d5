"""전화번호: mobiles by themselves, landlines and the rest only where they are somebody's own.

Office numbers stand in every public notice, so a landline counts with a label of a person's own line (연락처, 자택) or with
a person beside it. Numbers of the site's agencies are public (`Rules.phones`); 15xx-, 16xx- and 18xx-numbers, 080 and
three-digit ones belong to organisations and are never anybody's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import Number, Shape
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "PHONE"

#: Says that the line is a person's.
LABELS: Final = listed(
    "연락처, 휴대전화, 휴대폰, 핸드폰, 휴대, 핸펀, 폰번호, 자택, 집전화, 집 전화, 비상연락, 연락 가능, "
    "보호자 연락, mobile, cell, hp, h.p, contact, phone_number, phonenumber, c.p, (집), (자택)"
)
#: Says only that it is a telephone, which an office has as well.
WEAK: Final = listed("전화번호, 전화, 팩스, 사무실, 직통, tel, phone, fax, ☎, ☏, t.")
#: Somebody whose own number this may be.
PERSON: Final = listed(
    "성명, 이름, 신청인, 신고인, 민원인, 청구인, 보호자, 환자, 고객, 세대주, 수급자, 대상자, 피해자, 임차인, "
    "임대인, 거주, 자녀, 배우자, 어머니, 아버지, 학부모, 주민"
)
_ROLE_WEAK: Final = "phone:weak"
_ROLE_PERSON: Final = "phone:person"
#: Somebody's mobile right before: the landline behind it is the same person's.
_MOBILE_BEFORE: Final = re.compile(r"01[016789][ .\-)]{0,2}[0-9]{3,4}[ .\-]?[0-9]{4}[^0-9\n]{1,8}\Z")
_CALLED: Final = re.compile(r"[가-힣]{2,4} ?(?:씨|님)(?![가-힣]{2})")
#: 02-345-6789 (자택)
_HOME_AFTER: Final = re.compile(r" ?[(\[,/]? ?(?:자택|집(?![가-힣])|집전화|본인)")
#: How far around a landline a person counts as beside it.
_BESIDE: Final = 40

_MOBILE: Final = re.compile(r"01(?:0[1-9][0-9]{7}|[16789][1-9][0-9]{6,7})")
_ABROAD: Final = re.compile(r"(?:00)?82(?=0?(?:1[016789]|[2-7]))0?")
_LANDLINE: Final = re.compile(r"0(?:2[1-9][0-9]{6,7}|(?:3[1-3]|4[1-4]|5[1-5]|6[1-4])[1-9][0-9]{6,7}|70[1-9][0-9]{7})")
#: Passed on to somebody's own phone, and made to hide it: no longer than a mobile's secret, but somebody's.
_FORWARDED: Final = re.compile(r"050[2-8][0-9]{7,8}")

#: From 0 inside the country; from 82, or 0082, abroad. The odd ones are digits put apart to hide them.
_HOME: Final = (
    (11,), (10,), (9,), (12,), (3, 4, 4), (3, 3, 4), (3, 8), (3, 7), (7, 4), (6, 4), (2, 3, 4), (2, 4, 4), (2, 8),
    (2, 7), (4, 4, 4), (4, 3, 4), (4, 8), (4, 7), (3, 2, 2, 4), (3, 4, 2, 2), (3, 2, 2, 2, 2), (3, 2, 6), (3, 6, 2),
    (3, 5, 3), (5, 6), (3, 1, 3, 4), (4, 4, 3), (3, 3, 5), (5, 3, 3), (6, 5), (2, 1, 4, 4), (2, 5, 4),
)  # fmt: skip
_ABROAD_SHAPES: Final = (
    (12,), (11,), (13,), (14,), (2, 2, 4, 4), (2, 2, 3, 4), (2, 1, 4, 4), (2, 1, 3, 4), (2, 3, 4, 4), (2, 3, 3, 4),
    (2, 2, 8), (2, 10), (2, 9), (2, 11), (2, 6, 4), (4, 4, 4), (4, 3, 4), (3, 4, 4), (4, 8), (2, 1, 8), (2, 1, 2, 4, 4),
    (4, 2, 4, 4), (4, 1, 4, 4), (5, 4, 4), (6, 4, 4),
)  # fmt: skip
SHAPES: Final = (
    *(Shape(groups, "0") for groups in _HOME if groups not in _ABROAD_SHAPES),
    *(Shape(groups, "08") for groups in _ABROAD_SHAPES),
)
_LOCAL: Final = frozenset({(3, 4, 4), (3, 3, 4), (2, 3, 4), (2, 4, 4), (4, 4, 4), (4, 3, 4)})

EXAMPLES: Final = (
    ("연락처는 010-2345-6789입니다", "010-2345-6789"),
    ("010-1234-5678입니다", "010-1234-5678"),
    ("01023456789", "01023456789"),
    ("010 2345 6789", "010 2345 6789"),
    ("010.2345.6789", "010.2345.6789"),
    ("(010) 2345-6789", "(010) 2345-6789"),
    ("010)2345-6789", "010)2345-6789"),
    ("+82-10-2345-6789", "+82-10-2345-6789"),
    ("+82 (0)10-2345-6789", "+82 (0)10-2345-6789"),
    ("+821023456789", "+821023456789"),
    ("０１０－２３４５－６７８９", "０１０－２３４５－６７８９"),
    ("010–2345–6789", "010–2345–6789"),
    ("HP01023456789", "01023456789"),
    ("011-234-5678", "011-234-5678"),
    ("자택 02-345-6789", "02-345-6789"),
    ("인터넷전화 070-4520-8998 자택", "070-4520-8998"),
    ("연락처: 031-234-5678", "031-234-5678"),
    ("김영희 씨 전화 031-234-5678", "031-234-5678"),
    ("(휴)010-9076-5576 (집)051-629-0702", ["010-9076-5576", "051-629-0702"]),
    ("안심번호 0503-1234-5678", "0503-1234-5678"),
    ("이름,휴대폰\n홍길동,01023456789", "01023456789"),
    ("문의 010-2345-6789 010-3456-7890", ["010-2345-6789", "010-3456-7890"]),
)
NEAR_MISSES: Final = (
    "문의: 도시계획과 02-2133-1234",
    "다산콜센터 02-120, 국민콜 110",
    "대표전화 1588-1234",
    "수신자 부담 080-123-4567",
    "010-0000-0000",
    "010-****-5678",
    "주문번호 01023456789",
    "사건번호 2025고단0101",
    "PNU 1168010100101230000",
    "010-0234-5678",
    "계좌 110-234-567890",
)


@dataclass(frozen=True, slots=True)
class Phone:
    name: str = "phone"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {KIND: LABELS, _ROLE_WEAK: WEAK, _ROLE_PERSON: PERSON}
    )
    shapes: tuple[Shape, ...] = SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        public_ones = page.rules.phones
        expected = page.has(KIND)
        for number in page.numbers(SHAPES):
            digits = number.digits
            abroad = digits[0] == "8" or digits.startswith("008")
            if not abroad and digits[0] != "0":
                continue
            national = digits
            if abroad:
                code = _ABROAD.match(digits)
                if code is None or (
                    number.solid and page.text[number.start - 1 : number.start] != "+" and digits[0] == "8"
                ):
                    continue
                national = "0" + digits[code.end() :]
            label = scoring.labelled(page, KIND, number.start) if expected else None
            found = self._judge(page, number, national, abroad, label)
            if found is not None and not (public_ones and public(national, public_ones)):
                yield found

    def _judge(self, page: Page, number: Number, national: str, abroad: bool, label: str | None) -> Match | None:
        start = _opening(page.text, number)
        negative = scoring.denied(page, number.start, number.end, KIND)
        grouped = number.shape in _LOCAL or abroad
        if _MOBILE.fullmatch(national):
            if label is None and (page.embedded(number) or (negative and not number.hyphened)):
                return None
            base = 0.8 if grouped and "-" in number.raw else 0.6
            return scoring.match(KIND, start, number.end, base, "phone:mobile", label=label, negative=negative)
        if _FORWARDED.fullmatch(national):
            base = 0.5 if grouped else 0.2
            return scoring.match(KIND, start, number.end, base, "phone:forwarded", label=label, negative=negative)
        if not _LANDLINE.fullmatch(national) or negative:
            return None
        if label is None and not (grouped or page.before(_ROLE_WEAK, number.start)):
            return None
        neighbour = label is None and (_HOME_AFTER.match(page.text, number.end) is not None or _somebody(page, number))
        if label is None and not neighbour:
            return None
        label = label or "person beside"
        return scoring.match(KIND, start, number.end, 0.2, "phone:landline", label=label)


def public(national: str, ranges: Iterable[str]) -> bool:
    """Whether a number is one of these; a trailing `*` stands for any digits."""
    for known in ranges:
        digits = "".join(char for char in known if char.isdigit())
        if digits and (national.startswith(digits) if known.endswith("*") else national == digits):
            return True
    return False


def _opening(text: str, number: Number) -> int:
    """A plus before the country, and a parenthesis that closes inside the number, belong to it."""
    start = number.start
    before = text[start - 1 : start]
    if before == "+" or (before == "(" and ")" in number.raw):
        return start - 1
    return start


def _somebody(page: Page, number: Number) -> bool:
    """A person stands near: a word for one, or a name with 씨 or 님; or people's names head another column."""
    if page.before(_ROLE_PERSON, number.start, _BESIDE) is not None:
        return True
    if page.has(_ROLE_PERSON) and page.heads(_ROLE_WEAK, number.start):
        return True
    if _MOBILE_BEFORE.search(page.text, max(number.start - 24, 0), number.start) is not None:
        return True
    line = page.text.rfind("\n", max(number.start - _BESIDE, 0), number.start) + 1 or max(number.start - _BESIDE, 0)
    return _CALLED.search(page.text, line, number.start) is not None


detector: Final = Phone()
