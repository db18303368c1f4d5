"""운전면허번호, driving licence: region 2 (11–26, 28), year 2, serial 6, check and reissue 2; until 2014 the region by name.

No public check digit. A time such as 202511241030 begins with 20, the code of Jeju: twelve digits in a row count only with a
label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import Number, Shape, stretches
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "DRIVER_LICENSE"

LABELS: Final = listed(
    "운전면허번호, 운전면허증, 운전면허, 면허번호, 면허증번호, 면허 번호, 면허증, 면허, driver license, "
    "driver's license, driving licence, driving license, driver_license, license no, licence no, license number, "
    "license_no, licenseno, licenseNumber, license_number, licenceNumber, driverLicense, drivers_license"
)

_NAMED: Final = re.compile(
    r"(?:서울|부산|대구|인천|광주|대전|울산|경기|강원|충북|충남|전북|전남|경북|경남|제주|경기남부|경기북부)(?:[ \-.]{0,3})\Z"
)
_REGIONS: Final = frozenset([*map(str, range(11, 27)), "28"])
_GROUPED: Final = (2, 2, 6, 2)
_OLD: Final = (2, 6, 2)
SHAPES: Final = (Shape(_GROUPED, "12"), _OLD)
_WITHOUT_REGION: Final = 10  #: digits

EXAMPLES: Final = (
    ("운전면허 11-12-345678-90", "11-12-345678-90"),
    ("11-12-345678-90", "11-12-345678-90"),
    ("면허번호: 111234567890", "111234567890"),
    ("서울 94-123456-78", "서울 94-123456-78"),
    ("면허번호 경기94-123456-78입니다", "경기94-123456-78"),
    ("면허번호 11 12 345678 90", "11 12 345678 90"),
    ("운전면허번호 99-12-345678-90", "99-12-345678-90"),
    ("이름\t면허번호\n홍길동\t11-12-345678-90", "11-12-345678-90"),
)
NEAR_MISSES: Final = (
    "202511241030",
    "111234567890",
    "11 12 345678 90",
    "99-12-345678-90",
    "문서번호 11-12-345678-90",
    "접수 94-123456-78",
)


@dataclass(frozen=True, slots=True)
class DriverLicense:
    name: str = "driver_license"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[Shape | tuple[int, ...], ...] = SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        expected = page.has(KIND)
        seen = set()
        for number in page.numbers(SHAPES):
            found = self._judge(page, number, expected)
            if found is not None:
                seen.add(number.start)
                yield found
        if expected:
            for chain in page.chains:
                for number in stretches(chain, 10, 12):
                    if number.start not in seen and len(number.digits) != 11:
                        found = self._judge(page, number, expected)
                        if found is not None:
                            yield found
                            break

    def _judge(self, page: Page, number: Number, expected: bool) -> Match | None:
        label = None
        if expected and page.nearest(scoring.NUMBERED, number.start) in {None, KIND}:
            label = scoring.labelled(page, KIND, number.start)
        start, base = number.start, 0.5
        if len(number.digits) == _WITHOUT_REGION:
            named = _NAMED.search(page.text, max(number.start - 6, 0), number.start)
            if named is None:
                return None
            start = named.start()
            if number.hyphened:
                base = 0.8
        elif number.shape == _GROUPED and number.hyphened and number.digits[:2] in _REGIONS:
            base = 0.8
        if base < 0.8 and label is None:
            return None
        negative = scoring.denied(page, start, number.end, KIND)
        if negative and label is None:
            return None
        return scoring.match(KIND, start, number.end, base, "driver_license", label=label, negative=negative)


detector: Final = DriverLicense()
