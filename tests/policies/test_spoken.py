"""Identifiers as they are said aloud, read as what they mean."""

from __future__ import annotations

import pytest

from policies.spoken import spoken


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("여권 엠 일이삼 에이 사오육칠 입니다", "M123A4567"),
        ("여권번호는 에스 일이삼사오육칠팔", "S12345678"),
        ("여권번호 M 0 9 4 W 0 8 8 3", "M094W0883"),
        ("차량번호 십이가삼사오육", "12가3456"),
        ("차번호 일이가 삼사오육 차주", "12가3456"),
        ("생년월일 팔오년 삼월 십이일", "85년 3월 12일"),
        ("생년월일은 천구백팔십오년 유월 이십삼일", "1985년 6월 23일"),
        ("생일이 이천이년 시월 삼일", "2002년 10월 3일"),
        ("minsu77골뱅이네이버닷컴이에요", "naver.com"),
        ("jiwon 골뱅이 한메일 점 넷", "hanmail.net"),
    ],
)
def test_what_is_said_is_read_as_it_is_meant(text: str, meant: str) -> None:
    """The words of a letter, a number, a date or a provider become what they stand for, at their place in the text."""
    (found,) = spoken(text)
    assert found[2] == meant
    assert text[: found[0]].isascii() or not text[found[0]].isspace()
    assert 0 <= found[0] < found[1] <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "여권 발급 수수료는 오만 삼천 원입니다",
        "차량 이부제를 시행합니다",
        "출생 신고는 한 달 안에 합니다",
        "엠 일이삼 에이 사오육칠",
        "네이버 닷컴 열풍",
        "생년월일 1985년 3월 12일",
    ],
)
def test_other_words_are_left(text: str) -> None:
    """Without the word that announces it, or without a number in words, nothing is read differently."""
    assert list(spoken(text)) == []
