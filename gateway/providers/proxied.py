"""The client for upstreams behind a proxy: aiohttp's, held to the seam in transport.py.

Imported only where a proxy is configured: it is a seventh of a second of start-up and a dozen megabytes that a direct way to
every upstream does not need. Why there are two clients: docs/decisions/0003-upstream-client.md.
"""

from __future__ import annotations

import asyncio
import errno
import select
import ssl
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from gateway.providers.base import Failure, ProviderError
from gateway.providers.transport import Response, Timeouts, distrust

# How long a connection may take to end its message after the dialect's own end before it is not worth keeping.
_LINGER = 1.0
# aiohttp stops reading from the socket at twice this much unread; it bounds what one slow reader can hold in memory.
_READ_BUFFER = 32 * 1024

_WIRE_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError, RuntimeError)


class AiohttpTransport:
    """One pool of kept-alive connections to one upstream account.

    `proxy`: URL of an HTTP proxy. `ca_file`: PEM bundle that replaces the system's trust. `client_cert`: one PEM file with the
    certificate and its key. Files are read here, so a wrong path refuses at start (OSError, ssl.SSLError).
    `connections` caps the pool, 0 for no cap: how much work runs at once is decided at admission, not here.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        keep_alive: float = 15.0,
        connections: int = 0,
    ) -> None:
        self._proxy = proxy
        self._keep_alive = keep_alive
        self._connections = connections
        self._ssl: ssl.SSLContext | bool = True
        if ca_file is not None or client_cert is not None:
            self._ssl = ssl.create_default_context(cafile=ca_file)
            if client_cert is not None:
                self._ssl.load_cert_chain(client_cert)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._limits: dict[Timeouts, aiohttp.ClientTimeout] = {}
        self._urls: dict[str, URL] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeouts: Timeouts) -> Response:
        if self._closed:
            raise ProviderError(Failure.CONNECT, sent=False, detail="transport closed")
        session = self._session or self._open()
        target = self._urls.get(url) or self._urls.setdefault(url, URL(url))
        limit = self._limits.get(timeouts) or self._limits.setdefault(timeouts, _client_timeout(timeouts))
        again = True
        while True:
            try:
                raw = await session.post(target, headers=headers, data=body, timeout=limit, allow_redirects=False)
            except _Stale:
                # The peer had hung up on this pooled connection and not a byte was written to it. Each round throws one
                # away, so the loop ends at a fresh connection at the latest.
                continue
            except _WIRE_ERRORS as exc:
                if again and _nothing_written(exc):
                    again = False
                    continue
                raise _before_head(exc) from exc
            return _AiohttpResponse(raw, timeouts)

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Not in the constructor: a session belongs to the loop it is made in.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=self._keep_alive, ttl_dns_cache=60, ssl=self._ssl
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"user-agent": "haechi", "accept-encoding": "identity"},
            request_class=_Request,
            read_bufsize=_READ_BUFFER,
            proxy=self._proxy,
        )
        return self._session


def _client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    # No total: an answer may take as long as it keeps coming.
    return aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.first_byte)


class _Stale(aiohttp.ClientConnectionError):
    """A pooled connection turned out to be dead before anything was written to it."""


class _Request(ClientRequest):
    """Looks whether a pooled connection is still alive before writing to it.

    A POST may not be repeated once written, so the moment to notice that the peer has hung up is before. The event loop may not
    have seen the FIN yet; the kernel has.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        protocol = conn.protocol
        if protocol is not None:
            marks = protocol.__dict__
            if "haechi_used" in marks:
                if _hung_up(conn, tls=self.is_ssl()):
                    raise _Stale
            else:
                marks["haechi_used"] = True
        return await super().send(conn)


def _hung_up(conn: Connection, *, tls: bool) -> bool:
    wire = conn.transport
    sock = None if wire is None else wire.get_extra_info("socket")
    if wire is None or sock is None or wire.is_closing():
        return True
    poll = select.poll()
    # Unasked bytes on an idle plain connection mean the next answer would not be ours. On TLS they may be a session ticket.
    poll.register(sock.fileno(), select.POLLRDHUP if tls else select.POLLRDHUP | select.POLLIN)
    return bool(poll.poll(0))


def _nothing_written(exc: BaseException) -> bool:
    """Whether the connection was lost between being chosen and being written to.

    aiohttp writes head and body in one call, which refuses a closing transport with these words before touching it; the error
    for a connection lost while a large body drains has others.
    """
    cause = exc.__cause__
    return isinstance(cause, aiohttp.ClientConnectionResetError) and "closing transport" in str(cause)


