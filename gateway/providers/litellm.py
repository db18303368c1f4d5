"""The long tail of vendors, through litellm as a library; the only file that imports it, and only once somebody asks.

    call ─▶ litellm.acompletion ─▶ its httpx handler ─▶ _Wire ─▶ our Transport
                                                          └─ keeps the vendor's own usage, and the failure as we name it

The vendors that matter have files of their own (anthropic, gemini, cohere, bedrock, openai_responses): smaller, faster, and
without the seconds and the memory an import of litellm takes; see docs/decisions/0006-foreign-dialects.md. What litellm does
here is translate. Retries, callbacks, costs, token counts and price lists are ours and switched off; every byte goes through
our transport, with its proxy and certificates, or nowhere. Which of its vendors keep to that is tried and listed in `CARRIED`;
the others are refused, because they bring clients of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import orjson

from gateway.providers.base import NOTHING, Call, Failure, ProviderError, Reply, Stream
from gateway.providers.bedrock import EventFrames
from gateway.providers.sse import EventParser, LineTooLong
from gateway.providers.translated import HINTS, Parser
from gateway.providers.transport import Response, Timeouts, Transport
from gateway.providers.vectors import packed
from gateway.providers.wire import ANSWER_TIMEOUTS, MAX_ANSWER, MAX_STREAM, STREAM_TIMEOUTS, broken, refusal

#: litellm's vendors that send all they send through the client they are given (tests/contracts/test_litellm_contract.py).
CARRIED = frozenset(
    {
        "anthropic",
        "bedrock",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "hosted_vllm",
        "openrouter",
        "together_ai",
        "xai",
    }
)

#: Those whose embeddings keep to it; most of the others' go through a client of OpenAI's SDK, which brings its own way out.
EMBEDDING = frozenset({"cohere", "gemini", "hosted_vllm", "jina_ai", "openrouter", "voyage"})

#: What our own transport writes itself.
_OURS = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})
_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "x-debug-trace-id")
#: One of these stands in the last event of every format there is; without it a stream broke off.
_ENDINGS = (b"[DONE]", b"message_stop", b"message-end", b"finishReason", b"messageStop", b'"finish_reason":"')


class LiteLLM:
    """One upstream account. A call's model is written as litellm does, `vendor/model`; `base_url` stands in for the vendor's.

    Raises ValueError for a key that no header can carry. litellm is imported in a thread by the first call, which waits.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str | None,
        api_key: str | None,
        transport: Transport,
        stream_timeouts: Timeouts = STREAM_TIMEOUTS,
        answer_timeouts: Timeouts = ANSWER_TIMEOUTS,
        max_answer: int = MAX_ANSWER,
        max_stream: int = MAX_STREAM,
    ) -> None:
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError(f"the key of provider {name} has characters a header cannot carry")
        self.name = name
        self._base_url = base_url
        self._api_key = api_key
        self._transport = transport
        self._stream_timeouts = stream_timeouts
        self._answer_timeouts = answer_timeouts
        self._max_answer = max_answer
        self._max_stream = max_stream

    async def ask(self, call: Call) -> Reply:
        wire = _Wire(self._transport, call, self._answer_timeouts, self._max_answer)
        _refuse_strangers(call, CARRIED)
        answer = await self._through(wire, call, "acompletion")
        body = answer.model_dump(exclude_none=True)
        for choice in body.get("choices") or ():
            choice["message"].setdefault("content", None)
        wire.seen.end()
        if wire.seen.usage is None:
            body.pop("usage", None)  # made up of nothing
        return Reply(orjson.dumps(body), provider_request_id=wire.request_id, usage=wire.seen.usage)

    async def stream(self, call: Call) -> Stream:
        wire = _Wire(self._transport, call, self._stream_timeouts, self._max_stream)
        _refuse_strangers(call, CARRIED)
        usage = {"include_usage": True}
        answer = await self._through(wire, call, "acompletion", stream=True, stream_options=usage)
        return _LiteLLMStream(answer, wire)

    async def embed(self, call: Call) -> Reply:
        wire = _Wire(self._transport, call, self._answer_timeouts, self._max_answer)
        _refuse_strangers(call, EMBEDDING)
        pack = call.body.get("encoding_format") == "base64"
        numbers = replace(call, body={name: value for name, value in call.body.items() if name != "encoding_format"})
        answer = await self._through(wire, numbers, "aembedding")
        wire.seen.end()
        try:
            data = [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": packed(one["embedding"]) if pack else [float(number) for number in one["embedding"]],
                }
                for index, one in enumerate(answer.data)
            ]
        except (LookupError, TypeError, ValueError, OverflowError, struct.error):
            raise broken("the answer has no vectors", wire.request_id) from None
        body: dict[str, Any] = {"object": "list", "model": call.model, "data": data}
        if wire.seen.usage is not None:
            sent = wire.seen.usage.get("promptTokenCount") or answer.usage.prompt_tokens
            body["usage"] = {"prompt_tokens": sent, "total_tokens": sent}
        return Reply(orjson.dumps(body), provider_request_id=wire.request_id, usage=wire.seen.usage)

    async def close(self) -> None:
        await self._transport.close()

    async def _through(self, wire: _Wire, call: Call, function: str, **more: Any) -> Any:
        """The answer of one of litellm's functions to the call, or its failure in our words."""
        body = {name: value for name, value in call.body.items() if name not in HINTS}
        try:
            orjson.dumps(body)
        except TypeError:
            raise ProviderError(Failure.REFUSED, sent=False, status=400, detail="the request is not JSON") from None
        library = await _loaded()
        handler = wire.handler(library)
        _CURRENT.set(handler)
        if function == "acompletion":
            more["_skip_mcp_handler"] = True  # with tools, it would look for servers of its own proxy
        if self._base_url:
            more["api_base"] = self._base_url
        try:
            return await getattr(library, function)(
                **body,
                model=call.model,
                api_key=self._api_key,
                client=handler,
                num_retries=0,
                drop_params=False,
                **{"no-log": True},
                **more,
            )
        except Exception as error:  # noqa: BLE001 – whatever it raises is this attempt's failure
            await wire.aclose()
            raise wire.failed(error) from None


