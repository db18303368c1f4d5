"""What every kind of provider promises, whoever it is: one suite, run over each row of the registry that speaks OpenAI's
chat completions. Rows with a wire format of their own make the same promises in test_dialect_contract.py.

`openai_compatible` runs over a real socket to the scripted server, once with each client it can have; `scripted` runs in
process. The upstream's own log says what it saw.
"""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jsonschema
import orjson
import pytest

from gateway.providers.base import Call, Failure, Provider, ProviderError
from gateway.providers.lean import LeanTransport
from gateway.providers.openai_compatible import OpenAICompatible
from gateway.providers.proxied import AiohttpTransport
from gateway.providers.registry import KINDS, build
from gateway.providers.scripted import Arrival, Script, ScriptedEngine, ScriptedTransport, Step, Upstream, count_tokens
from gateway.providers.scripted_server import serve
from gateway.providers.transport import Timeouts, Transport

KEY = "sk-Very-Secret-Key-1234"
PROMPT = "비밀스러운 질문"
TIMEOUTS = Timeouts(connect=2.0, first_byte=0.5, idle=0.5)


@dataclass
class Subject:
    """A provider and the log of the upstream behind it."""

    provider: Provider
    log: Sequence[Arrival]


Make = Callable[..., contextlib.AbstractAsyncContextManager[Subject]]


def _provider(transport: Any, base_url: str, **more: Any) -> OpenAICompatible:
    times = {"stream_timeouts": TIMEOUTS, "answer_timeouts": TIMEOUTS}
    return OpenAICompatible(name="subject", base_url=base_url, api_key=KEY, transport=transport, **{**times, **more})


def over_a_socket(client: Callable[[], Transport]) -> Make:
    @contextlib.asynccontextmanager
    async def made(upstream: Upstream, **more: Any) -> AsyncIterator[Subject]:
        async with serve(upstream) as server:
            provider = _provider(client(), server.base_url, **more)
            yield Subject(provider, server.log)
            await provider.close()

    return made


@contextlib.asynccontextmanager
async def in_process(upstream: Upstream, **more: Any) -> AsyncIterator[Subject]:
    transport = ScriptedTransport(upstream)
    provider = _provider(transport, "http://practice.invalid/v1", **more)
    yield Subject(provider, transport.log)
    await provider.close()


CONTRACT: dict[str, dict[str, Make]] = {
    "openai_compatible": {"lean": over_a_socket(LeanTransport), "aiohttp": over_a_socket(AiohttpTransport)},
    "scripted": {"in process": in_process},
}


@pytest.fixture(params=[(kind, way) for kind, ways in CONTRACT.items() for way in ways], ids=" ".join)
def make(request: pytest.FixtureRequest) -> Make:
    kind, way = request.param
    return CONTRACT[kind][way]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(faults=True, pace=0)


def call(prompt: str = PROMPT, /, **body: Any) -> Call:
    return Call("req-1", 2, "practice", {"messages": [{"role": "user", "content": prompt}], **body})


async def collect(provider: Provider, asked: Call) -> tuple[list[bytes], ProviderError | None]:
    """Every payload of a stream, and the error that ended it."""
    got: list[bytes] = []
    try:
        stream = await provider.stream(asked)
        async for payloads in stream:
            assert payloads
            got += payloads
    except ProviderError as error:
        return got, error
    await stream.close()
    return got, None


async def whole(provider: Provider, asked: Call) -> dict[str, Any]:
    got: dict[str, Any] = orjson.loads((await provider.ask(asked)).body)
    return got


def text_of(payloads: Sequence[bytes], index: int = 0) -> str:
    choices = [
        choice for payload in payloads for choice in orjson.loads(payload)["choices"] if choice["index"] == index
    ]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


