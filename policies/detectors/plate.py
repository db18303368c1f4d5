"""차량번호, number plates: two or three digits, a syllable, four digits; old ones begin with their region.

Syllables: 가-마 거-저 고-조 구-주 without a final, 바사아자 and 배 for hire, 하허호 rented, 국합육해공 forces, 외영준협대
diplomatic. Several are also counters (`기온 25도 2024`, `12주 2025`), so such a plate is not believed with a year or an
amount after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from policies import scoring
from policies.detector import Match
from policies.page import Page, listed

KIND: Final = "PLATE"

LABELS: Final = listed(
    "차량번호, 차량 번호, 차번호, 자동차번호, 자동차등록번호, 등록번호판, 번호판, 차량, 자동차, 견인, 주차, 차주, "
    "운행, plate, license plate, vehicle, car_no, 소유차"
)
_REGION: Final = "서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주"
_SYLLABLES: Final = (
    "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자배하허호국합육해공외영준협대"
)
#: Looked for from the syllable on: a page of digits then costs nothing.
_PLATE: Final = re.compile(rf"[{_SYLLABLES}](?P<gap>[ \-]?)(?P<tail>[0-9]{{4}})(?![0-9])")
_HEAD: Final = re.compile(r"(?<![0-9])(?P<head>[0-9]{1,3})(?P<open>[ \-]?)\Z")
_BEFORE_HEAD: Final = re.compile(rf"(?:{_REGION})[ ]?\Z")
#: Syllables that also count or name something: hours, degrees, weeks, articles, copies, units.
_COUNTERS: Final = frozenset("도주조부호대서수보사로가고나하구회오")
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")
_AFTER: Final = re.compile(r"[ ]?(?:년|원|명|억|만|천|권|세대|건|호|번지|개|톤|㎡|kg|km|[.,][0-9]|%)")
#: 12가-3456 차량: the label may stand right behind.
_BEHIND: Final = 3
_BEFORE: Final = re.compile(r"(?:제|약|총|기온|섭씨|영하|영상|최대|최소)[ ]?\Z")

EXAMPLES: Final = (
    ("차량번호 12가3456", "12가3456"),
    ("123허4567 차량이 주차", "123허4567"),
    ("서울32바1234", "서울32바1234"),
    ("차량번호: 12가 3456입니다", "12가 3456"),
    ("견인 대상 68조 2024", "68조 2024"),
    ("12가3456", "12가3456"),
    ("123가-4567 차량", "123가-4567"),
    ("１２가３４５６", "１２가３４５６"),
    ("소유자|차량번호\n홍길동|99너1234", "99너1234"),
)
NEAR_MISSES: Final = (
    "기온 25도 2024년",
    "기온 25도 2024",
    "12주 2025",
    "제31조 2024",
    "12조 3456억",
    "15부 2000권",
    "12가0000",
    "민법 제12조3456",
    "101동 1203호",
    "7월 12일 2025년",
)


@dataclass(frozen=True, slots=True)
class Plate:
    name: str = "plate"
    kind: str = KIND
    words: dict[str, tuple[str, ...]] = field(default_factory=lambda: {KIND: LABELS})
    shapes: tuple[tuple[int, ...], ...] = ()

    def detect(self, page: Page, /) -> Iterable[Match]:
        for found in _PLATE.finditer(page.text) if page.numeric else ():
            match = self._judge(page, found)
            if match is not None:
                yield match

    def _judge(self, page: Page, found: re.Match[str]) -> Match | None:
        lead = _HEAD.search(page.text, max(found.start() - 5, 0), found.start())
        if lead is None or (lead.start() and page.text[lead.start() - 1].isdigit()):
            return None
        head, syllable, tail = lead["head"], found[0][0], found["tail"]
        start, end = lead.start(), found.end()
        region = _BEFORE_HEAD.search(page.text, max(start - 3, 0), start)
        if region is not None:
            start = region.start()
        if tail < "0100" or (len(head) == 1 and not region) or head in {"00", "000"}:
            return None
        text = page.text
        label = scoring.labelled(page, KIND, start)
        if label is None and page.after(KIND, end, _BEHIND) is not None:
            label = "label"
        spaced = bool(found["gap"] or lead["open"])
        if label is None:
            if spaced and not region:
                return None
            counter = syllable in _COUNTERS and (_YEAR.fullmatch(tail) or _AFTER.match(text, end))
            if counter or _AFTER.match(text, end) or _BEFORE.search(text, max(start - 4, 0), start):
                return None
        elif _AFTER.match(text, end) and _YEAR.fullmatch(tail):
            return None
        negative = scoring.denied(page, start, end, KIND)
        return scoring.match(
            KIND, start, end, 0.6 if region or not spaced else 0.4, "plate", label=label, negative=negative
        )


detector: Final = Plate()
