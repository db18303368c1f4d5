"""A site's own decrypt-or-inspect service in front of the readers: document security, virus scanners, disarming gateways.

    Inspector.inspect(bytes, name) ─▶ the bytes to read: the same, or what the service made of them
                                      Uninspectable("inspector_refused")   it said no
                                      Uninspectable("inspector_failed")    anything that is not a clear answer

It fails closed: a time-out, a broken connection, a status nobody agreed on, an answer cut short or too large, all of them mean
that the file is not taken. Implementations: `icap` (RFC 3507) and `http`, below and beside; `scripted` for tests.

The HTTP service is asked
    POST url, body = the file, content-type: application/octet-stream, x-haechi-filename: percent-encoded UTF-8
and answers
    204                                    use it as it is
    200 application/octet-stream + body    use this instead (decrypted, disarmed)
    403 or 422                             refused
"""

from __future__ import annotations

import logging
import urllib.parse
from typing import TYPE_CHECKING, Protocol

from gateway.attachments.extracted import Uninspectable

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger("haechi.inspector")


class Inspector(Protocol):
    """Looks at an upload before anybody else does."""

    async def inspect(self, data: bytes, name: str) -> bytes:
        """The bytes to read. Raises Uninspectable, and nothing else."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Nobody:
    """No service is configured: the bytes are read as they come."""

    async def inspect(self, data: bytes, name: str) -> bytes:
        return data

    async def close(self) -> None:
        """Nothing is held."""


class HttpInspector:
    """Asks over HTTP. `most_bytes` bounds what it may answer; `token` is sent as a bearer where there is one."""

    def __init__(self, url: str, *, seconds: float, most_bytes: int, token: str | None = None) -> None:
        self._url = url
        self._seconds = seconds
        self._most = most_bytes
        self._headers = {"content-type": "application/octet-stream"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def inspect(self, data: bytes, name: str) -> bytes:
        import aiohttp  # noqa: PLC0415 – only sites with such a service pay for it

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._seconds), auto_decompress=False, trust_env=False
            )
        headers = {**self._headers, "x-haechi-filename": urllib.parse.quote(name, safe="")}
        try:
            async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as answer:
                return await self._read(answer, data)
        except Uninspectable:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as e:
            raise failed(type(e).__name__) from e

    async def _read(self, answer: aiohttp.ClientResponse, data: bytes) -> bytes:
        if answer.status == 204:
            return data
        if answer.status in {403, 422}:
            raise Uninspectable("inspector_refused")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status != 200 or kind != "application/octet-stream" or "content-encoding" in answer.headers:
            raise failed(f"status {answer.status}, {kind[:40]!r}")
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(64 * 1024):
            size += len(part)
            if size > self._most:
                raise failed("an answer that is too large")
            parts.append(part)
        if not size:
            raise failed("an empty file")
        return b"".join(parts)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def failed(why: str) -> Uninspectable:
    """Say in the log what was odd, and to the person only that the file was not taken."""
    log.warning("the document inspection gave no clear answer: %s", why)
    return Uninspectable("inspector_failed")
