"""Upstreams that behave as badly as real ones, over real sockets, and the certificates they show.

A peer answers each request with the next of its answers: bytes, or a handler that does with the connection what it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/v1/chat/completions"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """`requests` are (connection number, head and body) in order; `open` counts the connections still there."""

    url: str = ""
    connections: int = 0
    open: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    #: Set when a client left.
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def heads(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[0].lower() for _, request in self.requests]


@contextlib.asynccontextmanager
async def peer(*answers: bytes | Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Answers each request with the next of `answers`, the last one again and again."""
    found = Peer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(own := asyncio.current_task())  # type: ignore[arg-type]
        own.add_done_callback(tasks.discard)  # type: ignore[union-attr, arg-type]
        found.connections += 1
        found.open += 1
        number = found.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                found.requests.append((number, head + await reader.readexactly(size)))
                answer = answers[min(len(found.requests), len(answers)) - 1]
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            found.closed.set()
        finally:
            found.open -= 1
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=tls, backlog=2048)
    found.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    try:
        yield found
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def acceptor(serve_one: Handler) -> AsyncIterator[str]:
    """A server that reads no request of its own accord; yields the URL to post to."""
    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST, which may overtake what was written."""
    # A second descriptor of the same socket: event loops guard the option calls of their own.
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def then_close(answer: bytes, *, rst: bool = False) -> Handler:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if rst:
            reset(writer)
        else:
            writer.close()
            await writer.wait_closed()
        raise OSError

    return handle


def then_wait(answer: bytes, seconds: float, more: bytes = b"") -> Handler:
    """`answer`, then nothing until the client goes or `seconds` have passed, then `more`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), seconds)
        writer.write(more)

    return handle


def drip(*parts: bytes, every: float) -> Handler:
    """The parts, each `every` seconds after the one before."""

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(every)

    return handle


# Certificates


def certificate(folder: Path, name: str, alternative: str = "IP:127.0.0.1", days: int = 2) -> Path:
    """A self-signed certificate with its key in one PEM file."""
    made, key, wanted, extra = (folder / f"{name}.{end}" for end in ("pem", "key", "csr", "ext"))
    extra.write_text(f"subjectAltName={alternative}\nbasicConstraints=critical,CA:TRUE\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in (
        ["req", "-new", *curve, "-keyout", key, "-out", wanted, "-subj", f"/CN={name}"],
        ["x509", "-req", "-in", wanted, "-signkey", key, "-days", str(days), "-extfile", extra, "-out", made],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made


def server_context(certificate: Path, *, clients: Path | None = None) -> ssl.SSLContext:
    """`clients`: the authority a client's own certificate must be of; None asks for none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
