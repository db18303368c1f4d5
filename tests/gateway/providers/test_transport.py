"""Both clients against real sockets: what went wrong, and whether the upstream can have seen the request."""

import asyncio
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from peers import CHUNKED, OK, Handler, peer, server_context, then_close, then_wait

from gateway.providers.base import Failure, ProviderError
from gateway.providers.lean import LeanTransport
from gateway.providers.proxied import AiohttpTransport
from gateway.providers.scripted import ScriptedEngine
from gateway.providers.scripted_server import serve
from gateway.providers.transport import Response, Timeouts, Transport

SHORT = Timeouts(connect=0.5, first_byte=0.3, idle=0.3)

Client = type[LeanTransport] | type[AiohttpTransport]
CLIENTS: dict[str, Client] = {"lean": LeanTransport, "aiohttp": AiohttpTransport}


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


@pytest.fixture
async def transport(client: Callable[[], Transport]) -> AsyncIterator[Transport]:
    made = client()
    yield made
    await made.close()


async def send(transport: Transport, url: str, timeouts: Timeouts = SHORT, body: bytes = b"{}") -> Response:
    return await transport.post(
        url, {"content-type": "application/json", "accept": "application/json"}, body, timeouts=timeouts
    )


async def failure(transport: Transport, url: str, timeouts: Timeouts = SHORT) -> tuple[Failure, bool]:
    """How a whole exchange fails: why, and whether the request can have been seen."""
    with pytest.raises(ProviderError) as failed:
        await (await send(transport, url, timeouts)).read(1 << 20)
    assert "127.0.0.1" not in failed.value.detail
    return failed.value.failure, failed.value.sent


async def test_one_connection_serves_many_requests_and_asks_for_plain_bytes(transport: Transport) -> None:
    async with peer(OK) as server:
        for _ in range(3):
            response = await send(transport, server.url)
            assert (response.status, response.headers["Content-Type"], response.headers["content-type"]) == (
                200,
                "text/plain",
                "text/plain",
            )
            assert await response.read(10) == b"ok"
            response.close()
    assert [number for number, _ in server.requests] == [1, 1, 1]
    head = server.requests[0][1].lower()
    assert b"accept-encoding: identity\r\n" in head
    assert head.count(b"accept: ") == head.count(b"content-type: ") == head.count(b"user-agent: haechi\r\n") == 1


async def test_cookies_are_not_kept_and_redirects_not_followed(transport: Transport) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    async with peer(moved) as server:
        for _ in range(2):
            response = await send(transport, server.url)
            assert (response.status, await response.read(10)) == (307, b"")
    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1][1].lower()


