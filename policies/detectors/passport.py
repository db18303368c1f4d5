"""여권번호, passports: a letter and eight digits; since 2021-12-21 letter, three digits, letter, four digits (M123A4567).

First letters: M several journeys, S one, R residents abroad, G official, D diplomatic, O as tables of others have it. The
old shape is also a date or a model (D20250312, S12345678), so it counts only with a label; no check digit exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "PASSPORT"

LABELS: Final = listed("여권번호, 여권 번호, 여권, passport, passport no, passport_no, passportno, 여권no")

#: Begins with a set of characters, so that the search skips to the next of them; what stands before is looked at afterwards.
_NEW: Final = re.compile(r"[MSRGDO][0-9]{3}[A-Z][0-9]{4}(?![0-9A-Za-z])")
#: Any country's, and with marks between: right only behind a label.
_ANY: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[A-Za-z][ \-]?[0-9]{3}[ \-]?[A-Za-z][ \-]?[0-9]{4}|[A-Za-z]{1,2}[ \-.]?[0-9]{3,4}[ \-.]?[0-9]{3,4})"
    r"(?![0-9A-Za-z])"
)
_TOKEN: Final = re.compile(r"[0-9A-Za-z]")
#: From a label to its value.
_NEXT: Final = re.compile(r"[^\n]{0,20}?(?:\n[ \t]{0,8})?(?=(?<![0-9A-Za-z])[A-Za-z]{1,2}[ \-.]?[0-9]{3})")

EXAMPLES: Final = (
    ("여권번호 M12345678", "M12345678"),
    ("여권번호: M123A4567", "M123A4567"),
    ("M123A4567", "M123A4567"),
    ("여권번호M12345678입니다", "M12345678"),
    ("passport no. s12345678", "s12345678"),
    ("여권 M 1234 5678", "M 1234 5678"),
    ("여권 Ｍ１２３Ａ４５６７", "Ｍ１２３Ａ４５６７"),
    ("성명|여권번호\n홍길동|M12345678", "M12345678"),
    ("여권번호 O123S4567", "O123S4567"),
)
NEAR_MISSES: Final = (
    "D20250312",
    "모델 S12345678",
    "M12345678",
    "XM123A4567",
    "M123A45678",
    "여권 발급 수수료 53000원",
)


@dataclass(frozen=True, slots=True)
class Passport:
    name: str = "passport"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        labelled: set[int] = set()
        for word in page.labels(KIND):
            gap = _NEXT.match(page.text, word.end)
            value = _ANY.match(page.text, gap.end()) if gap is not None else None
            if value is not None and value.start() not in labelled:
                labelled.add(value.start())
                yield scoring.match(KIND, value.start(), value.end(), 0.45, "passport", label="label")
        if not page.numeric:
            return
        for value in _NEW.finditer(page.text):
            if value.start() not in labelled and not _TOKEN.match(page.text[value.start() - 1 : value.start()]):
                named = page.heads(KIND, value.start()) or page.after(KIND, value.end(), 4) is not None
                column = "column" if named else None
                negative = scoring.denied(page, value.start(), value.end(), KIND)
                yield scoring.match(
                    KIND, value.start(), value.end(), 0.6, "passport:new", label=column, negative=negative
                )
        if page.has(KIND):
            for value in _ANY.finditer(page.text):
                if value.start() not in labelled and page.heads(KIND, value.start()):
                    yield scoring.match(KIND, value.start(), value.end(), 0.45, "passport", label="column")


detector: Final = Passport()
