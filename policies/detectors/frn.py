"""외국인등록번호 and 국내거소신고번호: YYMMDD-GNNNNNC with G 5–8.

Check digit: (13 − Σ w·d mod 11) mod 10, which is two more than a resident's; the resident's formula rejects every one of them.
Random after G since October 2020 as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.detector import Match
from policies.detectors import _resident
from policies.page import Page, listed

KIND: Final = "FRN"

LABELS: Final = listed(
    "외국인등록번호, 외국인 등록번호, 외국인등록, 외국인번호, 거소신고번호, 거소신고, 거소번호, 국내거소, "
    "등록외국인, 외국인, frn, alien registration, foreigner registration, registration card, arc, arc no, "
    "alien_no, foreigner_no"
)

EXAMPLES: Final = (
    ("외국인등록번호 911124-5678906", "911124-5678906"),
    ("거소신고번호: 9111245678906", "9111245678906"),
    ("9111245678906", "9111245678906"),
    ("외국인등록번호911124-5678901입니다", "911124-5678901"),
    ("외국인등록번호 앞자리 761223, 뒷자리는 5477538", "761223, 뒷자리는 5477538"),
    ("ARC No. 911124 5678906", "911124 5678906"),
    ("주민(외국인)등록번호 020512-7123456", "020512-7123456"),
)
NEAR_MISSES: Final = (
    "9111245678904",  # the check digit of a resident's formula: nobody's
    "외국인등록번호 911324-5678906",  # the thirteenth month
    "외국인등록번호 301124-7678906",  # born in 2030
    "주문번호 911124-5678901",
    "외국인 관광객 9111245 명",
)


@dataclass(frozen=True, slots=True)
class ForeignerNumber:
    name: str = "frn"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = _resident.SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        starts: list[int] = []
        for number, digits in _resident.dated(page):
            if digits[6] not in "5678" or _resident.born(digits, page.today) is None:
                continue
            sound = sums_up(digits)
            label = scoring.labelled(page, KIND, number.start) or scoring.labelled(page, "RRN", number.start)
            if label is None and (page.embedded(number) or scoring.labelled(page, "CORP", number.start)):
                continue
            base = _resident.base(page, number, sound=sound, label=label is not None)
            negative = scoring.denied(page, number.start, number.end, KIND)
            if base and (sound or label or not negative):
                starts.append(number.start)
                yield scoring.match(
                    KIND, number.start, number.end, base, "frn", checksum=sound, label=label, negative=negative
                )
        for start, end, digits in _resident.filled(page, KIND, starts):
            if digits[6] in "5678":
                yield scoring.match(KIND, start, end, 0.5, "frn:filled", checksum=sums_up(digits), label="label")


def sums_up(digits: str) -> bool:
    return (13 - _resident.weighted(digits[:12])) % 10 == int(digits[12])


detector: Final = ForeignerNumber()
