"""What a client reads where masked values are put back, and where answers are looked at: whole, and in pieces of any size."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flows.inside import Inside, frames, opened
from flows.test_filters import PRICES, RRN, configuration, said

from gateway.providers.scripted import Script, Step
from gateway.providers.scripted_server import ScriptedServer, serve

PHONE = "010-9876-5432"
OTHER = "010-2468-1357"


class Echo:
    """Answers with the text it was asked with, or with `says`; in a stream in pieces of `cut` characters.

    `as_tool`: as the arguments of a tool call. `seen` is the last body.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.says: str | None = None
        self.cut = 3
        self.as_tool = False
        self.finish: str | None = "stop"

    def answer(self, path: str, body: bytes) -> Script:
        request = json.loads(body)
        self.seen = request
        last = request["messages"][-1]["content"]
        text = self.says or (last if isinstance(last, str) else "".join(part.get("text", "") for part in last))
        head = {"id": "chatcmpl-1", "created": 1, "model": request["model"]}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        if not request.get("stream"):
            choice = {
                "index": 0,
                "message": self._message(text),
                "finish_reason": self.finish,
                "logprobs": {"content": []},
            }
            whole = json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            return Script(200, {"content-type": "application/json"}, [Step(whole)], length=len(whole))
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        pieces = [text[at : at + self.cut] for at in range(0, len(text), self.cut)]
        deltas += [self._delta(piece, first=number == 0) for number, piece in enumerate(pieces)]
        chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        if self.finish is not None:
            chunks.append({"index": 0, "delta": {}, "finish_reason": self.finish})
        sent = [{**head, "object": "chat.completion.chunk", "choices": [chunk]} for chunk in chunks]
        sent.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        steps = [Step(b"data: " + json.dumps(one).encode() + b"\n\n") for one in sent]
        return Script(200, {"content-type": "text/event-stream"}, [*steps, Step(b"data: [DONE]\n\n")], stream=True)

    def _message(self, text: str) -> dict[str, Any]:
        if not self.as_tool:
            return {"role": "assistant", "content": text}
        call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": text})}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    def _delta(self, piece: str, *, first: bool) -> dict[str, Any]:
        if not self.as_tool:
            return {"content": piece}
        named = {"id": "call_1", "type": "function"} if first else {}
        function = {"arguments": piece, **({"name": "send"} if first else {})}
        return {"tool_calls": [{"index": 0, **named, "function": function}]}


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, ScriptedServer]]:
    made = Echo()
    async with serve(made) as server:
        yield made, server


@pytest.fixture
async def inside(
    request: pytest.FixtureRequest, echo: tuple[Echo, ScriptedServer], tmp_path: Path, migrated_sqlite: Path
) -> AsyncIterator[Inside]:
    given = configuration(echo[1].base_url, **getattr(request, "param", {}))
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


async def read(inside: Inside, prompt: str, *, stream: bool) -> tuple[str, str, str | None]:
    """(what was written, the arguments of a call, why it ended)"""
    answer = await inside.chat("foreign", prompt, stream=stream)
    assert answer.status_code == 200, answer.text
    if not stream:
        (choice,) = answer.json()["choices"]
        calls = choice["message"].get("tool_calls") or []
        return (
            choice["message"]["content"] or "",
            "".join(c["function"]["arguments"] for c in calls),
            choice["finish_reason"],
        )
    deltas = [choice for chunk in frames(answer) for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in deltas)
    calls = [call for choice in deltas for call in choice["delta"].get("tool_calls") or []]
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    ends = [choice["finish_reason"] for choice in deltas if choice["finish_reason"]]
    return text, arguments, ends[-1] if ends else None


RESTORE = pytest.mark.parametrize("inside", [{"restore": True}], indirect=True)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@RESTORE
@STREAM
@pytest.mark.parametrize("cut", [1, 2, 7, 500])
async def test_a_masked_value_comes_back_in_the_answer(
    inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool, cut: int
) -> None:
    echo[0].cut = cut
    prompt = f"연락처는 {PHONE}이고 다른 연락처는 {OTHER}입니다. 끝."
    text, _, ended = await read(inside, prompt, stream=stream)
    assert (text, ended) == (prompt, "stop")
    there = json.dumps(echo[0].seen, ensure_ascii=False)
    assert PHONE not in there
    assert OTHER not in there
    assert "그대로" in echo[0].seen["messages"][0]["content"]


