"""Every inspector keeps one contract: the same bytes, other bytes, a refusal; and anything unclear means the file is not taken.

The HTTP and ICAP ones are asked over a real socket, by a stand-in that speaks the protocol as its specification says.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from gateway.attachments.extracted import Uninspectable
from gateway.attachments.icap import IcapInspector
from gateway.attachments.inspector import HttpInspector, Inspector, Nobody
from gateway.attachments.scripted_inspector import ScriptedInspector

LOCKED, OPEN = b"SCDSA002 locked", "풀린 문서".encode() * 20_000
NAME = "보고 (최종).hwp"
MOST = 4 * 1024 * 1024

#: One connection of a stand-in: (what was sent up to the end of the file, the way back).
Answer = Callable[["Asked"], bytes]


class Asked(NamedTuple):
    """A question as it came: the whole of it, the file in it, and the name given."""

    raw: bytes
    file: bytes
    name: str


class StandIn:
    """A server on loopback that answers each connection once."""

    def __init__(self, answer: Answer, *, icap: bool) -> None:
        self._answer = answer
        self._icap = icap
        self.asked: list[Asked] = []
        self.port = 0

    async def __aenter__(self) -> StandIn:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await (_read_icap(reader) if self._icap else _read_http(reader))
            self.asked.append(asked)
            writer.write(self._answer(asked))
            await writer.drain()
        writer.close()


async def _read_http(reader: asyncio.StreamReader) -> Asked:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    assert length
    name = re.search(rb"x-haechi-filename: (\S*)", head, re.I)
    assert name
    file = await reader.readexactly(int(length[1]))
    return Asked(head + file, file, _unquoted(name[1]))


async def _read_icap(reader: asyncio.StreamReader) -> Asked:
    """RFC 3507 §4.4: the ICAP header, the encapsulated headers up to the offset of the body, the body in chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    encapsulated = re.search(rb"Encapsulated: (.*)\r\n", head)
    assert encapsulated
    offsets = dict(entry.strip().split(b"=") for entry in encapsulated[1].split(b","))
    body_at = int(offsets.get(b"res-body") or offsets[b"req-body"])
    headers = await reader.readexactly(body_at)
    if b"res-hdr" in offsets:
        assert headers[int(offsets[b"res-hdr"]) :].startswith(b"HTTP/1.1 200 OK\r\n")
    assert headers.endswith(b"\r\n\r\n")
    file = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        file += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Asked(head + headers, file, _unquoted(headers.split(b" ")[1].removeprefix(b"/")))


def _unquoted(text: bytes) -> str:
    import urllib.parse

    return urllib.parse.unquote(text.decode())


def http(status: int, body: bytes = b"", kind: str = "application/octet-stream", extra: str = "") -> bytes:
    length = f"content-length: {len(body)}\r\n" if status != 204 else ""
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{length}{extra}connection: close\r\n\r\n".encode() + body


def icap(
    body: bytes = b"",
    *,
    mode: str = "respmod",
    status: str = "200 OK",
    kind: str = "application/octet-stream",
    more: str = "",
) -> bytes:
    """An ICAP answer that carries a message with this body."""
    inside = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n"
        if mode == "respmod"
        else f"POST /x HTTP/1.1\r\nContent-Type: {kind}\r\n\r\n"
    ).encode()
    names = ("res-hdr", "res-body") if mode == "respmod" else ("req-hdr", "req-body")
    pieces = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return (
        f"ICAP/1.0 200 OK\r\n{more}Encapsulated: {names[0]}=0, {names[1]}={len(inside)}\r\n\r\n".encode()
        + inside
        + chunks
    )


NO_CONTENT = b"ICAP/1.0 204 No Modifications Needed\r\nConnection: close\r\n\r\n"


def http_service(asked: Asked) -> bytes:
    """Unlocks, refuses, fails: what a site's own service would."""
    if b"[[refuse]]" in asked.file:
        return http(403, b'{"reason": "personal data"}', "application/json")
    if b"[[fail]]" in asked.file:
        return http(500)
    return http(200, OPEN) if asked.file == LOCKED else http(204)


