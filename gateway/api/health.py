"""Is it alive, is it ready, what does it measure, what does it speak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.api.pages import as_json
from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from gateway.app import App

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


def add(pages: FastAPI, app: App) -> None:
    """`/healthz` and `/readyz` are open; `/metrics` and `/openapi.json` to loopback peers, others bring a key."""

    async def healthz() -> Response:
        """The process answers."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(request: Request) -> Response:
        """New work is taken: the ledger writes and nothing is being shut down."""
        server = getattr(request.state, "server", None)
        draining = bool(server is not None and server.draining)
        state: dict[str, Any] = {
            "ready": app.writer.healthy and not draining,
            "ledger": app.writer.healthy,
            "draining": draining,
            "config_problem": app.worlds.problem is not None,
        }
        return as_json(state, 200 if state["ready"] else 503)

    async def metrics(request: Request) -> Response:
        """Prometheus series."""
        await _inside(app, request)
        return Response(generate_latest(app.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def openapi(request: Request) -> Response:
        """This description."""
        await _inside(app, request)
        return as_json(app.openapi())

    pages.add_api_route("/healthz", healthz, methods=["GET"])
    pages.add_api_route("/readyz", readyz, methods=["GET"])
    pages.add_api_route("/metrics", metrics, methods=["GET"])
    pages.add_api_route("/openapi.json", openapi, methods=["GET"])


async def _inside(app: App, request: Request) -> None:
    """A loopback peer, unless proxies are trusted (then every peer looks like one); otherwise a credential."""
    peer = request.client.host if request.client is not None else ""
    if peer in _LOOPBACK and not app.settings.web.trusted_proxies:
        return
    principal = await app.authenticator.authenticate(request.scope["headers"])
    if not {"it_admin", "auditor"} & set(principal.roles):
        raise Unauthenticated("An administrator's key is needed here. 관리자 키가 필요합니다.")
