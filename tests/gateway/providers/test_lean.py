"""The lean client's edges: framing, reuse, early answers, back-pressure, cancelling, TLS. On both event loops.

What it shares with the other client is in test_transport.py; here is what only a client of our own can get wrong.
"""

import asyncio
import contextlib
import gzip
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from socket import create_server
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import CHUNKED, OK, Handler, acceptor, drip, peer, reset, server_context, then_close, then_wait

from gateway.providers.base import Failure, ProviderError
from gateway.providers.lean import Connection, LeanTransport, Origin
from gateway.providers.transport import Response, Timeouts

SHORT = Timeouts(connect=0.5, first_byte=0.3, idle=0.3)
PATIENT = Timeouts(connect=5, first_byte=20, idle=20)
HEADERS = {"content-type": "application/json", "accept": "application/json"}
BROKEN = (Failure.BROKEN, True)


@pytest.fixture
async def transport() -> AsyncIterator[LeanTransport]:
    made = LeanTransport()
    yield made
    await made.close()


async def send(transport: LeanTransport, url: str, timeouts: Timeouts = PATIENT, body: bytes = b"{}") -> Response:
    return await transport.post(url, HEADERS, body, timeouts=timeouts)


async def asked(transport: LeanTransport, url: str, timeouts: Timeouts = PATIENT, body: bytes = b"{}") -> bytes:
    """A whole exchange."""
    return await (await send(transport, url, timeouts, body)).read(1 << 30)


async def failure(
    transport: LeanTransport, url: str, timeouts: Timeouts = PATIENT, body: bytes = b"{}"
) -> tuple[Failure, bool]:
    """How a whole exchange fails: why, and whether the request can have been seen."""
    with pytest.raises(ProviderError) as failed:
        await asked(transport, url, timeouts, body)
    return failed.value.failure, failed.value.sent


