"""The hot lane's HTTP/1.1 client: kept-alive connections and as little Python as possible between a socket and a dialect.

    post ──▶ pool, newest first ──▶ alive? ──▶ one write ──▶ head ──▶ body ──▶ back to the pool
                 └─ none: name, TCP (addresses raced), TLS               └─ anything odd: the connection is thrown away

Same seam and same meaning of every failure as `proxied.AiohttpTransport`, for a fraction of its CPU (figures and reasons:
docs/decisions/0003-upstream-client.md). What makes it cheap: a request is one join and one write, a future is made only by
whoever really has to wait, header values are looked up when somebody asks for them, and time-outs are a number per
connection that one sweep per transport compares.

Proxies are not spoken here; whoever needs one takes `AiohttpTransport`.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import math
import re
import select
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

import httptools

from gateway.providers.base import Failure, ProviderError
from gateway.providers.dialing import Dialer
from gateway.providers.transport import Response, Timeouts, distrust

#: Seconds between two looks at the time-outs; they end up to twice this late, never early.
_TICK = 0.1
#: What a connection may take to end its message after the dialect's own end before it is not worth keeping: seconds, bytes.
_LINGER = 1.0
_LINGER_BYTES = 64 << 10
#: Head bytes of one response, interim ones (1xx) included.
_MAX_HEAD = 64 << 10
#: Body bytes nobody has taken yet, above which the socket is not read; one read (at most 256 KiB) may come on top.
_UNREAD = 64 << 10
#: Up to here copying head and body together is cheaper than handing the loop two buffers.
_JOIN = 64 << 10

#: What a message's framing and routing stand on is written here and by nobody else.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"})
_DEFAULTS = {"user-agent": "haechi", "accept-encoding": "identity"}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

_HINT = re.compile(rb"\r\nkeep-alive:[^\r]*\btimeout=([0-9]{1,6})\b")

_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class LeanTransport:
    """One pool of kept-alive connections to one upstream account.

    `ca_file`: PEM bundle that replaces the system's trust. `client_cert`: one PEM file with the certificate and its key. Files
    are read here, so a wrong path refuses at start (OSError, ssl.SSLError). `keep_alive`: seconds a connection may be idle.
    How much work runs at once is decided at admission, not here.
    """

    def __init__(self, *, ca_file: str | None = None, client_cert: str | None = None, keep_alive: float = 15.0) -> None:
        self._ssl: ssl.SSLContext | None = None
        if ca_file is not None or client_cert is not None:
            self._ssl = _context(ca_file)
            if client_cert is not None:
                self._ssl.load_cert_chain(client_cert)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._targets: dict[str, _Target] = {}
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept = 0.0
        self.keep_alive = keep_alive
        #: Every connection there is, in use or not.
        self.connections: set[Connection] = set()
        #: Seconds on the sweep's clock, never behind. Time in which this process did not run is not in it: nobody was silent.
        self.now = _TICK

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeouts: Timeouts) -> Response:
        if self._closed:
            raise ProviderError(Failure.CONNECT, sent=False, detail="transport closed")
        target = self._targets.get(url) or self._target(url)
        head = target.head(headers, len(body))
        origin = target.origin
        connection = origin.take() if origin.idle else None
        if connection is None:
            connection = await self._connect(origin, timeouts.connect)
        answer = connection.send(head, body, timeouts)
        await answer.head()
        return answer

    async def close(self) -> None:
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.fail(Failure.BROKEN, "transport closed")
        # One turn of the loop, in which the connections are really closed.
        await asyncio.sleep(0)

    def _target(self, url: str) -> _Target:
        try:
            parts = urllib.parse.urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode()
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            host, port = "", 0
        if not host or not port or parts.scheme not in {"http", "https"} or parts.username is not None:
            raise ProviderError(Failure.CONNECT, sent=False, detail="no plain http(s) address")
        key = (parts.scheme, host, port)
        if key not in self._origins:
            self._origins[key] = Origin(host, port, tls=parts.scheme == "https")
        target = self._targets[url] = _Target(self._origins[key], parts)
        return target

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        connection = Connection(self, origin, loop)
        try:
            async with asyncio.timeout(seconds):
                context = None
                if origin.tls:
                    context = self._ssl = self._ssl or await asyncio.to_thread(_system_trust)
                sock = await origin.way.dial()
                try:
                    await loop.create_connection(
                        lambda: connection,
                        sock=sock,
                        ssl=context,
                        server_hostname=origin.host if origin.tls else None,
                    )
                except BaseException:
                    # uvloop may have told it that it is connected, and then does not tell it that it is not.
                    connection.abort()
                    self.connections.discard(connection)
                    sock.close()
                    raise
        except (OSError, ValueError, RuntimeError) as exc:
            # ValueError: a name that cannot be one. RuntimeError: uvloop's word for a connection that was gone at once.
            raise ProviderError(Failure.CONNECT, sent=False, detail=_named(exc)) from exc
        if self._closed or connection.closing:
            connection.abort()
            raise ProviderError(Failure.CONNECT, sent=False, detail="closed before it was used")
        return connection

    # Connections call these

    def made(self, connection: Connection) -> None:
        self.connections.add(connection)
        if self._sweeper is None:
            assert self._loop is not None
            self._swept = self._loop.time()
            self._sweeper = self._loop.call_later(_TICK, self._sweep)

    def _sweep(self) -> None:
        assert self._loop is not None
        # Without connections there is nothing to look at, and an idle process sleeps.
        self._sweeper = self._loop.call_later(_TICK, self._sweep) if self.connections else None
        now = self._loop.time()
        self.now += min(now - self._swept, 2 * _TICK)
        self._swept = now
        ripe = self.now - _TICK
        for connection in [each for each in self.connections if each.due <= ripe]:
            connection.expire()
        for origin in self._origins.values():
            origin.drop_idle(now)


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def _system_trust() -> ssl.SSLContext:
    # Reading the system's authorities takes tens of milliseconds: once, in a thread, and all accounts share the result.
    return _context(None)


class _Target:
    """One URL: where it is, and the parts of its request head that do not change."""

    __slots__ = ("_fixed", "_line", "origin")

    def __init__(self, origin: Origin, parts: urllib.parse.SplitResult) -> None:
        self.origin = origin
        path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            path += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        if origin.port != (443 if origin.tls else 80):
            host += f":{origin.port}"
        self._line = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n"
        # By the names of the headers sent: what stands first, and for each name the last value with its line.
        self._fixed: dict[tuple[str, ...], tuple[bytes, dict[str, tuple[str, bytes]]]] = {}

    def head(self, headers: Mapping[str, str], length: int) -> bytes:
        """The request's head. Raises ProviderError (CONNECT) for a header that cannot be sent."""
        names = tuple(headers)
        fixed = self._fixed.get(names)
        if fixed is None:
            fixed = self._fixed[names] = (self._start(names), {})
        start, known = fixed
        parts = [start]
        for name, value in headers.items():
            last = known.get(name)
            if last is None or last[0] != value:
                if not (value.isascii() and value.isprintable()):
                    raise ProviderError(Failure.CONNECT, sent=False, detail=f"header {name} cannot be sent")
                last = known[name] = (value, f"{name}: {value}\r\n".encode())
            parts.append(last[1])
        parts.append(b"content-length: %d\r\n\r\n" % length)
        return b"".join(parts)

    def _start(self, names: tuple[str, ...]) -> bytes:
        given = {name.lower() for name in names}
        for name in names:
            if not name or not _TOKEN.issuperset(name) or name.lower() in _OURS:
                raise ProviderError(Failure.CONNECT, sent=False, detail="a header that is not the caller's to set")
        defaults = [f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in given]
        return "".join([self._line, *defaults]).encode("ascii")


