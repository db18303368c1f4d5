"""What one HTTP connection may cost us: every bound of the server in one frozen record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Times are seconds, sizes are bytes. Times are honoured to within one `sweep_seconds`, never shorter."""

    # From accept, or from the first byte of a request on a kept connection, to the end of its head.
    header_seconds: float = 10.0
    # A kept connection without a request. Above the 60 s of common balancers, so that they close first.
    idle_seconds: float = 75.0
    head_bytes: int = 32 * KIB
    header_count: int = 100
    target_bytes: int = 8 * KIB

    body_bytes: int = 10 * MIB
    # Path (as in scope["path"]) -> limit in bytes, for routes that differ from `body_bytes`.
    body_limit: Callable[[str], int] | None = None
    body_seconds: float = 30.0
    # Average over the whole body, asked for once `body_grace_seconds` have passed.
    body_bytes_per_second: int = KIB
    body_grace_seconds: float = 5.0

    # How long a full write buffer may stay without losing a byte to the client.
    write_seconds: float = 30.0
    # After a refusal: how much is still read and thrown away, and for how long, so that the client sees the answer.
    close_drain_bytes: int = 64 * KIB
    close_drain_seconds: float = 2.0
    # What a client may send ahead while its request is being answered; then we stop reading.
    pipeline_bytes: int = 64 * KIB
    max_connections: int = 16_384

    # After SIGTERM: how long running requests may go on …
    drain_seconds: float = 60.0
    # … how long the listening socket stays open (new requests are refused with 503 all the same) …
    drain_grace_seconds: float = 0.0
    # … how long idle connections stay, so that a request already on its way gets a 503 and not a reset …
    drain_idle_seconds: float = 1.0
    # … and what a handler has to send its last event once `drain_seconds` are over.
    final_seconds: float = 5.0
    # These paths are still handed to the app while draining: a balancer must be able to read "not ready".
    open_while_draining: frozenset[str] = frozenset({"/healthz", "/readyz", "/metrics"})

    # Addresses or networks ("10.0.0.0/8", "::1") whose X-Forwarded-For and X-Forwarded-Proto are believed.
    trusted_proxies: tuple[str, ...] = ()

    sweep_seconds: float = 1.0