async def until(holds: Callable[[], bool]) -> None:
    """What is to become true without anybody waiting for it. Raises TimeoutError."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 – there is nothing to be told by
            await asyncio.sleep(0.01)


# framing

H = b"HTTP/1.1 200 OK\r\n"
SQUEEZED = gzip.compress(b"x" * 1000)
KEPT, GONE = [1, 1], [1, 2]

MESSAGES: dict[str, tuple[bytes | Handler, bytes, list[int]]] = {
    "length": (H + b"Content-Length: 2\r\n\r\nok", b"ok", KEPT),
    "no body": (H + b"content-length: 0\r\n\r\n", b"", KEPT),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", b"ok", KEPT),
    "chunked": (H + b"Transfer-Encoding: Chunked\r\n\r\n1\r\no\r\n1;a=b\r\nk\r\n0\r\n\r\n", b"ok", KEPT),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n", b"ok", KEPT),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", KEPT),
    "no content, it says": (b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n", b"", KEPT),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 200\r\n\r\n", b"", KEPT),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK, b"ok", KEPT),
    "upgrade offered": (H + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok", b"ok", KEPT),
    "as compressed": (H + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(SQUEEZED) + SQUEEZED, SQUEEZED, KEPT),
    "empty lines behind": (OK + b"\r\n", b"ok", KEPT),
    "patient": (H + b"keep-alive: max=9, timeout=5\r\ncontent-length: 2\r\n\r\nok", b"ok", KEPT),
    "impatient": (H + b"keep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok", b"ok", GONE),
    "close": (H + b"Connection: Close\r\ncontent-length: 2\r\n\r\nok", b"ok", GONE),
    "one among several": (H + b"connection: foo, close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", GONE),
    "1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", GONE),
    "until it closes": (then_close(H + b"\r\nall there is"), b"all there is", GONE),
    "another answer behind": (OK + OK, b"ok", GONE),
    "garbage behind": (OK + b"\x00garbage", b"ok", GONE),
    "length too short": (H + b"content-length: 2\r\n\r\nok and more", b"ok", GONE),
    "garbage behind chunks": (CHUNKED + b"2\r\nok\r\n0\r\n\r\n0\r\n\r\n", b"ok", GONE),
    "body where there is none": (b"HTTP/1.1 204 No Content\r\n\r\nok", b"", GONE),
}  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
async def test_where_a_message_ends_and_whether_its_connection_is_used_again(
    transport: LeanTransport, message: str
) -> None:
    answer, body, connections = MESSAGES[message]
    async with peer(answer, OK) as server:
        assert await asked(transport, server.url) == body
        assert await asked(transport, server.url) == b"ok"
    assert [number for number, _ in server.requests] == connections


NONSENSE: dict[str, bytes] = {
    "length and chunks": H + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks and length": CHUNKED[:-2] + b"content-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "another coding": H + b"transfer-encoding: gzip\r\n\r\nok",
    "another coding first": H + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coded twice": CHUNKED[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": H + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
    "two in one": H + b"content-length: 2, 2\r\n\r\nok",
    "signed length": H + b"content-length: +2\r\n\r\nok",
    "folded": H + b"a: b\r\n c: d\r\ncontent-length: 2\r\n\r\nok",
    "space before colon": H + b"content-length : 2\r\n\r\nok",
    "bare line feed": H + b"a: b\ncontent-length: 2\r\n\r\nok",
    "control character": H + b"a: \x00\r\ncontent-length: 2\r\n\r\nok",
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "switched without a word": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
    "version": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "status": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
    "empty line first": b"\r\n" + OK,
    "another protocol": b"+PONG\r\n",
    "overflowing chunk": CHUNKED + b"fffffffffffffffff\r\n",
    "unended chunk": CHUNKED + b"2\r\nokk\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "length in a trailer": CHUNKED + b"2\r\nok\r\n0\r\ncontent-length: 2\r\n\r\n",
    "huge head": H + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "endless head": H + b"x: y\r\n" * 20_000,
    "interim without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 5_000,
}


@pytest.mark.parametrize("message", NONSENSE)
async def test_what_two_readers_could_read_differently_is_no_answer(transport: LeanTransport, message: str) -> None:
    async with peer(NONSENSE[message]) as server:
        assert await failure(transport, server.url) == BROKEN
        await until(lambda: server.open == 0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        then_close(H + b"content-length: 3\r\n\r\nok"),
        then_close(H + b"content-length: 3\r\n\r\nok", rst=True),
        then_close(CHUNKED + b"2\r\nok\r\n"),
        then_close(CHUNKED + b"2\r\nok\r\n0\r\n"),
        then_close(H + b"\r\nok", rst=True),
    ],
    ids=["length", "length rst", "chunks", "trailers", "until it closes rst"],
)
async def test_a_body_cut_short_is_broken_after_what_came_of_it(transport: LeanTransport, answer: Handler) -> None:
    async with peer(answer) as server:
        response = await send(transport, server.url)
        chunks = response.chunks()
        assert await anext(chunks) == b"ok"
        for _ in range(2):
            with pytest.raises(ProviderError) as failed:
                await anext(chunks)
            assert (failed.value.failure, failed.value.sent) == BROKEN


async def test_headers_are_found_by_any_spelling_and_the_first_of_several_counts(transport: LeanTransport) -> None:
    head = H + b"X-Request-ID:  r-1 \r\nx-request-id: r-2\r\nx-empty:\r\nx-latin: \xe9\r\ncontent-length: 0\r\n\r\n"
    async with peer(head) as server:
        headers = (await send(transport, server.url)).headers
    assert (headers["x-request-id"], headers["X-REQUEST-ID"], headers["x-empty"], headers["x-latin"]) == (
        "r-1",
        "r-1",
        "",
        "é",
    )
    assert (headers.get("request-id"), headers.get("한글"), headers.get("x", "none")) == (None, None, "none")
    assert list(headers) == ["x-request-id", "x-empty", "x-latin", "content-length"]
    assert "X-Empty" in headers
    assert len(headers) == 4
    with pytest.raises(KeyError):
        headers["status"]


# any cut of the bytes


class Wire(asyncio.Transport):
    """Takes what is written and remembers whether it was closed."""

    def __init__(self) -> None:
        super().__init__({"socket": self})
        self.closed = False

    def fileno(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Waits(Exception):
    """There is nothing yet."""


def at_once(awaitable: Any) -> Any:
    """The result of something that has nothing to wait for. Raises Waits."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as done:
        return done.value
    raise Waits


