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

import ssl
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


#: OpenSSL's numbers for a certificate that is good and somebody else's.
_ANOTHER_NAME = (62, 64)

#: What an upstream's alert speaks of when it is our certificate that it does not want.
_ABOUT_US = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


def distrust(exc: BaseException | None) -> str | None:
    """Where certificates are why there is no connection: one sentence with what an operator can do. None for anything else.

    OpenSSL's own words are in it, which hold no address and nothing the other side wrote.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code in _ANOTHER_NAME:
            return "the upstream's certificate is for another host: correct this provider's base_url"
        why = exc.verify_message.rstrip(".")
        remedy = "name the PEM file of the authority that signed it as this provider's ca_file"
        return f"the upstream's certificate is not trusted ({why}): {remedy}"
    alert = (getattr(exc, "reason", None) or "") if isinstance(exc, ssl.SSLError) else ""
    if "ALERT" in alert and any(word in alert for word in _ABOUT_US):
        return f"the upstream refuses our client certificate ({alert}): name the right PEM file as client_cert"
    return None
