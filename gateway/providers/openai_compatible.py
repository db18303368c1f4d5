"""Any upstream that speaks POST {base_url}/chat/completions: OpenAI, vLLM, Ollama, llama.cpp, and most vendors' second door.

    Call ─▶ body + model (+ stream, usage wanted) ─▶ Transport ─▶ status? ─▶ content type? ─▶ Reply | Stream
                                                                  REFUSED     BROKEN
                                                                  RATE_LIMITED
                                                                  UNAVAILABLE

Answers are handed on byte for byte; each is only proved to be a JSON object. An upstream's own error text stays here: it may
quote the prompt or our key, so only its machine codes reach `detail`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson

from gateway.providers.base import Call, Failure, ProviderError, Reply, Stream
from gateway.providers.sse import EventParser, LineTooLong
from gateway.providers.transport import Response, Timeouts, Transport

# A stream's first byte is its first token; a whole answer's first byte comes after its last.
STREAM_TIMEOUTS = Timeouts(connect=10.0, first_byte=60.0, idle=30.0)
ANSWER_TIMEOUTS = Timeouts(connect=10.0, first_byte=300.0, idle=30.0)

MAX_ANSWER = 32 << 20
MAX_STREAM = 256 << 20
_MAX_ERROR = 64 << 10
# Above this many bytes proving an answer to be JSON takes long enough for other requests to notice.
_INLINE_CHECK = 256 << 10

_DONE = b"[DONE]"
# Words only: whatever could be a key or a piece of a prompt has other characters.
_CODE = re.compile(r"[a-z][a-z_]{0,63}")


class _AnyObject(msgspec.Struct):
    """A JSON object, nothing kept: the decoder walks the text and checks it without building values."""


_check_object = msgspec.json.Decoder(_AnyObject).decode


class OpenAICompatible:
    """One upstream account.

    `api_key` becomes the bearer token; None sends no Authorization header. `stream_usage=False` is for upstreams that reject
    `stream_options`. Raises ValueError for an address or a key that cannot work. Every call carries
    `x-client-request-id: <request_id>:<attempt>`, which joins the upstream's log to ours.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: Transport,
        stream_usage: bool = True,
        stream_timeouts: Timeouts = STREAM_TIMEOUTS,
        answer_timeouts: Timeouts = ANSWER_TIMEOUTS,
        max_answer: int = MAX_ANSWER,
        max_stream: int = MAX_STREAM,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in {"http", "https"} or not address.hostname or address.username is not None:
            raise ValueError(f"the base_url of provider {name} is not a plain http:// or https:// address")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError(f"the key of provider {name} has characters a header cannot carry")
        self.name = name
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._transport = transport
        self._stream_usage = stream_usage
        self._stream_timeouts = stream_timeouts
        self._answer_timeouts = answer_timeouts
        self._max_answer = max_answer
        self._max_stream = max_stream
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    async def ask(self, call: Call) -> Reply:
        response = await self._send(call, {**call.body, "model": call.model}, self._answer_timeouts)
        request_id = response.headers.get("x-request-id")
        try:
            if response.status != 200:
                raise await _refusal(response, request_id)
            _check_head(response, "application/json", request_id)
            answer = await response.read(self._max_answer)
            if len(answer) > _INLINE_CHECK:
                answer = await asyncio.to_thread(_proved, answer)
            else:
                answer = _proved(answer)
        except ValueError as error:
            raise _broken(str(error), request_id) from None
        except ProviderError as error:
            error.provider_request_id = error.provider_request_id or request_id
            raise
        finally:
            # A body read to its end has given its connection back already, and this does nothing.
            response.close()
        return Reply(answer, provider_request_id=request_id)

    async def stream(self, call: Call) -> Stream:
        whole: dict[str, Any] = {**call.body, "model": call.model, "stream": True}
        if self._stream_usage:
            whole["stream_options"] = {"include_usage": True}
        response = await self._send(call, whole, self._stream_timeouts)
        request_id = response.headers.get("x-request-id")
        try:
            if response.status != 200:
                raise await _refusal(response, request_id)
            _check_head(response, "text/event-stream", request_id)
        except BaseException:
            response.close()
            raise
        return _ChatStream(response, request_id, self._max_stream)

    async def close(self) -> None:
        await self._transport.close()

    async def _send(self, call: Call, request: dict[str, Any], timeouts: Timeouts) -> Response:
        try:
            body = orjson.dumps(request)
        except TypeError:
            # An integer over 64 bits or half a surrogate pair: no upstream would take it either.
            raise ProviderError(Failure.REFUSED, sent=False, status=400, detail="the request is not JSON") from None
        headers = {**self._headers, "x-client-request-id": f"{call.request_id}:{call.attempt}"}
        return await self._transport.post(self._url, headers, body, timeouts=timeouts)


