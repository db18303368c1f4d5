"""Asking an ICAP server (RFC 3507), as virus scanners and disarming gateways speak it.

    RESPMOD   the file as the body of an answer somebody is about to get
    REQMOD    the file as the body of a request somebody is about to send

    204                                          use it as it is
    200, same direction, an HTTP message inside  use its body instead
    200, an HTTP answer other than 200 inside    refused: the page a person would see
    a header that reports a finding              refused, whatever else is said
    anything else                                failed: the file is not taken

One connection per file, no preview: files are bounded, and a connection that is never used twice cannot be out of step.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import urllib.parse
from typing import Final, Literal

from gateway.attachments.extracted import Uninspectable
from gateway.attachments.inspector import failed

Mode = Literal["respmod", "reqmod"]

_MOST_HEAD: Final = 64 * 1024
_PORT, _TLS_PORT = 1344, 11344
#: Headers with which servers report a finding; from Internet-Draft draft-stecher-icap-subid and common products.
_FINDINGS: Final = ("x-infection-found", "x-virus-id", "x-violations-found", "x-block-reason", "x-blocked")
_STATUS = re.compile(rb"ICAP/1\.\d (\d{3})\b")
_HTTP_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})\b")


class IcapInspector:
    """Asks one ICAP service, named by `icap://host[:port]/service` or `icaps://…`."""

    def __init__(self, url: str, *, mode: Mode, seconds: float, most_bytes: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self._tls = parts.scheme == "icaps"
        self._host = parts.hostname or ""
        self._port = parts.port or (_TLS_PORT if self._tls else _PORT)
        self._url = url
        self._mode = mode
        self._seconds = seconds
        self._most = most_bytes

    async def inspect(self, data: bytes, name: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._converse(data, name)
        except Uninspectable:
            raise
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as e:
            raise failed(type(e).__name__) from e

    async def close(self) -> None:
        """Connections end with their file."""

    async def _converse(self, data: bytes, name: str) -> bytes:
        context = ssl.create_default_context() if self._tls else None
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context, limit=_MOST_HEAD)
        try:
            writer.write(self._question(data, name))
            await writer.drain()
            return await self._answer(reader, data)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _question(self, data: bytes, name: str) -> bytes:
        """Offsets in `Encapsulated` count from the beginning of the first encapsulated header (section 4.4.1)."""
        path = "/" + urllib.parse.quote(name, safe="")
        if self._mode == "respmod":
            asked = f"GET {path} HTTP/1.1\r\nHost: haechi.invalid\r\n\r\n".encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            encapsulated = f"req-hdr=0, res-hdr={len(asked)}, res-body={len(asked) + len(head)}"
            sent = asked + head
        else:
            sent = (
                f"POST {path} HTTP/1.1\r\nHost: haechi.invalid\r\nContent-Type: application/octet-stream\r\n"
                f"Content-Length: {len(data)}\r\n\r\n"
            ).encode()
            encapsulated = f"req-hdr=0, req-body={len(sent)}"
        icap = (
            f"{self._mode.upper()} {self._url} ICAP/1.0\r\nHost: {self._host}:{self._port}\r\nUser-Agent: Haechi\r\n"
            f"Allow: 204\r\nConnection: close\r\nEncapsulated: {encapsulated}\r\n\r\n"
        ).encode()
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        return icap + sent + body

    async def _answer(self, reader: asyncio.StreamReader, data: bytes) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        status = _STATUS.match(head)
        if status is None:
            raise failed("not an ICAP answer")
        headers = _headers(head)
        if any(name in headers for name in _FINDINGS):
            raise Uninspectable("inspector_refused")
        if status[1] == b"204":
            return data
        if status[1] != b"200":
            raise failed(f"ICAP status {status[1].decode()}")
        return await self._modified(reader, headers.get("encapsulated", ""))

    async def _modified(self, reader: asyncio.StreamReader, encapsulated: str) -> bytes:
        """The body of the message inside. `Encapsulated: res-hdr=0, res-body=117`"""
        places = [entry.strip().partition("=") for entry in encapsulated.split(",")]
        offsets = [(name.strip().lower(), int(offset)) for name, _, offset in places]
        own = "res-body" if self._mode == "respmod" else "req-body"
        names = [name for name, _ in offsets]
        if self._mode == "reqmod" and "res-hdr" in names:
            raise Uninspectable("inspector_refused")  # an answer instead of the request: that is how REQMOD refuses
        if not offsets or offsets[-1][0] not in {own, "null-body"} or offsets[0][1] != 0:
            raise failed("odd encapsulation")
        if offsets != sorted(offsets, key=lambda entry: entry[1]) or offsets[-1][1] > _MOST_HEAD:
            raise failed("odd encapsulation")
        inside = await reader.readexactly(offsets[-1][1])
        if self._mode == "respmod":
            at = dict(offsets).get("res-hdr")
            http = _HTTP_STATUS.match(inside, at) if at is not None else None
            if http is None:
                raise failed("no HTTP answer inside")
            # A page that says no carries a status of its own, or is a page where a file was expected.
            if http[1] != b"200" or _headers(inside[at:]).get("content-type", "").lower().startswith("text/html"):
                raise Uninspectable("inspector_refused")
        if offsets[-1][0] == "null-body":
            raise failed("an empty file")
        body = await self._chunks(reader)
        if not body:
            raise failed("an empty file")
        return body

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        parts: list[bytes] = []
        left = self._most
        while True:
            line = await reader.readuntil(b"\r\n")
            digits = line.partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits):
                raise failed("not a chunk")
            size = int(digits, 16)
            left -= size
            if left < 0:
                raise failed("an answer that is too large")
            if size == 0:
                return b"".join(parts)
            parts.append(await reader.readexactly(size))
            if await reader.readexactly(2) != b"\r\n":
                raise failed("not a chunk")


def _headers(head: bytes) -> dict[str, str]:
    """Lower-case names; the last of a name counts, and for what is looked up here presence alone decides."""
    found: dict[str, str] = {}
    for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    return found
