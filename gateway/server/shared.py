"""What all connections of one server have in common."""

from __future__ import annotations

from typing import Protocol

from uvicorn.server import ServerState

from gateway.api.raw import LeftReason
from gateway.server.forwarded import TrustedProxies
from gateway.server.head import HeadParser
from gateway.server.limits import ServerLimits
from gateway.server.status import ServerStatus


class OpenConnection(Protocol):
    """What the sweep and the drain do with a connection."""

    wake: float  # the event loop time from which on it wants to be inspected

    def inspect(self, now: float, elapsed: float) -> None: ...

    def retire(self) -> None: ...

    def expire(self) -> None: ...

    def abort(self, reason: LeftReason) -> None: ...


class Shared(ServerState):
    """One per server. Of uvicorn's fields, `default_headers`, `tasks` and `total_requests` are used."""

    def __init__(self, limits: ServerLimits) -> None:
        super().__init__()
        self.limits = limits
        self.status = ServerStatus()
        self.open: set[OpenConnection] = set()
        self.heads = HeadParser(limits)
        self.proxies = TrustedProxies(limits.trusted_proxies)
        # `default_headers` (only `date`, which RFC 9110 §6.6.1 asks for) as bytes; the sweep renews both.
        self.default_block = b""
        # The sweep's clock (event loop time). Up to one sweep old, so deadlines taken from it get one sweep more.
        self.now = 0.0
        self.header_wait = limits.header_seconds + limits.sweep_seconds
        self.idle_wait = limits.idle_seconds + limits.sweep_seconds