def read_as(parts: list[bytes], *, closes: bool) -> tuple[Any, ...]:
    """Status, headers, body, and how it broke."""
    loop = asyncio.new_event_loop()
    try:
        owner = LeanTransport()
        connection = Connection(owner, Origin("upstream.invalid", 80, tls=False), loop)
        owner.made = lambda _: None  # type: ignore[method-assign]
        wire = Wire()
        connection.connection_made(wire)
        answer = connection.send(b"", b"", PATIENT)
        for part in parts:
            if not wire.closed:
                connection.data_received(part)
        if closes and not wire.closed:
            connection.eof_received()
        body, broke = b"", cast("Any", None)
        chunks = answer.chunks()
        try:
            while True:
                body += at_once(anext(chunks))
        except StopAsyncIteration:
            pass
        except ProviderError as error:
            broke = (error.failure, error.sent)
        except Waits:
            broke = "waits"
        assert wire.closed or not closes
        return answer.status, dict(answer.headers), body, broke
    finally:
        loop.close()


WHOLE = [answer for answer, _, _ in MESSAGES.values() if isinstance(answer, bytes)]
SMALL = [answer for answer in NONSENSE.values() if len(answer) < 1000]


@given(st.sampled_from(WHOLE + SMALL), st.booleans(), st.booleans(), st.data())
def test_no_cut_of_the_bytes_changes_an_answer(
    message: bytes, damaged: bool, closes: bool, data: st.DataObject
) -> None:
    """A message of the tables above, perhaps with a byte changed or lost; then the upstream closes or stays."""
    if damaged:
        place = data.draw(st.integers(0, len(message) - 1))
        message = message[:place] + data.draw(st.binary(max_size=1)) + message[place + 1 :]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(message) - 1)), max_size=8)))
    parts = [message[start:end] for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True) if start < end]
    assert read_as(parts, closes=closes) == read_as([message], closes=closes)


@given(st.binary(max_size=300), st.sampled_from([b"", H, CHUNKED, OK[:-2], b"HTTP/1.1 100 \r\n\r\n"]))
def test_no_bytes_raise_anything(noise: bytes, start: bytes) -> None:
    status, _, _, broke = read_as([start + noise], closes=True)
    assert status or broke == BROKEN


# reuse


async def test_as_many_connections_as_requests_at_once_and_no_more(transport: LeanTransport) -> None:
    async with peer(OK) as server:
        for _ in range(20):
            await asked(transport, server.url)
        assert server.connections == 1
        for _ in range(3):
            await asyncio.gather(*(asked(transport, server.url) for _ in range(8)))
        assert server.connections == 8
        # The newest is taken first, so that the others can be let go.
        before = len(server.requests)
        for _ in range(5):
            await asked(transport, server.url)
        assert len({number for number, _ in server.requests[before:]}) == 1


async def test_urls_of_one_origin_share_connections_and_others_do_not(transport: LeanTransport) -> None:
    async with peer(OK) as one, peer(OK) as other:
        for url in (one.url, one.url + "?a=b", other.url):
            assert await asked(transport, url) == b"ok"
    assert (one.connections, other.connections) == (1, 1)


async def test_an_idle_connection_is_let_go_after_a_while() -> None:
    transport = LeanTransport(keep_alive=0.2)
    async with peer(OK) as server:
        await asked(transport, server.url)
        assert server.open == 1
        await until(lambda: server.open == 0)
        assert await asked(transport, server.url) == b"ok"
    await transport.close()
    assert server.connections == 2


