"""What the kind `litellm` promises: the same as every provider, for each vendor it is let near, and nothing past our transport.

litellm speaks to the scripted upstream in each vendor's own format, in process; every way to a socket is closed meanwhile. Its
import takes seconds, so this is one file, and a short one.
"""

import asyncio
import base64
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from billing.extract import extract
from gateway.providers.base import Call, Failure, ProviderError
from gateway.providers.litellm import CARRIED, EMBEDDING, LiteLLM
from gateway.providers.scripted import ScriptedEngine, ScriptedTransport, count_tokens
from gateway.providers.transport import Timeouts

KEY = "sk-Very-Secret-Key-1234"
PROMPT = "비밀스러운 질문"
TIMEOUTS = Timeouts(connect=2.0, first_byte=0.5, idle=0.5)

#: A model of each vendor, the address to use instead of the vendor's where it has none, the family of its usage.
VENDORS: dict[str, tuple[str, str | None, tuple[str, str]]] = {
    "anthropic": ("anthropic/claude-sonnet-4-5", None, ("anthropic", "messages")),
    "bedrock": ("bedrock/converse/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", None, ("aws", "converse")),
    "deepseek": ("deepseek/deepseek-chat", None, ("deepseek", "chat")),
    "fireworks_ai": ("fireworks_ai/llama", None, ("openai", "chat")),
    "gemini": ("gemini/gemini-3-pro", None, ("google", "generateContent")),
    "groq": ("groq/llama", None, ("groq", "chat")),
    "hosted_vllm": ("hosted_vllm/exaone", "http://practice.invalid/v1", ("vllm", "chat")),
    "openrouter": ("openrouter/group/llama", None, ("openrouter", "chat")),
    "together_ai": ("together_ai/llama", None, ("together", "chat")),
    "xai": ("xai/grok-4", None, ("xai", "chat")),
}


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every way out that is not our transport is written down, and closed."""
    tried: list[Any] = []

    def refused(*arguments: Any, **_: Any) -> None:
        tried.append(arguments[1:])
        raise OSError("no socket in this test")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    yield tried
    assert tried == []


@pytest.fixture(params=sorted(VENDORS))
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport(ScriptedEngine(faults=True, pace=0))


def provider(transport: Any, vendor: str, **more: Any) -> LiteLLM:
    times = {"stream_timeouts": TIMEOUTS, "answer_timeouts": TIMEOUTS}
    return LiteLLM(name="subject", base_url=VENDORS[vendor][1], api_key=KEY, transport=transport, **{**times, **more})


def call(vendor: str, prompt: str = PROMPT, /, **body: Any) -> Call:
    messages = [{"role": "user", "content": prompt}]
    return Call("req-1", 2, VENDORS[vendor][0], {"messages": messages, "max_tokens": 200, **body})


async def collect(subject: LiteLLM, asked: Call) -> tuple[list[dict[str, Any]], ProviderError | None, Any]:
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


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_every_vendor_it_is_let_near_is_tried_here() -> None:
    assert set(VENDORS) == CARRIED
    assert set(EMBEDDERS) == EMBEDDING


async def test_an_answer_and_a_stream(transport: ScriptedTransport, vendor: str) -> None:
    """The vendor's own usage beside OpenAI's shape, metered by the vendor's family; the text of the stream is the same."""
    subject = provider(transport, vendor)
    reply = await subject.ask(call(vendor))
    body = orjson.loads(reply.body)
    (choice,) = body["choices"]
    assert (body["object"], choice["finish_reason"]) == ("chat.completion", "stop")
    assert "연습용" in choice["message"]["content"]
    assert reply.provider_request_id is not None
    (entry,) = transport.log
    assert (entry.authorization, entry.client_request_id) == ("1234", "req-1:2")
    assert (entry.usage_sent, entry.ended) == (reply.usage, "complete")
    meters = extract(*VENDORS[vendor][2], reply.usage, model=VENDORS[vendor][0])
    tokens = count_tokens(choice["message"]["content"])
    assert (meters.quality, meters.meters["input"], meters.meters["output"]) == ("exact", entry.prompt_tokens, tokens)

    got, error, stream = await collect(subject, call(vendor))
    assert error is None
    assert text_of(got) == choice["message"]["content"]
    assert extract(*VENDORS[vendor][2], stream.usage).meters == meters.meters
    assert [c["finish_reason"] for chunk in got for c in chunk["choices"] if c["finish_reason"]] == ["stop"]
    assert [chunk["usage"]["completion_tokens"] for chunk in got if chunk.get("usage")][-1:] == [tokens]
    assert len(transport.log) == 2


