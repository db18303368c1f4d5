"""The contract of test_provider_contract.py for every kind with a wire format of its own.

The same questions, faults and promises; the upstream speaks the vendor's format, over a socket and in process. What differs is
what a translation owes beside them: OpenAI's shape on this side, the vendor's own usage kept, nothing dropped in silence.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import orjson
import pytest

from billing.extract import extract
from gateway.providers.anthropic import AnthropicMessages
from gateway.providers.base import Call, Failure, Provider, ProviderError, Stream
from gateway.providers.bedrock import BedrockConverse
from gateway.providers.cohere import CohereChat
from gateway.providers.gemini import GeminiGenerateContent
from gateway.providers.lean import LeanTransport
from gateway.providers.openai_responses import OpenAIResponses
from gateway.providers.registry import KINDS
from gateway.providers.scripted import Arrival, Script, ScriptedEngine, ScriptedTransport, Step, Upstream, count_tokens
from gateway.providers.scripted_server import serve
from gateway.providers.translated import Dialect, Translated
from gateway.providers.transport import Timeouts

KEY = "sk-Very-Secret-Key-1234"
PROMPT = "비밀스러운 질문"
TIMEOUTS = Timeouts(connect=2.0, first_byte=0.5, idle=0.5)


@dataclass(frozen=True)
class Kind:
    """A kind's dialect, the family its usage is read by, and what its format has no word for."""

    dialect: Callable[[], Dialect]
    family: tuple[str, str]
    stops: bool = True
    embeds: bool = False


DIALECTS = {
    "openai_responses": Kind(OpenAIResponses, ("perplexity", "responses"), stops=False),
    "anthropic": Kind(AnthropicMessages, ("anthropic", "messages")),
    "gemini": Kind(GeminiGenerateContent, ("google", "generateContent"), embeds=True),
    "cohere": Kind(CohereChat, ("cohere", "v2"), embeds=True),
    "bedrock_converse": Kind(BedrockConverse, ("aws", "converse")),
}
#: These have their contract in test_provider_contract.py and test_litellm_contract.py.
ELSEWHERE = {"openai_compatible", "scripted", "litellm"}


@dataclass
class Subject:
    provider: Provider
    log: Sequence[Arrival]
    kind: Kind


Make = Callable[..., contextlib.AbstractAsyncContextManager[Subject]]


def provider(kind: Kind, transport: Any, base_url: str, **more: Any) -> Translated:
    times = {"stream_timeouts": TIMEOUTS, "answer_timeouts": TIMEOUTS}
    return Translated(
        name="subject", base_url=base_url, api_key=KEY, transport=transport, dialect=kind.dialect(), **{**times, **more}
    )


def over_a_socket(kind: Kind) -> Make:
    @contextlib.asynccontextmanager
    async def made(upstream: Upstream, **more: Any) -> AsyncIterator[Subject]:
        async with serve(upstream) as server:
            subject = provider(kind, LeanTransport(), server.base_url, **more)
            yield Subject(subject, server.log, kind)
            await subject.close()

    return made


def in_process(kind: Kind) -> Make:
    @contextlib.asynccontextmanager
    async def made(upstream: Upstream, **more: Any) -> AsyncIterator[Subject]:
        transport = ScriptedTransport(upstream)
        yield Subject(provider(kind, transport, "http://practice.invalid/v1", **more), transport.log, kind)

    return made


WAYS = {"socket": over_a_socket, "in process": in_process}


@pytest.fixture(params=[(name, way) for name in DIALECTS for way in WAYS], ids=" ".join)
def make(request: pytest.FixtureRequest) -> Make:
    name, way = request.param
    return WAYS[way](DIALECTS[name])


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(faults=True, pace=0)


def call(prompt: str = PROMPT, /, model: str = "practice", **body: Any) -> Call:
    return Call("req-1", 2, model, {"messages": [{"role": "user", "content": prompt}], **body})


async def collect(subject: Provider, asked: Call) -> tuple[list[dict[str, Any]], ProviderError | None, Stream | None]:
    """Every chunk of a stream, the error that ended it, and the stream."""
    got: list[dict[str, Any]] = []
    stream = None
    try:
        stream = await subject.stream(asked)
        async for payloads in stream:
            assert payloads
            got += map(orjson.loads, payloads)
    except ProviderError as error:
        return got, error, stream
    await stream.close()
    return got, None, stream


