"""The practice upstream: its tokens can be counted by hand, and what it says it sent is what it sent."""

import asyncio
import json
import re
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.base import Failure, ProviderError
from gateway.providers.scripted import (
    Faults,
    Script,
    ScriptedEngine,
    ScriptedTransport,
    Step,
    compose,
    count_prompt_tokens,
    count_tokens,
    pieces,
    read_directives,
    smallest,
)
from gateway.providers.transport import Timeouts

ENGINE = ScriptedEngine(pace=0, clock=lambda: 1_700_000_000.0, new_id=lambda: "0001")


def request(prompt: str = "회의록을 요약해 주세요", **more: Any) -> dict[str, Any]:
    return {"model": "practice", "messages": [{"role": "user", "content": prompt}], **more}


def answer(body: dict[str, Any], engine: ScriptedEngine = ENGINE) -> tuple[Script, Any]:
    script = engine.answer("/v1/chat/completions", orjson.dumps(body))
    return script, orjson.loads(b"".join(step.data for step in script.steps))


def stream(body: dict[str, Any], engine: ScriptedEngine = ENGINE) -> list[dict[str, Any]]:
    script = engine.answer("/v1/chat/completions", orjson.dumps({**body, "stream": True}))
    events = b"".join(step.data for step in script.steps).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-2]]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello", 1),
        ("hello world", 2),
        ("hello  world", 3),
        ("internationalisation", 2),  # 20 letters: 12 + 8
        ("안녕하세요", 3),  # 안녕·하세·요
        ("안녕 하세요.", 4),  # 안녕· 하세·요·.
        ("2026년 1월", 5),  # 202·6·년· 1·월
        ("😀😀", 2),
        ("a,b", 3),
        ("\n\n\t", 1),
    ],
)
def test_tokens_can_be_counted_by_hand(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@given(st.text())
def test_a_text_never_has_more_tokens_than_bytes_and_its_pieces_are_it(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert count_tokens(text) <= len(text.encode())


PART = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text()),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "high"}}, st.text(max_size=900)),
    st.just({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", "assistant", "tool"]),
        "content": st.none() | st.text() | st.lists(PART, max_size=3),
    },
    optional={
        "name": st.text(max_size=9),
        "tool_calls": st.just([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
    },
)
TOOL = st.builds(
    lambda name: {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}},
    st.text(max_size=20),
)


@given(messages=st.lists(MESSAGE, min_size=1, max_size=4), tools=st.lists(TOOL, max_size=2))
def test_a_prompt_never_has_more_tokens_than_the_bytes_of_its_messages_and_tools(messages: Any, tools: Any) -> None:
    size = len(orjson.dumps(messages)) + (len(orjson.dumps(tools)) if tools else 0)
    assert count_prompt_tokens({"messages": messages, "tools": tools}) <= size


def test_prompt_tokens_are_the_text_three_a_message_and_three_for_the_answer() -> None:
    """`hello world` is 2, `안녕` is 1; two messages cost 3 each, the answer 3: 2 + 1 + 6 + 3 = 12."""
    messages = [
        {"role": "system", "content": "hello world"},
        {"role": "user", "content": [{"type": "text", "text": "안녕"}]},
    ]
    assert count_prompt_tokens({"messages": messages}) == 12
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2000, "detail": "low"}}
    messages.append({"role": "user", "content": [picture]})
    assert count_prompt_tokens({"messages": messages}) == 12 + 3 + 85


@given(prompt=st.text(max_size=60), seed=st.none() | st.integers(0, 9))
def test_an_answer_is_thirty_to_eighty_tokens_and_depends_on_nothing_else(prompt: str, seed: int | None) -> None:
    found = compose("m", prompt, seed, 0, None)
    assert 30 <= len(found) <= 80
    assert found == compose("m", prompt, seed, 0, None)
    assert pieces("".join(found)) == found
    assert len(compose("m", prompt, seed, 0, 200)) == 200


def test_the_answer_says_that_it_is_practice_in_the_language_it_was_asked_in() -> None:
    _, korean = answer(request("휴가 규정을 알려 주세요"))
    _, english = answer(request("How do I write a letter?"))
    assert "연습용" in korean["choices"][0]["message"]["content"]
    assert "practice answer" in english["choices"][0]["message"]["content"]
    assert not re.search("[가-힣]", english["choices"][0]["message"]["content"])


