"""A refusal of the filters stands alone: what kind, where, what to do, and that nothing left and nothing was charged."""

from __future__ import annotations

import pytest

from gateway.policy_refusals import KIND_NAMES, filter_failed, stopped
from policies.decision import Finding
from policies.rules.actions import KINDS


def finding(kind: str, part: str = "/messages/2/content", action: str = "block") -> Finding:
    return Finding(kind, part, 3, 17, action)  # type: ignore[arg-type]


def refused(*findings: Finding, grade: str = "O", role: str = "user", alternatives: tuple[str, ...] = ()) -> str:
    roles = {found.part: role for found in findings}
    return stopped(findings, roles, rule="r", grade=grade, alternatives=alternatives).message  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*KINDS, "UNREADABLE"])
def test_every_kind_has_a_name_in_both_languages(kind: str) -> None:
    message = refused(finding(kind))
    assert KIND_NAMES[kind].en in message
    assert KIND_NAMES[kind].ko in message
    assert kind == "IP" or kind not in message


# Where it stands, and what that is called.
@pytest.mark.parametrize(
    ("part", "role", "english", "korean"),
    [
        ("/messages/2/content", "user", "in message 3.", "3번째 메시지에"),
        ("/messages/0/content", "system", "the instructions (message 1)", "지시문(1번째 메시지)에"),
        ("/messages/4/content/1/text", "tool", "a tool's result (message 5)", "도구 결과(5번째 메시지)에"),
        ("/tools/0/function/description", "", "the tools", "도구 정의에"),
        ("/input/3", "", "the input", "입력에"),
        ("/stop/0", "", "`stop`", "`stop`에"),
    ],
)
def test_the_place(part: str, role: str, english: str, korean: str) -> None:
    message = refused(finding("RRN", part), role=role)
    assert english in message
    assert korean in message


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (["RRN"], "주민등록번호가 있습니다"),
        (["PERSON"], "사람 이름이 있습니다"),
        (["RRN", "EMAIL"], "주민등록번호, 이메일 주소가 있습니다"),
        (["UNREADABLE"], "검사할 수 없는 내용(이미지·음성·파일)이 있습니다"),
    ],
)
def test_the_particle_fits_the_word(kinds: list[str], says: str) -> None:
    assert says in refused(*(finding(kind) for kind in kinds))


@pytest.mark.parametrize(
    "message",
    [
        refused(finding("RRN")),
        refused(finding("UNREADABLE", action="route_local"), alternatives=("exaone",)),
        refused(grade="S"),
        refused(grade="C"),
        filter_failed("filters:error").message,
    ],
)
def test_it_says_that_nothing_left_and_nothing_was_charged(message: str) -> None:
    korean, _, english = message.partition(" 아무것도 전송되지 않았고 과금도 없었습니다. ")
    assert "가" <= korean[0] <= "힣" or korean[0] in "SC", "whoever is shown the message reads Korean first"
    assert english.endswith("Nothing was sent and nothing was charged.")
    assert not any("가" <= letter <= "힣" for letter in english)


def test_a_model_inside_is_named_where_there_is_one_and_only_there() -> None:
    assert "exaone" in refused(finding("RRN"), alternatives=("exaone",))
    assert "내부 모델" not in refused(finding("RRN"))
    assert "exaone" in refused(grade="S", alternatives=("exaone",))


def test_a_program_reads_the_findings() -> None:
    told = stopped(
        [finding("RRN"), finding("PHONE", action="mask")], {}, rule="actions:RRN", grade="O", alternatives=[]
    )
    assert (told.status, told.code) == (400, "policy_blocked")
    assert told.details is not None
    assert told.details["findings"] == [
        {"kind": "RRN", "part": "/messages/2/content", "start": 3, "end": 17, "action": "block"},
        {"kind": "PHONE", "part": "/messages/2/content", "start": 3, "end": 17, "action": "mask"},
    ]
    assert "전화번호" not in told.message
