"""POST /v1/chat/completions: the OpenAI shape in, the OpenAI shape out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from gateway.api import chat_request, headers
from gateway.api.once import once
from gateway.api.raw import (
    PING,
    Disconnect,
    finish_sse,
    json_headers,
    read_body,
    send_json,
    send_sse,
    sse_headers,
    start_sse,
)
from gateway.api.surface import Gate
from gateway.exchange import Completed, Submission
from gateway.principal import Principal

#: Parsing more than this takes long enough for other requests to notice.
_INLINE_BYTES = 256 * 1024


async def chat_completions(gate: Gate, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    """Authenticate, understand, and hand over to the exchange."""
    given = dict(scope["headers"])
    principal = await gate.authenticate(scope)
    limits = gate.settings.limits
    raw = await read_body(receive, limits.body_bytes)
    headers.refuse_encodings(given)
    parse = chat_request.parse
    request = await asyncio.to_thread(parse, raw, limits) if len(raw) > _INLINE_BYTES else parse(raw, limits)
    chat = request.chat
    options = chat.stream_options
    submission = Submission(
        request_id=request_id,
        surface="chat",
        model=chat.model,
        body=request.body,
        stream=bool(chat.stream),
        include_usage=options is not None and bool(options.include_usage),
        output_cap=request.output_cap,
        choices=chat.n or 1,
        size=len(raw),
        needs=request.needs,
        grade=headers.grade(given),
        purpose=headers.word(given, "x-haechi-purpose") or "chat",
        project=headers.word(given, "x-haechi-project"),
        conversation=headers.word(given, "x-haechi-conversation"),
    )
    if b"idempotency-key" in given:
        await once(
            gate, principal, submission, given, raw, send, lambda ours: _answer(gate, principal, ours, receive, send)
        )
    elif (done := await _answer(gate, principal, submission, receive, send)) is not None:
        await send_json(send, 200, done.body, json_headers(request_id, headers.told(done.receipt)))


async def _answer(
    gate: Gate, principal: Principal, submission: Submission, receive: Receive, send: Send
) -> Completed | None:
    """A whole answer, still to be sent; None where it went out as a stream."""
    if not submission.stream:
        with Disconnect(receive) as gone:
            return await gate.exchange.complete(principal, submission, WholeLine(gone))
    limits, request_id = gate.settings.limits, submission.request_id
    places = (f"key:{principal.key_id or principal.user_id}", f"user:{principal.user_id}")
    await gate.streams.take(((places[0], limits.streams_per_key), (places[1], limits.streams_per_user)), request_id)
    try:
        with Disconnect(receive) as gone:
            line = SseLine(send, gone, request_id, limits.keepalive_seconds)
            try:
                await gate.exchange.stream(principal, submission, line)
            finally:
                line.close()
    finally:
        gate.streams.give(places, request_id)
    return None


class WholeLine:
    """The way back of an answer that is sent in one piece, by the handler."""

    __slots__ = ("_gone",)

    def __init__(self, gone: Disconnect) -> None:
        self._gone = gone

    @property
    def left(self) -> bool:
        return self._gone.left

    @property
    def reason(self) -> str | None:
        return self._gone.reason

    def when_left(self, callback: Callable[[], None]) -> None:
        self._gone.then(lambda _: callback())

    def tell(self, policy: str, found: str) -> None:
        raise RuntimeError("the head of a whole answer is its receipt's")

    async def send(self, frames: bytes) -> None:
        raise RuntimeError("a whole answer has no frames")

    async def finish(self, frames: bytes) -> None:
        raise RuntimeError("a whole answer has no frames")


class SseLine:
    """The way back of a stream. The head goes out with the first frame, or with the first keep-alive comment.

    A client that waits long for a slow model gets a comment every `keepalive` seconds, so that no proxy on the way gives up.
    """

    __slots__ = ("_gone", "_keepalive", "_last", "_pinging", "_request_id", "_send", "_started", "_timer", "_told")

    def __init__(self, send: Send, gone: Disconnect, request_id: str, keepalive: float) -> None:
        self._send = send
        self._gone = gone
        self._request_id = request_id
        self._keepalive = keepalive
        self._last = time.monotonic()
        self._started = False
        self._told: list[tuple[bytes, bytes]] = []
        self._pinging: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(keepalive, self._tick)

    @property
    def left(self) -> bool:
        return self._gone.left

    @property
    def reason(self) -> str | None:
        return self._gone.reason

    @property
    def started(self) -> bool:
        return self._started

    def when_left(self, callback: Callable[[], None]) -> None:
        self._gone.then(lambda _: callback())

    def tell(self, policy: str, found: str) -> None:
        self._told = headers.filtered(policy, found)

    async def send(self, frames: bytes) -> None:
        self._last = time.monotonic()
        if not self._started:
            self._started = True
            await start_sse(self._send, sse_headers(self._request_id, self._told))
        await send_sse(self._send, frames)

    async def finish(self, frames: bytes) -> None:
        self.close()
        if not self._started:
            self._started = True
            await start_sse(self._send, sse_headers(self._request_id, self._told))
        await finish_sse(self._send, frames)

    def close(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        silent = time.monotonic() - self._last
        if silent >= self._keepalive and not self.left:
            self._pinging = loop.create_task(self.send(PING))
            silent = 0.0
        self._timer = loop.call_later(self._keepalive - silent, self._tick)
