"""법인등록번호, company registration: registry 4, kind of company 2, serial 6, check digit.

Check digit: (10 − Σ alternating ×1 ×2 mod 10) mod 10; the published worked example is 110111-006243 → 2. Companies
registered in Seoul begin with 110111, which is also a birthday: a resident number is looked for first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.detector import Match
from policies.detectors import _resident
from policies.page import Page, listed

KIND: Final = "CORP"

LABELS: Final = listed(
    "법인등록번호, 법인 등록번호, 법인번호, 법인(등록)번호, 법인등기번호, 법인, corporate registration, "
    "corporation number, corp_no, corp no, corpno, corpregno, corp_reg_no, jurirno, jurir_no, crno"
)
#: 주식 · 합명 · 합자 · 유한 · 유한책임 · 사단 · 재단.
KINDS: Final = frozenset({"11", "12", "13", "14", "15", "21", "22"})

SHAPES: Final = ((13,), (6, 7))

EXAMPLES: Final = (
    ("법인등록번호 110111-0062432", "110111-0062432"),
    ("법인번호: 1101110062432", "1101110062432"),
    ("법인등록번호는110111-1234567이며", "110111-1234567"),
    ("(주)해치 134511-0062436", "134511-0062436"),
    ("상호,법인등록번호\n해치,1101110062432", "1101110062432"),
)
NEAR_MISSES: Final = (
    "134511-0062431",  # check digit wrong, no label
    "1345110062436",  # in a row and without a label
    "주민등록번호 110111-3234567",
    "주문번호 134511-0062436",
    "110-111-0062432",
)


@dataclass(frozen=True, slots=True)
class CompanyNumber:
    name: str = "corp"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        expected = page.has(KIND)
        for number in page.numbers(SHAPES if expected else SHAPES[1:]):
            digits = number.digits
            label = None
            if expected and page.nearest(("RRN", "FRN", "CORP", "ACCOUNT"), number.start) in {None, "CORP"}:
                label = scoring.labelled(page, KIND, number.start)
            if label is None and not (
                digits[4:6] in KINDS
                and _resident.company(digits)
                and number.hyphened
                and not scoring.labelled(page, "RRN", number.start)
            ):
                continue
            yield scoring.match(
                KIND,
                number.start,
                number.end,
                0.2,
                "corp",
                checksum=_resident.company(digits),
                label=label,
                negative=scoring.denied(page, number.start, number.end, KIND),
            )


detector: Final = CompanyNumber()