async def test_bytes_nobody_asked_for_end_an_idle_connection(transport: LeanTransport) -> None:
    async def chatty(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")

    async with peer(chatty, OK) as server:
        assert await asked(transport, server.url) == b"ok"
        await until(lambda: server.open == 0)
        response = await send(transport, server.url)
        assert (response.status, await response.read(10)) == (200, b"ok")
    assert [number for number, _ in server.requests] == [1, 2]


async def test_an_upstream_that_closes_its_side_after_an_answer_is_not_asked_again(transport: LeanTransport) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.write_eof()

    async with peer(half, OK) as server:
        assert await asked(transport, server.url) == b"ok"
        await until(lambda: server.open == 0)
        assert await asked(transport, server.url) == b"ok"
    assert [number for number, _ in server.requests] == [1, 2]


async def test_an_upstream_that_closes_its_side_instead_of_answering_is_broken(transport: LeanTransport) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()

    async with peer(half) as server:
        assert await failure(transport, server.url) == BROKEN
        await until(lambda: server.open == 0)


@contextlib.contextmanager
def in_a_thread(then: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answers the first request of each connection, and a little later says `then` without being asked."""
    requests: list[bytes] = []
    listener = create_server(("127.0.0.1", 0))

    def run() -> None:
        kept = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                kept.append(connection)
                requests.append(connection.recv(65536))
                connection.sendall(OK)
                time.sleep(0.02)
                connection.sendall(then)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", requests
    finally:
        listener.shutdown(2)
        listener.close()
        thread.join(2)


async def test_bytes_the_loop_has_not_seen_end_an_idle_connection_too(transport: LeanTransport) -> None:
    with in_a_thread(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong") as (url, requests):
        for _ in range(3):
            assert await asked(transport, url) == b"ok"
            time.sleep(0.1)  # noqa: ASYNC251 – the loop must not see them
    assert len(requests) == 3


async def test_a_busy_process_does_not_mistake_itself_for_a_silent_upstream(transport: LeanTransport) -> None:
    """The bytes came in time; we were late."""
    async with peer(OK) as warm:
        await asked(transport, warm.url)
        with in_a_thread(b"") as (url, _):
            waiting = asyncio.create_task(asked(transport, url, Timeouts(connect=5, first_byte=0.3, idle=0.3)))
            await until(lambda: len(transport.connections) == 2)
            time.sleep(1)  # noqa: ASYNC251 – as a busy loop does
            assert await waiting == b"ok"


# requests


async def test_what_a_request_looks_like(transport: LeanTransport) -> None:
    async with peer(OK) as server:
        base = server.url.removesuffix("/v1/chat/completions")
        port = base.rpartition(":")[2]
        body = "가".encode()
        for path, sent in (
            ("/v1/a%20b?x=1&y=a/b", b"/v1/a%20b?x=1&y=a/b"),
            ("/v1/모델:say hi", b"/v1/%EB%AA%A8%EB%8D%B8:say%20hi"),
            ("", b"/"),
        ):
            for number in range(3):
                await transport.post(base + path, {**HEADERS, "x-number": str(number)}, body, timeouts=PATIENT)
                lines = server.requests[-1][1].split(b"\r\n")
                assert lines[0] == b"POST " + sent + b" HTTP/1.1"
                assert sorted(lines[1:-2]) == [
                    b"accept-encoding: identity",
                    b"accept: application/json",
                    b"content-length: 3",
                    b"content-type: application/json",
                    f"host: 127.0.0.1:{port}".encode(),
                    b"user-agent: haechi",
                    f"x-number: {number}".encode(),
                ]
                assert lines[-2:] == [b"", body]
        await transport.post(base, {"User-Agent": "other", "accept-encoding": "gzip"}, b"", timeouts=PATIENT)
        assert server.heads[-1].count(b"user-agent: other") == server.heads[-1].count(b"user-agent") == 1
        assert server.heads[-1].count(b"accept-encoding: gzip") == server.heads[-1].count(b"accept-encoding") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\ny: b"},
        {"x": "a\nb"},
        {"x": "가"},
        {"x\r\ny": "b"},
        {"x y": "b"},
        {"": "b"},
        {"Host": "elsewhere"},
        {"content-length": "7"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
    ],
    ids=str,
)
async def test_a_header_that_could_change_the_request_is_not_sent(
    transport: LeanTransport, headers: dict[str, str]
) -> None:
    async with peer(OK) as server:
        with pytest.raises(ProviderError) as failed:
            await transport.post(server.url, headers, b"{}", timeouts=SHORT)
        assert (failed.value.failure, failed.value.sent) == (Failure.CONNECT, False)
        assert "elsewhere" not in failed.value.detail
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    ["", "/v1", "http://", "http:///v1", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http://a:b@127.0.0.1/",
     "http://[::1/", "http://.example/", f"http://{'a' * 70}.example/", "http://name.invalid/"],
)  # fmt: skip
async def test_an_address_that_leads_nowhere(transport: LeanTransport, url: str) -> None:
    assert await failure(transport, url) == (Failure.CONNECT, False)


# a request that is long, an answer that is early

LONG = b"x" * (8 << 20)


async def test_a_long_request_arrives_whole_and_its_connection_is_used_again(transport: LeanTransport) -> None:
    async with peer(OK) as server:
        for size in (1, 65_536, 65_537, 300_000):
            assert await asked(transport, server.url, body=b"y" * size) == b"ok"
            assert server.requests[-1][1].endswith(b"\r\n\r\n" + b"y" * size)
    assert server.connections == 1


@pytest.mark.parametrize("how", ["fin", "rst", "stays"])
async def test_an_answer_that_comes_before_the_request_was_written_is_read(transport: LeanTransport, how: str) -> None:
    left = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
        await writer.drain()
        if how == "stays":
            writer.transport.set_write_buffer_limits(0)
            with contextlib.suppress(ConnectionError):
                while await reader.read(1 << 16):
                    pass
        elif how == "rst":
            await asyncio.sleep(0.1)
            reset(writer)
        writer.close()
        left.set()

    async with acceptor(refuse) as url:
        response = await send(transport, url, body=LONG * 4)
        assert (response.status, await response.read(10)) == (413, b"large")
        await asyncio.wait_for(left.wait(), 5)
        await until(lambda: not transport.connections)


async def test_a_request_that_could_not_be_written_whole_was_not_sent(transport: LeanTransport) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reset(writer)

    async with acceptor(cut) as url:
        assert await failure(transport, url, body=LONG * 4) == (Failure.BROKEN, False)


async def test_an_upstream_that_stops_reading_is_given_up(transport: LeanTransport) -> None:
    seen = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        cast("Any", reader)._transport.pause_reading()
        seen.set()
        await asyncio.sleep(30)

    async with acceptor(stuck) as url:
        assert await failure(transport, url, SHORT, body=LONG * 4) == (Failure.TIMEOUT, False)
        assert seen.is_set()


async def test_one_that_reads_slowly_is_not(transport: LeanTransport) -> None:
    """Longer than the time to the first byte, which begins with the request's last."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = len(LONG) * 4
        await reader.readuntil(b"\r\n\r\n")
        while left:
            left -= len(await reader.read(1 << 20))
            # What the kernels hold by then has left us; taking it slowly would be silence.
            await asyncio.sleep(0.01 if left > len(LONG) * 2 else 0)
        writer.write(OK)

    async with acceptor(slow) as url:
        assert await asked(transport, url, Timeouts(connect=1, first_byte=0.25, idle=0.25), body=LONG * 4) == b"ok"


# time


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (drip(*(OK[i : i + 8] for i in range(0, len(OK), 8)), every=0.1), None),
        (drip(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 6, OK, every=0.1), None),
        (drip(CHUNKED, *[b"1\r\n.\r\n"] * 6, b"0\r\n\r\n", every=0.1), None),
        (then_wait(OK[:20], 9), (Failure.TIMEOUT, True)),
        (then_wait(b"HTTP/1.1 100 Continue\r\n\r\n", 9), (Failure.TIMEOUT, True)),
        (then_wait(OK[:-1], 9), (Failure.TIMEOUT, True)),
        (then_wait(H + b"\r\nno end", 9), (Failure.TIMEOUT, True)),
    ],
    ids=["slow head", "slow interim", "slow chunks", "half head", "interim only", "half body", "no end"],
)
async def test_silence_is_what_times_out(
    transport: LeanTransport, answer: Handler, expected: tuple[Failure, bool] | None
) -> None:
    times = Timeouts(connect=1, first_byte=0.3, idle=0.3)
    async with peer(answer) as server:
        if expected is None:
            assert await asked(transport, server.url, times)
        else:
            assert await failure(transport, server.url, times) == expected
            await until(lambda: server.open == 0)