async def test_a_tool_call(transport: ScriptedTransport, vendor: str) -> None:
    schema = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}
    tools = [{"type": "function", "function": {"name": "find_rule", "description": "규정", "parameters": schema}}]
    body = orjson.loads((await provider(transport, vendor).ask(call(vendor, "find_rule", tools=tools))).body)
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert orjson.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"year": 0}


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("directive", "failure", "status"),
    [
        ("[[fail:401]]", Failure.REFUSED, 401),
        ("[[fail:429]]", Failure.RATE_LIMITED, 429),
        ("[[fail:503]]", Failure.UNAVAILABLE, 503),
        ("[[slow:9]]", Failure.TIMEOUT, None),
        ("[[stall:9]]", Failure.TIMEOUT, None),
        ("[[cut:3]]", Failure.BROKEN, None),
    ],
)
async def test_a_fault(
    transport: ScriptedTransport,
    vendor: str,
    *,
    directive: str,
    failure: Failure,
    status: int | None,
    streaming: bool,
) -> None:
    """As the transport named it, and once: litellm tries nothing again."""
    subject = provider(transport, vendor)
    asked = call(vendor, f"{PROMPT} {directive}")
    stream = None
    if streaming:
        _, error, stream = await collect(subject, asked)
    else:
        with pytest.raises(ProviderError) as failed:
            await subject.ask(asked)
        error = failed.value
    assert error is not None
    assert (error.failure, error.sent, error.status) == (failure, True, status)
    assert error.retry_after == ("1" if status in {429, 503} else None)
    assert KEY not in str(error)
    assert "비밀" not in str(error)
    assert stream is None or stream.usage is None
    assert len(transport.log) == 1


async def test_closing_a_stream_stops_the_upstream(vendor: str) -> None:
    transport = ScriptedTransport(ScriptedEngine(faults=True, pace=0.01))
    stream = await provider(transport, vendor).stream(call(vendor, "[[chunks:150]]"))
    async for _ in stream:
        break
    await stream.close()
    await stream.close()
    await asyncio.sleep(0)
    assert transport.log[0].ended == "client_closed"
    assert stream.usage is None


@pytest.mark.parametrize(
    "model", ["ollama/llama", "cohere/command-a", "vertex_ai/gemini-3-pro", "sagemaker/x", "gpt-5"]
)
async def test_a_vendor_it_would_go_around_us_for_is_refused(transport: ScriptedTransport, model: str) -> None:
    """Some bring clients of their own, past every proxy; some it does not read right."""
    subject = LiteLLM(name="subject", base_url=None, api_key=KEY, transport=transport)
    for failing in (subject.ask, subject.stream):
        with pytest.raises(ProviderError) as failed:
            await failing(Call("req-1", 1, model, {"messages": [{"role": "user", "content": PROMPT}]}))
        assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
    assert not transport.log


