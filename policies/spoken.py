"""Identifiers as they are said aloud: letters, dates and providers in Korean words, for the reading called `spelled`.

    여권 엠 일이삼 에이 사오육칠 ─▶ M123A4567          M 1 2 3 A 4 5 6 7 ─▶ M123A4567
    차량 십이가 삼사오육         ─▶ 12가3456            생년월일 팔오년 삼월 십이일 ─▶ 85년 3월 12일
    minsu골뱅이네이버닷컴        ─▶ the host as naver.com

Each is looked for only where the text has the word that such an identifier is announced by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_DIGITS: Final = dict(zip("공영일이삼사오육륙칠팔구0123456789", "0012345667890123456789", strict=True))
_NUMERAL: Final = "[공영일이삼사오육륙칠팔구0-9]"
_UNITS: Final = {"십": 10, "백": 100, "천": 1000}
_LETTERS: Final = {
    "에이치": "H", "에이": "A", "더블유": "W", "더블류": "W", "비": "B", "씨": "C", "디": "D", "이": "E", "에프": "F",
    "지": "G", "아이": "I", "제이": "J", "케이": "K", "엘": "L", "엠": "M", "엔": "N", "오": "O", "피": "P", "큐": "Q", "알": "R",
    "에스": "S", "티": "T", "유": "U", "브이": "V", "엑스": "X", "와이": "Y", "제트": "Z", "젯": "Z",
}  # fmt: skip
_LETTER: Final = "|".join(sorted(_LETTERS, key=len, reverse=True)) + "|[A-Z]"
_PASSPORT: Final = re.compile(
    rf"(?<![가-힣A-Za-z])(?P<kind>엠|에스|알|지|디|오|[MSRGDO])[ -]?(?P<head>{_NUMERAL}(?: ?{_NUMERAL}){{2}})"
    rf"(?:[ -]?(?P<letter>{_LETTER})[ -]?(?P<new>{_NUMERAL}(?: ?{_NUMERAL}){{3}})|[ -]?(?P<old>{_NUMERAL}(?: ?{_NUMERAL}){{4}}))"
    rf"(?!{_NUMERAL})"
)
_APART: Final = re.compile(
    r"(?<![A-Za-z0-9])[MSRGDO](?:[ .,_-][0-9]){3}[ .,_-](?:[A-Z](?:[ .,_-][0-9]){4}|[0-9](?:[ .,_-][0-9]){4})(?![A-Za-z0-9])"
)
_PLATE: Final = re.compile(
    rf"(?<![가-힣])(?P<head>[이삼사오육칠팔구]?십[일이삼사오육칠팔구]?|{_NUMERAL}(?: ?{_NUMERAL}){{1,2}}) ?"
    rf"(?P<syllable>[가나다라마거너더러머버서어저고노도로모보소조누두루무부수우주하허호바사아자배]) ?"
    rf"(?P<tail>{_NUMERAL}(?: ?{_NUMERAL}){{3}})"
    r"(?![0-9])"
)
_YEAR: Final = (
    r"(?:천구백|이천)[일이삼사오육칠팔구십]{0,4}|(?:일구|이공)?[공영일이삼사오육칠팔구]{2}"
    r"|[칠팔구]십[일이삼사오육칠팔구]?|[0-9]{2,4}"
)
_SMALL: Final = r"[이삼]?십[일이삼사오육칠팔구]?|[일이삼사오육칠팔구]|유|시|[0-9]{1,2}"
_BIRTHDATE: Final = re.compile(
    rf"(?<![가-힣0-9])(?P<year>{_YEAR})년 ?(?P<month>{_SMALL})월 ?(?P<day>{_SMALL})일(?![가-힣] ?간)"
)
_PROVIDERS: Final = {
    "네이버": "naver", "지메일": "gmail", "쥐메일": "gmail", "다음": "daum", "한메일": "hanmail", "카카오": "kakao",
    "네이트": "nate", "핫메일": "hotmail", "아웃룩": "outlook", "야후": "yahoo",
}  # fmt: skip
_TOP: Final = {"컴": "com", "넷": "net", "코케이알": "co.kr", "씨오케이알": "co.kr"}
_HOST: Final = re.compile(
    rf"(?P<name>{'|'.join(_PROVIDERS)}|[a-z]{{2,12}}) ?(?P<dot>닷|점|쩜|\.) ?(?P<top>{'|'.join(_TOP)}|com|net)"
)

_PASSPORT_WORDS: Final = ("여권", "passport")
_PLATE_WORDS: Final = ("차량", "차번호", "번호판", "견인", "주차", "차 번호", "자동차")
_BIRTH_WORDS: Final = ("생년월일", "출생", "생일", "태어", "생입니다")
_MAIL_WORDS: Final = ("골뱅이", "앳", "@")


def spoken(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, what is meant there) for what of `text` is written as it is said."""
    for words, readings in (
        (_PASSPORT_WORDS, _passports),
        (_PLATE_WORDS, _plates),
        (_BIRTH_WORDS, _birthdates),
        (_MAIL_WORDS, _hosts),
    ):
        if any(word in text for word in words):
            yield from readings(text)


def _passports(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _PASSPORT.finditer(text):
        if not found[0].isascii():
            tail = _letter(found["letter"] or "") + _numerals(found["new"] or found["old"])
            yield *found.span(), _letter(found["kind"]) + _numerals(found["head"]) + tail
    for apart in _APART.finditer(text):
        yield *apart.span(), apart[0][::2]


def _plates(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _PLATE.finditer(text):
        if not (found["head"] + found["tail"]).isascii():
            yield *found.span(), f"{_number(found['head'])}{found['syllable']}{_numerals(found['tail'])}"


def _birthdates(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _BIRTHDATE.finditer(text):
        if not (found["year"] + found["month"] + found["day"]).isascii():
            month = {"유": "6", "시": "10"}.get(found["month"]) or _number(found["month"])
            yield *found.span(), f"{_number(found['year'])}년 {month}월 {_number(found['day'])}일"


def _hosts(text: str) -> Iterator[tuple[int, int, str]]:
    for found in _HOST.finditer(text):
        if not found[0].isascii():
            name, top = found["name"], found["top"]
            yield *found.span(), f"{_PROVIDERS.get(name, name)}.{_TOP.get(top, top)}"


def _letter(word: str) -> str:
    return _LETTERS.get(word, word)


def _numerals(words: str) -> str:
    """일이삼 as 123: one digit for each syllable."""
    return "".join(_DIGITS[char] for char in words if char != " ")


def _number(words: str) -> str:
    """천구백팔십오 as 1985; without a unit, one digit for each syllable."""
    if not any(unit in words for unit in _UNITS):
        return _numerals(words)
    total, digit = 0, 0
    for char in words:
        if char in _UNITS:
            total += (digit or 1) * _UNITS[char]
            digit = 0
        else:
            digit = int(_DIGITS.get(char, "0"))
    return str(total + digit)
