"""What the detectors of words promise beyond their examples: published shapes, grades of marks, dictionaries, any text at all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from policies.decision import Grade
from policies.detector import Match
from policies.detectors.classmark import grade_of, variant_of
from policies.detectors.secret import detector as credentials
from policies.detectors.secret import entropy
from policies.engine import Scanner
from policies.normalise import normalise
from policies.pack import Shape, shipped
from policies.ruleset import Dictionary, Rules

scanner = Scanner()


@pytest.mark.parametrize("shape", shipped().secrets.secrets, ids=lambda shape: shape.id)
@settings(
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    deadline=None,
)
@given(data=st.data())
def test_every_value_of_a_published_shape_is_found_beside_its_keyword(shape: Shape, data: st.DataObject) -> None:
    """Values are drawn from the expression itself, so a keyword that misses its own shape fails here."""
    grown = data.draw(st.from_regex(re.compile(shape.regex, re.ASCII), fullmatch=True))
    found = re.fullmatch(shape.regex, grown)
    assert found is not None
    value = found[1] if found.re.groups else found[0]
    assume("\n" not in grown and normalise(grown).text == grown and entropy(value) >= max(shape.entropy, 3))
    assume(any(char.isdigit() for char in value) and any(char.isalpha() for char in value))
    assume(not credentials._stopped(value))
    keyword = "" if any(word in grown.lower() for word in shape.keywords) else f"{shape.keywords[0]} "
    text = f"아래 값을 쓰세요: {keyword}{grown} 입니다."
    hits = [match for match in scanner.scan(text) if match.kind == "SECRET"]
    assert any(text.index(value) >= hit.start - 1 and hit.end >= text.index(value) + len(value) - 2 for hit in hits)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("보안등급: Ⅱ급비밀", "C"),
        ("대외비\n내용", "C"),
        ("N2SF 등급: C", "C"),
        ("N2SF 등급: S", "S"),
        ("공개구분: 비공개", "S"),
        ("공개구분: 비공개(5호)", "S"),
        ("공개구분: 비공개(2호)", "C"),
        ("공개구분: 비공개(5호, 2호)", "C"),
        ("공개구분: 부분공개(6호)", "S"),
        ("공개구분: 공개", "O"),
        ("공개구분: 부분공개(6호)\n\n대외비", "C"),
        ("대외비가 뭐야?", "O"),
    ],
)
def test_the_strictest_mark_makes_the_grade(text: str, grade: Grade) -> None:
    assert grade_of(scanner.scan(text)) == grade


def test_a_variant_is_told_by_its_rule_in_whatever_reading() -> None:
    assert variant_of("classmark:partial") == variant_of("classmark:partial+spelled") == "partial"
    assert variant_of("secret:jwt") == ""
    assert grade_of([Match("SECRET", 0, 1, 0.9, "secret:jwt", ("grade:C",))]) == "O"


def test_a_dictionary_is_found_by_word_and_by_expression() -> None:
    words = Dictionary("사업", ("해치 계획",), ("HC-[0-9]{4}",), action="block")
    rules = Rules(dictionaries=(words,))
    text = "해치 계획 HC-2031을 검토해 주세요. 해치는 상상의 동물입니다."
    found = [match for match in Scanner(rules).scan(text) if match.kind == "KEYWORD"]
    assert [(text[m.start : m.end], m.rule, m.score) for m in found] == [
        ("해치 계획", "dictionary:사업", words.score),
        ("HC-2031", "dictionary:사업", words.score),
    ]
    assert Scanner(rules).version != Scanner(replace(rules, dictionaries=())).version
    assert scanner.scan(text) == ()


def test_the_organisations_own_seat_and_role_mailboxes_are_public() -> None:
    text = "주소: 데모도 데모시 시청길 77, 메일 gyotong@demo.go.kr"
    own = Rules(addresses=("시청길 77",), mail_domains=("demo.go.kr",), mailboxes=("gyotong",))
    assert {match.kind for match in scanner.scan(text)} == {"ADDRESS", "EMAIL"}
    assert Scanner(own).scan(text) == ()


#: Pieces that words detectors react to, in any order: what a hostile or a broken text is made of.
PIECES = st.sampled_from(
    (
        "성명", ":", " ", "\n", "|", ",", "\t", "김서준", "님", "씨", "(", ")", "[", "]", "대외비", "비공개", "(5호)", "보안등급",
        "비밀번호", "는", "=", "a1b2!c", "key", "sk-", "eyJ", ".", "@", "naver.com", "골뱅이", "닷", "서울시", "로", "길", "12",
        "101동", "1203호", "주소", "-----BEGIN RSA PRIVATE KEY-----", "-----END", "://", "우울증", "■", "□", "İ", "🏛", "급비밀",
        "공개구분", "N2SF", "C", "S", "-ro", "Kim", "Name", "010-2345-6789", "/", "\\", '"', "'", "\r\n", "ㄱ", "가" * 30,
    )
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_whatever_the_text_findings_lie_in_it_and_apart(text: str) -> None:
    end = 0
    for match in scanner.scan(text):
        assert end <= match.start < match.end <= len(text)
        assert 0 < match.score <= 1
        end = match.end


@pytest.mark.parametrize(
    "word",
    ["성명: ", "대외비\n", "(비공개)", "보안등급: ", "비밀번호 ", "key=", "sk-", "@a.", "서울시 1로 ", "님", "-ro, "],
)
def test_a_text_of_nothing_but_one_word_ends(word: str) -> None:
    """As long as a long document: a reading that looked back or ahead from every word without a bound would not end in time."""
    scanner.scan(word * (100_000 // len(word.encode())))
