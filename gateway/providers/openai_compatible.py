"""Any upstream that speaks POST {base_url}/chat/completions: OpenAI, vLLM, Ollama, llama.cpp, and most vendors' second door.

    Call ─▶ body + model (+ stream, usage wanted) ─▶ Transport ─▶ status? ─▶ content type? ─▶ Reply | Stream
                                                                  REFUSED     BROKEN
                                                                  RATE_LIMITED
                                                                  UNAVAILABLE

Answers are handed on byte for byte; each is only proved to be a JSON object. An upstream's own error text stays here: it may
quote the prompt or our key, so only its machine codes reach `detail`.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from gateway.providers.base import NOTHING, Call, ProviderError, Reply, Stream
from gateway.providers.sse import EventParser, LineTooLong
from gateway.providers.transport import Response, Timeouts, Transport
from gateway.providers.vectors import packed_answer
from gateway.providers.wire import (
    ANSWER_TIMEOUTS,
    MAX_ANSWER,
    MAX_STREAM,
    STREAM_TIMEOUTS,
    broken,
    check_head,
    dumped,
    proved,
    refusal,
    whole_answer,
)

_DONE = b"[DONE]"


class OpenAICompatible:
    """One upstream account.

    `api_key` becomes the bearer token; None sends no Authorization header. `stream_usage=False` is for upstreams that reject
    `stream_options`; with `base64_vectors` it packs vectors itself when asked to, otherwise they are packed here. Raises
    ValueError for an address or a key that cannot work. Every call carries `x-client-request-id: <request_id>:<attempt>`, which
    joins the upstream's log to ours.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: Transport,
        stream_usage: bool = True,
        base64_vectors: bool = False,
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
        self._embeddings_url = base_url.rstrip("/") + "/embeddings"
        self._transport = transport
        self._stream_usage = stream_usage
        self._base64_vectors = base64_vectors
        self._stream_timeouts = stream_timeouts
        self._answer_timeouts = answer_timeouts
        self._max_answer = max_answer
        self._max_stream = max_stream
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    async def ask(self, call: Call) -> Reply:
        return await self._whole(call, self._url)

    async def embed(self, call: Call) -> Reply:
        if self._base64_vectors or call.body.get("encoding_format") != "base64":
            return await self._whole(call, self._embeddings_url)
        numbers = replace(call, body={**call.body, "encoding_format": "float"})
        reply = await self._whole(numbers, self._embeddings_url)
        try:
            return replace(reply, body=await packed_answer(reply.body))
        except (LookupError, TypeError, ValueError, OverflowError, struct.error):
            raise broken("the answer has no vectors", reply.provider_request_id) from None

    async def _whole(self, call: Call, url: str) -> Reply:
        response = await self._send(url, call, {**call.body, "model": call.model}, self._answer_timeouts)
        request_id = response.headers.get("x-request-id")
        return Reply(await whole_answer(response, request_id, self._max_answer), provider_request_id=request_id)

    async def stream(self, call: Call) -> Stream:
        whole: dict[str, Any] = {**call.body, "model": call.model, "stream": True}
        if self._stream_usage:
            whole["stream_options"] = {"include_usage": True}
        response = await self._send(self._url, call, whole, self._stream_timeouts)
        request_id = response.headers.get("x-request-id")
        try:
            if response.status != 200:
                raise await refusal(response, request_id)
            check_head(response, "text/event-stream", request_id)
        except BaseException:
            response.close()
            raise
        return _ChatStream(response, request_id, self._max_stream)

    async def close(self) -> None:
        await self._transport.close()

    async def _send(self, url: str, call: Call, request: dict[str, Any], timeouts: Timeouts) -> Response:
        headers = {**self._headers, "x-client-request-id": f"{call.request_id}:{call.attempt}"}
        return await self._transport.post(url, headers, dumped(request), timeouts=timeouts)


class _ChatStream:
    """The arriving answer; see base.Stream."""

    #: The chunks have it as it came.
    usage: Any = None
    context: Mapping[str, Any] = NOTHING

    __slots__ = ("_done", "_failure", "_left", "_next_chunk", "_parser", "_response", "provider_request_id")

    def __init__(self, response: Response, provider_request_id: str | None, max_bytes: int) -> None:
        self.provider_request_id = provider_request_id
        self._response = response
        self._next_chunk = response.chunks().__anext__
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
            chunk: bytes | None
            try:
                chunk = await self._next_chunk()
            except StopAsyncIteration:
                chunk = None
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
                good.append(proved(payload))
            except ValueError as error:
                self._fail(str(error))
                return good
        if chunk is None:
            self._fail("ended without [DONE]")
        elif self._left < 0:
            self._fail("stream over its cap")
        return good

    def _fail(self, detail: str) -> None:
        self._failure = broken(detail, self.provider_request_id)
        self._response.close()

    async def close(self) -> None:
        if not self._done:
            self._response.close()
