"""The pages' routers in an app of their own, with refusals rendered as the real one renders them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from clock import Clock
from fastapi import FastAPI, Request, Response
from sqlalchemy import Engine

from gateway.api import me, session
from gateway.api.raw import error_body
from gateway.audit import Actor
from gateway.directory import passwords
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.directory.sessions import Sessions, Throttle
from gateway.errors import Refusal
from gateway.principal import Authenticator
from gateway.settings import Settings

KIM = "kim@city.example"


@pytest.fixture
def standing() -> me.RememberedStanding:
    return me.RememberedStanding()


@pytest.fixture
def authenticator(engine: Engine, settings: Settings, clock: Clock) -> Authenticator:
    return Authenticator(engine, settings, clock)


@pytest.fixture
def pages(
    *,
    engine: Engine,
    settings: Settings,
    clock: Clock,
    city: Directory,
    authenticator: Authenticator,
    standing: me.RememberedStanding,
) -> FastAPI:
    sessions = Sessions(engine, settings.secrets.session_key.get_secret_value(), clock, uuid7)
    app = FastAPI()
    app.include_router(session.router(authenticator, sessions, Throttle(clock), settings.zone))
    app.include_router(me.router(authenticator, city, standing, settings.organisation.name, settings.zone, clock=clock))

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return Response(error_body(refusal, "test"), refusal.status, refusal.headers, "application/json")

    return app


@pytest.fixture
async def client(pages: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=pages, client=("10.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="https://haechi.test") as opened:
        yield opened


@pytest.fixture
def password(city: Directory, by: Actor) -> str:
    chosen = passwords.generate()
    city.set_password_hash(KIM, passwords.hash_password(chosen), by=by)
    return chosen
