"""The few helpers a raw ASGI handler needs: read a body, send JSON, send a stream of events, notice that the client left.

    body = await read_body(receive, limit)              # ClientLeft · TooLarge
    await send_json(send, 200, body, json_headers(request_id))

    with Disconnect(receive) as gone:
        gone.then(upstream.cancel)                      # or: await gone
        await start_sse(send, sse_headers(request_id))
        await send_sse(send, b"data: {}\\n\\n")
        await finish_sse(send, DONE)

    except Refusal as refusal:
        await send_refusal(send, refusal, request_id)

Bytes are passed on as they are: nothing here parses or copies a body. Every answer carries its request id twice, because
the OpenAI SDK reads `x-request-id` and the Anthropic SDK reads `request-id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from typing import Any, Literal, Self

import orjson
from starlette.types import Receive, Send

from gateway.errors import Refusal, TooLarge

Headers = list[tuple[bytes, bytes]]

# Why a request has nobody to answer:
#   client    it closed or reset the connection
#   stuck     it stopped reading and the server closed the connection
#   refused   its body broke a limit after the handler had started; the server has answered
#   shutdown  the drain time is over; the client is still there and a last event can be sent
LeftReason = Literal["client", "stuck", "refused", "shutdown"]

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
# A comment line: keeps proxies from closing an idle stream and every SSE parser skips it.
PING = b": ping\n\n"

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
# nginx would otherwise collect a stream into its own buffers.
_NO_BUFFERING = (b"x-accel-buffering", b"no")


class ClientLeft(Exception):
    """The request has no one to answer any more; `reason` says why. Not an error: nothing is logged for it."""

    def __init__(self, reason: LeftReason = "client") -> None:
        super().__init__(reason)
        self.reason: LeftReason = reason


def json_headers(request_id: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    """The headers of a JSON answer, without its length (`send_json` adds that). `request_id` is printable ASCII."""
    number = request_id.encode("ascii")
    return [
        (b"content-type", JSON),
        (b"x-request-id", number),
        (b"request-id", number),
        _NO_STORE,
        _NO_SNIFF,
        *extra,
    ]


def sse_headers(request_id: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    """The headers of an event stream."""
    number = request_id.encode("ascii")
    return [
        (b"content-type", EVENT_STREAM),
        (b"x-request-id", number),
        (b"request-id", number),
        _NO_STORE,
        _NO_SNIFF,
        _NO_BUFFERING,
        *extra,
    ]


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body, at most `limit` bytes.

    Raises TooLarge as soon as more than `limit` bytes have come, ClientLeft when the client goes before the end.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft(message.get("reason", "client"))
    body: bytes = message.get("body", b"")
    size = len(body)
    if size <= limit and not message.get("more_body", False):
        return body
    parts = [body]
    while size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft(message.get("reason", "client"))
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size <= limit and not message.get("more_body", False):
            return b"".join(parts)
    raise body_too_large(limit)


def body_too_large(limit: int) -> TooLarge:
    """The refusal for a request body over `limit` bytes."""
    return TooLarge(
        f"The request body is larger than {limit} bytes. 요청 본문이 {limit}바이트보다 큽니다.",
        details={"limit_bytes": limit},
    )


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """A refusal as JSON in OpenAI's shape: absent `param` and `code` are null, `haechi` is there only with details.

    {"error": {"message", "type", "param", "code", "haechi"?}, "request_id"}
    """
    error: dict[str, Any] = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
    }
    if refusal.details is not None:
        error["haechi"] = dict(refusal.details)
    return orjson.dumps({"error": error, "request_id": request_id})


def error_headers(refusal: Refusal, request_id: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    """The headers of a refusal: those of any JSON answer, the refusal's own (retry-after, …) and `extra`."""
    own = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in refusal.headers.items()]
    return json_headers(request_id, [*own, *extra])


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a JSON answer whose body is encoded already. `headers` come from `json_headers`; the length is added."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_refusal(
    send: Send, refusal: Refusal, request_id: str, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a refusal as the whole answer. Only before anything else was sent; in a stream use `sse_error`."""
    await send_json(send, refusal.status, error_body(refusal, request_id), error_headers(refusal, request_id, extra))


def sse_frame(data: bytes, event: bytes | None = None) -> bytes:
    """One event. `data` may hold line feeds (each becomes its own `data:` line); JSON from orjson never does."""
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event, data)


def sse_error(refusal: Refusal, request_id: str) -> bytes:
    """The frame that tells a client mid-stream what failed; OpenAI's SDKs raise on any frame with an `error` key."""
    return sse_frame(error_body(refusal, request_id))


async def start_sse(send: Send, headers: Headers, status: int = 200) -> None:
    """Send the head of an event stream. `headers` come from `sse_headers`."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_sse(send: Send, frames: bytes) -> None:
    """Send one or more whole frames as they are. Waits while the client reads slower than we send."""
    await send({"type": "http.response.body", "body": frames, "more_body": True})


async def finish_sse(send: Send, frames: bytes = b"") -> None:
    """Send the last frames (or none) and end the stream."""
    await send({"type": "http.response.body", "body": frames, "more_body": False})


class Disconnect:
    """Completes when there is no one to answer any more; `reason` then says why (see LeftReason).

    Make one per request, after its body was read, and leave it with `with` or `close()` before the handler returns.
    Our own server tells through a callback, which costs no task; behind a middleware that wraps `receive`, or another
    server, one task waits on `receive` for the whole request.
    """

    __slots__ = ("_callbacks", "_closed", "_future", "_task", "reason")

    def __init__(self, receive: Receive) -> None:
        self.reason: LeftReason | None = None
        self._callbacks: list[Callable[[LeftReason], object]] = []
        self._future: asyncio.Future[LeftReason] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        # A bound method of the server's request: the request itself can call us.
        when_left = getattr(getattr(receive, "__self__", None), "when_left", None)
        if when_left is not None:
            when_left(self._tell)
        else:
            self._task = asyncio.get_running_loop().create_task(self._watch(receive))

    @property
    def left(self) -> bool:
        """Whether there is no one to answer any more."""
        return self.reason is not None

    def then(self, callback: Callable[[LeftReason], object]) -> None:
        """Call `callback(reason)` in the event loop once the client has left, also if it has left already."""
        if self.reason is not None:
            asyncio.get_running_loop().call_soon(callback, self.reason)
        else:
            self._callbacks.append(callback)

    def close(self) -> None:
        """Stop watching; nothing is called afterwards and a waiter is cancelled."""
        self._closed = True
        self._callbacks.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._future is not None and not self._future.done():
            self._future.cancel()

    def __await__(self) -> Generator[Any, None, LeftReason]:
        if self.reason is not None:
            return self.reason
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        # Shielded: one waiter that gives up must not end the wait of another.
        return (yield from asyncio.shield(self._future).__await__())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is asyncio.CancelledError:
            # Only the end of a drain cancels a request; what it has set in motion elsewhere must hear of that.
            self._tell("shutdown")
        self.close()

    async def _watch(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._tell(message.get("reason", "client"))
                return

    def _tell(self, reason: LeftReason) -> None:
        if self._closed or self.reason is not None:
            return
        self.reason = reason
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(reason)
        if self._future is not None and not self._future.done():
            self._future.set_result(reason)