def _before_head(exc: BaseException) -> ProviderError:
    unsent = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
    )
    if isinstance(exc, unsent) or _nothing_written(exc):
        return ProviderError(Failure.CONNECT, sent=False, detail=_named(exc))
    if isinstance(exc, asyncio.TimeoutError):
        return ProviderError(Failure.TIMEOUT, sent=True, detail="no first byte")
    if isinstance(exc, OSError) and exc.errno == errno.EPIPE:
        # Our side could not finish writing: what the upstream has is not a whole request.
        return ProviderError(Failure.BROKEN, sent=False, detail=_named(exc))
    return ProviderError(Failure.BROKEN, sent=True, detail=_named(exc))


def _named(exc: BaseException) -> str:
    """The error's class and number. Never its text: aiohttp puts addresses, and parsers put received bytes, into theirs."""
    if (told := _told(exc)) is not None:
        return told
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    number = getattr(cause, "errno", None)
    return f"{type(exc).__name__} {errno.errorcode.get(number, number)}" if number else type(exc).__name__


def _told(exc: BaseException) -> str | None:
    """What an operator can do about it, where it is the way out of the network or a certificate that is at fault."""
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        if exc.status == 407:
            return (
                "the proxy wants another user or password (407): set the variable this provider's proxy_auth_env names"
            )
        return (
            f"the proxy opens no way to the upstream ({exc.status}): ask whoever runs it to allow the host in base_url"
        )
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return "the proxy does not answer: correct this provider's proxy"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return distrust(exc.certificate_error)
    return distrust(exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc.__cause__ or exc)


class _AiohttpResponse:
    """One watchdog a response, not aiohttp's timer a chunk: re-arming that costs more than reading the chunk."""

    __slots__ = ("_broken", "_idle", "_loop", "_raw", "_waiting_since", "_watchdog", "headers", "status")

    def __init__(self, raw: ClientResponse, timeouts: Timeouts) -> None:
        self._raw = raw
        self._broken: ProviderError | None = None
        self._idle = timeouts.idle
        self._loop = asyncio.get_running_loop()
        self._waiting_since = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        connection = raw.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = None
            connection.protocol.start_timeout()
            self._watchdog = self._loop.call_later(self._idle, self._watch)

    def _watch(self) -> None:
        """Ends a wait of `idle` seconds. Time in which nobody was waiting for the upstream is not the upstream's silence."""
        self._watchdog = None
        if self._raw.closed:
            return
        now = self._loop.time()
        due = (self._waiting_since or now) + self._idle
        if now >= due:
            self._raw.content.set_exception(aiohttp.SocketTimeoutError())
        else:
            self._watchdog = self._loop.call_at(due, self._watch)

    async def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                self.close()
                raise ProviderError(Failure.BROKEN, sent=True, detail=f"body over {limit} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._broken is not None:
            raise self._broken
        self._waiting_since = self._loop.time()
        try:
            part = await self._raw.content.readany()
        except _WIRE_ERRORS as exc:
            self._broken = _after_head(exc)
            part = self._arrived()
            self.close()
            if part:
                return part
            raise self._broken from exc
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting_since = 0.0
        if not part:
            self._rest()
            raise StopAsyncIteration
        return part

    def _rest(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _arrived(self) -> bytes:
        """What the reader had already taken off the wire: it refuses to hand it out once it holds an exception."""
        buffered = self._raw.content._buffer
        offset = self._raw.content._buffer_offset
        return b"".join(buffered)[offset:]

    def finish(self) -> None:
        # aiohttp puts the connection back in the pool when the message ends, read or not; the timer keeps us alive till then.
        self._rest()
        if not self._raw.closed:
            self._loop.call_later(_LINGER, self.close)

    def close(self) -> None:
        self._rest()
        raw = self._raw
        if raw.closed:
            return
        connection = raw.connection
        if connection is not None and connection.protocol is not None:
            # Not a graceful close: that may wait for a TLS goodbye while the upstream goes on generating.
            connection.protocol.abort()
        raw.close()


def _after_head(exc: BaseException) -> ProviderError:
    if isinstance(exc, asyncio.TimeoutError):
        return ProviderError(Failure.TIMEOUT, sent=True, detail="silence in mid-answer")
    return ProviderError(Failure.BROKEN, sent=True, detail=_named(exc))