@RESTORE
@STREAM
async def test_it_comes_back_in_a_tools_arguments(
    inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool
) -> None:
    echo[0].as_tool, echo[0].finish = True, "tool_calls"
    _, arguments, ended = await read(inside, f"연락처 {PHONE}", stream=stream)
    assert PHONE in arguments
    assert ended == "tool_calls"


@RESTORE
@STREAM
async def test_a_secret_never_comes_back(inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool) -> None:
    messages = said(("user", "비밀번호: Tr0ub4dor&3x"), ("assistant", "네"), ("user", f"연락처 {PHONE} 다시"))
    echo[0].says = "[[비밀제거]]는 무엇인가요"
    answer = await inside.post("/v1/chat/completions", model="foreign", messages=messages, stream=stream)
    assert answer.status_code == 200
    assert "Tr0ub4dor" not in answer.text
    assert "Tr0ub4dor" not in json.dumps(echo[0].seen)


@RESTORE
async def test_an_answer_that_is_cut_gives_what_it_has(inside: Inside, echo: tuple[Echo, ScriptedServer]) -> None:
    """Its upstream ends it without a reason; what was held back is still the client's."""
    echo[0].finish = None
    text, _, _ = await read(inside, f"연락처는 {PHONE}", stream=True)
    assert text == f"연락처는 {PHONE}"


@RESTORE
@STREAM
async def test_without_anything_masked_an_answer_passes_as_it_came(
    inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool
) -> None:
    text, _, _ = await read(inside, "연락처는 [[전화:abcd]]", stream=stream)
    assert text == "연락처는 [[전화:abcd]]"
    assert "그대로" not in echo[0].seen["messages"][0]["content"]


async def test_by_default_placeholders_stay(inside: Inside, echo: tuple[Echo, ScriptedServer]) -> None:
    text, _, _ = await read(inside, f"연락처는 {PHONE}", stream=False)
    assert PHONE not in text
    assert "[[전화:" in text


# What the model writes, what `output` says, and what the client reads of it.
@STREAM
@pytest.mark.parametrize(
    ("inside", "writes", "reads", "ended"),
    [
        (
            {"output": "mask"},
            f"주민번호는 {RRN}입니다. 이상입니다.",
            "주민번호는 [[주민번호]]입니다. 이상입니다.",
            "stop",
        ),
        ({"output": "mask"}, f"전화는 {PHONE}입니다.", "전화는 [[전화]]입니다.", "stop"),
        ({"output": "block"}, f"주민번호는 {RRN}입니다. 이상입니다.", "주민번호는 ", "content_filter"),
        ({"output": "block"}, f"전화는 {PHONE}입니다.", "전화는 [[전화]]입니다.", "stop"),
        ({"output": "block"}, "회의는 오후 2시입니다.", "회의는 오후 2시입니다.", "stop"),
        ({"output": "off"}, f"주민번호는 {RRN}입니다.", f"주민번호는 {RRN}입니다.", "stop"),
    ],
    indirect=["inside"],
)
async def test_what_a_model_writes_is_looked_at_where_a_site_wants_it(  # noqa: PLR0917 – the table's columns
    inside: Inside, echo: tuple[Echo, ScriptedServer], writes: str, reads: str, ended: str, stream: bool
) -> None:
    echo[0].says = writes
    text, _, why = await read(inside, "질문", stream=stream)
    assert (text, why) == (reads, ended)
    (event,) = inside.rows("SELECT * FROM usage_event")
    assert (event["tokens"], event["quality"], event["outcome"]) == (15, "exact", "completed")
    records = inside.rows("SELECT * FROM evidence WHERE stage = 'output'")
    assert len(records) == (0 if text == writes else 1)
    if records:
        assert records[0]["seen"] <= len(writes)


@STREAM
@pytest.mark.parametrize("inside", [{"restore": True, "output": "mask"}], indirect=True)
async def test_the_callers_own_value_comes_back_and_another_ones_does_not(
    inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool
) -> None:
    """The guard looks at what the model wrote, which has a placeholder where the caller's own value was."""
    await read(inside, f"연락처 {PHONE}", stream=stream)
    token = echo[0].seen["messages"][-1]["content"].removeprefix("연락처 ")
    echo[0].says = f"전화 {token}와 전화 {OTHER}"
    text, _, _ = await read(inside, f"연락처 {PHONE}", stream=stream)
    assert text == f"전화 {PHONE}와 전화 [[전화]]"