class _ChatStream:
    """The arriving answer; see base.Stream."""

    __slots__ = ("_chunks", "_done", "_failure", "_left", "_parser", "_response", "provider_request_id")

    def __init__(self, response: Response, provider_request_id: str | None, max_bytes: int) -> None:
        self.provider_request_id = provider_request_id
        self._response = response
        self._chunks = response.chunks()
        self._parser = EventParser()
        self._left = max_bytes
        self._done = False
        self._failure: ProviderError | None = None

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._done:
            if self._failure is not None:
                raise self._failure
            try:
                chunk = await anext(self._chunks, None)
            except ProviderError as error:
                error.provider_request_id = self.provider_request_id
                self._failure = error
                raise
            payloads = self._payloads(chunk)
            if payloads:
                return payloads
        raise StopAsyncIteration

    def _payloads(self, chunk: bytes | None) -> list[bytes]:
        """What of this chunk can be handed on. A failure behind good payloads is kept for the next call."""
        try:
            if chunk is None:
                found = [payload for payload in self._parser.rest() if payload == _DONE]
            else:
                self._left -= len(chunk)
                found = self._parser.feed(chunk)
        except LineTooLong:
            self._fail("line over 1 MiB")
            return []
        good: list[bytes] = []
        for payload in found:
            if payload == _DONE:
                self._done = True
                self._response.finish()
                return good
            if not payload:
                continue
            try:
                good.append(_proved(payload))
            except ValueError as error:
                self._fail(str(error))
                return good
        if chunk is None:
            self._fail("ended without [DONE]")
        elif self._left < 0:
            self._fail("stream over its cap")
        return good

    def _fail(self, detail: str) -> None:
        self._failure = _broken(detail, self.provider_request_id)
        self._response.close()

    async def close(self) -> None:
        if not self._done:
            self._response.close()


def _check_head(response: Response, wanted: str, request_id: str | None) -> None:
    encoding = response.headers.get("content-encoding")
    if encoding and encoding.lower() != "identity":
        raise _broken("content-encoding was not asked for", request_id)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise _broken(f"content type is not {wanted}", request_id)


def _proved(payload: bytes) -> bytes:
    """The payload, if it is one JSON object in UTF-8; raises ValueError, whose text says what it is instead.

    Upstreams that cut an emoji between two deltas send half a surrogate pair, which strict JSON readers refuse. One odd
    character is no reason to break an answer someone pays for: it becomes a question mark.
    """
    try:
        _check_object(payload)
    except (msgspec.DecodeError, RecursionError):
        return _without_lone_surrogates(payload)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
    return payload


def _without_lone_surrogates(payload: bytes) -> bytes:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object") from None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _broken(detail: str, request_id: str | None) -> ProviderError:
    return ProviderError(Failure.BROKEN, sent=True, status=200, provider_request_id=request_id, detail=detail)


async def _refusal(response: Response, request_id: str | None) -> ProviderError:
    """The error a status other than 200 stands for. The body only adds a machine code, so failing to read it is no failure."""
    status = response.status
    try:
        code = _machine_code(await response.read(_MAX_ERROR))
    except ProviderError:
        code = ""
    headers: Mapping[str, str] = response.headers
    return ProviderError(
        _failure_of(status),
        sent=True,
        status=status,
        retry_after=headers.get("retry-after"),
        retry_after_ms=headers.get("retry-after-ms"),
        provider_request_id=request_id,
        detail=f"status {status} {code}".rstrip(),
    )


def _failure_of(status: int) -> Failure:
    if status == 429:
        return Failure.RATE_LIMITED
    if status == 408:
        return Failure.TIMEOUT
    if status >= 500:
        return Failure.UNAVAILABLE
    if status >= 400:
        return Failure.REFUSED
    return Failure.BROKEN  # a redirect, which could lead anywhere, or a success that carries no answer


def _machine_code(body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        code = error.get("code") or error.get("type")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
