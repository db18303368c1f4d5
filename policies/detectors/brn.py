"""사업자등록번호, business registration: tax office 3 (from 101), kind 2, serial 4, check digit.

Check digit: (10 − (Σ d·(1,3,7,1,3,7,1,3,5) + ⌊5·d9/10⌋) mod 10) mod 10. Public for companies, so it is a light kind; a
ninth of the labelled ones people write pass the check, so a label suffices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import Shape
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "BRN"

LABELS: Final = listed(
    "사업자등록번호, 사업자 등록번호, 사업자번호, 사업자(등록)번호, 사업자 번호, 사업자등록증, 사업자, 등록번호, "
    "business registration, business number, business_no, brn, bizno, biz_no, bizrno, bizr_no, brno, b_no, corp_reg"
)

_WEIGHTS: Final = (1, 3, 7, 1, 3, 7, 1, 3, 5)
_GROUPED: Final = (3, 2, 5)
SHAPES: Final = tuple(Shape(groups, "123456789") for groups in (_GROUPED, (10,), (5, 5), (3, 7)))

EXAMPLES: Final = (
    ("사업자등록번호 124-81-00998", "124-81-00998"),
    ("124-81-00998", "124-81-00998"),
    ("사업자번호: 1248100998", "1248100998"),
    ("사업자등록번호124-81-00991입니다", "124-81-00991"),
    ("등록번호 124 81 00998", "124 81 00998"),
    ("상호,사업자번호\n해치상사,1248100998", "1248100998"),
)
NEAR_MISSES: Final = (
    "124-81-00991",  # check digit wrong, no label
    "1248100998",  # a tenth of all numbers pass: not without a label
    "문서번호 124-81-00998",
    "001-81-12345",
    "2025-11-24 10:00",
)


@dataclass(frozen=True, slots=True)
class BusinessNumber:
    name: str = "brn"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[Shape, ...] = SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        expected = page.has(KIND)
        for number in page.numbers(SHAPES if expected else (_GROUPED,)):
            digits = number.digits
            if digits[:3] < "101" or digits[3:5] == "00" or page.embedded(number):
                continue
            label = None
            if expected and page.nearest(scoring.NUMBERED, number.start) in {None, KIND}:
                label = scoring.labelled(page, KIND, number.start)
            sound = sums_up(digits)
            grouped = number.shape == _GROUPED and number.hyphened
            if label is None and not (grouped and sound):
                continue
            negative = scoring.denied(page, number.start, number.end, KIND)
            if negative and label is None:
                continue
            yield scoring.match(
                KIND,
                number.start,
                number.end,
                0.3 if grouped else 0.1,
                "brn",
                checksum=sound,
                label=label,
                negative=negative,
            )


def sums_up(digits: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=False)) + int(digits[8]) * 5 // 10
    return (10 - total % 10) % 10 == int(digits[9])


detector: Final = BusinessNumber()
