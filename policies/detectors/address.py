"""Addresses with a building number: by road (세종대로 110), by lot (청운동 1-1), with 동·호, and romanised (110, Sejong-daero).

A region alone is nobody's address. How sure depends on what the address holds and on what its line speaks of:

    detail (101동 1203호) │ 주소, 거주, 자택, 송달 … on its left, or such a column      mask
    region + road or lot + number, and the line speaks of no venue, site or office    mask
    a public body's own seat (the pack's list, `Rules.addresses`), a venue            nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from policies.detector import Match
from policies.pack import Places, shipped
from policies.page import Page

KIND: Final = "ADDRESS"

_REGION: Final = "ADDRESS:region"
_LABEL: Final = "ADDRESS"
_HOME: Final = "ADDRESS:home"
_VENUE: Final = "ADDRESS:venue"
_LATIN: Final = "ADDRESS:latin"

#: What counts things instead of numbering buildings.
_COUNTED: Final = (
    r"(?! ?(?:년|월|일(?!원)|시(?!청)|분|초|명|인(?![가-힣]{2}동)|개|건|회|차|억|만|천|백|원|%|퍼|km|m(?![a-z])|㎡|㎞|평"
    r"|대(?!로)|곳|위|배|호선|세(?!종)|kg|t(?![a-z])|조(?! ?[0-9])|권|점|주(?!공|차|소)|단계|단지|번(?!지|길)|[,.][0-9]|여"
    r"|가지|년도|학년|호봉|급|등|장|자리|부(?![가-힣])))"
)
_NUMBER: Final = r"(?:지하 ?)?[0-9]{1,4}(?:-[0-9]{1,4})?(?![0-9-])(?: ?번지)?"
_ROAD: Final = r"[가-힣][가-힣0-9.]{0,11}?(?:대로|로|길)(?: ?[0-9]{1,4}(?:번?[가-하]?|[가-하])길)?"
_LOT: Final = r"(?:산 ?)?[0-9]{1,4}(?:-[0-9]{1,4})?(?: ?번지(?: ?[0-9]{1,3}호)?)?(?![0-9-])"
#: 시·군·구, 읍·면·동, 리 between a region and the rest.
_BETWEEN: Final = (
    r"(?:[가-힣]{1,4}(?:시|군|구)[ ,]{1,2}){0,2}(?:[가-힣]{1,5}[0-9]?(?:읍|면|동|가)[ ,]{1,2})?"
    r"(?:[가-힣]{1,5}[0-9]?리[ ,]{1,2})?"
)
_STREET: Final = re.compile(rf"[ ,]{{0,2}}{_BETWEEN}(?P<road>{_ROAD}) ?(?P<number>{_NUMBER}){_COUNTED}")
_PARCEL: Final = re.compile(
    rf"[ ,]{{0,2}}(?:[가-힣]{{1,4}}(?:시|군|구)[ ,]{{1,2}}){{0,2}}(?:[가-힣]{{1,5}}(?:읍|면)[ ,]{{1,2}})?"
    rf"(?P<road>[가-힣]{{1,5}}(?:[0-9]{{1,2}}가|[0-9]?동|[0-9]?리|가)) (?P<number>{_LOT}){_COUNTED}"
)
_NO_REGION: Final = re.compile(rf"(?P<road>{_ROAD}) ?(?P<number>{_NUMBER}){_COUNTED}")
_AHEAD: Final = re.compile(r"[^0-9\n]{0,40}[0-9]")
#: What follows a building number: (동 이름, 건물), 101동 1203호, 3층.
_DETAIL: Final = re.compile(
    r"(?P<building>[ ,]{0,2}(?:\([^()\n]{1,30}\))?[ ,]{0,2}(?:[가-힣A-Za-z0-9-]{2,24}[ ,]{1,2})?)"
    r"(?P<unit>(?:(?:제? ?[0-9]{1,4}|[가-하A-Za-z]) ?동)?[ ,-]{0,2}(?:(?:지하|지상|B)? ?[0-9]{1,3} ?층)?[ ,-]{0,2}"
    r"(?:[0-9]{1,5}|[A-Z0-9-]{1,6}) ?호(?![선차기가-힣]|실(?!장))"
    r"|[0-9]{1,4}동 ?[0-9]{2,4}(?![0-9])|[0-9]{1,4}-[0-9]{3,4}(?![0-9-])|(?:지하|지상|B)? ?[0-9]{1,3} ?층)?"
    r"(?: ?\([^()\n]{2,30}\))?"
)
#: 101동 1203호, without a road: looked for by its middle.
_UNIT: Final = re.compile(r"동[ ,]{0,2}(?:[0-9]{1,3} ?층 ?)?[0-9]{3,4} ?호(?![선차기])")
_UNIT_HEAD: Final = re.compile(r"(?:[가-힣A-Za-z0-9-]{1,14}[ ,]{0,2})?(?:제 ?)?(?P<no>[0-9]{1,4}|[가나다라마바사A-H])$")
_ROMAN: Final = re.compile(
    r"[0-9]{1,4}(?:-[0-9]{1,4})?,? [A-Za-z0-9]{2,24}(?:-[a-z0-9]{1,10})?-(?:daero|ro|gil)(?:[ -][0-9]{1,3}(?:beon)?-gil)?"
    r"(?:, ?[A-Za-z-]{2,24}){1,4}"
)

EXAMPLES: Final = (
    ("대전광역시 서구 둔산로 100, 101동 202호", "대전광역시 서구 둔산로 100, 101동 202호"),
    ("주소: 서울특별시 강남구 테헤란로 123, 101동 1203호", "서울특별시 강남구 테헤란로 123, 101동 1203호"),
    ("경기도 성남시 분당구 판교역로 235에 거주", "경기도 성남시 분당구 판교역로 235"),
    ("거주지는 부산광역시 해운대구 센텀중앙로 97-5 입니다", "부산광역시 해운대구 센텀중앙로 97-5"),
    ("서울 종로구 청운동 1-12번지 자택", "서울 종로구 청운동 1-12번지"),
    ("전남 해남군 해남읍 구교리 321-4 거주", "전남 해남군 해남읍 구교리 321-4"),
    ("송달장소: 월드컵북로54길 11, 302호", "월드컵북로54길 11, 302호"),
    ("화성시 동탄대로 537 (오산동) 래미안아파트 103동 502호", "화성시 동탄대로 537 (오산동) 래미안아파트 103동 502호"),
    ("자이아파트 103동 502호 김 씨", "자이아파트 103동 502호"),
    ("이름,주소\n홍길동,대구 수성구 달구벌대로 2450", "대구 수성구 달구벌대로 2450"),
    ("Address: 123-4, Teheran-ro, Gangnam-gu, Seoul", "123-4, Teheran-ro, Gangnam-gu, Seoul"),
    ("서울시 마포구 양화로12길 8, 지층에 사는 주민", "서울시 마포구 양화로12길 8"),
)
NEAR_MISSES: Final = (
    "서울특별시 강남구는 2025년 예산을 편성하였다",
    "경기도 성남시 분당구 일대의 교통량 조사",
    "서울특별시청(서울특별시 중구 세종대로 110)",
    "시청 주소는 데모시 시청로 1이고 우편번호는 12345입니다",
    "장소: 서울시 마포구 월드컵북로 12 상암문화센터",
    "서울시 제도로 3년간 500명을 지원",
    "부산시 기준으로 10개소",
    "세종대로 110에서 열리는 행사",
    "행사장소는 대전 유성구 대학로 99입니다",
    "수원시 팔달구 인계동 1111번지 일원 도시개발사업",
    "제3동 201호 회의실",
    "지하철 2호선 강남역에서 대로 10미터",
    "경로 3, 통로 2, 진로 5개",
    "서울 중구 3개 동 12개 통",
    "광주 서구 5월 18일 기념행사",
    "울산시 남구 2동 주민자치회",
)


class PostalAddress:
    """The detector, compiled from the pack's places."""

    name = "address"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Places) -> None:
        self._public = frozenset(map(_plain, pack.public_addresses))
        self.words: dict[str, tuple[str, ...]] = {
            _REGION: (*pack.provinces, *pack.districts),
            _LABEL: pack.labels,
            _HOME: pack.homes,
            _VENUE: pack.venues,
            _LATIN: ("-ro", "-gil", "-daero"),
        }

    def detect(self, page: Page, /) -> Iterable[Match]:
        taken: list[tuple[int, int]] = []
        if page.has(_REGION):
            yield from self._regions(page, taken)
        if page.has(_LABEL):
            yield from self._labelled(page, taken)
        if "호" in page.text and (page.has(_HOME) or page.has(_LABEL)):
            yield from self._units(page, taken)
        if page.has(_LATIN):
            yield from self._roman(page)

    def _regions(self, page: Page, taken: list[tuple[int, int]]) -> Iterator[Match]:
        text = page.text
        done = 0
        for word in page.words(_REGION):
            if word.start < done or _AHEAD.match(text, word.end) is None:
                continue
            if text[word.end] not in " ," and text[word.end - 1] not in "시도군구":  # 세종 is a city, 세종대로 a road
                continue
            found = _STREET.match(text, word.end) or _PARCEL.match(text, word.end)
            if found is None:
                continue
            match, end = self._judge(page, word.start, found, region=True)
            done = end
            taken.append((word.start, end))
            if match is not None:
                yield match

    def _labelled(self, page: Page, taken: list[tuple[int, int]]) -> Iterator[Match]:
        """A road and a number behind a label, with no region before them."""
        text = page.text
        done = 0
        for word in page.words(_LABEL):
            if word.end < done or _AHEAD.match(text, word.end) is None:
                continue
            stop = text.find("\n", word.end, word.end + 40)
            found = _NO_REGION.search(text, word.end, min(len(text), word.end + 40) if stop < 0 else stop)
            if found is None or found.start() - word.end > 20:
                continue
            done = found.end()
            if not any(start <= found.start() < end for start, end in taken[-64:]):
                match, end = self._judge(page, found.start(), found, region=False)
                taken.append((found.start(), end))
                if match is not None:
                    yield match

    def _judge(self, page: Page, start: int, found: re.Match[str], *, region: bool) -> tuple[Match | None, int]:
        text = page.text
        end = found.end("number")
        detail = _DETAIL.match(text, end)
        unit = detail is not None and bool(detail["unit"])
        room = detail is not None and bool(detail["unit"]) and "층" not in detail["unit"][-2:]
        if detail is not None and unit:
            end = detail.end()
        elif detail is not None and detail["building"].strip().endswith(")"):
            end = detail.end("building")
        end -= len(text[start:end]) - len(text[start:end].rstrip(" ,"))
        plain = _plain(found["road"] + found["number"])
        lived_in = unit and _UNIT.search(text, start, end)  # 효자로 225 is an office, its 102동 303호 somebody's home
        if not lived_in and (plain in self._public or any(_plain(own) == plain for own in page.rules.addresses)):
            return None, end
        word = page.before(_LABEL, start, 16)
        office = word is not None and page.before(_VENUE, word.start, 3) is not None  # 시청 주소: the office's
        label = (word is not None and not office) or page.heads(_LABEL, start)
        lives = not label and page.after(_LABEL, end, 10) is not None
        venue = office or self._line_has(page, _VENUE, start, end)
        home = bool(lived_in) or self._within(page, _HOME, start, end)
        score, why = 0.2, ["shape"]
        for says, name, weight in (
            (region, "region", 0.3),
            (label, "label", 0.4),
            (lives, "label", 0.3),
            (room, "unit", 0.2),
            (home, "home", 0.2),
            (venue and not label, "venue", -0.3),
        ):
            if says:
                score += weight
                why.append(name)
        return Match(KIND, start, end, round(min(score, 1.0), 2), "address", tuple(why)), end

    def _units(self, page: Page, taken: list[tuple[int, int]]) -> Iterator[Match]:
        """An apartment: its name, 101동 1203호."""
        text = page.text
        for found in _UNIT.finditer(text):
            at = found.start()
            if any(start <= at < end for start, end in taken[-64:]):
                continue
            head = _UNIT_HEAD.search(text[max(0, at - 24) : at])
            if head is None:
                continue
            start = max(0, at - 24) + head.start()
            home = self._within(page, _HOME, max(0, start - 12), at)
            label = page.before(_LABEL, start, 16) is not None or page.heads(_LABEL, start)
            if not (home or label):
                continue
            start += len(text[start:at]) - len(text[start:at].lstrip(" ,-"))
            score = 0.4 + 0.2 * home + 0.3 * label
            yield Match(KIND, start, found.end(), round(score, 2), "address:unit", ("home",) if home else ("label",))

    def _roman(self, page: Page) -> Iterator[Match]:
        text = page.text
        done = 0
        for word in page.words(_LATIN):
            if word.end <= done or page.text[word.end : word.end + 1] not in (",", " ", "-"):
                continue
            floor = max(done, word.start - 40)
            found = _ROMAN.search(text, floor, min(len(text), word.end + 100))
            done = word.end if found is None else found.end()
            if found is None:
                continue
            label = page.before(_LABEL, found.start(), 16) is not None
            if label or not self._line_has(page, _VENUE, *found.span()):
                yield Match(KIND, found.start(), found.end(), 0.9 if label else 0.6, "address:roman", ("shape",))

    def _line_has(self, page: Page, role: str, start: int, end: int) -> bool:
        """Whether a word of this role stands on the line, as far as a line speaks of one thing."""
        return page.before(role, start, 40) is not None or page.after(role, end, 40) is not None

    def _within(self, page: Page, role: str, start: int, end: int) -> bool:
        word = page.before(role, end, end - start)
        return word is not None and word.start >= start


def _plain(address: str) -> str:
    return address.replace(" ", "").removesuffix("번지")


detector: Final = PostalAddress(shipped().places)