def icap_service(mode: str) -> Answer:
    def answer(asked: Asked) -> bytes:
        assert asked.raw.startswith(mode.upper().encode() + b" icap://127.0.0.1:")
        assert b"\r\nAllow: 204\r\n" in asked.raw
        if b"[[refuse]]" in asked.file:
            page = b"<html>blocked</html>"
            if mode == "reqmod":
                inside = b"HTTP/1.1 403 Forbidden\r\n\r\n"
                return b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%b%x\r\n%b\r\n0\r\n\r\n" % (
                    len(inside),
                    inside,
                    len(page),
                    page,
                )
            return icap(page, status="403 Forbidden", kind="text/html")
        if b"[[fail]]" in asked.file:
            return b"ICAP/1.0 500 Server Error\r\n\r\n"
        return icap(OPEN, mode=mode) if asked.file == LOCKED else NO_CONTENT

    return answer


Standing = Callable[[], contextlib.AbstractAsyncContextManager[tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]]]


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]]:
    inspector = ScriptedInspector(replace={LOCKED: OPEN})
    yield inspector, lambda: inspector.seen


def over(answer: Answer, make: Callable[[int], Inspector], *, icap: bool) -> Standing:
    @contextlib.asynccontextmanager
    async def standing() -> AsyncIterator[tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]]:
        async with StandIn(answer, icap=icap) as server:
            inspector = make(server.port)
            yield inspector, lambda: [(asked.file, asked.name) for asked in server.asked]
            await inspector.close()

    return standing


def by_http(port: int) -> Inspector:
    return HttpInspector(f"http://127.0.0.1:{port}/inspect", seconds=5, most_bytes=MOST, token="a-token")


def by_icap(mode: str) -> Callable[[int], Inspector]:
    return lambda port: IcapInspector(
        f"icap://127.0.0.1:{port}/service", mode="reqmod" if mode == "reqmod" else "respmod", seconds=5, most_bytes=MOST
    )


INSPECTORS: dict[str, Standing] = {
    "scripted": scripted,
    "http": over(http_service, by_http, icap=False),
    "icap respmod": over(icap_service("respmod"), by_icap("respmod"), icap=True),
    "icap reqmod": over(icap_service("reqmod"), by_icap("reqmod"), icap=True),
}


@pytest.fixture(params=INSPECTORS)
async def standing(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]]:
    async with INSPECTORS[request.param]() as found:
        yield found


async def refusal(inspection: Awaitable[bytes]) -> str:
    with pytest.raises(Uninspectable) as refused:
        await inspection
    return refused.value.code


async def test_the_contract(standing: tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]) -> None:
    """A clean file comes back as it is, a locked one opened; a refusal and a failure are told apart; and the service saw all."""
    inspector, seen = standing
    large = bytes(range(256)) * 8000
    assert await inspector.inspect("깨끗한 문서".encode(), NAME) == "깨끗한 문서".encode()
    assert await inspector.inspect(large, NAME) == large
    assert await inspector.inspect(LOCKED, NAME) == OPEN
    assert await refusal(inspector.inspect(b"[[refuse]]", NAME)) == "inspector_refused"
    assert await refusal(inspector.inspect(b"[[fail]]", NAME)) == "inspector_failed"
    shown = ["깨끗한 문서".encode(), large, LOCKED, b"[[refuse]]", b"[[fail]]"]
    assert seen() == [(data, NAME) for data in shown]


async def test_several_files_at_once(standing: tuple[Inspector, Callable[[], list[tuple[bytes, str]]]]) -> None:
    """Nobody gets the answer to somebody else's file."""
    inspector, _ = standing
    files = [b"%d" % n * 500 for n in range(20)]
    assert await asyncio.gather(*(inspector.inspect(data, f"{n}") for n, data in enumerate(files))) == files


async def test_nobody_stands_in_front_unless_configured() -> None:
    assert await Nobody().inspect(b"a", NAME) == b"a"