async def whole(subject: Provider, asked: Call) -> dict[str, Any]:
    got: dict[str, Any] = orjson.loads((await subject.ask(asked)).body)
    return got


def deltas(chunks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def text_of(chunks: Sequence[dict[str, Any]]) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(chunks))


def finishes(chunks: Sequence[dict[str, Any]]) -> list[str]:
    return [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]


def calls_of(chunks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool calls put together as a client does it: by index, identity once, arguments joined."""
    found: dict[int, dict[str, Any]] = {}
    for delta in deltas(chunks):
        for part in delta.get("tool_calls", ()):
            one = found.setdefault(part["index"], {"arguments": ""})
            one |= {key: part[key] for key in ("id", "type") if key in part}
            function = part.get("function", {})
            one["arguments"] += function.get("arguments", "")
            if "name" in function:
                assert "name" not in one, "a name is told once"
                one["name"] = function["name"]
    return [found[index] for index in sorted(found)]


def test_every_kind_in_the_registry_is_under_a_contract() -> None:
    assert {kind.name for kind in KINDS} <= {*DIALECTS, *ELSEWHERE}
    assert set(DIALECTS) <= {kind.name for kind in KINDS}


# what works


async def test_an_answer(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        reply = await subject.provider.ask(call())
        body = orjson.loads(reply.body)
        assert (reply.status, body["object"]) == (200, "chat.completion")
        (choice,) = body["choices"]
        assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
        assert "연습용" in choice["message"]["content"]
        assert reply.provider_request_id is not None
        assert reply.provider_request_id.startswith("req_")
        assert body["usage"]["completion_tokens"] == count_tokens(choice["message"]["content"])
        (entry,) = subject.log
        assert (entry.authorization, entry.client_request_id, entry.model, entry.stream) == (
            "1234",
            "req-1:2",
            "practice",
            False,
        )
        assert (entry.ended, entry.usage_sent) == ("complete", reply.usage)
        assert entry.prompt_tokens == body["usage"]["prompt_tokens"]


async def test_the_vendors_own_usage_is_kept_and_its_meters_are_the_counts(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        reply = await subject.provider.ask(call())
        _, _, stream = await collect(subject.provider, call())
        assert stream is not None
        assert stream.usage == reply.usage == subject.log[1].usage_sent
        assert stream.context == reply.context
        told = orjson.loads(reply.body)["usage"]
        meters = extract(*subject.kind.family, reply.usage, model="practice", context=reply.context)
        assert (meters.quality, meters.meters["input"], meters.meters["output"]) == (
            "exact",
            told["prompt_tokens"],
            told["completion_tokens"],
        )


async def test_a_stream(make: Make, engine: ScriptedEngine) -> None:
    """The same text and usage as the whole answer, one identity throughout, the role first, one finish, usage last."""
    async with make(engine) as subject:
        body = await whole(subject.provider, call())
        got, error, stream = await collect(subject.provider, call())
        assert error is None
        assert stream is not None
        assert stream.provider_request_id is not None
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in got)
        assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in got}) == 1
        assert deltas(got)[0]["role"] == "assistant"
        assert text_of(got) == body["choices"][0]["message"]["content"]
        assert finishes(got) == ["stop"]
        assert (got[-1]["choices"], got[-1]["usage"]) == ([], body["usage"])
        assert all("usage" not in chunk for chunk in got[:-1])
        entry = subject.log[1]
        assert (entry.stream, entry.completion_tokens_sent) == (True, body["usage"]["completion_tokens"])
        assert entry.ended == "complete"


async def test_what_the_caller_asked_for_reaches_the_upstream(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        for cap in ("max_tokens", "max_completion_tokens"):
            short = await whole(subject.provider, call(**{cap: 5}))
            assert (short["choices"][0]["finish_reason"], short["usage"]["completion_tokens"]) == ("length", 5)
            got, _, _ = await collect(subject.provider, call(**{cap: 5}))
            assert finishes(got) == ["length"]
        if subject.kind.stops:
            stopped = await whole(subject.provider, call(stop="해 보세요"))
            assert "해 보세요" not in stopped["choices"][0]["message"]["content"]
        instructed = [{"role": "system", "content": "짧게"}, {"role": "user", "content": PROMPT}]
        plain = await whole(subject.provider, call())
        longer = await whole(subject.provider, call(messages=instructed))
        assert longer["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] + 3 + count_tokens("짧게")


SCHEMA = {
    "type": "object",
    "properties": {"rule": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["rule", "year"],
}
TOOLS = [{"type": "function", "function": {"name": "find_rule", "description": "규정", "parameters": SCHEMA}}]
NAMED = {"type": "function", "function": {"name": "find_rule"}}


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
async def test_a_tool_is_called_and_its_result_taken_back(make: Make, engine: ScriptedEngine, choice: Any) -> None:
    async with make(engine) as subject:
        body = await whole(subject.provider, call(tools=TOOLS, tool_choice=choice))
        (answer,) = body["choices"]
        (called,) = answer["message"]["tool_calls"]
        assert (answer["finish_reason"], answer["message"]["content"]) == ("tool_calls", None)
        assert (called["type"], called["function"]["name"]) == ("function", "find_rule")
        assert called["id"]
        jsonschema.validate(orjson.loads(called["function"]["arguments"]), SCHEMA)

        got, error, _ = await collect(subject.provider, call(tools=TOOLS, tool_choice=choice))
        assert error is None
        assert finishes(got) == ["tool_calls"]
        (streamed,) = calls_of(got)
        assert streamed["name"] == "find_rule"
        assert streamed["id"]
        assert orjson.loads(streamed["arguments"]) == orjson.loads(called["function"]["arguments"])

        back = [
            {"role": "user", "content": "규정을 찾아 줘"},
            answer["message"],
            {"role": "tool", "tool_call_id": called["id"], "content": "지방회계법 제6조"},
        ]
        after = await whole(subject.provider, call(messages=back, tools=TOOLS))
        assert after["choices"][0]["finish_reason"] == "stop"
        assert after["choices"][0]["message"]["content"]
        assert after["usage"]["prompt_tokens"] > body["usage"]["prompt_tokens"]


async def test_a_call_without_arguments_is_an_empty_object(make: Make, engine: ScriptedEngine) -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    async with make(engine) as subject:
        body = await whole(subject.provider, call(tools=tools, tool_choice="required"))
        assert body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
        got, _, _ = await collect(subject.provider, call(tools=tools, tool_choice="required"))
        assert calls_of(got)[0]["arguments"] == "{}"


async def test_structured_answers(make: Make, engine: ScriptedEngine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "rule", "schema": SCHEMA}}
    async with make(engine) as subject:
        body = await whole(subject.provider, call(response_format=wanted))
        jsonschema.validate(orjson.loads(body["choices"][0]["message"]["content"]), SCHEMA)


async def test_what_the_format_cannot_say_is_refused_by_name_before_it_is_sent(
    make: Make, engine: ScriptedEngine
) -> None:
    """Nothing is dropped in silence; what asks for nothing special, or is a hint by definition, is no question."""
    async with make(engine) as subject:
        for name, value in (("logit_bias", {"7": 1}), ("prediction", {"type": "content"}), ("min_p", 0.1)):
            for failing in (subject.provider.ask, subject.provider.stream):
                with pytest.raises(ProviderError, match=name) as failed:
                    await failing(call(**{name: value}))
                assert (failed.value.failure, failed.value.sent, failed.value.status) == (Failure.REFUSED, False, 400)
        assert not subject.log
        usual = {"n": 1, "logit_bias": {}, "seed": None, "user": "p-1", "prompt_cache_key": "k", "presence_penalty": 0}
        assert (await whole(subject.provider, call(**usual)))["choices"]


@pytest.mark.parametrize("value", [10**30, "\ud800"])
async def test_what_json_cannot_say_is_refused_before_it_is_sent(
    make: Make, engine: ScriptedEngine, value: object
) -> None:
    async with make(engine) as subject:
        for failing in (subject.provider.ask, subject.provider.stream):
            with pytest.raises(ProviderError) as failed:
                await failing(call(temperature=value))
            assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
        assert not subject.log


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}],
        [{"role": "function", "name": "f", "content": "1"}],
        [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}],
        [{"role": "tool", "content": "orphan"}],
    ],
    ids=range(5),
)
async def test_messages_without_sense_never_raise_anything_else(
    make: Make, engine: ScriptedEngine, messages: list[dict[str, Any]]
) -> None:
    async with make(engine) as subject:
        with contextlib.suppress(ProviderError):
            await subject.provider.ask(call(messages=messages))


async def test_pictures_travel_as_bytes(make: Make, engine: ScriptedEngine) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    shown = [{"role": "user", "content": [{"type": "text", "text": PROMPT}, picture]}]
    async with make(engine) as subject:
        plain = await whole(subject.provider, call())
        seen = await whole(subject.provider, call(messages=shown))
        assert seen["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


async def test_many_at_once_do_not_mix(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        alone = [await whole(subject.provider, call(f"질문 {number}")) for number in range(8)]
        together = await asyncio.gather(*(collect(subject.provider, call(f"질문 {number}")) for number in range(8)))
        assert [text_of(got) for got, _, _ in together] == [body["choices"][0]["message"]["content"] for body in alone]


@pytest.mark.parametrize(
    ("directive", "completion"),
    [("", 6), ("[[no-usage]]", None), ("[[usage-twice]]", 6), ("[[zero-usage]]", 0), ("[[usage-absurd]]", 10**18)],
)
async def test_usage_is_handed_on_as_it_came(
    make: Make, engine: ScriptedEngine, directive: str, completion: int | None
) -> None:
    """To judge it is the meter's business. A stream without any still ends well."""
    async with make(engine) as subject:
        asked = call(f"[[chunks:6]]{directive}")
        got, error, stream = await collect(subject.provider, asked)
        reply = await subject.provider.ask(asked)
        assert error is None
        assert stream is not None
        assert stream.usage == reply.usage
        told = [chunk["usage"]["completion_tokens"] for chunk in got if chunk.get("usage")]
        assert told == ([] if completion is None else [completion])
        assert (orjson.loads(reply.body).get("usage") is None) == (completion is None)
        assert finishes(got) == ["stop"]


# what fails, and whether the upstream can have seen it


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("directive", "failure", "status"),
    [
        ("[[fail:400]]", Failure.REFUSED, 400),
        ("[[fail:401]]", Failure.REFUSED, 401),
        ("[[fail:404]]", Failure.REFUSED, 404),
        ("[[fail:408]]", Failure.TIMEOUT, 408),
        ("[[fail:429]]", Failure.RATE_LIMITED, 429),
        ("[[fail:500]]", Failure.UNAVAILABLE, 500),
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
        stream = None
        if streaming:
            _, error, stream = await collect(subject.provider, asked)
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
        assert stream is None or stream.usage is None, "usage so far is no usage"
        assert len(subject.log) == 1, "trying again is not a provider's business"


@pytest.mark.parametrize("cut", ["rst", "fin"])
async def test_what_came_before_a_cut_is_handed_on(make: Make, cut: Any) -> None:
    async with make(ScriptedEngine(faults=True, pace=0.01, cut=cut)) as subject:
        got, error, _ = await collect(subject.provider, call("[[cut:4]]"))
        assert error is not None
        assert count_tokens(text_of(got)) == 4
        assert (subject.log[0].ended, subject.log[0].completion_tokens_sent) == ("cut", 4)


async def test_a_fault_leaves_the_provider_usable(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        for directive in ("[[cut:2]]", "[[garbage]]", "[[fail:500]]", "[[slow:9]]", "[[stall:9]]"):
            await collect(subject.provider, call(directive))
            _, error, _ = await collect(subject.provider, call())
            assert error is None


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
        for _ in range(100):
            if subject.log[0].ended != "open":
                break
            await asyncio.sleep(0.01)
        assert subject.log[0].ended == "client_closed"
        assert subject.log[0].completion_tokens_sent < 100
        assert (stream.usage, subject.log[0].usage_sent) == (None, None)


# bytes that make no sense


class Says:
    """An upstream that always answers with one script."""

    def __init__(self, *parts: bytes, kind: str, length: int | None = None) -> None:
        self._parts, self._kind, self._length = parts, kind, length

    def answer(self, path: str, body: bytes) -> Script:
        steps = [Step(part) for part in self._parts]
        return Script(200, {"content-type": self._kind}, steps, length=self._length, stream=self._length is None)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"[]",
        b'{"content":7}',
        b'{"candidates":7,"output":7,"message":7}',
        b'{"content":[{}],"output":[{}]}',
        b"<html>",
    ],
)
async def test_answers_of_no_sense_are_broken(make: Make, said: bytes) -> None:
    async with make(Says(said, kind="application/json", length=len(said))) as subject:
        with pytest.raises(ProviderError) as failed:
            await subject.provider.ask(call())
        assert (failed.value.failure, failed.value.sent) == (Failure.BROKEN, True)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"data: {}\n\n",
        b"data: []\n\n",
        b'data: {"type":7}\n\n',
        b'data: {"type":"content_block_delta","candidates":7}\n\n',
        b'data: {"type":"message_start"}\n\n',
        b'data: {"type":"response.completed","response":{"output":[7]}}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}\n\n',
        b"data: [DONE]\n\n",
        b"\x00\x00\x00\x10\x00\x00\x00\x00" + b"\x00" * 8,
        b"x" * (3 << 20),
    ],
    ids=range(11),
)
async def test_streams_of_no_sense_are_broken(make: Make, said: bytes) -> None:
    """No bytes raise anything else, and none make an answer out of nothing."""
    for kind in ("text/event-stream", "application/vnd.amazon.eventstream"):
        async with make(Says(said, kind=kind)) as subject:
            _, error, stream = await collect(subject.provider, call())
            assert error is not None
            assert (error.failure, error.sent) == (Failure.BROKEN, True)
            assert stream is None or stream.usage is None


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_how_the_network_cuts_the_bytes_makes_no_difference(
    make: Make, engine: ScriptedEngine, size: int
) -> None:
    seen: list[tuple[str, bytes]] = []

    class Heard:
        def answer(self, path: str, body: bytes) -> Script:
            seen.append((path, body))
            return engine.answer(path, body)

    async with make(Heard()) as subject:
        straight, _, _ = await collect(subject.provider, call("한글 질문 [[chunks:9]]"))
    script = engine.answer(*seen[0])
    wire = b"".join(step.data for step in script.steps)
    cut = Says(*(wire[at : at + size] for at in range(0, len(wire), size)), kind=script.headers["content-type"])
    async with make(cut) as subject:
        got, error, _ = await collect(subject.provider, call())
        assert error is None
        assert (text_of(got), got[-1]["usage"]) == (text_of(straight), straight[-1]["usage"])