#: A model of each vendor whose embeddings are let through, its address where it has none, the family of their usage.
EMBEDDERS: dict[str, tuple[str, str | None, tuple[str, str]]] = {
    "cohere": ("cohere/embed-v4.0", None, ("cohere", "embeddings")),
    "gemini": ("gemini/gemini-embedding-001", None, ("google", "embeddings")),
    "hosted_vllm": ("hosted_vllm/bge-m3", "http://practice.invalid/v1", ("vllm", "embeddings")),
    "jina_ai": ("jina_ai/jina-embeddings-v3", None, ("openai", "embeddings")),
    "openrouter": ("openrouter/openai/text-embedding-3-small", None, ("openai", "embeddings")),
    "voyage": ("voyage/voyage-3", None, ("openai", "embeddings")),
}


@pytest.mark.parametrize("packed", [False, True], ids=["numbers", "base64"])
@pytest.mark.parametrize("vendor", sorted(EMBEDDING))
async def test_embeddings(transport: ScriptedTransport, vendor: str, *, packed: bool) -> None:
    """A vector for every text, in the form that was asked for, and the vendor's own usage read by its family."""
    model, address, family = EMBEDDERS[vendor]
    subject = LiteLLM(name="subject", base_url=address, api_key=KEY, transport=transport)
    more = {"encoding_format": "base64"} if packed else {}
    reply = await subject.embed(Call("req-1", 2, model, {"input": ["해치", "광화문의 해치"], **more}))
    body = orjson.loads(reply.body)
    assert (body["object"], [one["index"] for one in body["data"]]) == ("list", [0, 1])
    assert {type(one["embedding"]) for one in body["data"]} == {str if packed else list}
    if packed:
        raw = base64.b64decode(body["data"][0]["embedding"])
        assert any(struct.unpack(f"<{len(raw) // 4}f", raw))
    (entry,) = transport.log
    assert (entry.authorization, entry.client_request_id) == ("1234", "req-1:2")
    tokens = count_tokens("해치") + count_tokens("광화문의 해치")
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    read = extract(*family, reply.usage, model=model)
    assert read.quality == "exact"
    assert {meter: quantity for meter, quantity in read.meters.items() if quantity} == {"input": tokens}


async def test_embeddings_of_a_vendor_it_would_go_around_us_for_are_refused(transport: ScriptedTransport) -> None:
    subject = LiteLLM(name="subject", base_url=None, api_key=KEY, transport=transport)
    for model in ("mistral/mistral-embed", "bedrock/amazon.titan-embed-text-v2:0", "together_ai/m2", "x"):
        with pytest.raises(ProviderError) as failed:
            await subject.embed(Call("req-1", 1, model, {"input": "해치"}))
        assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
    assert not transport.log


async def test_what_it_cannot_say_is_refused_before_it_is_sent(transport: ScriptedTransport) -> None:
    subject = provider(transport, "anthropic")
    for more in ({"logit_bias": {"7": 1}}, {"metadata_": 10**30}, {"temperature": "\ud800"}):
        with pytest.raises(ProviderError) as failed:
            await subject.ask(call("anthropic", **more))
        assert (failed.value.failure, failed.value.sent) == (Failure.REFUSED, False)
    assert not transport.log


LOADED = """
import sys
from dataclasses import dataclass
from gateway.providers.registry import KINDS, build

@dataclass
class Block:
    name: str = "one"; kind: str = ""; base_url: str = "http://127.0.0.1:9/v1"; api_key: str = "sk"; destination: str = "inside"
    on_disconnect: str = "cancel"; proxy: str = None; ca_file: str = None; client_cert: str = None; stream_usage: bool = True
    base64_vectors: bool = False; service_account: str = None; token_url: str = None

for kind in KINDS:
    build(Block(kind=kind.name), faults=False)
    print(kind.name, "litellm" in sys.modules)
"""


def test_building_providers_does_not_import_it() -> None:
    """Not even its own kind: the first call does."""
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", LOADED], cwd=root, capture_output=True, text=True, check=True)
    lines = found.stdout.split("\n")[:-1]
    assert "litellm False" in lines
    assert all(line.endswith(" False") for line in lines)
