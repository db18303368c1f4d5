"""Disguises come off, and every position leads back to the code points that were given."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.normalise import View, normalise

#: What texts are made of, with everything that is rewritten somewhere in it.
TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "0123456789-. 가각힣ᄀ\u1161\u11a8\u0301\u20e3\u200b\u200d\ufeff\u00ad"
            "０９①²𝟎٣–—・ㆍ～／．　\u00a0ﬁ㈜\ud800\u3164\n\r\t"
        ),
    ),
    max_size=60,
)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("８５０３１２－２３４５６７８", "850312-2345678"),
        ("①②③⑩", "12310"),
        ("𝟎𝟏𝟐 ²³ ٠١٢ ०१२", "012 23 012 012"),
        ("0\u200b1\u200d0\ufeff-\u00ad1\u2060", "010-1"),
        ("\u202d010\u202c", "010"),
        ("8\u03015\u0338\u20e3", "85"),
        ("a–b—c−d‐e～f·g・hㆍi", "a-b-c-d-e-f-g-h-i"),
        ("1／2．3＠", "1/2.3@"),
        ("가\u00a0나\u3000다\u2028라", "가 나 다\n라"),
        (unicodedata.normalize("NFD", "주민번호 값"), "주민번호 값"),
        ("㈜해치 ㎡", "(주)해치 m2"),
        ("가\u3164\u115f나", "가나"),
        ("\ud800", " "),
        ("é", "é"),
        ("평범한 글, plain text.\n", "평범한 글, plain text.\n"),
    ],
)
def test_each_disguise_comes_off(text: str, reads: str) -> None:
    assert normalise(text).text == reads


def test_a_plain_text_is_its_own_view() -> None:
    text = "2026년 예산(안) 검토 결과: 1,234천원\n"
    assert normalise(text).text is text


@pytest.mark.parametrize(
    ("text", "value", "piece"),
    [
        ("번호 0\u200b1\u200b0\u200b-1 끝", "010-1", "0\u200b1\u200b0\u200b-1"),
        ("앞\u200b12\u200b뒤", "12", "12"),
        ("번호 ０１０ 끝", "010", "０１０"),
        ("8\u0301\u20e35", "85", "8\u0301\u20e35"),
        (unicodedata.normalize("NFD", "서울 강남"), "강남", unicodedata.normalize("NFD", "강남")),
        ("값㈜1", "주", "㈜"),
    ],
)
def test_a_value_leads_back_to_all_of_it_and_no_more(text: str, value: str, piece: str) -> None:
    """Zero-width characters inside a value go with it, so that masking leaves no digit; those around it stay."""
    view = normalise(text)
    at = view.text.index(value)
    start, end = view.span(at, at + len(value))
    assert text[start:end] == piece


@given(TEXT)
def test_nothing_breaks_it_and_positions_stay_in_order(text: str) -> None:
    view = normalise(text)
    spans = [view.span(at, at + 1) for at in range(len(view.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    assert view.original == text


@given(TEXT)
@example("\u0e33")  # a Thai vowel that stands for a mark and a letter
def test_reading_what_was_read_changes_nothing(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once


@given(TEXT, st.data())
def test_a_stretch_of_the_view_reads_the_same_by_itself(text: str, data: st.DataObject) -> None:
    """The piece of the original that a span points to holds what the view showed there."""
    view = normalise(text)
    if not view.text:
        return
    start = data.draw(st.integers(0, len(view.text) - 1))
    end = data.draw(st.integers(start + 1, len(view.text)))
    begin, stop = view.span(start, end)
    assert view.text[start:end] in normalise(text[begin:stop]).text


def test_a_view_of_a_view_leads_back_to_the_same_original() -> None:
    view = normalise("가 ０\u200b１ 나")
    assert view.text == "가 01 나"
    other = view.rewritten("01", "spelled", [2, 3], [3, 4])
    assert other.span(0, 2) == (2, 5)
    assert isinstance(other, View)