async def test_compressed_bytes_are_not_inflated_behind_our_back(transport: Transport) -> None:
    squeezed = gzip.compress(b"x" * 100_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(squeezed)
    async with peer(head + squeezed) as server:
        assert await (await send(transport, server.url)).read(1000) == squeezed


async def test_nothing_listens(transport: Transport, free_port: int) -> None:
    assert await failure(transport, f"http://127.0.0.1:{free_port}/v1/chat/completions") == (Failure.CONNECT, False)


async def test_an_address_that_is_none(transport: Transport) -> None:
    assert await failure(transport, "http:///v1/chat/completions") == (Failure.CONNECT, False)


async def test_a_connection_that_never_comes_about(transport: Transport) -> None:
    """A listener whose queue is full leaves the next SYN unanswered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        assert await failure(transport, url) == (Failure.CONNECT, False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (then_wait(b"", 5), (Failure.TIMEOUT, True)),
        (then_wait(CHUNKED + b"2\r\nok\r\n", 5), (Failure.TIMEOUT, True)),
        (then_close(b""), (Failure.BROKEN, True)),
        (then_close(b"", rst=True), (Failure.BROKEN, True)),
        (then_close(b"HTTP/1.1 200"), (Failure.BROKEN, True)),
        (then_close(CHUNKED + b"2\r\nok\r\n"), (Failure.BROKEN, True)),
        (then_close(CHUNKED + b"2\r\nok\r\n", rst=True), (Failure.BROKEN, True)),
        (then_close(OK[:-1]), (Failure.BROKEN, True)),
        (b"SSH-2.0-OpenSSH\r\n\r\n", (Failure.BROKEN, True)),
        (CHUNKED + b"zz\r\nok\r\n0\r\n\r\n", (Failure.BROKEN, True)),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", (Failure.BROKEN, True)),
    ],
    ids=[
        "silent",
        "stalls",
        "fin",
        "rst",
        "half head",
        "fin in body",
        "rst in body",
        "short",
        "not http",
        "bad chunk",
        "head",
    ],
)
async def test_how_an_upstream_breaks(
    transport: Transport, answer: bytes | Handler, expected: tuple[Failure, bool]
) -> None:
    async with peer(answer) as server:
        assert await failure(transport, server.url) == expected
    assert len(server.requests) == 1, "a request that can have been seen is never repeated"


@pytest.mark.parametrize("rst", [False, True])
async def test_bytes_that_arrived_before_a_break_are_handed_on(transport: Transport, rst: bool) -> None:
    async with peer(then_close(CHUNKED + b"5\r\nfirst\r\n6\r\nsecond\r\n", rst=rst)) as server:
        response = await send(transport, server.url)
        got = b""

        async def read() -> None:
            nonlocal got
            async for chunk in response.chunks():
                got += chunk

        # The break is in before the first read: nothing may be lost to it.
        await asyncio.sleep(0.05)
        with pytest.raises(ProviderError):
            await read()
        assert got == b"firstsecond"


async def test_idle_is_the_upstreams_silence_not_the_length_of_the_answer(transport: Transport) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _ in range(6):
            await asyncio.sleep(0.1)
            writer.write(b"1\r\n.\r\n")
        writer.write(b"0\r\n\r\n")

    async with peer(drip) as server:
        response = await send(transport, server.url, Timeouts(connect=1, first_byte=0.3, idle=0.25))
        assert await response.read(100) == b"......"


async def test_time_in_which_nobody_reads_is_not_the_upstreams_silence(transport: Transport) -> None:
    async with peer(then_wait(CHUNKED + b"1\r\n.\r\n", 0.5, b"1\r\n.\r\n0\r\n\r\n")) as server:
        response = await send(transport, server.url, Timeouts(connect=1, first_byte=0.3, idle=0.2))
        await asyncio.sleep(0.4)
        assert await response.read(100) == b".."


async def test_a_body_over_its_limit_is_not_read_to_its_end(transport: Transport) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    async with peer(endless) as server:
        response = await send(transport, server.url)
        with pytest.raises(ProviderError) as failed:
            await response.read(1 << 20)
        assert (failed.value.failure, failed.value.sent) == (Failure.BROKEN, True)
        await asyncio.wait_for(server.closed.wait(), 1)


async def test_close_in_mid_answer_reaches_the_upstream(transport: Transport) -> None:
    async with peer(then_wait(CHUNKED + b"2\r\nok\r\n", 5)) as server:
        response = await send(transport, server.url)
        assert await anext(response.chunks()) == b"ok"
        response.close()
        response.close()
        await asyncio.wait_for(server.closed.wait(), 1)


async def test_cancelling_while_waiting_for_the_head_or_the_body_reaches_the_upstream(
    transport: Transport,
) -> None:
    for answer in (then_wait(b"", 5), then_wait(CHUNKED, 5)):
        async with peer(answer) as server:

            async def ask(url: str = server.url) -> bytes:
                return await (await send(transport, url, Timeouts())).read(10)

            asking = asyncio.create_task(ask())
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(server.closed.wait(), 1)


async def test_a_finished_answer_gives_its_connection_back_when_http_agrees(transport: Transport) -> None:
    """The dialect's end comes first, HTTP's a little later; the connection is used again. One that never ends is dropped."""
    async with peer(
        then_wait(CHUNKED + b"4\r\ndone\r\n", 0.05, b"0\r\n\r\n"), then_wait(CHUNKED + b"4\r\ndone\r\n", 9)
    ) as server:
        for _ in range(2):
            response = await send(transport, server.url)
            assert await anext(response.chunks()) == b"done"
            response.finish()
            await asyncio.sleep(0.15)
        assert [number for number, _ in server.requests] == [1, 1]
        assert not server.closed.is_set()
        await asyncio.wait_for(server.closed.wait(), 2)


async def test_a_closed_transport_sends_nothing(transport: Transport) -> None:
    async with peer(OK) as server:
        await (await send(transport, server.url)).read(10)
        await transport.close()
        assert await failure(transport, server.url) == (Failure.CONNECT, False)
    assert len(server.requests) == 1


@contextlib.contextmanager
def forgetful() -> Iterator[tuple[str, list[bytes]]]:
    """A server in a thread that answers one request a connection and hangs up without having said that it would."""
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(65536))
                    connection.sendall(OK)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


def _block(seconds: float) -> None:
    """Keep the event loop from seeing anything, as a busy one does not."""
    time.sleep(seconds)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_kept_connection_the_upstream_has_left_is_not_written_to(
    client: Client,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The FIN is in the kernel but the loop has not seen it. Every request arrives, and arrives once."""

    async def play(url: str) -> None:
        transport = client()
        for _ in range(4):
            assert await (await send(transport, url, Timeouts())).read(10) == b"ok"
            _block(0.05)
        # Several dead ones in the pool at once are no more trouble than one.
        answers = await asyncio.gather(*(send(transport, url, Timeouts()) for _ in range(5)))
        for answer in answers:
            await answer.read(10)
        _block(0.05)
        assert await (await send(transport, url, Timeouts())).read(10) == b"ok"
        await transport.close()

    with forgetful() as (url, requests), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(play(url))
        assert len(requests) == 10


async def test_a_kept_connection_that_breaks_after_the_request_is_not_tried_again(transport: Transport) -> None:
    async with peer(OK, then_close(b"")) as server:
        await (await send(transport, server.url)).read(10)
        assert await failure(transport, server.url) == (Failure.BROKEN, True)
        assert [number for number, _ in server.requests] == [1, 1]


# TLS and proxies


async def test_a_certificate_of_the_given_authority_is_accepted(client: Client, certificates: Path) -> None:
    async with peer(OK, tls=server_context(certificates / "good.pem")) as server:
        transport = client(ca_file=str(certificates / "good.pem"))
        for _ in range(2):
            assert await (await send(transport, server.url)).read(10) == b"ok"
        await transport.close()
    assert [number for number, _ in server.requests] == [1, 1]


@pytest.mark.parametrize(
    ("served", "trusted"),
    [("good", None), ("good", "client"), ("host", "host"), ("late", "late")],
    ids=["system", "other", "host", "late"],
)
async def test_any_other_certificate_gets_nothing(
    client: Client, certificates: Path, served: str, trusted: str | None
) -> None:
    async with peer(OK, tls=server_context(certificates / f"{served}.pem")) as server:
        transport = client(ca_file=trusted and str(certificates / f"{trusted}.pem"))
        assert await failure(transport, server.url) == (Failure.CONNECT, False)
        await transport.close()
    assert server.requests == []


async def test_our_own_certificate_is_shown_where_it_is_asked_for(client: Client, certificates: Path) -> None:
    wanted = server_context(certificates / "good.pem", clients=certificates / "client.pem")
    async with peer(OK, tls=wanted) as server:
        known = client(ca_file=str(certificates / "good.pem"), client_cert=str(certificates / "client.pem"))
        assert await (await send(known, server.url)).read(10) == b"ok"
        await known.close()
        unknown = client(ca_file=str(certificates / "good.pem"))
        with pytest.raises(ProviderError):
            await send(unknown, server.url)
        await unknown.close()
    assert len(server.requests) == 1


async def test_cancelling_closes_a_tls_connection_as_fast(client: Client, certificates: Path) -> None:
    async with peer(then_wait(CHUNKED + b"2\r\nok\r\n", 5), tls=server_context(certificates / "good.pem")) as server:
        transport = client(ca_file=str(certificates / "good.pem"))
        response = await send(transport, server.url)
        assert await anext(response.chunks()) == b"ok"
        response.close()
        await asyncio.wait_for(server.closed.wait(), 1)
        await transport.close()


@pytest.mark.parametrize("name", ["ca_file", "client_cert"])
def test_a_file_that_is_not_there_refuses_at_once(client: Client, name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client(**{name: str(tmp_path / "none.pem")})  # type: ignore[arg-type]


async def test_a_proxy_is_asked_instead_of_the_upstream() -> None:
    async with peer(OK) as proxy:
        transport = AiohttpTransport(proxy=proxy.url.removesuffix("/v1/chat/completions"))
        assert await (await send(transport, "http://upstream.invalid/v1/chat/completions")).read(10) == b"ok"
        await transport.close()
    assert proxy.requests[0][1].startswith(b"POST http://upstream.invalid/v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", then_close(b"")], ids=["403", "fin"]
)
async def test_a_proxy_that_opens_no_tunnel_lets_nothing_through(answer: bytes | Handler) -> None:
    async with peer(answer) as proxy:
        transport = AiohttpTransport(proxy=proxy.url.removesuffix("/v1/chat/completions"))
        assert (await failure(transport, "https://upstream.invalid/v1/chat/completions"))[0] in {
            Failure.CONNECT,
            Failure.BROKEN,
        }
        await transport.close()
    assert proxy.requests[0][1].startswith(b"CONNECT upstream.invalid:443 ")


async def test_the_scripted_server_keeps_connections_and_logs_to_a_file(transport: Transport, tmp_path: Path) -> None:
    """Two lines a request, of its start and of its end, the second on disk before the client has the last byte."""
    log = tmp_path / "upstream.jsonl"
    async with serve(ScriptedEngine(pace=0), log_file=str(log)) as server:
        body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
        for number in (1, 2):
            answer = await (await send(transport, server.base_url + "/chat/completions", body=body)).read(1 << 20)
            assert b'"chat.completion"' in answer
            assert len(log.read_text().splitlines()) == 2 * number
        assert len(server.connections) == 1
    assert [entry.ended for entry in server.log] == ["complete", "complete"]


async def test_the_scripted_server_runs_as_a_program(transport: Transport, tmp_path: Path) -> None:
    """It says where it listens, obeys directives when told to, ends when told to, and leaves a log in which nothing is open."""
    log = tmp_path / "upstream.jsonl"
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.providers.scripted_server"),
        *("--port", "0", "--log", str(log), "--faults", "--pace", "5", "--cut", "fin"),
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    try:
        first = await asyncio.wait_for(program.stdout.readline(), 30)
        url = first.decode().removeprefix("listening on ").strip() + "/chat/completions"

        def asking(prompt: str) -> bytes:
            return json.dumps(
                {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}
            ).encode()

        cut = await send(transport, url, Timeouts(), asking("[[cut:2]]"))
        with pytest.raises(ProviderError):
            await cut.read(1 << 20)
        left = await send(transport, url, Timeouts(), asking("[[chunks:1000]]"))
        await anext(left.chunks())
        left.close()
        still_open = await send(transport, url, Timeouts(), asking("[[stall:60]]"))
        await asyncio.sleep(0.3)
    finally:
        program.terminate()
        assert await asyncio.wait_for(program.wait(), 10) == 0
    still_open.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    last = {line["id"]: line for line in lines}
    assert [line["ended"] for line in last.values()] == ["cut", "client_closed", "cut"]
    assert last[1]["completion_tokens_sent"] == 2
    assert sum(line["ended"] == "open" for line in lines) == 3