ODD_HTTP: dict[str, bytes] = {
    "a redirect": http(302, extra="location: http://127.0.0.1:1/\r\n"),
    "success without a file": http(200, b""),
    "a page instead of a file": http(200, b"<html>", "text/html"),
    "JSON instead of a file": http(200, b'{"ok": true}', "application/json"),
    "a compressed file": http(200, b"\x1f\x8b", extra="content-encoding: gzip\r\n"),
    "a file that is too large": http(200, b"a" * (MOST + 1)),
    "accepted for later": http(202),
    "an error": http(503),
    "a file cut short": http(200, b"abc").replace(b"content-length: 3", b"content-length: 300"),
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
}
ODD_ICAP: dict[str, bytes] = {
    "an error": b"ICAP/1.0 503 Service Unavailable\r\n\r\n",
    "not found": b"ICAP/1.0 404 Service not found\r\n\r\n",
    "continue, which nobody asked for": b"ICAP/1.0 100 Continue\r\n\r\n",
    "partial content, which nobody allowed": b"ICAP/1.0 206 Partial Content\r\n\r\n",
    "HTTP instead": b"HTTP/1.1 204 No Content\r\n\r\n",
    "success without a message": b"ICAP/1.0 200 OK\r\n\r\n",
    "a message without a body": b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "an empty body": icap(b""),
    "a body that is too large": icap(b"a" * (MOST + 1)),
    "a body cut short": icap(b"a" * 1000)[:-500],
    "chunks that are none": icap(b"abc").replace(b"3\r\nabc", b"zz\r\nab"),
    "a chunk of another length": icap(b"abc").replace(b"3\r\nabc", b"2\r\nabc"),
    "offsets that go back": icap(b"abc").replace(b"res-hdr=0, res-body=", b"res-hdr=9, res-body="),
    "offsets that are no numbers": icap(b"abc").replace(b"res-hdr=0", b"res-hdr=x"),
    "the request instead of the answer": icap(b"abc", mode="reqmod"),
    "a message that is no HTTP": icap(b"abc").replace(b"HTTP/1.1 200 OK", b"GOPHER 1 200 OK"),
    "nothing": b"",
    "an endless header": b"ICAP/1.0 204 No\r\n" + b"X-A: b\r\n" * 20_000,
}
REFUSING_ICAP: dict[str, bytes] = {
    "a page with success": icap(b"<html>blocked</html>", kind="text/html; charset=utf-8"),
    "a finding although unmodified": b"ICAP/1.0 204 No\r\nX-Infection-Found: Type=0; Resolution=2; Threat=EICAR;\r\n\r\n",
    "violations": icap(b"cleaned", more="X-Violations-Found: 1\r\n"),
    "forbidden": icap(b"no", status="403 Forbidden"),
}


@pytest.mark.parametrize("answer", ODD_HTTP.values(), ids=ODD_HTTP)
async def test_http_fails_closed(answer: bytes) -> None:
    async with over(lambda _: answer, by_http, icap=False)() as (inspector, _):
        assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_failed"


@pytest.mark.parametrize("answer", ODD_ICAP.values(), ids=ODD_ICAP)
async def test_icap_fails_closed(answer: bytes) -> None:
    async with over(lambda _: answer, by_icap("respmod"), icap=True)() as (inspector, _):
        assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_failed"


@pytest.mark.parametrize("answer", REFUSING_ICAP.values(), ids=REFUSING_ICAP)
async def test_icap_servers_refuse_in_several_ways(answer: bytes) -> None:
    async with over(lambda _: answer, by_icap("respmod"), icap=True)() as (inspector, _):
        assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_refused"


@pytest.mark.parametrize("make", [by_http, by_icap("respmod")], ids=["http", "icap"])
async def test_nobody_listening_fails_closed(make: Callable[[int], Inspector], free_port: int) -> None:
    inspector = make(free_port)
    assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_failed"
    await inspector.close()


@pytest.mark.parametrize("kind", ["http", "icap"])
async def test_silence_fails_closed(kind: str) -> None:
    """The service takes the file and never says anything."""
    silent = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    inspector: Inspector = (
        HttpInspector(f"http://127.0.0.1:{port}/", seconds=0.2, most_bytes=MOST)
        if kind == "http"
        else IcapInspector(f"icap://127.0.0.1:{port}/", mode="respmod", seconds=0.2, most_bytes=MOST)
    )
    assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_failed"
    await inspector.close()
    silent.set()
    server.close()


async def test_the_token_goes_to_the_service_and_into_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with StandIn(lambda _: http(500), icap=False) as server:
        inspector = by_http(server.port)
        assert await refusal(inspector.inspect(b"file", NAME)) == "inspector_failed"
        await inspector.close()
        assert b"Bearer a-token" in server.asked[0].raw
    assert "a-token" not in caplog.text
    assert NAME not in caplog.text