# embeddings


async def test_embeddings_where_the_vendor_has_them(make: Make, engine: ScriptedEngine) -> None:
    async with make(engine) as subject:
        asked = Call("req-1", 2, "practice", {"input": ["해치", "광화문의 해치"], "dimensions": 4})
        if not subject.kind.embeds:
            with pytest.raises(ProviderError, match="embeddings") as failed:
                await subject.provider.embed(asked)
            assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
            return
        reply = await subject.provider.embed(asked)
        body = orjson.loads(reply.body)
        assert [one["index"] for one in body["data"]] == [0, 1]
        assert {len(one["embedding"]) for one in body["data"]} == {4}
        tokens = count_tokens("해치") + count_tokens("광화문의 해치")
        assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
        meters = extract(subject.kind.family[0], "embeddings", reply.usage)
        assert (meters.quality, meters.meters["input"], meters.tokens) == ("exact", tokens, tokens)
        one = await subject.provider.embed(Call("req-1", 2, "practice", {"input": "해치", "encoding_format": "base64"}))
        assert isinstance(orjson.loads(one.body)["data"][0]["embedding"], str)
        with pytest.raises(ProviderError) as failed:
            await subject.provider.embed(Call("req-1", 2, "practice", {"input": ["[[fail:503]]"]}))
        assert failed.value.failure is Failure.UNAVAILABLE


# what is particular to one format


async def test_a_search_model_cites_its_sources_and_its_items_are_counted(engine: ScriptedEngine) -> None:
    async with in_process(DIALECTS["openai_responses"])(engine) as subject:
        asked = call(model="sonar-pro")
        reply = await subject.provider.ask(asked)
        got, _, stream = await collect(subject.provider, asked)
        message = orjson.loads(reply.body)["choices"][0]["message"]
        assert message["citations"] == ["https://example.org/practice"]
        assert message["annotations"][0]["url_citation"]["title"] == "Practice"
        assert message["search_results"][0]["snippet"] == "연습용 자료"
        last = next(delta for delta in deltas(got) if "citations" in delta)
        assert {key: last[key] for key in ("citations", "annotations", "search_results")} == {
            key: message[key] for key in ("citations", "annotations", "search_results")
        }
        assert stream is not None
        assert stream.context == reply.context == {"output_items": {"search_results": 1, "message": 1}}
