"""Full-length texts as offices write them: nothing is found in them, and what is put into them is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import Scanner

OFFICE = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parent / "office").glob("*.txt"))}
PUT_IN = (
    ("PERSON", "성명: 김서준", "김서준"),
    ("PERSON", "민원인 박영희 님이 방문함", "박영희"),
    (
        "ADDRESS",
        "주소: 경기도 성남시 분당구 판교역로 235, 101동 1203호",
        "경기도 성남시 분당구 판교역로 235, 101동 1203호",
    ),
    ("EMAIL", "회신은 kim.cs@naver.com으로", "kim.cs@naver.com"),
    ("SECRET", "서버 비밀번호는 Tjdnf#2025입니다", "Tjdnf#2025"),
    ("SECRET", "토큰 ghp_a8Kd03LmQ92xTzVb71RnYw45PeHcUj6sGf0D", "ghp_a8Kd03LmQ92xTzVb71RnYw45PeHcUj6sGf0D"),
    ("CLASSMARK", "보안등급: 대외비", "대외비"),
    ("CLASSMARK", "- 대외비 -", "대외비"),
)

scanner = Scanner()


def test_there_are_texts_of_many_kinds() -> None:
    assert len(OFFICE) >= 25


@pytest.mark.parametrize("name", OFFICE)
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    found = scanner.scan(OFFICE[name])
    assert [(match.kind, match.rule, OFFICE[name][match.start : match.end]) for match in found] == []


@given(st.sampled_from(sorted(OFFICE)), st.sampled_from(PUT_IN), st.randoms(use_true_random=False))
def test_what_is_put_on_a_line_of_its_own_is_found(name: str, put: tuple[str, str, str], random: object) -> None:
    kind, line, value = put
    lines = OFFICE[name].split("\n")
    at = random.randrange(len(lines) + 1)  # type: ignore[attr-defined]
    # An empty line on both sides: beside a list of marks or inside a table, a line is one more of its lines.
    text = "\n".join([*lines[:at], "", line, "", *lines[at:]])
    found = [text[match.start : match.end] for match in scanner.scan(text) if match.kind == kind]
    assert value in found
