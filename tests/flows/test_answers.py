"""What a client reads where masked values are put back, and where answers are looked at: whole, and in pieces of any size."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
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


async def turn(inside: Inside, text: str, conversation: str | None, *, stream: bool = False) -> httpx.Response:
    headers = {} if conversation is None else {"x-haechi-conversation": conversation}
    body = {"model": "foreign", "messages": said(("user", text)), "stream": stream}
    answer = await inside.client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def sent(echo: tuple[Echo, ScriptedServer]) -> str:
    return str(echo[0].seen["messages"][-1]["content"])


@RESTORE
@STREAM
async def test_a_conversation_that_has_a_name_keeps_what_was_masked(
    inside: Inside, echo: tuple[Echo, ScriptedServer], stream: bool
) -> None:
    """A client that has dropped the turn with the value, and sends the placeholder only, has the value back in the answer."""
    await turn(inside, f"연락처는 {PHONE}", "chat-1")
    masked = sent(echo)
    assert PHONE not in masked
    again = await turn(inside, f"{masked}, 앞에서 말한 번호", "chat-1", stream=stream)
    assert sent(echo).startswith(masked)
    assert "그대로" in echo[0].seen["messages"][0]["content"]
    read = (
        again.text if not stream else "".join(c["choices"][0]["delta"].get("content") or "" for c in frames(again)[:-1])
    )
    assert PHONE in read
    assert "x-haechi-policy" not in again.headers, "nothing was found in this one"
    (kept,) = inside.rows("SELECT sealed FROM mask_vault")
    assert PHONE.encode() not in bytes(kept["sealed"])


@RESTORE
async def test_what_was_masked_in_one_conversation_means_nothing_in_another(
    inside: Inside, echo: tuple[Echo, ScriptedServer]
) -> None:
    await turn(inside, f"연락처는 {PHONE}", "chat-1")
    masked = sent(echo)
    for other in ("chat-2", None):
        answer = await turn(inside, f"{masked} 다시", other)
        assert PHONE not in answer.text
        await turn(inside, f"연락처는 {PHONE}", other)
        assert sent(echo) != masked, "nobody can tell that two conversations are about the same number"


@RESTORE
async def test_a_conversation_that_is_deleted_is_forgotten(inside: Inside, echo: tuple[Echo, ScriptedServer]) -> None:
    await turn(inside, f"연락처는 {PHONE}", "chat-1")
    masked = sent(echo)
    await turn(inside, f"연락처는 {PHONE}", "chat-2")
    for _ in range(2):
        assert (await inside.client.delete("/api/conversations/chat-1/masked")).status_code == 204
    assert len(inside.rows("SELECT 1 FROM mask_vault")) == 1
    assert PHONE not in (await turn(inside, f"{masked} 다시", "chat-1")).text
    assert (await inside.client.delete("/api/conversations/%00/masked")).status_code == 400


async def test_nothing_is_kept_where_nothing_is_put_back(inside: Inside, echo: tuple[Echo, ScriptedServer]) -> None:
    """Its placeholders are the conversation's own all the same, and what the check shows is what is sent."""
    await turn(inside, f"연락처는 {PHONE}", "chat-1")
    first = sent(echo)
    await turn(inside, f"연락처는 {PHONE}", "chat-2")
    assert sent(echo) != first
    assert inside.rows("SELECT 1 FROM mask_vault") == []
    shown = await inside.client.post(
        "/api/policies/check", json={"text": f"연락처는 {PHONE}"}, headers={"x-haechi-conversation": "chat-1"}
    )
    assert shown.json()["masked"] == first


@RESTORE
async def test_a_placeholder_nobody_knows_is_told(inside: Inside, echo: tuple[Echo, ScriptedServer]) -> None:
    """A model that makes one up leaves it standing in the answer; the caller, and whoever watches, is told how many."""
    echo[0].says = "번호는 [[전화:zzzz]], [[전화:zzzz]], 계좌는 [[계좌:yyyy]]"
    whole = await turn(inside, f"연락처는 {PHONE}", None)
    assert whole.headers["x-haechi-policy-unresolved"] == "2"
    assert "[[전화:zzzz]]" in whole.json()["choices"][0]["message"]["content"]
    body = {"model": "foreign", "messages": said(("user", f"연락처는 {PHONE}")), "stream": True}
    streamed = await inside.post("/v1/chat/completions", **body, stream_options={"include_usage": True})
    assert frames(streamed)[-1]["usage"]["unresolved_placeholders"] == 2
    assert "haechi_unresolved_placeholders_total 4.0" in (await inside.client.get("/metrics")).text
    echo[0].says = "없음"
    assert "x-haechi-policy-unresolved" not in (await turn(inside, f"연락처는 {PHONE}", None)).headers
