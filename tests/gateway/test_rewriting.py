"""Answers that are rewritten on their way: each choice and each field by itself, whatever the frames they come in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting import Pipe, Rewriter
from policies.decision import Action
from policies.masking import OutputGuard, Restorer, Seen, Vault

VAULT = Vault(b"k" * 32)
KIM, LEE = VAULT.token("PERSON", "김해치"), VAULT.token("PERSON", '이"해치')


@dataclass(frozen=True)
class Word:
    """Something a scanner saw."""

    start: int
    end: int
    kind: str = "SECRET"
    score: float = 0.9
    rule: str = "word"


def scan(text: str) -> Sequence[Seen]:
    at = text.find("열쇠")
    return [] if at < 0 else [Word(at, at + 2)]


def rewriter(act: Action | None = None, *, restores: bool = True) -> Rewriter:
    def make(json: bool) -> Pipe:
        guard = None if act is None else OutputGuard(scan, lambda _: act)
        return Pipe(guard, Restorer(VAULT, json=json) if restores else None)

    return Rewriter(make)


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": choices, **more}).encode()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def call(number: int, arguments: str, **more: Any) -> dict[str, Any]:
    return {"index": number, "function": {"arguments": arguments, **more}}


def through(made: Rewriter, *payloads: bytes) -> list[dict[str, Any]]:
    out = [one for payload in payloads for one in made.payloads([payload])]
    return [json.loads(one) for one in (*out, *made.end())]


def written(chunks: list[dict[str, Any]], index: int, name: str = "content") -> str:
    choices = [choice for one in chunks for choice in one["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(name) or "" for choice in choices)


def arguments(chunks: list[dict[str, Any]], number: int) -> str:
    calls = [c for one in chunks for choice in one["choices"] for c in choice["delta"].get("tool_calls") or []]
    return "".join(c["function"].get("arguments") or "" for c in calls if c["index"] == number)


@given(st.data())
def test_however_it_is_cut_each_text_comes_out_whole(data: st.DataObject) -> None:
    """Two choices, two fields, two calls, their frames mixed: what comes out for each is what went in, with values put back."""
    texts = {(0, "content"): f"{KIM}님 안녕", (1, "content"): f"또 {KIM}", (0, "reasoning_content"): f"{LEE}라고 한다"}
    frames: list[tuple[int, bytes]] = []
    for place, ((index, name), text) in enumerate(texts.items()):
        cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=6)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        frames += [(place, chunk(delta(index, **{name: piece}))) for piece in pieces]
    order = data.draw(st.permutations([place for place, _ in frames]))
    waiting = {place: [frame for at, frame in frames if at == place] for place in range(3)}
    mixed = [waiting[place].pop(0) for place in order]
    out = through(rewriter(), *mixed, chunk(delta(0, "stop")), chunk(delta(1, "stop")))
    assert written(out, 0) == "김해치님 안녕"
    assert written(out, 1) == "또 김해치"
    assert written(out, 0, "reasoning_content") == '이"해치라고 한다'
    ends = [choice["index"] for one in out for choice in one["choices"] if choice["finish_reason"]]
    assert sorted(ends) == [0, 1]


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_a_value_in_a_calls_arguments_is_written_as_json(cut: int) -> None:
    text = json.dumps({"to": f"{LEE}"}, ensure_ascii=False)
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    frames = [chunk(delta(tool_calls=[call(0, piece)])) for piece in pieces]
    other = [chunk(delta(tool_calls=[call(1, piece)])) for piece in pieces]
    out = through(rewriter(), *frames, *other, chunk(delta(finish="tool_calls")))
    assert json.loads(arguments(out, 0)) == json.loads(arguments(out, 1)) == {"to": '이"해치'}


def test_frames_without_choices_pass_as_they_came() -> None:
    usage = chunk(usage={"prompt_tokens": 1})
    error = b'{"error": {"code": "overloaded"}}'
    assert rewriter().payloads([usage, error]) == [usage, error]


def test_usage_beside_text_that_is_held_back_is_kept() -> None:
    (out,) = rewriter().payloads([chunk(delta(content="[[이름"), usage={"prompt_tokens": 1})])
    assert json.loads(out)["usage"] == {"prompt_tokens": 1}


def test_the_role_and_a_calls_name_are_not_held_back() -> None:
    role, named = rewriter().payloads(
        [chunk(delta(role="assistant", content="")), chunk(delta(tool_calls=[call(0, "", name="send")]))]
    )
    assert json.loads(role)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert json.loads(named)["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "send"


def test_probabilities_that_spell_the_text_out_are_left_out() -> None:
    made = rewriter()
    out = through(made, chunk({**delta(content="글"), "logprobs": {"content": [{"token": KIM}]}}))
    assert "logprobs" not in out[0]["choices"][0]
    body = {"choices": [{"index": 0, "message": {"content": KIM}, "logprobs": {}, "finish_reason": "stop"}]}
    assert json.loads(rewriter().whole(json.dumps(body).encode())) == {
        "choices": [{"index": 0, "message": {"content": "김해치"}, "finish_reason": "stop"}]
    }


def test_a_blocked_choice_ends_and_the_other_goes_on() -> None:
    made = rewriter("block")
    long = "그 다음 이야기. " * 60
    frames = [
        chunk(delta(0, content=f"여기 열쇠 {long}")),
        chunk(delta(1, content=long)),
        chunk(delta(0, content=long)),
    ]
    out = through(made, *frames, chunk(delta(0, "stop")), chunk(delta(1, "stop")))
    assert (written(out, 0), written(out, 1)) == ("여기 ", long)
    ends = {
        choice["index"]: choice["finish_reason"] for one in out for choice in one["choices"] if choice["finish_reason"]
    }
    assert ends == {0: "content_filter", 1: "stop"}
    action, _, items = made.items()
    assert (action, [(item.kind, item.action, item.count, item.digests) for item in items]) == (
        "block",
        [("SECRET", "block", 1, ())],
    )


def test_a_whole_answer_that_is_blocked_says_so() -> None:
    body = {"choices": [{"index": 0, "message": {"content": "여기 열쇠 있음"}, "finish_reason": "stop"}], "usage": {}}
    said = json.loads(rewriter("block", restores=False).whole(json.dumps(body).encode()))
    assert said["choices"] == [{"index": 0, "message": {"content": "여기 "}, "finish_reason": "content_filter"}]