def _refuse_strangers(call: Call, known: frozenset[str]) -> None:
    if call.model.partition("/")[0] not in known:
        detail = "litellm has a client of its own for this vendor; it would go past our proxy and certificates"
        raise ProviderError(Failure.REFUSED, sent=False, status=400, detail=detail)


class _LiteLLMStream:
    """The arriving answer; see base.Stream."""

    def __init__(self, chunks: Any, wire: _Wire) -> None:
        self.provider_request_id = wire.request_id
        self._chunks = aiter(chunks)
        self._wire = wire
        self._done = False

    @property
    def usage(self) -> Any:
        return self._wire.seen.usage

    @property
    def context(self) -> Mapping[str, Any]:
        return NOTHING

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._done:
            try:
                chunk = (await anext(self._chunks)).model_dump(exclude_none=True)
            except StopAsyncIteration:
                self._done = True
                if self._wire.failure is not None:
                    raise self._wire.failure from None
                if not self._wire.seen.end():
                    raise broken("ended before the answer did", self._wire.request_id) from None
                await self._wire.aclose()
                break
            except Exception as error:  # noqa: BLE001 – whatever it raises is this attempt's failure
                self._done = True
                await self._wire.aclose()
                raise self._wire.failed(error) from None
            for choice in chunk["choices"]:
                choice.setdefault("finish_reason", None)
            if not self._wire.seen.stated:
                chunk.pop("usage", None)  # made up of nothing
            return [orjson.dumps(chunk)]
        raise StopAsyncIteration

    async def close(self) -> None:
        self._done = True
        await self._wire.aclose()


