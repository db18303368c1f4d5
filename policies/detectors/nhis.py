"""건강보험증 번호, health insurance card: eleven digits, sometimes 1-10. No public check: only beside a label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import stretches
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "NHIS"

LABELS: Final = listed(
    "건강보험증번호, 건강보험증, 건강보험 증번호, 건보증번호, 건보증, 보험증번호, 보험증, 증번호, 건강보험번호, "
    "건강보험, 피부양자, nhis, health insurance"
)


EXAMPLES: Final = (
    ("보험증번호 7 1234567890", "7 1234567890"),
    ("건강보험증 번호 7-1234567890", "7-1234567890"),
    ("건강보험증번호: 71234567890", "71234567890"),
    ("피부양자 증번호 80123456789입니다", "80123456789"),
    ("성명|증번호\n홍길동|71234567890", "71234567890"),
)
NEAR_MISSES: Final = (
    "71234567890",
    "건강보험료 1234567890원",
    "건강보험 문의 010-2345-6789",
    "주문번호 71234567890",
)


@dataclass(frozen=True, slots=True)
class HealthInsurance:
    name: str = "nhis"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        if not page.has(KIND):
            return
        for number in (stretch for chain in page.chains for stretch in stretches(chain, 11, 11)):
            if number.digits[0] == "0" or page.embedded(number):
                continue
            if page.nearest(scoring.NUMBERED, number.start) not in {None, KIND}:
                continue
            label = scoring.labelled(page, KIND, number.start)
            if label is not None:
                negative = scoring.denied(page, number.start, number.end, KIND)
                yield scoring.match(KIND, number.start, number.end, 0.2, "nhis", label=label, negative=negative)


detector: Final = HealthInsurance()
