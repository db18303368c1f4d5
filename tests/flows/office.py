"""An office's network: an authority of its own, a vendor that asks for a client certificate, and one proxy that leads out.

    gateway ─ CONNECT vendor.test:443 (basic authentication) ─▶ OfficeProxy ─▶ 127.0.0.1:port, TLS, certificates both ways
       └─ nothing else may arrive there

`vendor.test` is a name no resolver knows: whoever reaches it has been through the proxy, which alone knows where it is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

HOST = "vendor.test"
USER = "kim:p@ss/w:rd"


class Authority:
    """A private CA made with the `openssl` command, and what it signs. Every file is PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        subject = [
            "-subj",
            f"/CN={name}",
            "-days",
            "2",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        openssl("req", "-x509", *subject, "-keyout", str(self._key), "-out", str(self.file))

    def sign(self, name: str, host: str | None = None) -> Path:
        """A certificate and its key in one file: a server's for `host`, or a client's."""
        made = self._folder / f"{name}.pem"
        key, request, certificate, extensions = (self._folder / f"{name}.{end}" for end in ("key", "csr", "crt", "ext"))
        purpose = "clientAuth" if host is None else "serverAuth"
        names = "" if host is None else f"subjectAltName=DNS:{host}\n"
        extensions.write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={purpose}\n{names}")
        subject = ["-subj", f"/CN={name}", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", *subject, "-keyout", str(key), "-out", str(request))
        signed_by = ["-CA", str(self.file), "-CAkey", str(self._key), "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", "-in", str(request), *signed_by, "-extfile", str(extensions), "-out", str(certificate))
        made.write_text(certificate.read_text() + key.read_text())
        return made


def openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def vendor_tls(certificate: Path, clients: Path) -> ssl.SSLContext:
    """The vendor's side: its certificate, and no handshake without one of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class OfficeProxy:
    """CONNECT with basic authentication, to the one host it knows. `outside` are the ports its own sockets had out there."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = upstream_port
        self._wanted = "Basic " + base64.b64encode(USER.encode()).decode()
        self.port = 0
        self.asked: list[str] = []
        self.outside: set[int] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.asked.append(head[0])
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            if fields.get("proxy-authorization") != self._wanted:
                refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n"
                writer.write(refusal + b"content-length: 0\r\nconnection: close\r\n\r\n")
            elif head[0] != f"CONNECT {HOST}:443 HTTP/1.1":
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            else:
                await self._tunnel(reader, writer)
        writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        self.outside.add(back.get_extra_info("sockname")[1])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pumped(reader, back), pumped(there, writer))


async def pumped(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def office_proxy(upstream_port: int) -> AsyncIterator[OfficeProxy]:
    proxy = OfficeProxy(upstream_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
