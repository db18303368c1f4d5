"""One client connection: bytes in, ASGI requests out, every wait bounded.

    IDLE ──first byte──▶ HEAD ──empty line──▶ BODY ──last byte──▶ BUSY ──answer complete──▶ IDLE …
      │                    │                    │                   │
      └── idle_seconds     └── header_seconds   └── body_seconds,   └── no limit of ours: the app decides
                                                    rate, size          (a stuck reader: write_seconds)
    any refusal ──▶ LINGER (answer sent, our side closed, a little still read and thrown away) ──▶ closed

Only one request of a connection is looked at at a time: what a client sends ahead stays unparsed bytes until the answer
before it is complete, so a refused or failed request never lets a later one through.

There are no timers per connection. A sweep (once per `sweep_seconds`) calls `inspect` on the connections whose `wake`
has come; the clock read on the hot path is the sweep's.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import sys
import termios
import urllib.parse
from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp, Scope
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from gateway.api.raw import LeftReason, body_too_large
from gateway.errors import Refusal
from gateway.server.chunked import BadChunk, ChunkedBody
from gateway.server.cycle import RequestCycle
from gateway.server.head import CHUNKED, Head, check_unfinished
from gateway.server.refusals import (
    body_too_slow,
    head_too_large,
    head_too_slow,
    malformed,
    render,
    shutting_down,
    too_many_connections,
)
from gateway.server.shared import Shared

IDLE, HEAD, BODY, BUSY, LINGER = range(5)

# Body bytes the app has not taken yet, above which we stop reading from the client.
_UNREAD_BODY = 64 * 1024

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Connection(asyncio.Protocol):
    """uvicorn makes one per accepted socket, as `Config(http=Connection)` says."""

    __slots__ = (
        "_app",
        "_app_state",
        "_body_clock",
        "_body_size",
        "_chunks",
        "_client",
        "_cycle",
        "_deadline",
        "_discarded",
        "_head_only",
        "_held",
        "_left",
        "_limit",
        "_local",
        "_loop",
        "_phase",
        "_read_paused",
        "_root_path",
        "_scheme",
        "_shared",
        "_stuck_at",
        "_trusted",
        "_unsent",
        "_writable",
        "transport",
        "wake",
        "write_paused",
    )

    def __init__(
        self,
        config: Config,
        server_state: Shared,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app: ASGIApp = config.loaded_app
        self._root_path = config.root_path
        self._app_state = app_state
        self._shared = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self._local: tuple[str, int | None] | None = None
        self._client: tuple[str, int] | None = None
        self._scheme = "http"
        self._trusted = False

        self._phase = IDLE
        self._held = bytearray()  # HEAD: an unfinished head; BODY and BUSY: what was sent ahead
        self._cycle: RequestCycle | None = None  # the request being read or answered
        self._head_only = False
        self._left = 0  # BODY: bytes of a declared length still to come
        self._chunks: ChunkedBody | None = None
        self._limit = 0
        self._body_size = 0
        self._body_clock = 0.0  # seconds we waited for body bytes, not counting our own pauses
        self._discarded = 0
        self._read_paused = False

        self.write_paused = False
        self._writable: asyncio.Event | None = None
        self._unsent = -1  # bytes in the write buffer when last looked at
        self._stuck_at = math.inf

        self.wake = 0.0
        self._deadline = 0.0

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        shared = self._shared
        shared.open.add(self)
        self._local = get_local_addr(self.transport)
        self._client = get_remote_addr(self.transport)
        self._trusted = shared.proxies.trusts(self._client)
        self.wake = self._deadline = shared.now + shared.header_wait
        if len(shared.open) > shared.limits.max_connections:
            refusal = too_many_connections()
            shared.status.refused[str(refusal.code)] += 1
            self.transport.write(render(refusal, shared.default_headers))
            self._close()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase <= HEAD:
            self._on_head(data)
        elif phase == BODY:
            self._on_body(data)
        elif phase == BUSY:
            self._held += data
            if len(self._held) > self._shared.limits.pipeline_bytes:
                self._pause_reading()
        else:
            self._discarded += len(data)
            if self._discarded >= self._shared.limits.close_drain_bytes:
                self._pause_reading()

    def eof_received(self) -> None:
        # A half-closed client counts as gone: no HTTP client we know does that, and a stream must stop being paid for.
        if self._cycle is not None:
            self._cycle.leave("client")
        # Returning nothing closes the transport once everything is sent.
        self._unsent = -1
        self.wake = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open.discard(self)
        self.wake = math.inf
        if self._cycle is not None:
            self._cycle.leave("client")
            self._cycle = None
        self.resume_writing()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._unsent = -1
        self.wake = 0.0

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()

    async def writable(self) -> None:
        """Wait until the write buffer has room or the connection is gone."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    # What the server calls

    def inspect(self, now: float, elapsed: float) -> None:
        """Enforce the time limits; `elapsed` is the time since the last sweep. Sets the next `wake`."""
        closing = self.transport.is_closing()
        if (self.write_paused or closing) and self._is_stuck(now):
            self._shared.status.stuck += 1
            self.abort("stuck")
            return
        phase = self._phase
        if closing:
            pass  # only unsent bytes keep it open
        elif phase == BODY:
            self._inspect_body(elapsed)
        elif phase == HEAD and now >= self._deadline:
            self._refuse(head_too_slow(self._shared.limits.header_seconds))
        elif phase in (IDLE, LINGER) and now >= self._deadline:
            self._close()
        if self._phase == BODY or self.write_paused or self.transport.is_closing():
            self.wake = now
        elif self._phase == BUSY:
            self.wake = math.inf
        else:
            self.wake = self._deadline

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits to be sent for `write_seconds`."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            unsent += self._unacknowledged()
        if self._unsent < 0 or unsent < self._unsent:
            self._unsent = unsent
            self._stuck_at = now + self._shared.limits.write_seconds
            return False
        return unsent > 0 and now >= self._stuck_at

    def _unacknowledged(self) -> int:
        """Bytes the kernel holds for the client. It asks for more only once a third of its megabytes are gone, so a slow
        but living reader would look stuck by our own buffer alone.
        """
        waiting = bytearray(4)
        try:
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        except (OSError, ValueError):  # closed meanwhile
            return 0
        return int.from_bytes(waiting, sys.byteorder)

    def _inspect_body(self, elapsed: float) -> None:
        cycle = self._cycle
        if self._read_paused or (cycle is not None and cycle.expects_continue):
            return  # the client waits for us
        limits = self._shared.limits
        self._body_clock += elapsed
        waited = self._body_clock
        if waited <= limits.body_seconds and (
            waited <= limits.body_grace_seconds or self._body_size >= waited * limits.body_bytes_per_second
        ):
            return
        self._refuse_body(body_too_slow(limits.body_seconds, limits.body_bytes_per_second))

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or a refusal is on its way out."""
        return self._phase in (BODY, BUSY, LINGER)

    def retire(self) -> None:
        """Close now if no request is being answered; else after the current one."""
        if not self.busy and not self.transport.is_closing():
            self._close()

    def expire(self) -> None:
        """Tell the running request that the drain time is over. It can still send."""
        if self._cycle is not None:
            self._cycle.leave("shutdown")

    def abort(self, reason: LeftReason) -> None:
        """Drop the connection with whatever was not sent."""
        if self._cycle is not None:
            self._cycle.leave(reason)
        self.transport.abort()

    # Head

    def _on_head(self, data: bytes) -> None:
        held = self._held
        if held:
            searched = max(len(held) - 3, 0)
            held += data
            end = held.find(b"\r\n\r\n", searched)
            if end >= 0:
                data = bytes(held)
                held.clear()
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                held += data
        shared = self._shared
        if end < 0:
            if self._phase == IDLE:
                self._phase = HEAD
                self.wake = self._deadline = shared.now + shared.header_wait
            refusal = check_unfinished(held, shared.limits)
            if refusal is not None:
                self._refuse(refusal)
            return
        if data[:2] == b"\r\n" and end > 0:
            # RFC 9112 §2.2: an empty line before a request is ignored.
            data = data[2:]
            end -= 2
        try:
            if end > shared.limits.head_bytes:
                raise head_too_large(shared.limits.head_bytes)
            head = shared.heads.parse(data[: end + 4])
            cycle = self._start(head)
        except Refusal as refusal:
            self._head_only = data[:5] == b"HEAD "
            self._refuse(refusal)
            return
        self._cycle = cycle
        shared.tasks.add(cycle.start(self._loop, self._app))
        rest = data[end + 4 :]
        if head.length == 0:
            self._body_done(rest)
            return
        self._phase = BODY
        self._left = head.length
        self._chunks = ChunkedBody() if head.length == CHUNKED else None
        self._body_size = 0
        self._body_clock = -shared.limits.sweep_seconds  # the sweep under way counts as a whole one
        self.wake = 0.0
        if rest:
            self._on_body(rest)

    def _start(self, head: Head) -> RequestCycle:
        """The request as ASGI sees it. Raises Refusal."""
        method, raw_path, query, http11, headers, fields, length, keep_alive, expects_continue = head
        path = raw_path.decode("ascii")
        if "%" in path:
            path = urllib.parse.unquote(path)
        shared = self._shared
        limits = shared.limits
        if shared.status.draining:
            if path not in limits.open_while_draining:
                raise shutting_down()
            keep_alive = False
        if length:
            self._limit = limits.body_bytes if limits.body_limit is None else limits.body_limit(path)
            if length > self._limit:
                raise body_too_large(self._limit)
        client = self._client
        scheme = self._scheme
        if self._trusted:
            named = shared.proxies.client(fields.get(b"x-forwarded-for", b""))
            if named is not None:
                client = (named, 0)
            if fields.get(b"x-forwarded-proto") == b"https":
                scheme = "https"
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1" if http11 else "1.0",
            "server": self._local,
            "client": client,
            "scheme": scheme,
            "method": method,
            "root_path": self._root_path,
            "path": self._root_path + path,
            "raw_path": self._root_path.encode("ascii") + raw_path if self._root_path else raw_path,
            "query_string": query,
            "headers": headers,
            "state": self._app_state.copy(),
        }
        return RequestCycle(
            self,
            shared,
            scope,
            has_body=length != 0,
            keep_alive=keep_alive,
            expects_continue=expects_continue and length != 0,
        )

    # Body

    def _on_body(self, data: bytes) -> None:
        cycle = self._cycle
        assert cycle is not None
        chunks = self._chunks
        if chunks is None:
            part = data[: self._left] if len(data) > self._left else data
            rest = data[len(part) :]
            self._left -= len(part)
            done = self._left == 0
        else:
            try:
                part = chunks.feed(data)
            except BadChunk as error:
                self._refuse_body(malformed(f"{error}.", "본문의 chunked 형식을 확인하세요."))
                return
            rest = chunks.rest
            done = chunks.done
        self._body_size += len(part)
        if self._body_size > self._limit:
            self._refuse_body(body_too_large(self._limit))
            return
        if done:
            cycle.take(part, last=True)
            self._body_done(rest)
            if cycle.answered:
                self._next()
        elif part:
            cycle.take(part, last=False)
            if cycle.unread > _UNREAD_BODY:  # never when it is skipped: the answered request takes nothing
                self._pause_reading()

    def _body_done(self, rest: bytes) -> None:
        self._phase = BUSY
        self._chunks = None
        self.wake = 0.0 if self.write_paused else math.inf
        if rest:
            self._held += rest

    def body_wanted(self) -> None:
        """The app takes body bytes: read on."""
        if self._read_paused and self._phase == BODY:
            self._resume_reading()

    @property
    def body_too_long_to_skip(self) -> bool:
        """Whether so much of the body is missing that closing is cheaper than reading it to keep the connection."""
        return self._phase == BODY and (self._chunks is not None or self._left > self._shared.limits.close_drain_bytes)

    # End of a request

    def answered(self, *, keep_alive: bool) -> None:
        """The app has sent the whole answer."""
        self._shared.total_requests += 1
        if self.transport.is_closing():
            return
        if not keep_alive:
            if self._phase == BODY:
                self._linger()
            else:
                self._close()
        elif self._phase == BODY:
            self._resume_reading()  # a short rest of the body is read and thrown away
        else:
            self._next()

    def _next(self) -> None:
        shared = self._shared
        self._cycle = None
        self._phase = IDLE
        self._deadline = shared.now + shared.idle_wait
        self.wake = 0.0 if self.write_paused else self._deadline
        self._resume_reading()
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._on_head(data)

    # Refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in the app's place and close."""
        shared = self._shared
        shared.status.refused[str(refusal.code)] += 1
        self._held.clear()
        if self.transport.is_closing():
            return
        self.transport.write(render(refusal, shared.default_headers, head_only=self._head_only))
        self._linger()

    def refuse_for(self, cycle: RequestCycle, refusal: Refusal) -> None:
        """The app did not answer this request: do it here."""
        if self._cycle is cycle:
            self._head_only = cycle.scope["method"] == "HEAD"
            self._refuse(refusal)

    def call_soon(self, callback: Callable[[LeftReason], object], reason: LeftReason) -> None:
        """Through the loop, so that an exception in a callback of the app cannot stop the connection's own work."""
        self._loop.call_soon(callback, reason)

    def _refuse_body(self, refusal: Refusal) -> None:
        """The body broke a limit while the app had the request."""
        cycle = self._cycle
        assert cycle is not None
        if cycle.answered:
            self._linger()
        elif cycle.answering:
            # Half an answer is out: only a cut connection tells the client that it is not whole.
            self._shared.status.refused[str(refusal.code)] += 1
            self.abort("refused")
        else:
            self._head_only = cycle.scope["method"] == "HEAD"
            cycle.leave("refused")
            self._refuse(refusal)

    def _linger(self) -> None:
        """Close our side at once and the whole a little later.

        Closing with unread bytes makes the kernel reset the connection, and the reset can overtake the answer.
        """
        self._phase = LINGER
        self._cycle = None
        self._chunks = None
        self._discarded = 0
        limits = self._shared.limits
        self.wake = self._deadline = self._shared.now + limits.close_drain_seconds + limits.sweep_seconds
        self._resume_reading()
        self.transport.write_eof()

    def _close(self) -> None:
        """Close once everything is sent; the sweep sees to it that this does not take for ever."""
        self._unsent = -1
        self.wake = 0.0
        self.transport.close()

    def _pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