class _Wire(httpx.AsyncBaseTransport):
    """One call's way out: our transport, dressed as httpx's, with an eye on what passes."""

    def __init__(self, transport: Transport, call: Call, timeouts: Timeouts, limit: int) -> None:
        self.seen = _Seen(EventParser())
        self.request_id: str | None = None
        self.failure: ProviderError | None = None
        self._transport = transport
        self._call = call
        self._timeouts = timeouts
        self._left = limit
        self._response: Response | None = None

    def handler(self, library: Any) -> Any:
        """litellm's client with this under it."""
        return library.llms.custom_httpx.http_handler.AsyncHTTPHandler(transport=self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        headers = {name: value for name, value in request.headers.items() if name not in _OURS}
        headers["x-client-request-id"] = f"{self._call.request_id}:{self._call.attempt}"
        try:
            if request.method != "POST" or self._response is not None:
                raise ProviderError(Failure.BROKEN, sent=self._response is not None, detail="not one POST")
            response = await self._transport.post(str(request.url), headers, body, timeouts=self._timeouts)
            self._response = response
            self.request_id = next((found for name in _REQUEST_IDS if (found := response.headers.get(name))), None)
            if response.status != 200:
                raise await refusal(response, self.request_id)
        except ProviderError as error:
            self.failure = error
            raise
        if response.headers.get("content-type", "").startswith("application/vnd.amazon.eventstream"):
            self.seen = _Seen(EventFrames())
        self.seen.whole = response.headers.get("content-type", "").startswith("application/json")
        kept = {name: value for name, value in response.headers.items() if name.lower() not in _OURS}
        return httpx.Response(200, headers=kept, stream=_Passing(self, response))

    def pass_on(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.failure = broken("answer over its cap", self.request_id)
            raise self.failure
        self.seen.feed(data)

    def failed(self, error: Exception) -> ProviderError:
        """What went wrong: on our wire if something did there, else in litellm, before or after it had an answer."""
        if self.failure is not None:
            self.failure.provider_request_id = self.failure.provider_request_id or self.request_id
            return self.failure
        if self._response is None:
            detail = f"litellm does not take this request: {type(error).__name__}"
            return ProviderError(Failure.REFUSED, sent=False, status=400, detail=detail)
        return broken(f"litellm does not understand the answer: {type(error).__name__}", self.request_id)

    async def aclose(self) -> None:
        if self._response is not None:
            self._response.close()


class _Passing(httpx.AsyncByteStream):
    def __init__(self, wire: _Wire, response: Response) -> None:
        self._wire = wire
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.chunks():
                self._wire.pass_on(data)
                yield data
        except ProviderError as error:
            self._wire.failure = error
            raise

    async def aclose(self) -> None:
        self._response.close()


class _Seen:
    """The usage among the bytes that pass, as the vendor wrote it: the last word on each count, once the answer has ended."""

    def __init__(self, parser: Parser) -> None:
        self.whole = False
        self.usage: Any = None
        self._parser = parser
        self._body = bytearray()
        self._stated: Any = None
        self._ended = False

    def feed(self, data: bytes) -> None:
        if self.whole:
            self._body += data
            return
        with contextlib.suppress(LineTooLong):  # litellm reads the same bytes and judges them
            for event in self._parser.feed(data):
                self._look(event)

    @property
    def stated(self) -> bool:
        """Whether the vendor has said anything of a usage so far."""
        return self._stated is not None

    def end(self) -> bool:
        """The bytes have ended; whether the answer had, too."""
        if self.whole:
            self._look(bytes(self._body))
            self._ended = True
            self.usage = self._stated
        return self._ended

    def _look(self, event: bytes) -> None:
        if b"sage" in event or b'"meta"' in event:
            with contextlib.suppress(orjson.JSONDecodeError, TypeError, AttributeError):
                found = _usage_in(orjson.loads(event))
                if found:
                    self._stated = {**(self._stated or {}), **found}
        if any(ending in event for ending in _ENDINGS):
            self._ended = True
        if self._ended:
            self.usage = self._stated


def _usage_in(event: dict[str, Any]) -> Any:
    """Where each format keeps its usage, in an answer or in an event."""
    for place in (event, *(event.get(name) for name in ("message", "delta", "response", "metadata", "x_groq"))):
        if isinstance(place, dict):
            for name in ("usage", "usageMetadata", "meta"):
                if isinstance(place.get(name), dict):
                    return place[name]
    return None


# ── the library ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#: The client of the call that is being made here, for what litellm would take from its own pool.
_CURRENT: contextvars.ContextVar[Any] = contextvars.ContextVar("litellm client")
_loading: asyncio.Lock | None = None
_library: Any = None


async def _loaded() -> Any:
    """litellm, imported once. It takes seconds, so in a thread."""
    global _loading, _library  # noqa: PLW0603 – a module is there once per process, and so is what it needs
    if _library is None:
        _loading = _loading or asyncio.Lock()
        async with _loading:
            if _library is None:
                _library = await asyncio.to_thread(_import)
    return _library


def _import() -> Any:
    # Read while it is imported: without it, it would fetch its price list.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm  # noqa: PLC0415 – the reason of this file
    import litellm.llms.custom_httpx.http_handler  # noqa: PLC0415
    from litellm.litellm_core_utils.litellm_logging import Logging  # noqa: PLC0415

    library: Any = litellm  # it has annotations, but not of what we set here
    library.suppress_debug_info = True
    library.telemetry = False
    library.drop_params = False
    library.modify_params = False
    library.num_retries = 0
    library.turn_off_message_logging = True
    library.disable_token_counter = True
    library.disable_streaming_logging = True
    library.disable_hf_tokenizer_download = True
    library.disable_end_user_cost_tracking = True
    library.callbacks = []
    library.in_memory_llm_clients_cache = _OnlyOurClients(library)
    # Nothing may be computed from its price list: ours is the price book.
    Logging.response_cost_calculator = _no_cost  # type: ignore[method-assign]  # it has no switch for it
    return library


def _no_cost(*_: Any, **__: Any) -> None:
    return None


class _OnlyOurClients:
    """Stands where litellm keeps its HTTP clients: what it finds there is the call's own, or one that goes nowhere."""

    def __init__(self, library: Any) -> None:
        self._nowhere = library.llms.custom_httpx.http_handler.HTTPHandler(client=httpx.Client(transport=_Nowhere()))
        self.cache_dict: dict[str, Any] = {}

    def get_cache(self, key: str, *_: Any, **__: Any) -> Any:
        if key.startswith("async_httpx_client"):
            return _CURRENT.get(None)
        return self._nowhere

    def set_cache(self, *_: Any, **__: Any) -> None:
        """Nothing is kept: a client belongs to its call."""


class _Nowhere(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError("a request that does not go through our transport")
