"""The seam to the wire: one POST, one response, nothing that knows a dialect.

    post ──▶ connect ──▶ write ──▶ first byte ──▶ chunk … chunk ──▶ end
             CONNECT     EPIPE:     TIMEOUT or     TIMEOUT or
             sent=False  sent=False BROKEN         BROKEN
                                    sent=True      sent=True

Two clients stand behind it: `LeanTransport` (lean.py) where the way to the upstream is direct, `AiohttpTransport` (proxied.py)
where a proxy stands in it. The shipped fake, `ScriptedTransport`, lives in scripted.py. Whatever goes wrong leaves here as a
ProviderError. `sent` errs on the side of True: False means that no upstream can have had the whole request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, measured on the monotonic clock.

    `connect`: name, TCP and TLS together. `first_byte`: from the request's last byte to the response's first.
    `idle`: silence allowed between two reads after that.
    """

    connect: float = 10.0
    first_byte: float = 60.0
    idle: float = 30.0


class Response(Protocol):
    """A response whose head has arrived. Either `read` it whole or iterate `chunks` once."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names are matched without regard to case."""

    async def read(self, limit: int) -> bytes:
        """The whole body; ProviderError(BROKEN) and a closed connection once it is longer than `limit` bytes."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Bytes that came before a break are handed on before the break is raised."""

    def finish(self) -> None:
        """The dialect says the answer is complete: keep the connection if HTTP agrees within a second, else close it."""

    def close(self) -> None:
        """Abort. Before the end of the body this is how an upstream learns to stop. Harmless when repeated."""


class Transport(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeouts: Timeouts) -> Response:
        """Send and wait for the response's head; any status is a response. Raises ProviderError. Follows no redirects."""

    async def close(self) -> None: ...