def test_seed_and_choice_vary_the_text() -> None:
    texts = {answer(request(seed=seed))[1]["choices"][0]["message"]["content"] for seed in range(8)}
    assert len(texts) > 3
    _, several = answer(request(n=3))
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert several["usage"]["completion_tokens"] == sum(
        count_tokens(c["message"]["content"]) for c in several["choices"]
    )


def test_stream_and_whole_answer_agree() -> None:
    """The deltas joined are the whole answer, role first, one token a chunk, and the usage is the same."""
    body = request(n=2, seed=5)
    _, whole = answer(body)
    chunks = stream({**body, "stream_options": {"include_usage": True}})
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"] and chunk["choices"][0]["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert (
            "".join(choice["delta"].get("content") or "" for choice in own)
            == whole["choices"][index]["message"]["content"]
        )
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
        assert all(count_tokens(choice["delta"]["content"]) == 1 for choice in own[1:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]


def test_no_usage_in_a_stream_that_did_not_ask() -> None:
    assert all("usage" not in chunk for chunk in stream(request()))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_cuts_and_says_length(name: str) -> None:
    _, body = answer(request(**{name: 7}))
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 7 == count_tokens(body["choices"][0]["message"]["content"])


def test_stop_ends_the_text_before_the_sequence() -> None:
    whole = answer(request())[1]["choices"][0]["message"]["content"]
    _, body = answer(request(stop=["이렇게", "없는 말"]))
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == whole[: whole.index("이렇게")]
    assert body["usage"]["completion_tokens"] == count_tokens(choice["message"]["content"])


def test_logprobs_are_one_a_token() -> None:
    _, body = answer(request(logprobs=True, top_logprobs=2, max_tokens=4))
    found = body["choices"][0]["logprobs"]["content"]
    assert "".join(one["token"] for one in found) == body["choices"][0]["message"]["content"]
    assert all(one["bytes"] == list(one["token"].encode()) and one["logprob"] < 0 for one in found)
    assert all(len(one["top_logprobs"]) == 2 and one["top_logprobs"][0]["token"] == one["token"] for one in found)
    chunks = stream(request(logprobs=True, max_tokens=4))
    streamed = [c["choices"][0]["logprobs"]["content"][0]["token"] for c in chunks if c["choices"][0]["logprobs"]]
    assert streamed == [one["token"] for one in found]


SCHEMA = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "format": "date"},
        "level": {"enum": ["높음", "낮음"]},
        "count": {"type": "integer", "minimum": 3, "multipleOf": 2},
        "who": {"$ref": "#/$defs/person"},
        "unasked": {"type": "string"},
    },
    "required": ["day", "level", "count", "who"],
    "additionalProperties": False,
    "$defs": {
        "person": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 12},
                "boss": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]},
            },
            "required": ["name", "boss"],
        }
    },
}
SCHEMAS = [
    SCHEMA,
    {"const": 5},
    {"type": ["null", "string"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "maximum": -2.5},
    {"type": "integer", "exclusiveMinimum": 10, "maximum": 20, "multipleOf": 5},
    {"type": "integer", "minimum": -7, "maximum": -3},
    {"type": "string", "maxLength": 3},
    {"type": "string", "pattern": "^[0-9]{6}$"},
    {"type": "string", "pattern": r"^\d{2,3}-\d{4}-\d{4}$"},
    {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"const": 1}}, "required": ["b"]},
        ]
    },
    {"oneOf": [{"type": "string", "minLength": 2}, {"type": "integer"}]},
    {"properties": {"x": {"items": {"type": "null"}}}, "required": ["x"]},
    {"type": "object", "required": ["free"]},
    {"type": "string", "format": "email"},
    {"type": "string", "pattern": "^(가|나)[^a-z]{2}(?P<x>[A-Z]+)-(?P=x)\\w\\s?.$"},
    {"type": "string", "pattern": "^(a+)+b$"},
    {"type": "string", "pattern": "^[\\d.]+\\D$"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_the_smallest_value_satisfies_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(smallest(schema), schema)


def test_a_schema_without_end_is_refused_not_followed() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    script, body = answer(
        request(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": endless}})
    )
    assert script.status == 400
    assert body["error"]["param"] == "response_format"


def test_structured_answers() -> None:
    _, body = answer(request(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}))
    content = body["choices"][0]["message"]["content"]
    jsonschema.validate(orjson.loads(content), SCHEMA)
    assert body["usage"]["completion_tokens"] == count_tokens(content)
    _, body = answer(request(response_format={"type": "json_object"}))
    assert orjson.loads(body["choices"][0]["message"]["content"])["practice"] is True


TOOLS = [
    {"type": "function", "function": {"name": "find_rule", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]


@pytest.mark.parametrize(
    ("prompt", "choice", "called"),
    [
        ("안녕", "auto", None),
        ("안녕", None, None),
        ("find_rule 을 써 주세요", "auto", "find_rule"),
        ("now, please", None, "now"),
        ("now, please", "none", None),
        ("안녕", "required", "find_rule"),
        ("now", "required", "now"),
        ("안녕", {"type": "function", "function": {"name": "now"}}, "now"),
    ],
)
def test_when_a_tool_is_called(prompt: str, choice: Any, called: str | None) -> None:
    """Named, required, or asked for by its name; the arguments satisfy what the tool declares, in a stream as in a whole."""
    body = request(prompt, tools=TOOLS, tool_choice=choice)
    _, whole = answer(body)
    message = whole["choices"][0]["message"]
    assert whole["choices"][0]["finish_reason"] == ("tool_calls" if called else "stop")
    if called is None:
        assert "tool_calls" not in message
        return
    function = message["tool_calls"][0]["function"]
    assert (message["content"], function["name"]) == (None, called)
    jsonschema.validate(orjson.loads(function["arguments"]), SCHEMA if called == "find_rule" else {})
    assert whole["usage"]["completion_tokens"] == count_tokens(called) + count_tokens(function["arguments"])
    deltas = [chunk["choices"][0]["delta"] for chunk in stream(body)]
    assert deltas[0]["tool_calls"][0]["function"] == {"name": called, "arguments": ""}
    assert (
        "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas if "tool_calls" in d)
        == function["arguments"]
    )


def test_after_a_tool_has_answered_it_is_not_called_again() -> None:
    body = request("find_rule", tools=TOOLS)
    body["messages"].append({"role": "tool", "tool_call_id": "c", "content": "제3조"})
    assert answer(body)[1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"model": ""}, "model"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_what_a_vendor_would_refuse_is_refused(change: dict[str, Any], param: str) -> None:
    script, body = answer({**request(), **change})
    assert (script.status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)


def test_bytes_that_are_no_request() -> None:
    assert ENGINE.answer("/v1/chat/completions", b"{").status == 400
    assert ENGINE.answer("/v1/chat/completions", b"[]").status == 400
    assert ENGINE.answer("/v1/nothing", b"{}").status == 404


FIELDS = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "function",
        "name",
        "parameters",
        "properties",
        "required",
        "items",
        "minItems",
        "anyOf",
        "allOf",
        "enum",
        "minimum",
        "multipleOf",
        "exclusiveMaximum",
        "pattern",
        "minLength",
        "$ref",
        "json_schema",
        "schema",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {
            "model": st.just("m"),
            "messages": JSON | st.lists(st.dictionaries(FIELDS, JSON, max_size=3), min_size=1, max_size=2),
        },
        optional=dict.fromkeys(
            ("tools", "tool_choice", "response_format", "stop", "n", "stream", "stream_options", "seed"), JSON
        ),
    )
)
def test_no_request_makes_the_engine_raise(body: dict[str, Any]) -> None:
    script = ENGINE.answer("/chat/completions", json.dumps(body).encode())
    assert script.status in {200, 400}
    assert b"".join(step.data for step in script.steps)


@given(JSON)
def test_no_schema_makes_the_engine_raise(schema: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert ENGINE.answer("/chat/completions", json.dumps(request(response_format=wanted)).encode()).status in {200, 400}


def test_directives_are_read_from_the_last_user_message_only() -> None:
    assert read_directives("[[fail:503]] [[slow:1.5]]hi[[pace:20]][[no-usage]]") == (
        Faults(fail=503, slow=1.5, pace=0.02, usage="none"),
        "hi",
    )
    assert read_directives("[[unknown]] [[fail:x]] [fail:503]") == (Faults(), "[[unknown]] [[fail:x]] [fail:503]")
    engine = ScriptedEngine(faults=True, pace=0)
    body = request("hi")
    body["messages"][:0] = [{"role": "user", "content": "[[fail:500]]"}, {"role": "system", "content": "[[fail:500]]"}]
    assert answer(body, engine)[0].status == 200


def test_directives_are_plain_text_unless_faults_are_on() -> None:
    script, body = answer(request("[[fail:500]] [[usage-absurd]] [[chunks:3]]"))
    assert script.status == 200
    assert body["usage"]["completion_tokens"] >= 30


@pytest.mark.parametrize(
    ("directive", "completion"),
    [
        ("", [5]),
        ("[[no-usage]]", []),
        ("[[zero-usage]]", [0]),
        ("[[usage-twice]]", [2, 5]),
        ("[[usage-absurd]]", [10**18]),
    ],
)
def test_usage_faults(directive: str, completion: list[int]) -> None:
    """Of two usage frames the last is right; an absurd one is not even possible."""
    engine = ScriptedEngine(faults=True, pace=0)
    body = request(f"[[chunks:5]]{directive}")
    chunks = stream({**body, "stream_options": {"include_usage": True}}, engine)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk["usage"]] == completion
    _, whole = answer(body, engine)
    assert [whole["usage"]["completion_tokens"]] == completion[-1:] if completion else "usage" not in whole


def test_timing_directives_say_when_and_do_not_wait() -> None:
    engine = ScriptedEngine(faults=True, pace=0.5)
    body = orjson.dumps({**request("[[slow:2]] [[stall:30]] [[pace:20]] [[chunks:4]]"), "stream": True})
    script = engine.answer("/chat/completions", body)
    assert script.before == 2.0
    # role, four tokens of which the third comes after the silence, finish, [DONE]
    assert [step.delay for step in script.steps] == [0, 0.02, 0.02, 30.02, 0.02, 0, 0]


URL = "http://practice.invalid/v1/chat/completions"


async def test_the_transport_logs_what_was_handed_over() -> None:
    transport = ScriptedTransport(ENGINE, clock=lambda: 7.0)
    headers = {"Authorization": "Bearer sk-secret-9876", "X-Client-Request-Id": "r1:1"}
    body = orjson.dumps({**request(), "stream": True})
    response = await transport.post(URL, headers, body, timeouts=Timeouts())
    chunks = response.chunks()
    for _ in range(4):  # the role and three tokens
        await anext(chunks)
    response.close()
    with pytest.raises(ProviderError):
        await anext(chunks)
    entry = transport.log[0]
    assert (entry.id, entry.at, entry.authorization, entry.client_request_id) == (1, 7.0, "9876", "r1:1")
    assert (entry.completion_tokens_sent, entry.usage_sent, entry.ended) == (3, None, "client_closed")

    response = await transport.post(URL, headers, orjson.dumps(request()), timeouts=Timeouts())
    usage = orjson.loads(await response.read(1 << 20))["usage"]
    assert (transport.log[1].completion_tokens_sent, transport.log[1].ended) == (usage["completion_tokens"], "complete")
    assert transport.log[1].usage_sent == usage


async def test_closing_wakes_a_reader_that_waits_for_a_silent_upstream() -> None:
    transport = ScriptedTransport(ScriptedEngine(faults=True, pace=0))
    body = orjson.dumps({**request("[[stall:60]] [[chunks:2]]"), "stream": True})
    response = await transport.post(URL, {}, body, timeouts=Timeouts(idle=90))

    async def read() -> int:
        return len([part async for part in response.chunks()])

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    response.close()
    with pytest.raises(ProviderError) as failed:
        await asyncio.wait_for(reader, 1)
    assert failed.value.failure is Failure.BROKEN
    assert transport.log[0].ended == "client_closed"


async def test_anything_that_answers_with_scripts_can_stand_behind_the_transport() -> None:
    class Teapot:
        def answer(self, path: str, body: bytes) -> Script:
            return Script(418, {"Content-Type": "text/plain"}, [Step(b"short"), Step(b" and stout")])

    response = await ScriptedTransport(Teapot()).post(URL, {}, b"", timeouts=Timeouts())
    assert (response.status, response.headers["content-type"]) == (418, "text/plain")
    assert await response.read(100) == b"short and stout"
