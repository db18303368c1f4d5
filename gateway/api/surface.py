"""The hot lane: which paths are answered by raw ASGI handlers, and what every one of them has in common.

    path ─▶ Route ─▶ handler(gate, scope, receive, send, request id)
                        │ Refusal ─▶ an error in OpenAI's shape
                        │ ClientLeft ─▶ nobody to answer
                        └ anything else ─▶ 500 with the request id, the traceback in our log only

FastAPI costs 180 µs a request, which this path does not have; everything else of the product is FastAPI's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from gateway.api.raw import ClientLeft, send_refusal, sse_error
from gateway.directory.ids import uuid7
from gateway.errors import MethodNotAllowed, NotFound, Refusal

if TYPE_CHECKING:
    from gateway.exchange import Exchange, World
    from gateway.idempotency.repeats import Repeats
    from gateway.limits import StreamPlaces
    from gateway.metrics import Metrics
    from gateway.principal import Authenticator, Principal
    from gateway.settings import Settings

log = logging.getLogger("haechi.api")

_CLIENT_ID = re.compile(rb"[\w\-]{1,64}")


class Gate:
    """What a handler of the hot lane may use."""

    def __init__(
        self,
        world: Callable[[], World],
        authenticator: Authenticator,
        exchange: Exchange,
        streams: StreamPlaces,
        metrics: Metrics,
        *,
        repeats: Repeats,
    ) -> None:
        self.world = world
        self.exchange = exchange
        self.streams = streams
        self.repeats = repeats
        self.metrics = metrics
        self._authenticator = authenticator

    @property
    def settings(self) -> Settings:
        return self.world().settings

    async def authenticate(self, scope: Scope) -> Principal:
        return await self._authenticator.authenticate(scope["headers"])


Handler = Callable[[Gate, Scope, Receive, Send, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the hot lane. `metered`: it goes through the exchange, and so through a hold and a booking."""

    method: str
    path: str
    handler: Handler
    metered: bool


class Surface:
    """Looks a path up and renders whatever its handler refuses."""

    def __init__(self, gate: Gate, routes: tuple[Route, ...]) -> None:
        self._gate = gate
        self._exact = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._prefixes = [(route.method, route.path.partition("{")[0], route) for route in routes if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = uuid7()
        started = _Started(send)
        try:
            route = self._find(scope["method"], scope["path"])
            await route.handler(self._gate, scope, receive, started, request_id)
        except Refusal as refusal:
            self._gate.metrics.refused(refusal.code)
            await self._refuse(started, refusal, request_id, _client_id(scope))
        except ClientLeft:
            log.debug("%s: the client left before there was anything to answer", request_id)
        except Exception:
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            await self._refuse(started, Broken(), request_id, _client_id(scope))

    async def _refuse(self, started: _Started, refusal: Refusal, request_id: str, extra: Any) -> None:
        if started.body:
            # Mid-stream there is no status left to change: the last frame says it.
            await started({"type": "http.response.body", "body": sse_error(refusal, request_id), "more_body": False})
        else:
            await send_refusal(started, refusal, request_id, extra)

    def _find(self, method: str, path: str) -> Route:
        route = self._exact.get((method, path))
        if route is not None:
            return route
        for other, prefix, candidate in self._prefixes:
            if other == method and path.startswith(prefix) and len(path) > len(prefix):
                return candidate
        allowed = sorted({known for known, exact in self._exact if exact == path})
        if allowed:
            raise MethodNotAllowed(
                f"Use {' or '.join(allowed)} on {path}. 허용되지 않는 방식입니다.",
                headers={"allow": ", ".join(allowed)},
            )
        raise NotFound(f"There is no {path[:128]} here. 없는 주소입니다. (POST /v1/chat/completions, GET /v1/models)")


class Broken(Refusal):
    """Our own failure. The caller gets the request id; the rest is in our log."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("The gateway failed. Quote the request id to your administrator. 게이트웨이 내부 오류입니다.")


class _Started:
    """`send`, remembering whether a head went out."""

    __slots__ = ("_send", "body")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.body = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.body = True
        await self._send(message)


def _client_id(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The caller's own id comes back to it, if it is a plain word."""
    for name, value in scope["headers"]:
        if name == b"x-client-request-id" and _CLIENT_ID.fullmatch(value):
            return [(b"x-client-request-id", value)]
    return []


def openapi_paths(routes: tuple[Route, ...]) -> dict[str, Any]:
    """What the hot lane adds to the OpenAPI description."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = {
            "summary": (route.handler.__doc__ or route.handler.__name__).strip().splitlines()[0],
            "security": [{"bearer": []}],
            "responses": {"200": {"description": "OpenAI-compatible"}, "default": {"description": "OpenAI error"}},
        }
    return paths
