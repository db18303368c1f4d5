"""Names of people, where something beside them says that they are.

    label: 김서준 │ 신청인 김서준은 │ a column called 성명          mask
    김서준 님, 김서준씨 │ 김서준(남, 45세)                        mask
    김서준 within 16 characters of a mobile number, a resident number, an e-mail address of a person   mask
    a name found so, wherever else it stands                    as sure as there
    Hong Gildong behind 성명, 영문성명, name                      mask
    김서준 주무관, 담당자: 김서준 │ Mr. Kim Seojun                 mask
    [김서준] [오후 3:12] │ 오후 3:12, 김서준 :                    mask

Without one of these a word that is built like a name is a word. A name alone never blocks: its score stays below that.
Names that are hidden already (김○○, 홍*동) are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from policies.candidates import Number
from policies.detector import Match
from policies.detectors._columns import aligned, cells
from policies.pack import Names, every_word, shipped
from policies.page import Page

KIND: Final = "PERSON"

_LABEL: Final = "PERSON"
_LATIN: Final = "PERSON:latin"
_HONORIFIC: Final = "PERSON:honorific"
_TITLE: Final = "PERSON:title"
_COURTESY: Final = "PERSON:courtesy"
_TIME: Final = "PERSON:time"
#: Roles that the detectors of numbers ask for: what a number behind one of these words is, it is of somebody.
_BANK: Final = "account:bank"
_IDENTIFIERS: Final = (_BANK, "ACCOUNT", "RRN", "FRN", "DRIVER_LICENSE", "NHIS", "CARD")
_ABOUT_START: Final = "PERSON:about-start"
_ABOUT_END: Final = "PERSON:about-end"

_LABELLED: Final = 0.6
_CALLED: Final = 0.55
_BESIDE: Final = 0.55
_TITLED: Final = 0.5

#: How far from an identifier a name belongs to it.
_REACH: Final = 16
_HANGUL: Final = re.compile(r"[가-힣]+")
#: Up to so many beginnings are searched for one by one.
_FEW: Final = 24
#: Begins with a syllable and looks back from behind it, so that the search skips to the next one.
_LONGEST: Final = 9
_TOKEN: Final = re.compile(r"[가-힣](?<![가-힣A-Za-z0-9][가-힣])[가-힣]{1,8}")
#: From a label to a name: a sign, a line end, or blanks; the label may go on (성명(한글), 신청인 성명).
_LEAD: Final = re.compile(
    r"[\"'\])*】]{0,3}(?: ?\([^()\n]{1,10}\))?(?P<particle>(?:은|는|이|가|인)(?= ))?"
    r"(?P<sign>[ \t]{0,6}(?:[:=|\t→>▲]|: ?\n|(?<= )-(?= ))[ \t]{0,6}|(?:[ \t]{0,4}\n[ \t]{0,4}(?:[-*○●▲△] ?|[0-9]{1,2}[.)] ?)?))?"
    r"(?P<blank>,?[ ]{0,3})"
    r"[\"'\[(*【]{0,3}"
)
#: A name right behind its label, where the label is no part of longer words.
_GLUED: Final = re.compile(r"[가-힣]{3}(?![가-힣])")
_GLUABLE: Final = ("성명", "이름", "성함", "예금주", "신청인", "민원인", "보호자", "대표자", "세대주")
#: From a word for somebody, or the number of a flat, to a name and nothing else.
#: Each begins with one letter, so that the search is one for it.
_SIGNED: Final = tuple(
    re.compile(begin + r" ?(?=[가-힣]{3}(?:[^가-힣]|$))") for begin in (":", "=", r"호(?<=[0-9]호)\)? ?[/,(]")
)
_SIGNER: Final = re.compile(r"[자인주생원사관람분모부][)\]]? ?[:=]\Z")
_STAMPED: Final = re.compile(
    r"(?:^|\n)\[?(?:[0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}[T ])?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?\]? (?P<name>[가-힣]{3}) ?:"
)
_COLON: Final = re.compile(r": ?(?=\S)")
_TURN: Final = re.compile(r"[가-힣]{3}")
_BREATH: Final = re.compile(r"(?<![가-힣])(?P<name>[가-힣]{3}) ?[,/-] ?\Z")
#: Who wrote a line of a chat: [김서준] [오후 3:12], 오후 3:12, 김서준 :, 김서준  오전 10:03.
_SPEAKER: Final = re.compile(
    r"\[(?P<a>[가-힣]{2,4})\] \[(?:오전|오후) ?[0-9]"
    r"|(?:오전|오후) ?[0-9]{1,2}:[0-9]{2}[\]),]?,? (?P<b>[가-힣]{2,4}) ?:"
    r"|(?:^|(?<=\n))\[?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?\]? (?P<c>[가-힣]{3,4}) ?:"
    r"|(?:^|(?<=\n))(?P<d>[가-힣]{3,4}) {1,3}[\[(]?(?:오전|오후) ?[0-9]{1,2}:[0-9]{2}"
    r"|\[(?:카카오톡|카톡|문자|메신저|알림톡|네이트온|Web발신)\] ?(?P<e>[가-힣]{3,4}) ?:"
)
#: 10:03 김서준: and the like; begins with a letter that is rare, so that the search is one for it.
_CLOCK: Final = re.compile(r":[0-9]{2}\]? [가-힣]{3,4} ?:")
_ALSO: Final = re.compile(r" ?(?:[,/&▲△;-]|및|와|과) ?|\n ?(?:[-*○●] ?|[0-9]{1,2}[.)] ?)")
_SPACED: Final = re.compile(
    r"[가-힣](?P<mark>[.\-_*/])[가-힣](?P=mark)[가-힣](?![가-힣])"
    r"|(?P<a>[가-힣]) {1,2}(?P<b>[가-힣]) ?(?P<c>[가-힣])(?![가-힣])"
    r"|(?P<d>[가-힣]) {1,2}(?P<e>[가-힣]{2})(?![가-힣])"
)
_ABOUT: Final = re.compile(
    r" ?[(\[,/] ?(?:남|여|남성|여성|남자|여자|만 ?[0-9]{1,3}|[0-9]{1,3}세|[0-9]{2,4}년생|[0-9]{6} ?생|[0-9]{8}"
    r"|이하,? ?[\"'“‘「]?(?:갑|을|병|원고|피고|신청인|청구인|채무자|채권자|임대인|임차인|매도인|매수인)"
    r"|(?:19|20)?[0-9]{2}년 ?[0-9]{1,2}월 ?[0-9]{1,2}일(?: ?출?생)?"
    r"|여권|연락처|전화|휴대|계좌|(?:19|20)?[0-9]{2}[.-] ?[0-9]{1,2}[.-] ?[0-9]{1,2}\.? ?생?"
    r"|생년월일|주민번호|주민등록번호|[0-9]{6}(?=[,/] ?(?:남|여)|\) ?[님씨])|[0-9]{6}-[0-9*])"
    r"(?=[\s,)/\].:;·만0-9*번\"'”’」-]|$|생)"
)
_STRONG: Final = re.compile(
    r"(?<![0-9])(?:01[016789][-. )]{0,2}[0-9]{3,4}[-. ]{0,2}[0-9]{4}|[0-9]{6} ?[-–] ?[1-8][0-9*]{6}"
    r"|\+82[- ]?1[0-9][- ]?[0-9]{3,4}[- ]?[0-9]{4})(?![0-9])"
)
_NOUNS: Final = ("학생", "환자", "고객", "회원", "명의", "어머니", "아버지", "할머니", "할아버지")
_SENTENCE_ENDS: Final = ("입니다", "인데", "이라", "이에요", "이고", "이며", "이었", "이셨", "이세요", "라고", "라는")
_OPENINGS: Final = tuple(
    f"{mark}{blank}{word}"
    for mark in "([,/"
    for blank in ("", " ")
    for word in ("남", "여", "만 ", "19", "20", "이하", "생년월일", "주민", "여권", "연락처", "전화", "휴대", "계좌")
)
_CLOSINGS: Final = (
    ")님",
    ") 님",
    ")씨",
    ") 씨",
    ", 남",
    ", 여",
    ",남",
    ",여",
    "/남",
    "/여",
    "/ 남",
    "/ 여",
    "세)",
    "세,",
    "세/",
    "세 ",
    "년생",
    "생)",
    "생,",
    ".생",
)
_LOCAL: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
_MAILBOX: Final = re.compile(
    r"(?<=[A-Za-z0-9])@(?P<host>[A-Za-z0-9-]{1,40}(?:\.[A-Za-z0-9-]{1,40}){0,3}\.[A-Za-z]{2,10})"
)
_NOT_MAIL: Final = ("github.", "gitlab.", "example.", "bitbucket.")
_LATIN_NAME: Final = re.compile(
    r"(?P<name>(?:[A-Z][A-Za-z]{1,12}(?:-[A-Za-z]{2,10})?)(?:,? [A-Z][A-Za-z]{1,12}(?:-[A-Za-z]{1,10})?){1,2})(?![A-Za-z])"
)
_MASKED: Final = frozenset("○●*〇□◯＊OXox△")

EXAMPLES: Final = (
    ("성명: 김서준", "김서준"),
    ("성명 : 홍 길 동", "홍 길 동"),
    ("신청인 박지민은 다음과 같이 신청합니다", "박지민"),
    ("이름|최유진|", "최유진"),
    ("예금주: 남궁민수", "남궁민수"),
    ("민원인 성명 이하늘", "이하늘"),
    ("연번,성명,연락처\n1,김도윤,010-2345-6789\n2,이서아,010-9876-5432", ["김도윤", "이서아"]),
    ("| 번호 | 이름 |\n|---|---|\n| 1 | 정하윤 |", "정하윤"),
    ("박영희 님께서 문의하셨습니다", "박영희"),
    ("최민수씨의 진정", "최민수"),
    ("김영수(010-2345-6789)에게 연락", "김영수"),
    ("850312-2345678 이순희 전입", "이순희"),
    ("정미경(여, 62세) 어르신", "정미경"),
    ("성명: 오세준\n오세준은 2025년에 전입하였다.", ["오세준", "오세준"]),
    ("영문성명: HONG GILDONG", "HONG GILDONG"),
    ("Name: Kim Seojun", "Kim Seojun"),
    ("제 이름은 강민호입니다", "강민호"),
    ("피고인 김서준에 대한 사건", "김서준"),
    ("안녕하세요, 한지우입니다.", "한지우"),
    ("환불계좌 110-234-567890 (정수빈)", "정수빈"),
    ("현은정 (1973-11-22) 예방접종 이력", "현은정"),
    ("채성민 주무관이 확인함", "채성민"),
    ("성명김도현 연락처010-2345-6789", "김도현"),
    ("참석자 : 한상우, 오지혜", ["한상우", "오지혜"]),
    ("우수제안 채택자: 하세린", "하세린"),
    ("합격자\n- 변명수\n- 공상훈", ["변명수", "공상훈"]),
    ("민가영: 내일 회의 몇 시죠?\n고수아: 3시입니다", ["민가영", "고수아"]),
    ("성명: 박-지-민", "박-지-민"),
    ("함예린, 유병철 부부", ["함예린", "유병철"]),
    ("2025-03-12 14:22:31 김미경: 확인했습니다", "김미경"),
    ("◇ 승진 ▲ 채도현 ▲ 한세린", ["채도현", "한세린"]),
    ('"이미경" 명의의 토지대장', "이미경"),
    ("노우진, 950420, 남", "노우진"),
    ("성영호(940810) 님", "성영호"),
    ("name,passport_no\nKIM MINSU,M123A4567", "KIM MINSU"),
    ("Dear Ms. Park Soyeon,", "Park Soyeon"),
    ("[김나래] [오후 3:12] 서류 보냈어요", "김나래"),
    ("연번  성명    주소지\n1     노현정  인천 남동구", "노현정"),
    ("김다현(1985년 3월 12일생)", "김다현"),
    ('{"name": "윤서연", "age": 30}', "윤서연"),
)
NEAR_MISSES: Final = (
    "정보 공개 청구 안내",
    "신청인 정보를 입력하세요",
    "성명 기재란",
    "이름 변경 신청",
    "고객님께서는 아래를 확인하세요",
    "선생님, 안녕하세요",
    "주무관님 검토 부탁드립니다",
    "민원인님의 의견을 반영하겠습니다",
    "오늘 날씨는 맑음",
    "성명: 김○○",
    "이름: 홍*동",
    "신청인: 별지 참조",
    "연락처 010-2345-6789",
    "전화번호: 010-2345-6789 (담당자)",
    "이메일 주소와 010-2345-6789",
    "담당부서 정보통신과",
    "name: str",
    "name: Project Alpha",
    '{"name": "haechi", "version": "1.0"}',
    "이용자 유의사항",
    "환자 진료 기록 보존 기간",
    "지원자 전형 일정",
    "피해자 보호 조치",
    "학생 지도 계획",
    "대표자 회의 결과",
    "위원장 주재로 회의를 열었다",
    "주민 반대로 무산된 사업",
    "담당자 연락처와 주무관 확인",
    "대화형 구조로 실행되는 프로그램",
    "한강공원 조성 사업과 우리 시의 역할",
    "성명기재란 확인",
    "신청서: 별도 양식\n이용료: 무료",
    "책임자: 미지정, 관리인: 없음",
    "Mr. Smith Goes to Washington",
    "오후 3:12, 회의실 : 예약됨",
)


class PersonName:
    """The detector, compiled from the pack's names."""

    name = "person"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Names) -> None:
        self._surnames = frozenset(pack.surnames)
        self._usual = frozenset(pack.usual_surnames)
        self._compound = frozenset(pack.compound_surnames)
        self._starts = self._usual | {name[0] for name in pack.compound_surnames}
        self._first = frozenset(pack.first_syllables)
        self._last = frozenset(pack.last_syllables)
        self._particles = frozenset(pack.particles)
        self._not = frozenset((*pack.not_names, *pack.labels))
        self._beginnings = frozenset(pack.not_beginnings)
        self._endings = frozenset(pack.word_endings)
        self._romanised = frozenset(pack.romanised_surnames)
        self._doubtful = frozenset(pack.doubtful_endings)
        self._heads = tuple(pack.labels)
        self.words: dict[str, tuple[str, ...]] = {
            _LABEL: every_word((pack.labels,)),
            _LATIN: pack.latin_labels,
            _HONORIFIC: pack.honorifics,
            _TITLE: pack.titles,
            _COURTESY: (
                "mr.",
                "ms.",
                "mrs.",
                "mr ",
                "ms ",
                "mrs ",
                "miss ",
                "dr.",
                "dr ",
                "dear ",
                "prof.",
                "regards,",
                "sincerely,",
            ),
            _TIME: ("오전", "오후", "톡]", "문자]", "메신저]"),
            _ABOUT_START: _OPENINGS,
            _ABOUT_END: _CLOSINGS,
        }

    def detect(self, page: Page, /) -> Iterable[Match]:
        found: dict[int, Match] = {}
        if page.has(_LABEL):
            self._labelled(page, found)
            self._columns(page, found)
        if page.has(_HONORIFIC):
            self._called(page, found)
        self._beside(page, found)
        if page.has(_LATIN):
            self._latin(page, found)
        if page.has(_COURTESY):
            self._courtesy(page, found)
        if page.has(_TIME):
            self._speakers(page, found)
        self._signed(page, found)
        if ":" in page.text:
            self._turns(page.text, found)
        if found:
            self._before(page.text, found)
        if found:
            self._again(page, found)
        if page.has(_TITLE):
            self._titled(page, found)
        return [found[start] for start in sorted(found)]

    def _labelled(self, page: Page, found: dict[int, Match]) -> None:
        text = page.text
        begins: dict[int, int] = {}
        for begin, close in page.words(_LABEL):
            if begin < begins.get(close, close):
                begins[close] = begin
        for word in page.labels(_LABEL):
            start = begins[word.end]  # 피고인 ends with 고인
            if start and text[start - 1].isascii() and text[start - 1].isalnum():
                continue
            at, end = self._after_label(text, word.end)
            if word.end - start < 3 and start and "가" <= text[start - 1] <= "힣" and at - word.end < 2:
                continue  # 대화형 구조, 세트 구성: the end of another word, and no sign behind it
            if at == word.end and start and "가" <= text[start - 1] <= "힣" and text[at : at + 1] not in ("(", ""):
                continue
            while end is not None:
                found.setdefault(at, Match(KIND, at, end, _LABELLED, "person:label", ("label",)))
                also = _ALSO.match(text, end)
                if also is None:
                    break
                at = also.end()
                end = self._name(text, at, sure=False)

    def _after_label(self, text: str, at: int) -> tuple[int, int | None]:
        """Where the name that a label announces begins and ends: 보호자(김서준), 성명(한글): 김서준, 신청인 김서준."""
        if text[at : at + 1] == "(":
            end = self._name(text, at + 1, sure=False)
            if end is not None and text[end : end + 1] in (")", ",", "/", " "):
                return at + 1, end
        lead = _LEAD.match(text, at)
        if lead is None:
            return at, None
        if not (lead["sign"] or lead["blank"] or lead["particle"]):
            glued = _GLUED.match(text, at)  # 성명김서준 연락처010-…
            if glued is None or not text[:at].endswith(_GLUABLE) or not self._is_name(glued[0], sure=False):
                return at, None
            return at, glued.end()
        return lead.end(), self._name(text, lead.end(), sure=lead["sign"] is not None and "\n" not in lead["sign"])

    def _columns(self, page: Page, found: dict[int, Match]) -> None:
        for start, end in cells(page, _LABEL, self._heads):
            if start in found:
                continue
            latin = end - start > 5 and _LATIN_NAME.fullmatch(page.text, start, end) is not None
            hangul = end - start <= 7 and self._name(page.text, start, sure=True) == end
            if hangul or (latin and self._is_latin(page.text[start:end])):
                found[start] = Match(KIND, start, end, _LABELLED, "person:column", ("column",))
        for start, end in aligned(page, _LABEL):
            if end - start <= 4 and start not in found and self._name(page.text, start, sure=True) == end:
                found[start] = Match(KIND, start, end, _LABELLED, "person:column", ("column",))

    def _called(self, page: Page, found: dict[int, Match]) -> None:
        """김서준 님, 김서준씨: three syllables at least, for 하나님 and 선생님 have two before it."""
        text = page.text
        for word in page.words(_HONORIFIC):
            end = word.start
            if end and text[end - 1] == " ":
                end -= 1
            if end > 3 and text[end - 1] in "\"'”’":
                end -= 1
            if end < 3 or not "가" <= text[end - 1] <= "힣":
                continue
            after = text[word.end : word.end + 1]
            if after and "가" <= after <= "힣" and after not in "은는이가의께을를과도에만인명(":
                continue
            noun = page.text[word.start : word.end] in _NOUNS
            for size in (3, 4):
                start = end - size
                if start < 0 or (start and "가" <= text[start - 1] <= "힣"):
                    continue
                if noun and text[end - 1] in "한인의된":  # 우수한 학생, 중증인 환자
                    continue
                if start not in found and self._is_name(text[start:end], sure=False):
                    found[start] = Match(KIND, start, end, _CALLED, "person:called", ("honorific",))

    def _titled(self, page: Page, found: dict[int, Match]) -> None:
        """김서준 주무관, 담당자: 김서준. Officials too: the model does without their names, and they come back in its answer."""
        text = page.text
        for word in page.labels(_TITLE):
            before = text[word.start - 1 : word.start]
            if before == " ":
                end = word.start - 1
                start = end - 3
                alone = start >= 0 and not (start and "가" <= text[start - 1] <= "힣")
                if alone and start not in found and self._is_name(text[start:end], sure=False):
                    found[start] = Match(KIND, start, end, _TITLED, "person:title", ("title",))
                    continue
            elif before and "가" <= before <= "힣" and text[word.end : word.end + 1] not in (":", " "):
                continue
            at, close = self._after_label(text, word.end)
            while close is not None and self._is_name(text[at:close], sure=False):
                found.setdefault(at, Match(KIND, at, close, _TITLED, "person:title", ("title",)))
                also = _ALSO.match(text, close)
                if also is None:
                    break
                at = also.end()
                close = self._name(text, at, sure=False)

    def _beside(self, page: Page, found: dict[int, Match]) -> None:
        """Words near an identifier that is somebody's; and a name with sex, age or birthday in a bracket behind it."""
        text = page.text
        wanted = page.present(_IDENTIFIERS)
        sizes: dict[str, int] = {}
        for chain in page.chains:
            done = (-1, -1)
            if "01" in chain.digits or len(chain.digits) >= 13 or text[chain.end : chain.end + 1] == "*":
                for place in _STRONG.finditer(text, chain.start, min(len(text), chain.end + 7)):
                    done = place.span()
                    self._around(text, *done, sizes, found)
            if wanted and done != (chain.start, chain.end) and _announced(page, chain, wanted):
                self._around(text, chain.start, chain.end, sizes, found)
        if "@" in text:
            for mailbox in _MAILBOX.finditer(text):
                host = mailbox["host"].lower()
                if host.startswith(_NOT_MAIL) or host.endswith(".go.kr"):
                    continue
                left = text[max(0, mailbox.start() - 40) : mailbox.start()]
                start = mailbox.start() - len(left) + len(left.rstrip(_LOCAL))
                self._around(text, start, mailbox.end(), sizes, found)
        if page.has(_ABOUT_END):
            for word in page.words(_ABOUT_END):
                floor = max(0, word.start - 14)
                at = max(text.rfind(mark, floor, word.start) for mark in "([,/")
                if at > 0:
                    self._about(text, at, found)
        if page.has(_ABOUT_START):
            for word in page.words(_ABOUT_START):
                self._about(text, word.start, found)

    def _about(self, text: str, at: int, found: dict[int, Match]) -> None:
        if at and text[at - 1] == " ":
            at -= 1
        if at < 2 or not "가" <= text[at - 1] <= "힣" or _ABOUT.match(text, at) is None:
            return
        for size in (3, 4, 2):
            start = at - size
            if start >= 0 and not (start and "가" <= text[start - 1] <= "힣"):
                if self._is_name(text[start:at], sure=False):
                    found.setdefault(start, Match(KIND, start, at, _BESIDE, "person:about", ("neighbour",)))
                return

    def _around(self, text: str, start: int, end: int, sizes: dict[str, int], found: dict[int, Match]) -> None:
        """`sizes`: how long the names are that words of this page begin with, 0 where none does; tables repeat them."""
        left = start - _REACH if start > _REACH else 0
        line = text.rfind("\n", left, start)
        left = left if line < 0 else line + 1
        right = text.find("\n", end, end + _REACH)
        if right < 0:
            right = min(len(text), end + _REACH)
        for begin, limit in ((left, start), (end, right)):
            if limit - begin < 3:
                continue
            for token in _TOKEN.finditer(text, begin, limit):
                at = token.start()
                if at in found or text[at] not in self._starts:
                    continue
                word = token[0]
                if token.end() == limit or len(word) == _LONGEST:  # it may go on
                    run = _HANGUL.match(text, at)
                    word = word if run is None else run[0]
                size = sizes.get(word)
                if size is None:
                    size = sizes[word] = self._size(word)
                if size and at + size <= limit:
                    found[at] = Match(KIND, at, at + size, _BESIDE, "person:beside", ("neighbour",))

    def _latin(self, page: Page, found: dict[int, Match]) -> None:
        text = page.text
        for word in page.words(_LATIN):
            if word.start and text[word.start - 1].isascii() and text[word.start - 1].isalnum():
                continue
            lead = _LEAD.match(text, word.end)
            if lead is None:
                continue
            announced = page.lower[word.start : word.end].startswith(("영문", "로마자", "여권"))
            if lead["sign"] is None and not (announced and lead["blank"]):
                continue
            name = _LATIN_NAME.match(text, lead.end())
            if name is None:
                continue
            parts = [part.lower().split("-")[0] for part in name["name"].replace(",", "").split()]
            if parts[0] in self._romanised or parts[-1] in self._romanised:
                found.setdefault(name.start(), Match(KIND, *name.span(), _LABELLED, "person:latin", ("label",)))

    def _is_latin(self, name: str) -> bool:
        parts = [part.lower().split("-")[0] for part in name.replace(",", "").split()]
        return parts[0] in self._romanised or parts[-1] in self._romanised

    def _courtesy(self, page: Page, found: dict[int, Match]) -> None:
        """Mr. Kim Seojun, and who signs a letter: with a Korean surname at one end."""
        text = page.text
        for word in page.words(_COURTESY):
            if word.start and text[word.start - 1].isalnum():
                continue
            at = word.end
            while at < len(text) and at - word.end < 3 and text[at] in " \n":
                at += 1
            name = _LATIN_NAME.match(text, at)
            if name is None:
                continue
            parts = [part.lower().split("-")[0] for part in name["name"].replace(",", "").split()]
            if parts[0] in self._romanised or parts[-1] in self._romanised:
                found.setdefault(name.start(), Match(KIND, *name.span("name"), _CALLED, "person:latin", ("honorific",)))

    def _before(self, text: str, found: dict[int, Match]) -> None:
        """김서준, 이서아 부부: who is named in one breath with somebody found."""
        for first in list(found):
            at = first
            while (other := _BREATH.search(text, max(0, at - 6), at)) is not None:
                at = other.start("name")
                if at in found or not self._is_name(other["name"], sure=False):
                    break
                found[at] = Match(KIND, at, other.end("name"), _BESIDE, "person:beside", ("neighbour",))

    def _signed(self, page: Page, found: dict[int, Match]) -> None:
        """수상자: 김서준, whatever the word, when it ends as words for people do; 302호/김서준."""
        text = page.text
        for begin, signed in zip(":=호", _SIGNED, strict=True):
            for place in signed.finditer(text) if begin in text else ():
                start, mark = place.end(), place.start()
                if start in found:
                    continue
                if begin != "호" and _SIGNER.search(text, max(0, mark - 3), mark + 1) is None:
                    continue
                if self._is_name(text[start : start + 3], sure=False):
                    found[start] = Match(KIND, start, start + 3, _BESIDE, "person:signed", ("label",))

    def _turns(self, text: str, found: dict[int, Match]) -> None:
        """Who speaks: in stamped lines, and in lines that begin with names of two people at least."""
        for line in _STAMPED.finditer(text) if _CLOCK.search(text) is not None else ():
            if self._is_name(line["name"], sure=False):
                found.setdefault(
                    line.start("name"), Match(KIND, *line.span("name"), _BESIDE, "person:speaker", ("neighbour",))
                )
        turns: list[int] = []
        for colon in _COLON.finditer(text):
            end = colon.start()
            if text[end - 1 : end] == " ":
                end -= 1
            start = end - 3
            if start < 0 or (start and text[start - 1] != "\n") or _TURN.match(text, start) is None:
                continue
            if self._is_name(text[start:end], sure=False) and text[end - 1] not in self._endings:
                turns.append(start)
        if len({text[start : start + 3] for start in turns}) > 1:
            for start in turns:
                found.setdefault(start, Match(KIND, start, start + 3, _BESIDE, "person:speaker", ("neighbour",)))

    def _speakers(self, page: Page, found: dict[int, Match]) -> None:
        text = page.text
        if "오전" not in text and "오후" not in text and "[" not in text and _CLOCK.search(text) is None:
            return
        for speaker in _SPEAKER.finditer(text):
            group = speaker.lastgroup or "a"
            start, end = speaker.span(group)
            if self._is_name(page.text[start:end], sure=group == "a"):
                found.setdefault(start, Match(KIND, start, end, _BESIDE, "person:speaker", ("neighbour",)))

    def _again(self, page: Page, found: dict[int, Match]) -> None:
        """The same names elsewhere: a token that begins with one of them and goes on with a particle or a title."""
        text = page.text
        known = {text[match.start : match.end] for match in found.values()}
        known = {name for name in known if len(name) in (3, 4) and name[0] >= "가"}
        if not known:
            return
        heads = {name[:3] for name in known}
        for token in self._tokens(text, heads):
            at = token.start()
            if token[0][:3] not in heads or at in found:
                continue
            for size in (4, 3):
                name = token[0][:size]
                if name in known and self._ends(token[0][size:]):
                    found[at] = Match(KIND, at, at + size, _BESIDE, "person:again", ("repeat",))
                    break

    @staticmethod
    def _tokens(text: str, heads: set[str]) -> Iterator[re.Match[str]]:
        """The tokens that may begin with one of `heads`: by search where there are few, else all."""
        if len(heads) > _FEW:
            yield from _TOKEN.finditer(text)
            return
        for head in heads:
            at = text.find(head)
            while at >= 0:
                token = _TOKEN.match(text, at)
                if token is not None:
                    yield token
                at = text.find(head, at + len(head))

    def _name(self, text: str, at: int, *, sure: bool) -> int | None:
        """Where the name that begins at `at` ends; None when none does. `sure`: something says that a name stands here."""
        run = _HANGUL.match(text, at)
        if run is None:
            return None
        token = run[0]
        if not sure:
            size = self._size(token)
            return at + size if size else None
        if len(token) > 2 and token in self._not:
            return None
        if len(token) <= 2:
            spaced = self._spaced(text, at)
            if spaced is not None:
                return spaced
        if run.end() < len(text) and text[run.end()] in _MASKED and len(token) < 3:
            return None
        for size in (4, 3, 2):
            if len(token) < size:
                continue
            rest = token[size:]
            if size == 2 and rest and rest not in ("님", "씨"):
                continue
            if self._is_name(token[:size], sure=True) and self._ends(rest):
                return at + size
        return None

    def _size(self, token: str) -> int:
        """How long the name is that a word begins with, where nothing says that a name stands there; 0 when none does."""
        if len(token) < 3 or token[0] not in self._starts or token in self._not:
            return 0
        if token[:2] in self._beginnings and token[2:] in self._particles:
            return 0
        for size in (4, 3):
            if len(token) >= size and self._is_name(token[:size], sure=False) and self._ends(token[size:]):
                return size
        return 0

    def _spaced(self, text: str, at: int) -> int | None:
        found = _SPACED.match(text, at)
        if found is None:
            return None
        name = found[0].replace(found["mark"] or " ", "")
        return found.end() if self._is_name(name, sure=True) and name[0] in self._usual else None

    def _ends(self, rest: str) -> bool:
        return (
            not rest
            or rest in self._particles
            or rest.startswith(_SENTENCE_ENDS)
            or (rest[0] in "님씨" and rest[1:] in self._particles)
        )

    def _is_name(self, name: str, *, sure: bool) -> bool:
        if name in self._not:
            return False
        size = len(name)
        if size == 4:
            return name[:2] in self._compound and name[2] in self._first and name[3] in self._last
        if size == 3 and name[:2] in self._compound and name[2] in self._last:
            return True
        if size == 3:
            surname = name[0] in (self._surnames if sure else self._usual)
            if not surname or name[1] not in self._first or name[2] not in self._last:
                return False
            if not sure and name[2] in self._doubtful:
                return False
            return not (
                name[:2] in self._beginnings and (not sure or name[2] in self._endings) and name[2] in self._endings
            )
        return size == 2 and name[0] in self._usual and name[1] in self._last and name not in self._beginnings


def _announced(page: Page, number: Number, roles: Sequence[str]) -> bool:
    """Whether a word of one of these roles stands before a number, or a bank right behind it: then it is somebody's."""
    if page.after(_BANK, number.end, 8) is not None:
        return True
    for role in roles:  # noqa: SIM110 – a page of numbers comes by here, and a generator for each costs as much as the search
        if page.before(role, number.start, 12) is not None:
            return True
    return False


detector: Final = PersonName(shipped().names)
