"""Words that make a text delicate: what the law calls sensitive information, said of somebody; and a department's own words.

Of the first there is only a warning, and only with a person near it: "우울증 예방 교육" is about nobody. Of the second the
dictionary says how sure a hit is and what becomes of it; its words and expressions come with the scanner's rules, and a hit's
rule is `dictionary:<name>`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from policies.detector import WARN, Match
from policies.detectors import person
from policies.pack import Keywords, compiled, every_word, shipped
from policies.page import Page

KIND: Final = "KEYWORD"

_TOPIC: Final = "KEYWORD"
_PERSON: Final = "KEYWORD:person"
#: How far apart the word and the person it is said of may stand.
_REACH: Final = 48
_SCORE: Final = WARN + 0.05
#: Work, rules and numbers about it: the word is the subject, not a person's state.
_ABOUT: Final = re.compile(
    r"[가-힣 ]{0,6}?(?:예방|교육|관리|사업|정책|지원|센터|상담소|협회|캠페인|실태|조사|통계|현황|환자 수|등록률|법|조례"
    r"|시설|병원|검진|차별|인식|종사자|제도|의 날|기준|보호구역|전용|편의|주차)"
)

EXAMPLES: Final = (
    ("민원인 박영희 님은 우울증 치료를 받고 있음", "우울증"),
    ("신청인: 김서준 (전과 2범)", "전과"),
    ("환자는 조현병 진단을 받았다", "조현병"),
    ("해당 직원은 노조 가입 사실이 있음", "노조 가입"),
)
NEAR_MISSES: Final = (
    "우울증 예방 교육을 실시한다",
    "치매안심센터 운영 계획",
    "장애인 종교시설 점검",
    "에이즈 예방의 날 홍보",
    "전과 동일한 방식으로 처리",
    "환자는 치매 예방 교육에 참여하였다",
)


class Keyword:
    """The detector, compiled from the pack's topics; dictionaries come with the rules of the page."""

    name = "keyword"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Keywords) -> None:
        self._topics = tuple((f"{_TOPIC}:{topic.id}", f"keyword:{topic.id}") for topic in pack.topics)
        self.words: dict[str, tuple[str, ...]] = {
            _TOPIC: every_word(topic.words for topic in pack.topics),
            _PERSON: pack.persons,
            **{f"{_TOPIC}:{topic.id}": topic.words for topic in pack.topics},
        }

    def detect(self, page: Page, /) -> Iterable[Match]:
        if page.has(_TOPIC):
            yield from self._sensitive(page)
        for dictionary in page.rules.dictionaries:
            rule = f"dictionary:{dictionary.name}"
            for word in page.words(rule):
                yield Match(KIND, word.start, word.end, dictionary.score, rule, ("dictionary",))
            for pattern in dictionary.patterns:
                for found in _expression(pattern).finditer(page.text):
                    start, end = found.span()
                    yield Match(KIND, start, end, dictionary.score, rule, ("dictionary",))

    def _sensitive(self, page: Page) -> Iterator[Match]:
        near = sorted(
            [word.start for word in page.words(_PERSON)] + [match.start for match in person.detector.detect(page)]
        )
        if not near:
            return
        text = page.text
        for role, rule in self._topics:
            if not page.has(role):
                continue
            for word in page.words(role):
                first = bisect_left(near, word.start - _REACH)
                last = bisect_right(near, word.end + _REACH)
                if first == last or _ABOUT.match(text, word.end):
                    continue
                if any("\n" not in text[min(at, word.start) : max(at, word.end)] for at in near[first:last][:4]):
                    yield Match(KIND, word.start, word.end, _SCORE, rule, ("person",))


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> Any:
    return compiled(pattern)


detector: Final = Keyword(shipped().keywords)