class Says:
    """An upstream that always answers with one script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def answer(self, path: str, body: bytes) -> Script:
        return replace(self._script, steps=list(self._script.steps))


def streams(*parts: bytes, kind: str = "text/event-stream", **headers: str) -> Says:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Says(Script(200, {"content-type": kind, **named}, [Step(part) for part in parts], stream=True))


def answers(body: bytes, kind: str = "application/json", **headers: str) -> Says:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Says(Script(200, {"content-type": kind, **named}, [Step(body)], length=len(body)))


def test_every_kind_in_the_registry_is_under_this_contract() -> None:
    elsewhere = {"openai_responses", "anthropic", "gemini", "cohere", "bedrock_converse", "litellm"}
    assert set(CONTRACT) == {kind.name for kind in KINDS} - elsewhere


# what works


async def test_an_answer(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        reply = await subject.provider.ask(call())
        body = orjson.loads(reply.body)
        assert (reply.status, body["object"], body["model"]) == (200, "chat.completion", "practice")
        assert "연습용" in body["choices"][0]["message"]["content"]
        assert reply.provider_request_id == f"req_{body['id'].removeprefix('chatcmpl-')}"
        assert body["usage"]["completion_tokens"] == count_tokens(body["choices"][0]["message"]["content"])
        (entry,) = subject.log
        assert (entry.authorization, entry.client_request_id, entry.model, entry.stream) == (
            "1234",
            "req-1:2",
            "practice",
            False,
        )
        assert (entry.ended, entry.usage_sent, entry.prompt_tokens) == (
            "complete",
            body["usage"],
            body["usage"]["prompt_tokens"],
        )


async def test_a_stream(make: Make, engine: ScriptedEngine) -> None:
    """The same text and usage as the whole answer; only JSON objects, no [DONE]; the upstream's log agrees."""
    async with make(engine) as subject:
        body = await whole(subject.provider, call())
        stream = await subject.provider.stream(call())
        got = [payload async for payloads in stream for payload in payloads]
        assert stream.provider_request_id == f"req_{orjson.loads(got[0])['id'].removeprefix('chatcmpl-')}"
        await stream.close()
        assert all(orjson.loads(payload)["object"] == "chat.completion.chunk" for payload in got)
        assert text_of(got) == body["choices"][0]["message"]["content"]
        assert orjson.loads(got[-1])["usage"] == body["usage"]
        entry = subject.log[1]
        assert (entry.stream, entry.completion_tokens_sent, entry.usage_sent) == (
            True,
            body["usage"]["completion_tokens"],
            body["usage"],
        )
        assert entry.ended == "complete"


async def test_usage_is_not_asked_of_an_upstream_that_rejects_the_question(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine, stream_usage=False) as subject:
        got, error = await collect(subject.provider, call())
        assert error is None
        assert all("usage" not in orjson.loads(payload) for payload in got)