async def test_framing_alone_is_silence_to_whoever_waits_for_an_answer(transport: LeanTransport) -> None:
    """Chunk extensions and trailers that go on for ever bring nothing."""
    async with peer(drip(CHUNKED + b"2\r\nok\r\n0\r\n", *[b"x: y\r\n"] * 100, every=0.1)) as server:
        response = await send(transport, server.url, SHORT)
        chunks = response.chunks()
        assert await anext(chunks) == b"ok"
        with pytest.raises(ProviderError) as failed:
            await anext(chunks)
        assert failed.value.failure is Failure.TIMEOUT


async def test_a_connection_that_came_about_but_says_nothing_of_tls(transport: LeanTransport) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with acceptor(mute) as url:
        assert await failure(transport, url.replace("http:", "https:"), SHORT) == (Failure.CONNECT, False)
        await until(lambda: not transport.connections)


# readers


class Firehose:
    """Sends `total` bytes in chunks as fast as they are taken."""

    def __init__(self, total: int, size: int = 50_000) -> None:
        self.left = total
        self.size = size

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(1, 0)
        writer.write(CHUNKED)
        part = b"z" * self.size
        piece = b"%x\r\n%b\r\n" % (self.size, part)
        while self.left > 0:
            writer.write(piece * max(1, 50_000 // self.size))
            self.left -= self.size * max(1, 50_000 // self.size)
            await writer.drain()
        writer.write(b"0\r\n\r\n")


async def settled(number: Callable[[], int]) -> int:
    """A number that has stopped changing."""
    async with asyncio.timeout(10):
        while True:
            before = number()
            await asyncio.sleep(0.2)
            if number() == before:
                return before


async def test_a_reader_that_does_not_keep_up_stops_the_upstream_and_fills_no_memory(transport: LeanTransport) -> None:
    hose = Firehose(64 << 20)
    async with peer(hose) as server:
        response = await send(transport, server.url)
        chunks = response.chunks()
        got = len(await anext(chunks))
        assert await settled(lambda: hose.left) > 32 << 20
        assert cast("Any", response).size < 512 << 10
        async for chunk in chunks:
            assert len(chunk) < 512 << 10
            got += len(chunk)
        assert got >= 64 << 20
        # The connection that was stopped is as good as any other.
        assert await (await send(transport, server.url)).read(100) == b""
    assert server.connections == 1


async def test_a_body_in_millions_of_pieces_is_read_whole_without_keeping_each(transport: LeanTransport) -> None:
    hose = Firehose(2 << 20, size=2)
    async with peer(hose) as server:
        response = await send(transport, server.url)
        reading = asyncio.create_task(response.read(8 << 20))
        pieces = 0
        while not reading.done():
            pieces = max(pieces, len(cast("Any", response).parts))
            await asyncio.sleep(0.001)
        assert len(await reading) == (2 << 20) - (2 << 20) % 50_000 + 50_000
        # One a read, not one a piece.
        assert pieces < 10_000


async def test_an_answer_that_was_finished_but_goes_on_is_dropped(transport: LeanTransport) -> None:
    async with peer(Firehose(64 << 20)) as server:
        response = await send(transport, server.url)
        assert await anext(response.chunks())
        response.finish()
        await asyncio.wait_for(server.closed.wait(), 1)
        assert [chunk async for chunk in response.chunks()] == []


async def test_a_stopped_reader_that_finishes_lets_the_message_end(transport: LeanTransport) -> None:
    tail = b"%x\r\n%b\r\n" % (100_000, b"z" * 100_000)
    async with peer(CHUNKED + tail + tail[:-50_000], OK) as server:
        response = await send(transport, server.url)
        await settled(lambda: cast("Any", response).size)
        response.finish()
        response.close()
        assert await asked(transport, server.url) == b"ok"
    assert server.connections == 2


async def test_a_response_that_is_over_cannot_hurt_the_next_one_on_its_connection(transport: LeanTransport) -> None:
    async with peer(OK, then_wait(CHUNKED + b"1\r\na\r\n", 0.1, b"1\r\nb\r\n0\r\n\r\n")) as server:
        first = await send(transport, server.url)
        assert await first.read(10) == b"ok"
        second = await send(transport, server.url)
        first.close()
        first.finish()
        assert await second.read(10) == b"ab"
        with pytest.raises(StopAsyncIteration):
            await anext(second.chunks())
    assert server.connections == 1


async def test_reading_what_was_closed_is_broken(transport: LeanTransport) -> None:
    async with peer(then_wait(CHUNKED + b"1\r\na\r\n", 5)) as server:
        response = await send(transport, server.url)
        reading = asyncio.create_task(response.read(10))
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(ProviderError):
            await reading
        with pytest.raises(ProviderError):
            await anext(response.chunks())
        await until(lambda: server.open == 0)


async def test_closing_the_transport_ends_what_is_under_way(transport: LeanTransport) -> None:
    async with peer(then_wait(CHUNKED, 5)) as server:
        response = await send(transport, server.url)
        waiting = asyncio.create_task(failure(transport, server.url))
        await until(lambda: len(server.requests) == 2)
        await transport.close()
        assert await waiting == BROKEN
        with pytest.raises(ProviderError):
            await response.read(10)
        await until(lambda: server.open == 0)
        assert not transport.connections


# many, and cancelled


async def test_a_thousand_at_once(transport: LeanTransport) -> None:
    async def named(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with peer(named) as server:
        answers = await asyncio.gather(*(asked(transport, server.url, body=b"%d" % n) for n in range(1000)))
        assert Counter(answers) == {b"ok": 1000}
        assert sorted(int(request.rpartition(b"\r\n\r\n")[2]) for _, request in server.requests) == list(range(1000))
        assert server.connections <= 1000
        await asyncio.gather(*(asked(transport, server.url) for _ in range(1000)))
        assert server.connections <= 1000


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_cancelling_at_any_moment_leaves_nothing_behind(certificates: Path, tls: bool) -> None:
    """Whatever turn of the loop it comes in: resolving, connecting, shaking hands, waiting for the head, reading."""
    context = server_context(certificates / "good.pem") if tls else None
    ended: Counter[str] = Counter()
    async with peer(drip(CHUNKED, b"2\r\nok\r\n", b"0\r\n\r\n", every=0.002), tls=context) as server:
        transport = LeanTransport(ca_file=str(certificates / "good.pem"), keep_alive=0.0)

        def nothing_open() -> bool:
            return not transport.connections and server.open == 0

        await asked(transport, server.url)
        await until(nothing_open)
        before = open_files()
        for turns in range(120):
            asking = asyncio.create_task(asked(transport, server.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns > 60:
                await asyncio.sleep((turns - 60) / 2000)
            asking.cancel()
            try:
                ended[(await asking).decode()] += 1
            except asyncio.CancelledError:
                ended["cancelled"] += 1
        await until(nothing_open)
        await until(lambda: open_files() <= before)
        assert ended["cancelled"] > 50
        assert ended["cancelled"] + ended["ok"] == 120
        await transport.close()


# the way there


async def test_every_address_of_a_name_is_tried(transport: LeanTransport) -> None:
    """localhost is often two addresses, and here one of them listens."""
    async with peer(OK) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert await asyncio.gather(*(asked(transport, url) for _ in range(4))) == [b"ok"] * 4
    assert server.heads[0].count(b"host: localhost:") == 1


# TLS


@pytest.fixture
async def secured(certificates: Path) -> AsyncIterator[LeanTransport]:
    made = LeanTransport(ca_file=str(certificates / "good.pem"))
    yield made
    await made.close()


async def test_tls_asks_for_http_1_and_keeps_its_connections(secured: LeanTransport, certificates: Path) -> None:
    chosen: list[str | None] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.write(OK)

    async with peer(note, tls=server_context(certificates / "good.pem")) as server:
        for _ in range(3):
            assert await asked(secured, server.url, body=b"x" * 300_000) == b"ok"
    assert (chosen, server.connections) == (["http/1.1"] * 3, 1)


@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
async def test_a_tls_connection_the_upstream_has_left_is_not_written_to(
    secured: LeanTransport, certificates: Path, rst: bool
) -> None:
    async with peer(then_close(OK, rst=rst), tls=server_context(certificates / "good.pem")) as server:
        for _ in range(3):
            assert await asked(secured, server.url) == b"ok"
            await until(lambda: not secured.connections)
    assert server.connections == len(server.requests) == 3


async def test_tls_holds_a_fast_upstream_back_too(secured: LeanTransport, certificates: Path) -> None:
    hose = Firehose(32 << 20)
    async with peer(hose, tls=server_context(certificates / "good.pem")) as server:
        response = await send(secured, server.url)
        chunks = response.chunks()
        got = len(await anext(chunks))
        assert await settled(lambda: hose.left) > 8 << 20
        assert cast("Any", response).size < 1 << 20
        async for chunk in chunks:
            got += len(chunk)
        assert got >= 32 << 20


async def test_a_server_that_speaks_no_tls(secured: LeanTransport) -> None:
    async with peer(OK) as server:
        assert await failure(secured, server.url.replace("http:", "https:"), SHORT) == (Failure.CONNECT, False)
    assert server.requests == []
