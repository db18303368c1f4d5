"""The scripted upstream over a real socket, for everything a fake in the same process cannot show.

    python -m gateway.providers.scripted_server --port 9999 [--log FILE] [--faults] [--pace MS] [--cut rst|fin]

Keep-alive and chunked HTTP/1.1 as a vendor speaks it, and the ways a vendor fails: silence, a FIN or an RST where the answer
should go on. Each request is logged twice, at its start and at its end, one JSON line each: the upstream's own account of what
it sent, to hold against a ledger. The line for the end is on disk before the last bytes are on the wire.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson
import uvloop
from multidict import CIMultiDict

from gateway.providers.scripted import Arrival, Ended, Script, ScriptedEngine, Step, Upstream, arrival

_MAX_BODY = 64 << 20
# Steps without a delay between them are written together up to this many bytes.
_BATCH = 32 << 10


class ScriptedServer:
    """A listening scripted upstream. `log` holds the last arrivals, oldest first, live; the file has them all."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        log_file: str | None = None,
        log_size: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.upstream = upstream
        self.log: deque[Arrival] = deque(maxlen=log_size)
        self.port = 0
        self.base_url = ""
        self.connections: set[Connection] = set()
        self.clock = clock
        self._arrivals = 0
        self._server: asyncio.Server | None = None
        self._file = None if log_file is None else os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, ssl=tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"{'http' if tls is None else 'https'}://{host}:{self.port}/v1"

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def arrived(self, headers: CIMultiDict[str], script: Script) -> Arrival:
        self._arrivals += 1
        entry = arrival(self._arrivals, self.clock(), headers, script)
        self.log.append(entry)
        self._write(entry, entry.at)
        return entry

    def ended(self, entry: Arrival, how: Ended) -> None:
        entry.ended = how
        self._write(entry, self.clock())

    def _write(self, entry: Arrival, at: float) -> None:
        if self._file is not None:
            # One write to a file opened for appending: whole lines, whoever else writes.
            os.write(self._file, orjson.dumps({**asdict(entry), "at": at}) + b"\n")


class Connection(asyncio.Protocol):
    """One client connection: requests in the order they came, each answered by its script."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._wire: asyncio.Transport | None = None
        self._url = b""
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body = bytearray()
        self._waiting: deque[tuple[str, CIMultiDict[str], bytes, bool]] = deque()
        self._entry: Arrival | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.drop()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._wire = None
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        if self._entry is not None and self._entry.ended == "open":
            self._server.ended(self._entry, "client_closed")

    # httptools calls these

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = CIMultiDict()
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _MAX_BODY:
            self.drop()

    def on_message_complete(self) -> None:
        path = self._url.decode("latin-1").partition("?")[0]
        self._waiting.append((path, self._headers, bytes(self._body), self._parser.should_keep_alive()))
        if self._task is None:
            self._next()

    # answering

    def drop(self) -> None:
        """Break off with an RST, which discards whatever was still on its way."""
        if self._entry is not None and self._entry.ended == "open":
            self._server.ended(self._entry, "cut")
        if self._wire is not None:
            sock = self._wire.get_extra_info("socket")
            if sock is not None:
                # A second descriptor of the same socket: event loops guard the option calls of their own.
                with socket.socket(fileno=os.dup(sock.fileno())) as same:
                    same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._wire.abort()

    def _next(self) -> None:
        while self._waiting and self._wire is not None and not self._wire.is_closing():
            path, headers, body, keep_alive = self._waiting.popleft()
            script = self._server.upstream.answer(path, body)
            self._entry = self._server.arrived(headers, script)
            steps = script.steps
            if script.before or script.stream or not isinstance(steps, Sequence) or any(step.delay for step in steps):
                self._task = asyncio.get_running_loop().create_task(self._play(script, self._entry, keep_alive))
                return
            # Nothing to wait for: no task is needed to say it.
            self._write(
                [_head(script), *self._framed(script, steps)], self._entry, steps, script, keep_alive=keep_alive
            )

    async def _play(self, script: Script, entry: Arrival, keep_alive: bool) -> None:
        await asyncio.sleep(script.before)
        out = [_head(script)]
        held: list[Step] = []
        size = 0
        for step in script.steps:
            if step.delay or size > _BATCH:
                self._write(out, entry, held)
                out, held, size = [], [], 0
                if self._writable is not None:
                    await self._writable
                await asyncio.sleep(step.delay)
            out += self._framed(script, [step])
            held.append(step)
            size += len(step.data)
        self._task = None
        self._write(out, entry, held, script, keep_alive=keep_alive)
        self._next()

    def _framed(self, script: Script, steps: Sequence[Step]) -> list[bytes]:
        if script.length is not None:
            return [step.data for step in steps]
        return [b"%x\r\n%b\r\n" % (len(step.data), step.data) for step in steps if step.data]

    def _write(
        self,
        out: list[bytes],
        entry: Arrival,
        steps: Sequence[Step],
        last: Script | None = None,
        *,
        keep_alive: bool = True,
    ) -> None:
        """Send `out`, which carries `steps`. With `last`, the script it belongs to, also end the response."""
        if self._wire is None:
            return
        for step in steps:
            entry.sent(step)
        if last is None:
            self._wire.write(b"".join(out))
            return
        if last.cut is None and last.length is None:
            out.append(b"0\r\n\r\n")
        self._server.ended(entry, "complete" if last.cut is None else "cut")
        self._wire.write(b"".join(out))
        if last.cut == "rst":
            self.drop()
        elif last.cut == "fin" or not keep_alive:
            self._wire.close()


def _head(script: Script) -> bytes:
    try:
        reason = HTTPStatus(script.status).phrase
    except ValueError:
        reason = "Unknown"
    framing = "transfer-encoding: chunked" if script.length is None else f"content-length: {script.length}"
    lines = [
        f"HTTP/1.1 {script.status} {reason}",
        *(f"{name}: {value}" for name, value in script.headers.items()),
        framing,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def serve(
    upstream: Upstream,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    log_file: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ScriptedServer]:
    """A scripted upstream for as long as the block runs; `server.base_url` is what a provider is configured with."""
    server = ScriptedServer(upstream, log_file=log_file)
    await server.listen(host, port, tls)
    try:
        yield server
    finally:
        await server.close()


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    engine = ScriptedEngine(faults=options.faults, pace=options.pace / 1000, cut=options.cut)
    async with serve(engine, host=options.host, port=options.port, log_file=options.log) as server:
        print(f"listening on {server.base_url}", flush=True)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.providers.scripted_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one; the first line printed says which")
    parser.add_argument("--log", help="file to append the upstream's own log to, JSON lines")
    parser.add_argument("--faults", action="store_true", help="obey the directives in the last user message")
    parser.add_argument("--pace", type=float, default=15.0, help="milliseconds between two chunks of a stream")
    parser.add_argument("--cut", choices=("rst", "fin"), default="rst", help="how [[cut]] breaks the connection")
    options: Any = parser.parse_args(arguments)
    uvloop.run(_run(options))


if __name__ == "__main__":
    main()
