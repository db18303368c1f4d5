"""One text, many parts: overlaps, values over the ends of messages, what is remembered, what a version says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.detector import Match
from policies.engine import RISK, Part, Scanner, resolve
from policies.page import Page
from policies.ruleset import Rules

TODAY = date(2026, 11, 24)
scanner = Scanner(today=lambda: TODAY)


def say(*texts: str, role: str = "user") -> list[Part]:
    return [Part(f"/messages/{index}/content", text, role) for index, text in enumerate(texts)]


def pieces(parts: list[Part], kind: str) -> list[tuple[str, str]]:
    return [
        (found.pointer, parts[found.part].text[found.match.start : found.match.end])
        for found in scanner.scan_parts(parts)
        if found.match.kind == kind
    ]


def test_offsets_are_code_points_of_the_text_given() -> None:
    text = "😀 Ａ\u200b 주민번호 ８５０３１２-２３４５６７８ 끝"
    (match,) = [match for match in scanner.scan(text) if match.kind == "RRN"]
    assert text[match.start : match.end] == "８５０３１２-２３４５６７８"


@pytest.mark.parametrize(
    ("texts", "kind", "wanted"),
    [
        (("주민번호 850312-", "2345677 입니다"), "RRN", ["850312-", "2345677"]),
        (("앞은 8503", "12-2345677"), "RRN", ["8503", "12-2345677"]),
        (("주민번호 앞자리 850312", "뒷자리 2345678"), "RRN", ["850312", "뒷자리 2345678"]),
        (("전화 010-2345", "-6789"), "PHONE", ["010-2345", "-6789"]),
        (("010", "-2345-", "6789"), "PHONE", ["010", "-2345-", "6789"]),
        (("계좌번호 알려드릴게요", "11023456789012"), "ACCOUNT", ["11023456789012"]),
        (("앞말 " * 60 + "850312-", "2345677" + " 뒷말" * 60), "RRN", ["850312-", "2345677"]),
    ],
)
def test_a_value_split_over_messages_is_found_in_each(texts: tuple[str, ...], kind: str, wanted: list[str]) -> None:
    parts = say(*texts)
    assert [piece for _, piece in pieces(parts, kind)] == wanted


def test_an_answer_between_does_not_hide_the_other_half() -> None:
    parts = [
        Part("/0", "주민번호 앞은 850312-", "user"),
        Part("/1", "네, 계속하세요.", "assistant"),
        Part("/2", "2345677", "user"),
    ]
    assert pieces(parts, "RRN") == [("/0", "850312-"), ("/2", "2345677")]


def test_different_speakers_are_not_read_as_one() -> None:
    parts = [Part("/0", "850312-", "user"), Part("/1", "2345677", "assistant")]
    assert scanner.scan_parts(parts) == ()


def test_messages_far_apart_in_a_long_text_are_not_joined() -> None:
    """Only the ends are read together, and the two ends of one long message are not neighbours."""
    parts = say("850312-" + "가" * 200, "2345677")
    assert pieces(parts, "RRN") == []


def test_a_value_whole_in_one_message_is_reported_once() -> None:
    parts = say("안내드립니다", "주민번호 850312-2345677", "감사합니다")
    assert pieces(parts, "RRN") == [("/messages/1/content", "850312-2345677")]


@pytest.mark.parametrize(
    ("matches", "kept"),
    [
        ([("PHONE", 0, 5, 0.8), ("ACCOUNT", 0, 9, 0.6)], ["PHONE"]),  # surer
        ([("PHONE", 0, 5, 0.6), ("ACCOUNT", 0, 9, 0.6)], ["ACCOUNT"]),  # longer
        ([("CORP", 0, 9, 0.6), ("CARD", 0, 9, 0.6)], ["CARD"]),  # riskier
        ([("PHONE", 0, 5, 0.6), ("PHONE", 5, 9, 0.6)], ["PHONE", "PHONE"]),  # side by side
        ([("PHONE", 4, 9, 0.6), ("EMAIL", 0, 6, 0.6), ("IP", 8, 12, 0.4)], ["EMAIL", "IP"]),  # a chain of overlaps
    ],
)
def test_of_overlapping_findings_one_stays(matches: list[tuple[str, int, int, float]], kept: list[str]) -> None:
    found = [Match(kind, start, end, score, "test") for kind, start, end, score in matches]
    assert [match.kind for match in resolve(found)] == kept


@given(
    st.lists(
        st.builds(
            lambda kind, start, length, score: Match(kind, start, start + length, score, "test"),
            st.sampled_from(RISK),
            st.integers(0, 40),
            st.integers(1, 12),
            st.sampled_from([0.4, 0.6, 0.9]),
        ),
        max_size=12,
    )
)
def test_nothing_sure_is_lost_to_something_less_sure(found: list[Match]) -> None:
    """What is dropped overlaps something at least as sure that stays; what stays does not overlap."""
    kept = resolve(found)
    assert all(first.end <= second.start for first, second in pairwise(kept))
    for match in found:
        if match not in kept:
            assert any(
                other.start < match.end and match.start < other.end and other.score >= match.score for other in kept
            )


@dataclass
class Counting:
    """Counts how often it is asked; finds every x."""

    name: str = "counting"
    kind: str = "KEYWORD"
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ()
    asked: int = 0

    def detect(self, page: Page, /) -> Iterable[Match]:
        self.asked += 1
        return [Match("KEYWORD", at, at + 1, 0.9, "counting") for at, char in enumerate(page.text) if char == "x"]


def test_a_text_is_read_once_and_forgotten_when_others_come() -> None:
    detector = Counting()
    small = Scanner(detectors=(detector,), today=lambda: TODAY, remembers=2)
    assert small.scan("a x") == small.scan("a x")
    assert detector.asked == 1
    small.scan("b")
    small.scan("c")
    small.scan("a x")
    assert detector.asked == 4


def test_what_is_remembered_holds_no_text() -> None:
    """Keys are keyed hashes made anew in every process; values are offsets."""
    small = Scanner(today=lambda: TODAY)
    small.scan("주민번호 850312-2345677")
    assert "850312" not in repr(vars(small)["_known"])


def test_a_broken_detector_is_the_callers_to_see() -> None:
    class Broken(Counting):
        def detect(self, page: Page, /) -> Iterable[Match]:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        Scanner(detectors=(Broken(),)).scan("text")


def test_a_birth_in_the_future_is_none_until_the_day_comes() -> None:
    text = "주민번호 270101-3123456"
    days = iter([date(2026, 12, 31), date(2027, 1, 1)])
    moving = Scanner(today=lambda: next(days))
    assert [bool(moving.scan(text)) for _ in range(2)] == [False, True]


def test_the_version_says_with_which_rules_a_text_was_read() -> None:
    assert Scanner().version == Scanner(Rules()).version
    assert Scanner(Rules(phones=("02-2133-*",))).version != Scanner().version
    assert Scanner(Rules(off=frozenset({"rrn"}))).version != Scanner().version


def test_numbers_of_the_sites_own_agencies_are_public() -> None:
    text = "담당 김영희 씨 연락처 02-2133-1234, 자택 02-345-6789"
    own = Scanner(Rules(phones=("02-2133-*", "02-345-0000")), today=lambda: TODAY)
    assert [text[m.start : m.end] for m in own.scan(text) if m.kind == "PHONE"] == ["02-345-6789"]
    assert [text[m.start : m.end] for m in scanner.scan(text) if m.kind == "PHONE"] == ["02-2133-1234", "02-345-6789"]
