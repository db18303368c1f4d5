"""주민등록번호, resident registration number: YYMMDD-GNNNNNC.

Check digit: (11 − Σ w·d mod 11) mod 10, w = 2…9, 2…5. Numbers given out since October 2020 are random after G, so a wrong
check digit is normal for them and for re-issued ones. Before that the two digits after G are a region, 00–95.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from policies import scoring
from policies.candidates import Number
from policies.detector import Match
from policies.detectors import _resident
from policies.page import Page, listed

KIND: Final = "RRN"

LABELS: Final = listed(
    "주민등록번호, 주민번호, 주민 번호, 주민등록 번호, 주민등록, 주민, 주번, 민번, 실명번호, 앞자리, 뒷자리, 앞번호, 뒷번호, "
    "뒤 자리, 앞 자리, 뒤 7자리, 뒤에 7자리, 뒷 7자리, 뒤7자리, "
    "고유식별, 생년월일/주민, rrn, jumin, resident registration, resident number, resident no, "
    "resident_no, residentno, resident id, resident_id, residentid, resident, ssn, national id, national_id"
)

#: Last month in which every number carried a check digit.
RANDOM_SINCE: Final = date(2020, 10, 1)
#: Nobody older is written about without a label.
OLDEST: Final = 1910

EXAMPLES: Final = (
    ("주민등록번호: 850312-2345677", "850312-2345677"),
    ("주민번호850312-2345678입니다", "850312-2345678"),
    ("홍길동(8503122345677)", "8503122345677"),
    ("홍길동, 850312 - 1234567", "850312 - 1234567"),
    ("주민번호 １９８５년 아님 ８５０３１２－２３４５６７８", "８５０３１２－２３４５６７８"),
    ("주민번호 85\u200b0312-23\u200b45678 확인", "85\u200b0312-23\u200b45678"),
    ("주민번호\n850312-2345678", "850312-2345678"),
    ("주민등록번호 앞자리 850312 뒷자리 2345678", "850312 뒷자리 2345678"),
    ("주민번호 앞 6자리는 850104, 뒤 7자리는 1536434", "850104, 뒤 7자리는 1536434"),
    ("앞번호 901225, 뒷번호 2345678", "901225, 뒷번호 2345678"),
    ("jumin1=850312&jumin2=2345678", "850312&jumin2=2345678"),
    ("①850312-2345678 ②900101-1234567", ["850312-2345678", "900101-1234567"]),
    ("앞이 850312이구요 뒤가 2345678 예요 주민번호요", "850312이구요 뒤가 2345678"),
    ('{"front6":"850312","back7":"2345678","항목":"주민번호"}', '850312","back7":"2345678'),
    ('{"rrn": {"front": "850312", "back": "2345678"}}', '850312", "back": "2345678'),
    ("성명,주민등록번호,연락처\n홍길동,8503122345678,02-120", "8503122345678"),
    ("| 이름 | 주민번호 |\n|---|---|\n| 김철수 | 8503122345678 |", "8503122345678"),
    ("주민번호 201105-3123456 (2020년 10월 이후 출생)", "201105-3123456"),
    ("생년월일 대신 19850312-1234567 로 적음", "19850312-1234567"),
    ("85.03.12-2345678", "85.03.12-2345678"),
    ("신청인 850312-2345678, 대리인 900101-1234567", ["850312-2345678", "900101-1234567"]),
)
NEAR_MISSES: Final = (
    "부품 850312 재고 2345678 개, 주민번호는 적지 않습니다",
    "주민번호 851312-2345678",  # the thirteenth month
    "주민번호 850230-1234567",  # the thirtieth of February
    "8503122345678",  # thirteen digits, check digit wrong, no label
    "상품 바코드 8801234567893",
    "타임스탬프 1700000000000",
    "접수번호 250312-1000123",
    "문서번호 2025-0312-0001",
    "주민등록번호 850312-2******",
    "주민번호 991231-3123456",  # born in 2099
    "법인등록번호 110111-1234567",
    "0123456 850312-23456789",
    "https://example.go.kr/view?id=18503122345678123",
)


@dataclass(frozen=True, slots=True)
class ResidentNumber:
    name: str = "rrn"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {KIND: LABELS, scoring.NOT: scoring.NEGATIVE_WORDS}
    )
    shapes: tuple[tuple[int, ...], ...] = _resident.SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        starts: list[int] = []
        for number, digits in _resident.dated(page):
            if digits[6] in "123490":
                found = self._judge(page, number, digits)
                if found is not None:
                    starts.append(found.start)
                    yield found
        for start, end, digits in _resident.filled(page, KIND, starts):
            if digits[6] in "123490":
                yield scoring.match(KIND, start, end, 0.5, "rrn:filled", checksum=sums_up(digits), label="label")

    def _judge(self, page: Page, number: Number, digits: str) -> Match | None:
        birthday = _resident.born(digits, page.today)
        if birthday is None:
            return None
        sound = sums_up(digits) and (digits[7:9] <= "95" or birthday >= RANDOM_SINCE)
        label = scoring.labelled(page, KIND, number.start)
        if label is None and (birthday.year < OLDEST or _is_company(page, number, digits, sound)):
            return None
        base = _resident.base(page, number, sound=sound, label=label is not None)
        if not base or (label is None and page.embedded(number)):
            return None
        negative = scoring.denied(page, number.start, number.end, KIND)
        if negative and label is None and (number.solid or not sound):
            return None
        return scoring.match(
            KIND, number.start, number.end, base, "rrn", checksum=sound, label=label, negative=negative
        )


def sums_up(digits: str) -> bool:
    return (11 - _resident.weighted(digits[:12])) % 10 == int(digits[12])


def _is_company(page: Page, number: Number, digits: str, sound: bool) -> bool:
    """Companies of Seoul begin with 110111, a birthday: told apart by their own check digit or by what is written beside."""
    if scoring.labelled(page, "CORP", number.start) is not None:
        return True
    return not sound and digits[6] in "90"


detector: Final = ResidentNumber()
