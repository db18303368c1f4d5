"""What is put apart, spelled, look-alike or encoded is read as well, at the place where it stands."""

from __future__ import annotations

import base64
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.alternatives import alternatives
from policies.engine import Scanner
from policies.normalise import normalise

scanner = Scanner(today=lambda: date(2026, 11, 24))


def readings(text: str) -> list[str]:
    return [view.text for view in alternatives(normalise(text))]


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("8 5 0 3 1 2 2 3 4 5 6 7 8", "8503122345678"),
        ("8 5 0 3 1 2 - 2 3 4 5 6 7 8", "850312-2345678"),
        ("공일공 이삼사오 육칠팔구", "010 2345 6789"),
        ("공일공이삼사오육칠팔구", "01023456789"),
        ("공1공-2345-6789", "010-2345-6789"),
        ("공일공 다시 이삼사오 다시 육칠팔구", "010-2345-6789"),
        ("010 하이픈 2345 하이픈 6789", "010-2345-6789"),
        ("공일공이삼사오육칠팔구이다", "01023456789이다"),
        ("〇一〇二三四五六七八九", "01023456789"),
        ("O1O-2345-6789", "010-2345-6789"),
        ("О1О-2З45-6789", "010-2345-6789"),
        ("0l0-23A5 010-S345-678B", "0l0-23A5 010-5345-6788"),
        ("0|0-2345-6789", "010-2345-6789"),
        ("kim(at)naver.com", "kim@naver.com"),
        ("kim 골뱅이 naver 닷 com", "kim@naver.com"),
        ("kim at naver dot com", "kim@naver.com"),
        ("10[.]20[.]30[.]41", "10.20.30.41"),
        ("kіm@nаver.com", "kim@naver.com"),
        ("&#48;&#49;&#48;&#45;", "010-"),
        ("%30%31%30%2D", "010-"),
        (r"\u0030\u0031\u0030\x2d", "010-"),
        (base64.b64encode("비밀 010-2345-6789".encode()).decode(), "비밀 010-2345-6789"),
        (b"010-2345-6789".hex(), "010-2345-6789"),
    ],
)
def test_each_way_of_hiding_is_undone(text: str, reads: str) -> None:
    assert readings(text) == [reads]


@pytest.mark.parametrize(
    "text",
    [
        "보통의 문장입니다. 2026. 11. 24. 10:00",
        "이 사업은 구청의 일이며 오늘 시작한다",
        "| 1 | 2 | 3 |\n| 4 | 5 | 6 |",
        "|12|34|56|78|",
        "모델 SL500, B2B, 5S 활동",
        "전화 010-2345-6789이 맞습니다",
        "예산 30% 증가, 50% 집행",
        "A & B, R&D 사업",
        "C:\\문서\\업무",
    ],
)
def test_an_ordinary_text_has_one_reading(text: str) -> None:
    assert readings(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("주민번호 8 5 0 3 1 2 2 3 4 5 6 7 8 입니다", "RRN", "8 5 0 3 1 2 2 3 4 5 6 7 8"),
        ("전화 공일공 다시 이삼사오 다시 육칠팔구 로", "PHONE", "공일공 다시 이삼사오 다시 육칠팔구"),
        ("전화 O1O-2345-6789 로", "PHONE", "O1O-2345-6789"),
        ("주민번호 85О312-2345678 임", "RRN", "85О312-2345678"),
        ("여권번호 O123S4567 확인", "PASSPORT", "O123S4567"),
    ],
)
def test_a_finding_in_another_reading_covers_what_stands_in_the_text(text: str, kind: str, piece: str) -> None:
    """A passport keeps its letters, for the main reading does not take them for digits."""
    assert [text[match.start : match.end] for match in scanner.scan(text) if match.kind == kind] == [piece]


def test_what_is_encoded_is_a_warning_at_most_and_covers_its_token() -> None:
    token = base64.b64encode(b"850312-2345677").decode()
    text = f"주민번호 {token} 참고"
    (match,) = scanner.scan(text)
    assert (match.kind, text[match.start : match.end], match.band) == ("RRN", token, "warn")
    assert match.rule == "rrn+decoded"


@given(
    st.text(max_size=120), st.sampled_from(["kim(at)a.kr", "O1O-2345-6789", "%30%31%30%30", "공일공이삼사오육칠팔구"])
)
def test_other_readings_lead_back_into_the_text(text: str, hidden: str) -> None:
    given_text = text + " " + hidden + " " + text
    for view in alternatives(normalise(given_text)):
        spans = [view.span(at, at + 1) for at in range(len(view.text))]
        assert all(0 <= start <= end <= len(given_text) for start, end in spans)
        assert [start for start, _ in spans] == sorted(start for start, _ in spans)


def test_a_long_text_is_rewritten_only_around_what_was_found() -> None:
    filler = "평범한 문장이 길게 이어집니다. " * 400
    text = filler + "연락처 O1O-2345-6789 끝. " + filler
    (view,) = alternatives(normalise(text))
    assert len(view.text) < 300
    assert [text[match.start : match.end] for match in scanner.scan(text) if match.kind == "PHONE"] == ["O1O-2345-6789"]
