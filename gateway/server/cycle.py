"""One request and its answer, as ASGI sees them.

take ──▶ receive()          body bytes the connection has read, then http.disconnect
leave ─▶ receive(), when_left, and send() falls silent
send() ─▶ the transport     head, body or chunks; how an answer ends is decided here alone
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from gateway.api.raw import ClientLeft, LeftReason
from gateway.errors import Refusal
from gateway.server.refusals import app_failed, shutting_down, status_line
from gateway.server.shared import Shared

log = logging.getLogger(__name__)

_FRAMING = frozenset({b"content-length: ", b"transfer-encoding: ", b"connection: "})
#: A header's name as the app spells it → the beginning of its line.
_BEGIN: dict[bytes, bytes] = {}
_STATUS_LINES = {status: status_line(status) for status in range(100, 600)}


def _begin(name: bytes) -> bytes:
    begin = name.lower() + b": "
    if len(_BEGIN) < 256:  # the app's own names are few; what an upstream invents must not add up
        _BEGIN[name] = begin
    return begin


class Channel(Protocol):
    """The connection, as a request uses it."""

    transport: asyncio.Transport
    write_paused: bool

    @property
    def body_too_long_to_skip(self) -> bool: ...

    async def writable(self) -> None: ...

    def body_wanted(self) -> None: ...

    def answered(self, *, keep_alive: bool) -> None: ...

    def refuse_for(self, cycle: RequestCycle, refusal: Refusal) -> None: ...

    def abort(self, reason: LeftReason) -> None: ...

    def call_soon(self, callback: Callable[[LeftReason], object], reason: LeftReason) -> None: ...


class RequestCycle:
    """One request and its answer: what the app's `receive` and `send` are bound to."""

    __slots__ = (
        "_body",
        "_body_last",
        "_chunked",
        "_connection",
        "_event",
        "_expected",
        "_keep_alive",
        "_shared",
        "_silent",
        "_task",
        "_watchers",
        "answered",
        "answering",
        "expects_continue",
        "left",
        "scope",
        "unread",
    )

    def __init__(
        self,
        connection: Channel,
        shared: Shared,
        scope: Scope,
        *,
        has_body: bool,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self._shared = shared
        self.scope = scope
        self._keep_alive = keep_alive
        self.expects_continue = expects_continue  # the client waits for "100 Continue"
        self._body: list[bytes] | None = None if has_body else [b""]  # come and not yet taken by the app
        self._body_last = not has_body  # whether its last byte is among them
        self.unread = 0
        self._event: asyncio.Event | None = None
        self._watchers: list[Callable[[LeftReason], object]] | None = None
        self._task: asyncio.Task[None]
        self.left: LeftReason | None = None
        self.answering = False  # the head is out
        self.answered = False  # … and everything else
        self._silent = False  # an answer without a body (HEAD, 204, 304)
        self._chunked = False
        self._expected = 0  # bytes of a declared answer still to be sent

    def start(self, loop: asyncio.AbstractEventLoop, app: ASGIApp) -> asyncio.Task[None]:
        self._task = loop.create_task(self._run(app))
        return self._task

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except (ClientLeft, ClientDisconnect):
            pass
        except asyncio.CancelledError:
            pass  # only the end of the drain cancels us
        except BaseException:  # a SystemExit in one request must not end all others
            log.exception("the app failed on %s %s", self.scope["method"], self.scope["path"])
        finally:
            self._shared.tasks.discard(self._task)
            if not self.answered and self.left in (None, "shutdown"):
                self._unanswered()

    def _unanswered(self) -> None:
        """The app has returned or failed, and the client still waits."""
        if self.answering:
            log.error("the answer to %s %s was not finished", self.scope["method"], self.scope["path"])
            # Only a cut connection tells the client that the answer is not whole.
            self._connection.abort("refused")
        else:
            self.left = "refused"
            self._connection.refuse_for(self, shutting_down() if self._shared.status.draining else app_failed())

    # What the connection tells

    def take(self, part: bytes, *, last: bool) -> None:
        """The next bytes of the body."""
        self.expects_continue = False  # it did not wait
        if self.answered:
            return
        if self._body is None:
            self._body = [part]
        else:
            self._body.append(part)
        self.unread += len(part)
        self._body_last = last
        if self._event is not None:
            self._event.set()

    def leave(self, reason: LeftReason) -> None:
        """There is no one to answer any more (or, for "shutdown", no time)."""
        if self.answered or self.left not in (None, "shutdown"):
            return
        first = self.left is None
        self.left = reason
        if self._event is not None:
            self._event.set()
        if first and self._watchers is not None:
            watchers, self._watchers = self._watchers, None
            for watcher in watchers:
                self._connection.call_soon(watcher, reason)

    def when_left(self, watcher: Callable[[LeftReason], object]) -> None:
        """Call `watcher(reason)` once the client has left. Never called when the answer completes before that."""
        if self.left is not None:
            self._connection.call_soon(watcher, self.left)
        elif self._watchers is None:
            self._watchers = [watcher]
        else:
            self._watchers.append(watcher)

    # What the app calls

    async def receive(self) -> Message:
        """http.request with the body as it comes, then http.disconnect with `reason` (a LeftReason, or "answered")."""
        while True:
            if self.left is not None:
                return {"type": "http.disconnect", "reason": self.left}
            if self.answered:
                return {"type": "http.disconnect", "reason": "answered"}
            parts = self._body
            if parts is not None:
                self._body = None
                self.unread = 0
                self._connection.body_wanted()
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                return {"type": "http.request", "body": body, "more_body": not self._body_last}
            if self.expects_continue:
                self.expects_continue = False
                if not self.answering:
                    self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()

    async def send(self, message: Message) -> None:
        """As ASGI says. Waits while the client reads slower than we send; does nothing once the client has left."""
        if self._connection.write_paused:
            await self._connection.writable()
        if self.left is not None and self.left != "shutdown":
            return
        kind = message["type"]
        if not self.answering:
            if kind != "http.response.start":
                raise RuntimeError(f"expected http.response.start, got {kind}")
            self._send_head(message["status"], message.get("headers", ()))
        elif not self.answered:
            if kind != "http.response.body":
                raise RuntimeError(f"expected http.response.body, got {kind}")
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"the answer is complete already, got {kind}")

    def _send_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        shared = self._shared
        connection = self._connection
        keep_alive = (
            self._keep_alive
            and not shared.status.draining
            and not self.expects_continue
            and not connection.body_too_long_to_skip
        )
        length: int | None = None
        lines = [_STATUS_LINES[status], shared.default_block]
        for name, value in headers:
            begin = _BEGIN.get(name) or _begin(name)
            if begin in _FRAMING:
                # How an answer ends is ours to say: keep only a declared length and the wish to close.
                if begin == b"connection: ":
                    keep_alive = keep_alive and b"close" not in value.lower()
                    continue
                if begin != b"content-length: ":
                    continue
                length = int(value)
            lines.append(begin + value + b"\r\n")
        silent = self.scope["method"] == "HEAD" or status in (204, 304)
        if length is None and not silent:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                keep_alive = False  # the end of the connection ends the answer
                self._chunked = False
                length = -1
        if not keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header of the answer holds CR, LF or NUL")
        self._keep_alive = keep_alive
        self._silent = silent
        self._expected = length or 0
        self.answering = True
        self.expects_continue = False
        connection.transport.write(head + b"\r\n")

    def _send_body(self, body: bytes, more: bool) -> None:
        transport = self._connection.transport
        if self._silent:
            pass
        elif self._chunked:
            if more:
                if body:
                    transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            elif body:
                transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            else:
                transport.write(b"0\r\n\r\n")
        else:
            if self._expected >= 0:
                self._expected -= len(body)
                if self._expected < 0 or (self._expected and not more):
                    raise RuntimeError("the answer is not as long as its content-length")
            if body:
                transport.write(body)
        if not more:
            self.answered = True
            self._watchers = None
            self._body = None
            self.unread = 0
            if self._event is not None:
                self._event.set()
            self._connection.answered(keep_alive=self._keep_alive)