class Origin:
    """One scheme, host and port: the way there, and its idle connections, oldest first."""

    __slots__ = ("host", "idle", "port", "tls", "way")

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.way = Dialer(host, port)
        self.idle: dict[Connection, None] = {}

    def take(self) -> Connection | None:
        """The newest idle connection that can be written to, None without one. Dead ones are thrown away on the way."""
        while self.idle:
            connection, _ = self.idle.popitem()
            if connection.usable():
                return connection
            connection.abort()
        return None

    def drop_idle(self, now: float) -> None:
        while self.idle:
            oldest = next(iter(self.idle))
            if now < oldest.idle_until:
                return
            oldest.abort()


class Connection(asyncio.Protocol):
    """One connection and, while one is under way, the one exchange on it.

    IDLE (in the pool) ─▶ waiting for a head ─▶ in a body ─▶ IDLE, or gone. `due` is when the sweep calls `expire`.
    """

    __slots__ = (
        "_answer",
        "_backlog",
        "_complete",
        "_first_byte",
        "_got",
        "_head_left",
        "_held",
        "_in_body",
        "_keeps",
        "_loop",
        "_origin",
        "_own",
        "_owner",
        "_parser",
        "_patience",
        "_paused",
        "_poll",
        "_spare",
        "_surplus",
        "_unsent",
        "_until_close",
        "_wire",
        "due",
        "idle_until",
        "on_body",
    )

    def __init__(self, owner: LeanTransport, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._origin = origin
        self._loop = loop
        self._wire: asyncio.Transport | None = None
        # Body pieces of one read. The parser calls `append` itself: a frame of ours a chunk would cost more than the chunk.
        self._got: list[bytes] = []
        self._own = 0  # how many of them are the message's
        self.on_body = self._got.append
        self._parser: Any = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._answer: _Answer | None = None
        self._held = bytearray()  # the beginning of a head
        self._head_left = 0
        self._in_body = False
        self._until_close = False
        self._complete = False  # the message is over
        self._surplus = False  # and more came after it
        self._keeps = False  # the upstream will take another request on this connection
        self._patience = 0.0  # for as many idle seconds
        self._unsent = False  # a part of the request is still ours
        self._backlog = 0
        self._first_byte = 0.0
        self._paused = False
        self._spare = 0
        self.due = math.inf
        self.idle_until = 0.0

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = self._wire = cast("asyncio.Transport", transport)
        tls = self._origin.tls
        # So that `pause_writing` says exactly whether everything has left. (asyncio's TLS pauses at the mark, not above it.)
        wire.set_write_buffer_limits(high=1 if tls else 0, low=0)
        # Unasked bytes on an idle plain connection mean the next answer would not be ours. On TLS they may be a session ticket.
        wanted = select.POLLRDHUP if tls else select.POLLRDHUP | select.POLLIN
        self._poll.register(wire.get_extra_info("socket").fileno(), wanted)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            rest = self._head(data)
            if rest is None:
                return
            data = rest
        if data:
            try:
                self._parser.feed_data(data)
            except _PARSER_ERRORS:
                if not self._complete:
                    self._take(b"".join(self._got))
                    self.fail(Failure.BROKEN, "malformed body")
                    return
                self._surplus = True
            got = self._got
            if got:
                if self._complete:
                    del got[self._own :]  # of a message nobody asked for
                self._take(got[0] if len(got) == 1 else b"".join(got))
                got.clear()
        if self._complete:
            self._end()
        else:
            self._arrived()

    def eof_received(self) -> None:
        if self._in_body and self._until_close:
            self._keeps = False
            self._end()
        else:
            self.fail(Failure.BROKEN, "closed by the upstream")

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connections.discard(self)
        self._origin.idle.pop(self, None)
        self.due = math.inf
        if isinstance(exc, OSError) and exc.errno == errno.EPIPE:
            # Our side could not finish writing: what the upstream has is not a whole request.
            self._unsent = True
        self.fail(Failure.BROKEN, "connection lost" if exc is None else _named(exc))
        self._parser = None  # it holds us and we hold it

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False
        if self._answer is not None and not self._in_body:
            self.due = self._owner.now + self._first_byte

    # httptools calls these

    def on_message_begin(self) -> None:
        if self._complete:
            self._surplus = True

    def on_message_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._own = len(self._got)
            self._keeps = self._parser.should_keep_alive()

    # the transport and the response call these

    @property
    def closing(self) -> bool:
        return self._wire is None or self._wire.is_closing()

    def usable(self) -> bool:
        """Whether it may be written to.

        A POST may not be repeated once written, so the moment to notice that the peer has hung up is before. The event loop
        may not have seen the FIN yet; the kernel has.
        """
        return not self.closing and self._loop.time() < self.idle_until and not self._poll.poll(0)

    def send(self, head: bytes, body: bytes, timeouts: Timeouts) -> _Answer:
        wire = self._wire
        assert wire is not None
        answer = self._answer = _Answer(self, self._loop, timeouts.idle)
        self._complete = False
        self._surplus = False
        self._head_left = _MAX_HEAD
        self._first_byte = timeouts.first_byte
        self._backlog = len(head) + len(body)
        self.due = self._owner.now + timeouts.first_byte
        if len(body) <= _JOIN:
            wire.write(head + body)
        else:
            wire.writelines((head, body))
        return answer

    def wait(self, seconds: float) -> None:
        """Somebody waits for body bytes, at most `seconds`."""
        self.due = self._owner.now + seconds
        if self._paused:
            self._paused = False
            assert self._wire is not None
            self._wire.resume_reading()

    def linger(self) -> None:
        """The answer is complete for whoever asked. Read on for as long as HTTP may take to agree."""
        self._answer = None
        self._spare = _LINGER_BYTES
        self.wait(_LINGER)

    def expire(self) -> None:
        if self._unsent and not self._in_body and self._wire is not None:
            left = self._wire.get_write_buffer_size()
            if left < self._backlog:
                # The upstream takes a long request slowly; its time to answer begins with the last byte.
                self._backlog = left
                self.due = self._owner.now + self._first_byte
                return
        self.fail(Failure.TIMEOUT, "silence in mid-answer" if self._in_body else "no first byte")

    def fail(self, failure: Failure, detail: str) -> None:
        """Throw the connection away and tell whoever waits on it why."""
        answer = self._answer
        self._answer = None
        if answer is not None:
            answer.broke(ProviderError(failure, sent=self._in_body or not self._unsent, detail=detail))
        self.abort()

    def abort(self) -> None:
        """Not a graceful close: that may wait for a TLS goodbye while the upstream goes on generating."""
        self._answer = None
        self._in_body = False
        self.due = math.inf
        self._origin.idle.pop(self, None)
        if self._wire is not None:
            self._wire.abort()

    # reading

    def _head(self, data: bytes) -> bytes | None:
        """Take in the head, interim ones skipped; returns what came after it, None while it is not there (or never will be)."""
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked
            return None
        while True:
            held = self._held
            seen: bytes | bytearray = data
            searched = 0
            if held:
                searched = max(len(held) - 3, 0)
                held += data
                seen = held
            end = seen.find(b"\r\n\r\n", searched)
            size = end + 4 if end >= 0 else len(seen)
            start = seen[:7]
            if size > self._head_left or start != b"HTTP/1."[: len(start)]:
                self.fail(Failure.BROKEN, "malformed head" if size <= self._head_left else "head too long")
                return None
            if end < 0:
                if seen is data:
                    held += data
                self.due = self._owner.now + answer.idle
                return None
            head, data = bytes(seen[:size]), bytes(seen[size:])
            held.clear()
            self._head_left -= size
            if not self._begin(head, answer):
                return None
            if self._in_body:
                return data
            # An interim response says that the upstream is at it: the wait for the real one begins again.
            self._complete = False
            self.due = self._owner.now + self._first_byte
            if not data:
                return None

    def _begin(self, head: bytes, answer: _Answer) -> bool:
        """Whether `head` is one; it becomes the answer's unless it is interim."""
        parser = self._parser
        try:
            parser.feed_data(head)
        except _PARSER_ERRORS:
            self.fail(Failure.BROKEN, "malformed head")
            return False
        status = parser.get_status_code()
        if status < 200:
            return True  # the parser refuses 101, which we never ask for
        lower = head.lower()
        coded = b"\r\ntransfer-encoding:" in lower
        headers = _Headers(head, lower)
        if coded and (lower.count(b"\r\ntransfer-encoding:") > 1 or headers["transfer-encoding"].lower() != "chunked"):
            self.fail(Failure.BROKEN, "transfer-encoding is not chunked")
            return False
        self._until_close = not coded and b"\r\ncontent-length:" not in lower
        self._patience = self._owner.keep_alive
        if b"\r\nkeep-alive:" in lower:
            hint = _HINT.search(lower)
            if hint is not None:
                # A second before the upstream hangs up: a request that crosses its goodbye is lost, and may not be repeated.
                self._patience = min(self._patience, int(hint[1]) - 1)
        self._in_body = True
        self.due = math.inf
        answer.status = status
        answer.headers = headers
        return True

    def _take(self, body: bytes) -> None:
        answer = self._answer
        if answer is None:
            self._spare -= len(body)
        elif body:
            answer.parts.append(body)
            answer.size += len(body)

    def _arrived(self) -> None:
        """Something of the message came, and it is not over."""
        answer = self._answer
        if answer is None:
            if self._spare < 0:
                self.abort()
            return
        waits = answer.waits_for
        if waits == _NOTHING:
            if answer.size > _UNREAD and not self._paused and self._wire is not None:
                self._paused = True
                self._wire.pause_reading()
        elif waits == _ALL and answer.size <= answer.limit:
            self.due = self._owner.now + answer.idle
        elif waits != _SOME or answer.parts:
            self.due = math.inf
            answer.wake()

    def _end(self) -> None:
        """The message is over: its connection is free before anybody has looked at it."""
        answer = self._answer
        self._answer = None
        self._in_body = False
        self.due = math.inf
        if answer is not None:
            answer.complete()
        if not self._keeps or self._surplus or self._unsent or self.closing:
            self.abort()
            return
        if self._paused:
            self._paused = False
            assert self._wire is not None
            self._wire.resume_reading()
        self.idle_until = self._loop.time() + self._patience
        self._origin.idle[self] = None


@functools.lru_cache(maxsize=256)
def _mark(name: str) -> bytes:
    return b"\r\n%b:" % name.lower().encode("latin-1", "replace")


class _Headers(Mapping[str, str]):
    """A head's fields, looked up in its bytes: three of thirty are ever asked for. The first of several is the one.

    The head was judged by the parser: every line ends in CRLF, is not folded, and has no space before its colon.
    """

    __slots__ = ("_head", "_lower")

    def __init__(self, head: bytes, lower: bytes) -> None:
        self._head = head
        self._lower = lower

    def __getitem__(self, name: str) -> str:
        value = self._value(name)
        if value is None:
            raise KeyError(name)
        return value

    # Mapping's own would raise and catch a KeyError for each header that is not there.
    def get(self, name: str, default: Any = None) -> Any:
        value = self._value(name)
        return default if value is None else value

    def _value(self, name: str) -> str | None:
        mark = _mark(name)
        start = self._lower.find(mark)
        if start < 0:
            return None
        start += len(mark)
        return self._head[start : self._head.find(b"\r\n", start)].strip(b" \t").decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        lines = self._lower[:-4].split(b"\r\n")[1:]
        return iter(dict.fromkeys(line.partition(b":")[0].decode("latin-1") for line in lines))

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: What an answer's reader waits for: the head, some bytes of the body, all of them.
_NOTHING, _HEAD, _SOME, _ALL = range(4)


class _Answer:
    """A response; see transport.Response. It outlives its connection, which is back in the pool once the message ended."""

    __slots__ = (
        "_broken",
        "_connection",
        "_done",
        "_loop",
        "_waiter",
        "headers",
        "idle",
        "limit",
        "parts",
        "size",
        "status",
        "waits_for",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, idle: float) -> None:
        self._connection: Connection | None = connection
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._broken: ProviderError | None = None
        self._done = False
        self.waits_for = _NOTHING
        self.idle = idle
        self.limit = 0  # of a body wanted whole
        self.parts: list[bytes] = []  # one a read, however small the chunks in it
        self.size = 0  # of `parts`
        self.status = 0
        self.headers: Mapping[str, str] = {}

    # the connection calls these

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            self.waits_for = _NOTHING
            if not waiter.done():
                waiter.set_result(None)

    def complete(self) -> None:
        self._connection = None
        self._done = True
        self.wake()

    def broke(self, why: ProviderError) -> None:
        self._connection = None
        self._broken = why
        self.wake()

    # whoever asked calls these

    async def head(self) -> None:
        """Returns when there is one. Raises ProviderError."""
        if self._broken is None:
            await self._wait(_HEAD)
        if self._broken is not None and not self.status:
            raise self._broken

    async def read(self, limit: int) -> bytes:
        connection = self._connection
        if connection is not None and self.size <= limit:
            self.limit = limit
            connection.wait(self.idle)
            await self._wait(_ALL)
        if self.size > limit:
            self.close()
            raise ProviderError(Failure.BROKEN, sent=True, detail=f"body over {limit} bytes")
        if self._broken is not None:
            raise self._broken
        parts = self.parts
        self.parts = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        parts = self.parts
        if not parts:
            connection = self._connection
            if connection is not None:
                connection.wait(self.idle)
                # As _wait does, without a coroutine more for each chunk.
                self.waits_for = _SOME
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                except BaseException:
                    self.close()
                    raise
                parts = self.parts
            if not parts:
                if self._broken is not None:
                    raise self._broken
                raise StopAsyncIteration
        self.parts = []
        self.size = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _wait(self, what: int) -> None:
        self.waits_for = what
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise

    def finish(self) -> None:
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._done = True
            connection.linger()

    def close(self) -> None:
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._broken = ProviderError(Failure.BROKEN, sent=True, detail="closed")
            self.parts = []
            self.wake()
            connection.abort()


def _named(exc: BaseException) -> str:
    """The error's class and number. Never its text, which may hold addresses, names or received bytes."""
    if (told := distrust(exc)) is not None:
        return told
    name = type(exc).__name__
    if isinstance(exc, ssl.SSLError):
        code = getattr(exc, "verify_code", "")
        return f"{name} {exc.reason or ''} {code}".strip()
    number = getattr(exc, "errno", None)
    return f"{name} {errno.errorcode.get(number, number)}" if number else name
