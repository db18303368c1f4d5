"""Payment cards: 13–19 digits, Luhn, and who issues them.

Luhn alone passes a tenth of all numbers, so the first digits must be an issuer's: 34 and 37 (15 digits), 30, 36 and 38 (14),
35, 4, 5, 6, 2221–2720, and 9, which is used in Korea only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.candidates import Shape
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "CARD"

LABELS: Final = listed(
    "카드번호, 카드 번호, 신용카드, 체크카드, 법인카드, 카드, 결제카드, 결제, 유효기간, cvc, cvv, card number, "
    "card no, card_no, cardno, card, credit card, pan"
)

#: As cards are embossed.
USUAL: Final = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3))
SHAPES: Final = tuple(
    Shape(groups, "234569")
    for groups in (
        *USUAL, (16,), (15,), (14,), (19,), (8, 8), (4, 12), (6, 10), (4, 4, 8), (8, 4, 4), (4, 8, 4), (6, 6, 4),
        (5, 5, 6), (4, 4, 4, 2, 2),
    )
)  # fmt: skip

EXAMPLES: Final = (
    ("카드번호 4111-1111-1111-1111", "4111-1111-1111-1111"),
    ("4111 1111 1111 1111", "4111 1111 1111 1111"),
    ("5105105105105100로 결제", "5105105105105100"),
    ("9410-1234-5678-9010", "9410-1234-5678-9010"),
    ("378282246310005", "378282246310005"),
    ("3782-822463-10005입니다", "3782-822463-10005"),
    ("법인카드 9410-1234-5678-9012 사용", "9410-1234-5678-9012"),
    ("유효기간 12/28 카드 4111111111111112", "4111111111111112"),
)
NEAR_MISSES: Final = (
    "4111-1111-1111-1112",  # Luhn fails, no label
    "문서번호 2025-0312-0001-0007",
    "주문번호 4111111111111111",
    "1111-2222-3333-4444",
    "20251124103000123",
    "0000-0000-0000-0000",
)


@dataclass(frozen=True, slots=True)
class Card:
    name: str = "card"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[Shape, ...] = SHAPES

    def detect(self, page: Page, /) -> Iterable[Match]:
        expected = page.has(KIND)
        for number in page.numbers(SHAPES):
            digits = number.digits
            if not issued(digits):
                continue
            sound = luhn(digits)
            usual = number.shape in USUAL
            label = scoring.labelled(page, KIND, number.start) if expected else None
            if (not sound and (label is None or not (usual or number.solid))) or (
                label is None and page.embedded(number)
            ):
                continue
            base = 0.3 if usual else 0.2
            if base == 0.2 and label is None and page.neighbours(number):
                continue
            negative = scoring.denied(page, number.start, number.end, KIND)
            yield scoring.match(
                KIND, number.start, number.end, base, "card", checksum=sound, label=label, negative=negative
            )


def issued(digits: str) -> bool:
    """Whether some issuer's cards have these first digits and this length."""
    first, length = digits[0], len(digits)
    if first == "4":
        return length in {16, 19}
    if first in "59":
        return length == 16
    if first == "6":
        return length in {16, 19}
    if first == "3":
        return (
            (length == 15 and digits[1] in "47")
            or (length == 14 and digits[1] in "068")
            or (length == 16 and digits[1] == "5")
        )
    return first == "2" and length == 16 and "2221" <= digits[:4] <= "2720"


#: Twice the digit, its own digits added up.
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")


def luhn(digits: str) -> bool:
    counted = digits[-1::-2] + digits[-2::-2].translate(_DOUBLED)
    return (sum(counted.encode()) - ord("0") * len(counted)) % 10 == 0


detector: Final = Card()
