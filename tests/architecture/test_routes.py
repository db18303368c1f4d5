"""Every route asks who is calling, and every route that reaches a provider reserves and books.

A route added anywhere is in these tests at once; one that is open on purpose has to be written down here.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from gateway.app import ROUTES, App, build_app
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]

#: Answered to anybody, from anywhere.
OPEN = {
    ("GET", "/healthz"),  # a load balancer has no key
    ("GET", "/readyz"),
    ("GET", "/"),  # the start page's files: the same for everybody, and nothing about anybody
    ("GET", "/start/app.js"),
    ("GET", "/start/style.css"),
}
#: Where a credential is asked for: it answers 401 to a wrong password, and to nothing else.
SIGN_IN = {("POST", "/api/session")}
#: Answered to this machine without a credential, to nobody else: scrapers and developers.
OPEN_TO_LOOPBACK = {("GET", "/metrics"), ("GET", "/openapi.json")}
#: Reached on the request path without a hold, because nothing leaves.
UNMETERED = {("GET", "/v1/models"), ("GET", "/v1/models/{model}")}

STRANGER = ("203.0.113.7", 40000)


@pytest.fixture
async def app(sqlite_url: str, tmp_path: Path) -> AsyncIterator[App]:
    env = {"HAECHI_DATABASE_URL": sqlite_url}
    built = build_app(load_settings(ROOT / "config.yaml", tmp_path / "data", env))
    async with built.pages.router.lifespan_context(built.pages):
        yield built


def page_routes(routes: list[BaseRoute], prefix: str = "") -> list[tuple[str, str]]:
    """(method, path) of everything the slow lane answers; a mount of files stands as GET on its path."""
    found: list[tuple[str, str]] = []
    for route in routes:
        included = getattr(route, "original_router", None)  # how FastAPI keeps a router that was included
        if included is not None:
            found += page_routes(list(included.routes), prefix + getattr(route, "include_context").prefix)  # noqa: B009
        elif isinstance(route, Mount):
            found += page_routes(route.routes, prefix + route.path) or [("GET", f"{prefix}{route.path}/")]
        elif isinstance(route, APIRoute | Route):
            found += [(method, prefix + route.path) for method in sorted(route.methods or ()) if method != "HEAD"]
        else:
            pytest.fail(f"a kind of route this test does not know: {route!r}")
    return found


def everything(app: App) -> list[tuple[str, str]]:
    return [(route.method, route.path) for route in ROUTES] + page_routes(list(app.pages.routes))


async def ask(app: App, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    transport = httpx.ASGITransport(app=app, client=STRANGER, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://haechi.test") as client:
        filled = re.sub(r"\{[^}]*\}", "x", path)
        return (await client.request(method, filled, headers=headers, content=b"{}")).status_code


async def test_a_stranger_is_refused_everywhere_else(app: App) -> None:
    answers = {route: await ask(app, *route) for route in everything(app) if route not in OPEN | SIGN_IN}
    assert {route: status for route, status in answers.items() if status != 401} == {}


async def test_a_key_nobody_made_is_refused_everywhere_else(app: App) -> None:
    headers = {"authorization": "Bearer hc_live_0000000000000000000000000000000000000000000"}
    answers = {route: await ask(app, *route, headers) for route in everything(app) if route not in OPEN | SIGN_IN}
    assert {route: status for route, status in answers.items() if status != 401} == {}


async def test_signing_in_tells_a_stranger_nothing(app: App) -> None:
    body = {"email": "nobody@example.go.kr", "password": "wrong"}
    transport = httpx.ASGITransport(app=app, client=STRANGER)
    async with httpx.AsyncClient(transport=transport, base_url="http://haechi.test") as client:
        assert [(await client.request(*route, json=body)).status_code for route in SIGN_IN] == [401]


async def test_the_lists_of_open_routes_hold_no_ghosts(app: App) -> None:
    """A name left behind would let the next route of that name in unseen."""
    assert set(everything(app)) >= OPEN | SIGN_IN | OPEN_TO_LOOPBACK | UNMETERED


async def test_what_is_open_answers(app: App) -> None:
    assert {await ask(app, *route) for route in OPEN} <= {200, 503}


def test_the_request_path_is_metered_or_written_down() -> None:
    assert {(route.method, route.path) for route in ROUTES if not route.metered} == UNMETERED


@pytest.mark.parametrize("route", [r for r in ROUTES if r.metered], ids=lambda route: route.path)
def test_a_metered_route_goes_through_the_exchange(route: object) -> None:
    handler = getattr(route, "handler")  # noqa: B009 – a parameter of pytest has no type
    assert "exchange." in inspect.getsource(inspect.getmodule(handler) or handler)


def test_no_surface_reaches_a_provider_or_the_book_by_itself() -> None:
    """One place holds money and one place settles it; a surface that could go around it one day would."""
    around = re.compile(r"^(gateway\.providers\.(?!base$)|billing\.(book|writer|store)\b)")
    imported = [
        (path.name, module)
        for path in (ROOT / "gateway/api").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    ]
    assert imported
    assert [found for found in imported if around.match(found[1])] == []


async def test_the_description_names_every_route(app: App) -> None:
    described = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method.islower()
    }
    programs_use = {route for route in everything(app) if route[1].startswith(("/v1/", "/api/"))}
    assert programs_use - described == set()
