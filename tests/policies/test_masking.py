"""Values become placeholders and placeholders values: however a text is cut into chunks, nothing is lost, nothing is late."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.masking import (
    HINT,
    REMOVED,
    SLACK,
    WORDS,
    OutputGuard,
    Restorer,
    Span,
    Vault,
    conversation_key,
    mask,
)
from policies.rules.actions import KINDS

KEY = conversation_key(b"k" * 32, "user-1", "chat-1")


def vault_of(**values: str) -> Vault:
    """A vault that knows these values: kind → value."""
    vault = Vault(KEY)
    for kind, value in values.items():
        vault.token(kind, value)
    return vault


def spans_of(text: str, **values: str) -> list[Span]:
    return [
        Span(kind, m.start(), m.end()) for kind, value in values.items() for m in re.finditer(re.escape(value), text)
    ]


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def streamed(restorer: Restorer, chunks: Sequence[str]) -> str:
    return "".join([*(restorer.feed(chunk) for chunk in chunks), restorer.finish()])


# ── masking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_masked_sentence() -> None:
    text = "홍길동님 연락처는 010-1234-5678, 홍길동 비밀번호는 hunter2!입니다."
    vault = Vault(KEY)
    masked = mask(text, spans_of(text, PERSON="홍길동", PHONE="010-1234-5678", SECRET="hunter2!"), vault)
    name, phone = vault.token("PERSON", "홍길동"), vault.token("PHONE", "010-1234-5678")
    assert masked.text == f"{name}님 연락처는 {phone}, {name} 비밀번호는 {REMOVED}입니다."
    assert re.fullmatch(r"\[\[이름:[a-z2-7]{4}\]\]", name)
    assert set(vault.values.values()) == {"홍길동", "010-1234-5678"}, "what may not come back is not kept"


def test_a_value_is_the_same_token_in_every_turn_and_in_no_other_conversation() -> None:
    one, again = Vault(KEY), Vault(KEY)
    for n in range(50):
        again.token("PERSON", f"somebody else {n}")
    assert one.token("PERSON", "홍길동") == again.token("PERSON", "홍길동")
    assert one.token("PERSON", "홍길동") != one.token("KEYWORD", "홍길동")
    for context in (("user-1", "chat-2"), ("user-2", "chat-1"), ("user-1chat-1",), ("user-1", "chat-1", "")):
        other = Vault(conversation_key(b"k" * 32, *context))
        assert other.token("PERSON", "홍길동") != one.token("PERSON", "홍길동"), context
    assert Vault(conversation_key(b"j" * 32, "user-1", "chat-1")).token("PERSON", "홍길동") != one.token(
        "PERSON", "홍길동"
    )


def test_two_values_never_share_a_token() -> None:
    """4 letters are 20 bits: among five thousand names about a dozen pairs meet, and get longer tokens."""
    vault = Vault(KEY)
    tokens = [vault.token("PERSON", f"{n}번째 사람") for n in range(5000)]
    assert len(set(tokens)) == 5000
    assert max(map(len, tokens)) > len("[[이름:k7f2]]")
    answer = " ".join(tokens)
    assert Restorer(vault).restore(answer) == " ".join(f"{n}번째 사람" for n in range(5000))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"SECRET", "CLASSMARK"}))
def test_every_kind_has_a_word_of_its_own_and_comes_back(kind: str) -> None:
    vault = Vault(KEY)
    token = vault.token(kind, "값")
    assert token.startswith(f"[[{WORDS[kind]}:")
    assert Restorer(vault).restore(f"<{token}>") == "<값>"
    assert len(set(WORDS.values())) == len(WORDS)


@pytest.mark.parametrize("kind", ["SECRET", "CLASSMARK"])
def test_what_may_not_come_back_does_not(kind: str) -> None:
    vault = Vault(KEY)
    assert vault.token(kind, "hunter2!") == REMOVED
    assert vault.values == {}
    assert Restorer(vault).restore(f"암호는 {REMOVED}") == f"암호는 {REMOVED}"


def test_overlapping_places_become_one_token_and_no_end_is_left_standing() -> None:
    text = "주소 세종대로 110 홍길동 끝"
    vault = Vault(KEY)
    masked = mask(text, [Span("ADDRESS", 3, 13), Span("PERSON", 12, 15), Span("PHONE", 4, 6)], vault)
    assert masked.text == f"주소 {vault.token('ADDRESS', text[3:15])} 끝"
    assert mask(text, [Span("ADDRESS", 3, 13), Span("SECRET", 12, 15)], Vault(KEY)).text == f"주소 {REMOVED} 끝"


@pytest.mark.parametrize("span", [(-1, 2), (0, 4), (2, 2), (2, 1)])
def test_a_span_outside_the_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        mask("abc", [Span("PHONE", *span)], Vault(KEY))


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=5))
def test_positions_of_a_masked_text_lead_back(text: str, places: list[tuple[int, int]]) -> None:
    spans = [Span("PHONE", a, min(a + n, len(text))) for a, n in places if a < len(text)]
    masked = mask(text, spans, Vault(KEY))
    inside = {n for piece in masked.pieces for n in range(piece.masked_start, piece.masked_end)}
    for position, letter in enumerate(masked.text):
        if position not in inside:
            assert text[masked.original(position)] == letter
    for piece in masked.pieces:
        assert masked.original(piece.masked_start) == masked.original(piece.masked_end - 1) == piece.start
    assert masked.original(len(masked.text)) == len(text)


def test_a_vault_says_nothing_of_what_it_holds() -> None:
    vault = vault_of(PERSON="홍길동", PHONE="010-1234-5678")
    assert "홍길동" not in repr(vault)
    assert "이름" not in repr(vault)
    assert repr(KEY)[2:10] not in repr(vault)


def test_a_vault_goes_through_storage() -> None:
    vault = vault_of(PERSON="홍길동 \ud800", PHONE='"\\\n')
    again = Vault.load(KEY, vault.dump())
    assert again == vault
    assert again.token("PERSON", "김") == vault.token("PERSON", "김")
    for bad in (b"", b"[]", b'{"a": 1}', b"null"):
        with pytest.raises(ValueError, match=r".+"):
            Vault.load(KEY, bad)


def test_the_hint_shows_a_token_as_it_is() -> None:
    assert re.search(r"\[\[이름:[a-z2-7]{4}\]\]", HINT)


# ── restoring ────────────────────────────────────────────────────────────────────────────────────────────────────────

VAULT = vault_of(PERSON="홍길동", PHONE="010-1234-5678", EMAIL='"a\\b"@c.kr', ADDRESS="세종대로 110\n3층")
NAME, PHONE = VAULT.token("PERSON", "홍길동"), VAULT.token("PHONE", "010-1234-5678")
ID = NAME[5:-2]


@pytest.mark.parametrize(
    ("written", "restored"),
    [
        (NAME, "홍길동"),
        (f"{NAME}님께", "홍길동님께"),
        (f"[이름:{ID}]", "홍길동"),
        (f"[[ 이름 : {ID} ]]", "홍길동"),
        (f"[ [이름:{ID}] ]", "홍길동"),
        (f"［［이름：{ID}］］", "홍길동"),
        (f"【이름:{ID}】", "홍길동"),
        (f"{{{{이름:{ID}}}}}", "홍길동"),
        (f"<이름:{ID}>", "홍길동"),
        (f"[[이름:{ID.upper()}]]", "홍길동"),
        (rf"\[\[이름:{ID}\]\]", "홍길동"),
        (f"**{NAME}**", "**홍길동**"),
        (f"`{NAME}`", "`홍길동`"),
        (f"[[이름:{ID}은]] 왔다", "홍길동은 왔다"),
        (f"[[이름:{ID} ]에게", "홍길동에게"),
        (f"[[이름:{ID}", "[[홍길동"),
        (f"이름: {ID}, 끝", "홍길동, 끝"),
        (f"(이름:{ID})", "(홍길동)"),
        (f"회사이름:{ID}.", "회사홍길동."),
        (f"[[[이름:{ID}]]]", "[홍길동]"),
        (rf"C:\Users\{NAME}", r"C:\Users\홍길동"),
        (f"{NAME}{PHONE}", "홍길동010-1234-5678"),
        # and what is none of ours
        (f"이름:{ID}x", f"이름:{ID}x"),
        (f"[[이름:{ID}x]]", f"[[이름:{ID}x]]"),
        (f"[[전화:{ID}]]", f"[[전화:{ID}]]"),
        ("[[이름]]", "[[이름]]"),
        ("이름: 김철수 [링크](이름)", "이름: 김철수 [링크](이름)"),
        ("[[목차]] a[b[0]] {x: 1} \\n", "[[목차]] a[b[0]] {x: 1} \\n"),
        (f"[[이름{' ' * 40}:{ID}]]", f"[[이름{' ' * 40}:{ID}]]"),
    ],
)
def test_a_token_as_models_write_it(written: str, restored: str) -> None:
    assert Restorer(VAULT).restore(written) == restored
    assert streamed(Restorer(VAULT), list(written)) == restored


@pytest.mark.parametrize(
    ("written", "reported"),
    [
        ("[[이름:zzzz]]은 누구", ["[[이름:zzzz]]"]),
        ("[[이름:zzzz]] [[이름:zzzz]] [[전화:aaaa]]", ["[[이름:zzzz]]", "[[전화:aaaa]]"]),
        ("[이름: kims] 이름:abcd", []),
        (NAME, []),
    ],
)
def test_an_unknown_token_stays_and_is_reported(written: str, reported: list[str]) -> None:
    restorer = Restorer(VAULT)
    if reported:
        assert restorer.restore(written) == written
    else:
        restorer.restore(written)
    assert restorer.unresolved == reported
    chunked = Restorer(VAULT)
    streamed(chunked, list(written))
    assert chunked.unresolved == reported


@pytest.mark.parametrize(
    ("value", "written", "mended"),
    [
        ("홍길동", "는 왔다", "은 왔다"),
        ("홍길동", "은 왔다", "은 왔다"),
        ("김영희", "은 왔다", "는 왔다"),
        ("김영희", "을.", "를."),
        ("김영희", "이", "가"),
        ("홍길동", "와 함께", "과 함께"),
        ("이서울", "으로", "로"),
        ("홍길동", "로", "으로"),
        ("김영희", "이나 ", "나 "),
        ("010-1234-5677", "는", "은"),
        ("010-1234-5672", "은", "는"),
        ("kim@c.kr", "은", "은"),  # nobody knows how it is read
        ("홍길동", "가족", "가족"),  # the beginning of a word
        ("김영희", "이름표", "이름표"),
        ("김영희", "은행", "은행"),
        ("김영희", "은(는)", "는(는)"),
    ],
)
def test_particles_are_mended_where_that_is_asked_for(value: str, written: str, mended: str) -> None:
    vault = Vault(KEY)
    answer = f"오늘 {vault.token('PERSON', value)}{written}"
    assert Restorer(vault).restore(answer) == f"오늘 {value}{written}"
    assert Restorer(vault, particles=True).restore(answer) == f"오늘 {value}{mended}"
    assert streamed(Restorer(vault, particles=True), list(answer)) == f"오늘 {value}{mended}"


BROKEN = [
    "[[",
    "]]",
    "[",
    "]",
    "{",
    "}",
    "\\",
    "\\[",
    ":",
    " ",
    "은",
    "는 ",
    "이",
    "이름",
    "전화:",
    "[[이름:",
    "주",
    "zzzz",
    '"',
    "\n",
]
ours = [*VAULT.values, *(token.upper() for token in VAULT.values)]
words = st.sampled_from([*ours, *(token[1:-1] for token in ours), *(token[2:-2] for token in ours), *BROKEN])
answers = st.lists(st.one_of(words, st.text(max_size=3)), max_size=12).map("".join)
cuts = st.lists(st.integers(0, 120), max_size=12)


@settings(max_examples=400)
@given(answers, cuts, st.booleans())
def test_any_chunks_restore_to_what_the_whole_does(answer: str, cut: list[int], particles: bool) -> None:
    whole, chunked = Restorer(VAULT, particles=particles), Restorer(VAULT, particles=particles)
    assert streamed(chunked, pieces(answer, cut)) == whole.restore(answer)
    assert (chunked.unresolved, chunked.restored) == (whole.unresolved, whole.restored)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*BROKEN, *(token[:-3] for token in ours)]), max_size=20).map("".join), st.booleans())
def test_nothing_waits_longer_than_the_hold_back(answer: str, particles: bool) -> None:
    """Of texts that are full of beginnings of tokens, and hold none, all but the last few characters has come out."""
    restorer = Restorer(VAULT, particles=particles)
    assert restorer.hold_back == max(map(len, VAULT.values)) + SLACK
    out = ""
    for n, letter in enumerate(answer, 1):
        out += restorer.feed(letter)
        assert answer.startswith(out)
        assert len(out) >= n - restorer.hold_back


@given(st.text(alphabet=st.characters(exclude_characters="["), max_size=60), cuts)
def test_a_text_without_tokens_comes_out_as_it_went_in(answer: str, cut: list[int]) -> None:
    assert streamed(Restorer(VAULT), pieces(answer, cut)) == answer
    assert streamed(Restorer(Vault(KEY)), pieces(answer, cut)) == answer


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(WORDS)), st.text(min_size=1, max_size=8), st.text(max_size=6)), max_size=6
    ),
    cuts,
)
def test_what_was_masked_and_repeated_is_what_was_given(parts: list[tuple[str, str, str]], cut: list[int]) -> None:
    """A model that repeats the text it was given gives back, to the letter, the text that was masked."""
    text, spans = "", []
    for kind, value, between in parts:
        spans.append(Span(kind, len(text), len(text) + len(value)))
        text += value + between
    vault = Vault(KEY)
    masked = mask(text, spans, vault).text
    assert streamed(Restorer(vault), pieces(masked, cut)) == text


values = st.dictionaries(st.text(max_size=4), st.one_of(words, st.text(max_size=6)), max_size=4)


@settings(max_examples=300)
@given(values, st.booleans(), cuts)
def test_a_tool_s_arguments_stay_json(arguments: dict[str, str], ascii_only: bool, cut: list[int]) -> None:
    """Values with quotes, backslashes and line ends are put back escaped; tokens are found escaped, too."""
    written = json.dumps(arguments, ensure_ascii=ascii_only)
    whole, chunked = Restorer(VAULT, json=True), Restorer(VAULT, json=True)
    restored = whole.restore(written)
    assert streamed(chunked, pieces(written, cut)) == restored
    json.loads(restored)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_tool_is_called_with_the_values(ascii_only: bool) -> None:
    asked = {token: f"{token}, {token}" for token in VAULT.values}
    written = json.dumps(asked, ensure_ascii=ascii_only)
    got = json.loads(streamed(Restorer(VAULT, json=True), list(written)))
    assert got == {value: f"{value}, {value}" for value in VAULT.values.values()}


@pytest.mark.parametrize(
    "written",
    [
        f"[[이\\ub984:{ID}]]",
        f"\\u005b[이름:{ID}]\\u005d",
        f"[[\\uc774름\\u003a{ID}]]",
        f"[[이름:\\u00{ord(ID[0]):02x}{ID[1:]}]]",
    ],
)
def test_letters_of_a_token_may_be_escaped_one_by_one(written: str) -> None:
    said = f'{{"name": "{written}"}}'
    for chunks in ([said], list(said)):
        assert json.loads(streamed(Restorer(VAULT, json=True), chunks)) == {"name": "홍길동"}


@pytest.mark.parametrize(
    "unit", ["[", "[[이름:", "[[이름:aaaaaaaaaaaa", "이름   :", "\\", "이", "[[이름:zzzz]]", f"[[이름:{ID}", "은"]
)
@pytest.mark.parametrize("json_", [False, True])
def test_an_answer_made_of_beginnings_comes_out_whole(unit: str, json_: bool) -> None:
    """Long texts of nothing but what tokens begin with: whole and in pieces the same, and of the right length."""
    text = unit * 500
    whole = Restorer(VAULT, json=json_).restore(text)
    assert streamed(Restorer(VAULT, json=json_), [text[i : i + 7] for i in range(0, len(text), 7)]) == whole
    if ID in unit:
        assert whole == "[[홍길동" * 500
    else:
        assert whole == text


# ── looking at an answer ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hit:
    kind: str
    start: int
    end: int
    score: float
    rule: str


def scan(text: str) -> list[Hit]:
    """Whole runs of digits only: a run cut in two is not found, as with real detectors."""
    found = [Hit("PHONE", m.start(), m.end(), 0.9, "phone:test") for m in re.finditer(r"(?<!\d)\d{11}(?!\d)", text)]
    found += [
        Hit("SECRET", m.start(), m.end(), 0.9, "secret:test") for m in re.finditer(r"(?<!\w)sk-\w{20}(?!\w)", text)
    ]
    return sorted(found, key=lambda hit: hit.start)


def guard() -> OutputGuard:
    return OutputGuard(scan, lambda seen: "block" if seen.kind == "SECRET" else "mask")


filler = st.text(st.sampled_from("가나 .x"), max_size=120)
sensitive = st.sampled_from(["01012345678", "0101234567", "sk-" + "a" * 20])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(filler, sensitive), max_size=8), st.lists(st.integers(0, 700), max_size=20))
def test_a_guard_sees_the_same_however_the_answer_is_cut(parts: list[str], cut: list[int]) -> None:
    answer = " ".join(parts)
    one = guard()
    out = "".join([*(one.feed(chunk) for chunk in pieces(answer, cut)), one.finish()])
    # A key that a letter touches is none to this scanner.
    secret = next((hit for hit in scan(answer) if hit.kind == "SECRET"), None)
    upto = answer if secret is None else answer[: secret.start]
    assert out == re.sub(r"(?<!\d)\d{11}(?!\d)", "[[전화]]", upto)
    verdict = one.verdict()
    assert one.blocked == (secret is not None)
    assert verdict.complete == (secret is None)
    assert verdict.action == ("block" if secret else "mask" if "[[전화]]" in out else "allow")
    assert verdict.clean == (not scan(answer))
    assert len([f for f in verdict.findings if f[0] == "PHONE"]) == out.count("[[전화]]")
    if secret is None:
        assert verdict.seen == verdict.passed == len(answer)


def test_a_guard_claims_nothing_about_what_it_did_not_see() -> None:
    """A client that leaves in mid-answer: what was looked at is said, and that it is not the whole."""
    one = guard()
    out = one.feed("가" * 1000) + one.feed("나" * 10)
    verdict = one.verdict()
    assert not verdict.complete
    assert not verdict.clean
    assert verdict.passed == len(out)
    assert verdict.passed <= verdict.seen <= 1010
    assert guard().verdict().seen == 0


@given(st.lists(st.sampled_from(["01012345678 ", "가나다 ", "x" * 200, "1" * 400]), max_size=30))
def test_a_guard_holds_no_more_than_it_says(chunks: list[str]) -> None:
    one = guard()
    given_, out = 0, 0
    for chunk in chunks:
        given_ += len(chunk)
        one.feed(chunk)
        out = one.verdict().passed
        assert given_ - out <= 3 * OutputGuard.HOLD + OutputGuard.STEP + len(chunk)