async def test_what_the_caller_asked_for_reaches_the_upstream(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        several = await whole(subject.provider, call(n=3))
        assert len(several["choices"]) == 3
        got, _ = await collect(subject.provider, call(n=3))
        assert [text_of(got, index) for index in range(3)] == [
            choice["message"]["content"] for choice in several["choices"]
        ]

        short = await whole(subject.provider, call(max_tokens=5))
        assert (short["choices"][0]["finish_reason"], short["usage"]["completion_tokens"]) == ("length", 5)

        stopped = await whole(subject.provider, call(stop="해 보세요"))
        assert "해 보세요" not in stopped["choices"][0]["message"]["content"]


SCHEMA = {
    "type": "object",
    "properties": {"rule": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["rule", "year"],
}


async def test_tools_and_structured_answers(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        tools = [{"type": "function", "function": {"name": "find_rule", "parameters": SCHEMA}}]
        body = await whole(subject.provider, call(tools=tools, tool_choice="required"))
        function = body["choices"][0]["message"]["tool_calls"][0]["function"]
        jsonschema.validate(orjson.loads(function["arguments"]), SCHEMA)
        got, _ = await collect(subject.provider, call(tools=tools, tool_choice="required"))
        deltas = [choice["delta"] for payload in got for choice in orjson.loads(payload)["choices"]]
        parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
        assert "".join(part["function"]["arguments"] for part in parts) == function["arguments"]
        assert {part["index"] for part in parts} == {0}

        wanted = {"type": "json_schema", "json_schema": {"name": "rule", "schema": SCHEMA}}
        body = await whole(subject.provider, call(response_format=wanted))
        jsonschema.validate(orjson.loads(body["choices"][0]["message"]["content"]), SCHEMA)


async def test_embeddings(make: Make, engine: ScriptedEngine) -> None:
    """Texts, or their tokens by number; as numbers, or as base64 of them; the body passes as it came."""
    async with make(engine) as subject:
        reply = await subject.provider.embed(
            Call("req-1", 2, "practice", {"input": ["해치", "광화문"], "dimensions": 4})
        )
        body = orjson.loads(reply.body)
        assert (body["object"], reply.usage, len(body["data"])) == ("list", None, 2)
        assert {len(one["embedding"]) for one in body["data"]} == {4}
        tokens = count_tokens("해치") + count_tokens("광화문")
        assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
        assert (subject.log[0].usage_sent, subject.log[0].client_request_id) == (body["usage"], "req-1:2")
        numbers = await subject.provider.embed(Call("req-1", 2, "practice", {"input": [[1, 2], [3]]}))
        assert orjson.loads(numbers.body)["usage"]["prompt_tokens"] == 3
        coded = await subject.provider.embed(
            Call("req-1", 2, "practice", {"input": "해치", "encoding_format": "base64"})
        )
        assert isinstance(orjson.loads(coded.body)["data"][0]["embedding"], str)
        for wrong in ({"input": []}, {"input": [""]}, {"input": "가", "dimensions": 0}):
            with pytest.raises(ProviderError) as failed:
                await subject.provider.embed(Call("req-1", 2, "practice", wrong))
            assert failed.value.status == 400


async def test_many_at_once_do_not_mix(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        alone = [await whole(subject.provider, call(f"질문 {number}")) for number in range(12)]
        together = await asyncio.gather(*(collect(subject.provider, call(f"질문 {number}")) for number in range(12)))
        assert [text_of(got) for got, _ in together] == [body["choices"][0]["message"]["content"] for body in alone]


@pytest.mark.parametrize(
    ("directive", "completion"),
    [
        ("", [6]),
        ("[[no-usage]]", []),
        ("[[usage-twice]]", [3, 6]),
        ("[[zero-usage]]", [0]),
        ("[[usage-absurd]]", [10**18]),
    ],
)
async def test_usage_is_handed_on_as_it_came(
    make: Make, engine: ScriptedEngine, directive: str, completion: list[int]
) -> None:
    """To judge it is the meter's business."""
    async with make(engine) as subject:
        got, error = await collect(subject.provider, call(f"[[chunks:6]]{directive}"))
        assert error is None
        told = [usage["completion_tokens"] for payload in got if (usage := orjson.loads(payload)["usage"])]
        assert told == completion


# what fails, and whether the upstream can have seen it


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("directive", "failure", "status"),
    [
        ("[[fail:400]]", Failure.REFUSED, 400),
        ("[[fail:401]]", Failure.REFUSED, 401),
        ("[[fail:404]]", Failure.REFUSED, 404),
        ("[[fail:408]]", Failure.TIMEOUT, 408),
        ("[[fail:413]]", Failure.REFUSED, 413),
        ("[[fail:429]]", Failure.RATE_LIMITED, 429),
        ("[[fail:500]]", Failure.UNAVAILABLE, 500),
        ("[[fail:502]]", Failure.UNAVAILABLE, 502),
        ("[[fail:503]]", Failure.UNAVAILABLE, 503),
        ("[[fail:529]]", Failure.UNAVAILABLE, 529),
        ("[[fail:307]]", Failure.BROKEN, 307),
        ("[[slow:9]]", Failure.TIMEOUT, None),
        ("[[stall:9]]", Failure.TIMEOUT, None),
        ("[[cut:3]]", Failure.BROKEN, None),
        ("[[cut:0]]", Failure.BROKEN, None),
        ("[[garbage]]", Failure.BROKEN, 200),
    ],
)
async def test_a_fault(
    make: Make, engine: ScriptedEngine, *, directive: str, failure: Failure, status: int | None, streaming: bool
) -> None:
    async with make(engine) as subject:
        asked = call(f"{PROMPT} {directive}")
        if streaming:
            _, error = await collect(subject.provider, asked)
        else:
            with pytest.raises(ProviderError) as failed:
                await subject.provider.ask(asked)
            error = failed.value
        assert error is not None
        assert (error.failure, error.sent, error.status) == (failure, True, status)
        wait = ("1", "1000") if status in {429, 503} else (None, None)
        assert (error.retry_after, error.retry_after_ms) == wait
        assert KEY not in str(error)
        assert "비밀" not in str(error)
        if status is not None:
            assert error.provider_request_id
        assert len(subject.log) == 1, "trying again is not a provider's business"


@pytest.mark.parametrize("value", [10**30, "\ud800"])
async def test_what_json_cannot_say_is_refused_before_it_is_sent(
    make: Make, engine: ScriptedEngine, value: object
) -> None:
    async with make(engine) as subject:
        for failing in (subject.provider.ask, subject.provider.stream):
            with pytest.raises(ProviderError) as failed:
                await failing(call(metadata={"x": value}))
            assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
        assert not subject.log


@pytest.mark.parametrize("cut", ["rst", "fin"])
async def test_what_came_before_a_cut_is_handed_on(make: Make, cut: Any) -> None:
    async with make(ScriptedEngine(faults=True, pace=0.01, cut=cut)) as subject:
        got, error = await collect(subject.provider, call("[[cut:4]]"))
        assert error is not None
        assert count_tokens(text_of(got)) == 4
        assert (subject.log[0].ended, subject.log[0].completion_tokens_sent) == ("cut", 4)


async def test_a_fault_leaves_the_provider_usable(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        for directive in ("[[cut:2]]", "[[garbage]]", "[[fail:500]]", "[[slow:9]]", "[[stall:9]]"):
            await collect(subject.provider, call(directive))
            _, error = await collect(subject.provider, call())
            assert error is None


async def test_an_upstreams_own_words_do_not_come_through(make: Make) -> None:
    """Vendors quote keys and prompts in their messages; a code that is no plain word could be either."""
    for code, kept in (("invalid_api_key", True), (KEY, False), (PROMPT, False), (7, False)):
        said = orjson.dumps({"error": {"message": f"bad key {KEY} for {PROMPT}", "code": code}})
        refusal = Says(Script(401, {"content-type": "application/json"}, [Step(said)], length=len(said)))
        async with make(refusal) as subject:
            _, error = await collect(subject.provider, call())
            assert error is not None
            assert error.detail == ("status 401 invalid_api_key" if kept else "status 401")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":[]}', b"x" * 200_000], ids=range(6)
)
async def test_an_error_body_of_any_kind_is_still_that_error(make: Make, body: bytes) -> None:
    refusal = Says(Script(500, {"content-type": "text/html"}, [Step(body)], length=len(body)))
    async with make(refusal) as subject:
        _, error = await collect(subject.provider, call())
        assert error is not None
        assert (error.failure, error.status) == (Failure.UNAVAILABLE, 500)


# cancelling


async def ended(entry: Arrival) -> str:
    """How the upstream says a request ended, waited for no longer than the second it may take to notice."""
    for _ in range(100):
        if entry.ended != "open":
            break
        await asyncio.sleep(0.01)
    return entry.ended


async def test_closing_a_stream_stops_the_upstream_within_a_second(make: Make) -> None:
    async with make(ScriptedEngine(faults=True, pace=0.02)) as subject:
        stream = await subject.provider.stream(call("[[chunks:500]]"))
        got = 0
        async for payloads in stream:
            got += len(payloads)
            if got > 5:
                break
        await stream.close()
        await stream.close()
        assert await ended(subject.log[0]) == "client_closed"
        assert 5 <= subject.log[0].completion_tokens_sent < 100
        assert subject.log[0].usage_sent is None


@pytest.mark.parametrize("directive", ["[[slow:30]]", "[[stall:30]]"])
@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
async def test_cancelling_the_caller_stops_the_upstream_within_a_second(
    make: Make, directive: str, streaming: bool
) -> None:
    patient = Timeouts()
    async with make(ScriptedEngine(faults=True, pace=0), stream_timeouts=patient, answer_timeouts=patient) as subject:
        asked = call(directive)
        task = asyncio.create_task(collect(subject.provider, asked) if streaming else whole(subject.provider, asked))  # type: ignore[arg-type]
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ended(subject.log[0]) == "client_closed"


async def test_giving_up_on_a_silent_upstream_stops_it_too(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        for directive in ("[[slow:30]]", "[[stall:30]]"):
            _, error = await collect(subject.provider, call(directive))
            assert error is not None
            assert await ended(subject.log[-1]) == "client_closed"


# bytes that make no sense

GOOD = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"
PAYLOAD = b'{"choices":[]}'


@pytest.mark.parametrize(
    ("upstream", "payloads", "broken"),
    [
        (streams(GOOD, DONE), [PAYLOAD], False),
        (streams(GOOD + DONE), [PAYLOAD], False),
        (streams(DONE), [], False),
        (streams(GOOD, DONE, GOOD, b"\xff"), [PAYLOAD], False),
        (streams(GOOD, b"data: [DONE]"), [PAYLOAD], False),
        (streams(GOOD, b"data: [DONE]\n"), [PAYLOAD], False),
        (streams(GOOD, b": ping\n\n", b"data:\n\n", b"event: x\nid: 1\n" + GOOD, DONE), [PAYLOAD] * 2, False),
        (streams(b'data: {"choices":\ndata: []}\n\n', DONE), [b'{"choices":\n[]}'], False),
        (streams((GOOD + DONE).replace(b"\n", b"\r\n")), [PAYLOAD], False),
        (streams((GOOD + DONE).replace(b"\n", b"\r")), [PAYLOAD], False),
        (streams(b"\xef\xbb", b"\xbf" + GOOD + DONE), [PAYLOAD], False),
        (streams(GOOD, DONE, kind="Text/Event-Stream; charset=UTF-8", content_encoding="identity"), [PAYLOAD], False),
        (
            streams(b'data: {"error":{"message":"overloaded"}}\n\n', DONE),
            [b'{"error":{"message":"overloaded"}}'],
            False,
        ),
        (streams(b'data: {"error":{"message":"overloaded"}}\n\n'), [b'{"error":{"message":"overloaded"}}'], True),
        (streams(b'data: {"a":"\\ud83d"}\n\n', DONE), [b'{"a":"?"}'], False),
        (streams(GOOD), [PAYLOAD], True),
        (streams(), [], True),
        (streams(GOOD, b'data: {"choices":[]'), [PAYLOAD], True),
        (streams(GOOD + b'data: {"choi\n\n' + GOOD, DONE), [PAYLOAD], True),
        (streams(b"data: [1]\n\n", DONE), [], True),
        (streams(b"data: nothing\n\n", DONE), [], True),
        (streams(b'data: {"a":"\xff"}\n\n', DONE), [], True),
        (streams(b"data: " + b'{"a":' * 5000 + b"\n\n", DONE), [], True),
        (streams(GOOD, b'data: {"a":"' + b"x" * (8 << 20) + b'"}\n\n', DONE), [PAYLOAD], True),
        (streams(GOOD, b"x" * (8 << 20)), [PAYLOAD], True),
        (streams(b"<html><body>Sign in</body></html>", kind="text/html"), [], True),
        (streams(b'{"choices":[]}', kind="application/json"), [], True),
        (streams(GOOD, DONE, kind=""), [], True),
        (streams(gzip.compress(GOOD + DONE), content_encoding="gzip"), [], True),
    ],
    ids=range(29),
)
async def test_streams_of_every_shape(make: Make, upstream: Says, payloads: list[bytes], broken: bool) -> None:
    """What makes sense is handed on and the rest is BROKEN: no bytes raise anything else."""
    async with make(upstream) as subject:
        got, error = await collect(subject.provider, call())
        assert got == payloads
        assert (error is not None) == broken
        if error is not None:
            assert (error.failure, error.sent) == (Failure.BROKEN, True)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_characters_cut_in_two_by_the_network_arrive_whole(make: Make, engine: ScriptedEngine, size: int) -> None:
    asked = {"model": "practice", "stream": True, **call("한글 질문 [[chunks:9]]").body, "seed": 1}
    wire = b"".join(step.data for step in engine.answer("/chat/completions", orjson.dumps(asked)).steps)
    async with make(streams(*(wire[start : start + size] for start in range(0, len(wire), size)))) as subject:
        got, error = await collect(subject.provider, call())
        assert error is None
        assert got == [event.removeprefix(b"data: ") for event in wire.split(b"\n\n")[:-2]]


@pytest.mark.parametrize(
    ("upstream", "broken"),
    [
        (answers(PAYLOAD), False),
        (answers(b" " + PAYLOAD + b"\n", kind="application/json; charset=utf-8"), False),
        (answers(b'{"a":"' + "가".encode() * (1 << 18) + b'"}'), False),
        (answers(b""), True),
        (answers(b"[]"), True),
        (answers(PAYLOAD[:-1]), True),
        (answers(PAYLOAD * 2), True),
        (answers(b'{"a":"\xff"}'), True),
        (answers(b"<html>Sign in</html>", kind="text/html"), True),
        (answers(PAYLOAD, kind="text/event-stream"), True),
        (answers(gzip.compress(PAYLOAD), content_encoding="gzip"), True),
        (answers(b'{"a":"' + b"x" * (2 << 20) + b'"}'), True),
    ],
    ids=range(12),
)
async def test_whole_answers_of_every_shape(make: Make, upstream: Says, broken: bool) -> None:
    async with make(upstream, max_answer=1 << 20) as subject:
        if not broken:
            assert orjson.loads((await subject.provider.ask(call())).body)
            return
        with pytest.raises(ProviderError) as failed:
            await subject.provider.ask(call())
        assert (failed.value.failure, failed.value.sent) == (Failure.BROKEN, True)


async def test_a_stream_has_a_last_byte(make: Make) -> None:
    async with make(streams(*[GOOD] * 50_000, DONE), max_stream=10_000) as subject:
        got, error = await collect(subject.provider, call())
        assert error is not None
        assert error.failure is Failure.BROKEN
        assert len(got) < 40_000


# building


@dataclass(frozen=True)
class Block:
    """A block of configuration, as the registry sees it."""

    name: str = "one"
    kind: str = "scripted"
    base_url: str | None = None
    api_key: str | None = None
    destination: str = "inside"
    on_disconnect: Any = "cancel"
    proxy: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    stream_usage: bool = True
    base64_vectors: bool = False
    service_account: str | None = None
    token_url: str | None = None


async def test_the_registry_builds_each_kind_from_a_block() -> None:
    async with serve(ScriptedEngine(pace=0)) as server:
        over_a_wire = [kind for kind in KINDS if kind.name not in {"litellm", "scripted"}]
        for kind in [*over_a_wire, next(kind for kind in KINDS if kind.name == "scripted")]:
            provider = build(Block(kind=kind.name, base_url=server.base_url + "/", api_key=KEY), faults=False)
            assert provider.name == "one"
            assert (await whole(provider, call()))["object"] == "chat.completion"
            await provider.close()
        assert len(server.log) == len(over_a_wire)


async def test_directives_are_obeyed_only_where_the_registry_was_told() -> None:
    for faults in (False, True):
        _, error = await collect(build(Block(), faults=faults), call("[[fail:503]]"))
        assert (error is not None) == faults


@pytest.mark.parametrize(
    "block",
    [
        Block(kind="unknown"),
        Block(kind="openai_compatible"),
        Block(kind="openai_compatible", base_url="ftp://127.0.0.1/v1"),
        Block(kind="openai_compatible", base_url="127.0.0.1:8000/v1"),
        Block(kind="openai_compatible", base_url="http:///v1"),
        Block(kind="openai_compatible", base_url="http://someone:secret@127.0.0.1/v1"),
        Block(kind="openai_compatible", base_url="http://127.0.0.1/v1", api_key="two\nlines"),
        Block(kind="openai_compatible", base_url="http://127.0.0.1/v1", api_key="비밀"),
    ],
    ids=range(8),
)
def test_a_block_that_cannot_be_served_refuses_at_start_and_shows_no_secret(block: Block) -> None:
    with pytest.raises(ValueError, match="one") as refused:
        build(block, faults=False)
    assert block.api_key is None or block.api_key not in str(refused.value)
