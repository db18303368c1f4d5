"""The composition root: the one file that names concrete classes.

    settings ─▶ engine ─▶ book ─▶ worlds ─▶ writer ─▶ exchange ─▶ hot lane (raw ASGI)  ┐
                                    └─▶ upkeep          authenticator ─▶ FastAPI        ┴─▶ one ASGI app

`/v1/…` goes to the hot lane, everything else to FastAPI; the OpenAPI description covers both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.types import Receive, Scope, Send

from billing.book import Book, LedgerUnavailable
from billing.writer import Writer
from gateway.api import conversations, health, me, oversight, policy_check, session, start
from gateway.api import files as files_api
from gateway.api.embeddings import embeddings
from gateway.api.ledger_standing import LedgerStanding
from gateway.api.models import get_model, list_models
from gateway.api.openai_chat import chat_completions
from gateway.api.pages import CatchBugs, add_refusals
from gateway.api.surface import Gate, Route, Surface, openapi_paths
from gateway.attachments import configured
from gateway.database import open_engine
from gateway.directory.directory import Directory
from gateway.directory.ids import now_us, uuid7
from gateway.directory.sessions import Sessions, Throttle
from gateway.enclosures import Enclosures
from gateway.evidence.recorder import LedgerEvidence
from gateway.evidence.records import Fingerprints
from gateway.exchange import Exchange
from gateway.idempotency.repeats import Repeats
from gateway.limits import RedisPlaces, StreamPlaces
from gateway.metrics import Metrics
from gateway.oversight.oversight import Overrides, Oversight
from gateway.principal import Authenticator
from gateway.routing import Router
from gateway.settings import Settings
from gateway.upkeep import Upkeep
from gateway.workspace.files import Files
from gateway.workspace.mask_vault import MaskVaults
from gateway.worlds import Worlds, actions_of
from policies.detector import Detector

log = logging.getLogger("haechi.app")

_REFRESH_SECONDS = 2.0

#: The hot lane. A path here that is not metered may not reach a provider.
ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/chat/completions", chat_completions, metered=True),
    Route("POST", "/v1/embeddings", embeddings, metered=True),
    Route("GET", "/v1/models", list_models, metered=False),
    Route("GET", "/v1/models/{model}", get_model, metered=False),
)


class App:
    """The ASGI app and what it is made of. `reload` is what SIGHUP does."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
        detectors: Sequence[Detector] = (),
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.clock = clock
        self._ids = ids
        self.owner = f"{os.uname().nodename}:{os.getpid()}:{ids()[-12:]}"
        book = Book(engine, ids)
        self.overrides = Overrides(engine, clock)
        self.worlds = Worlds(
            settings,
            book,
            clock=clock,
            ids=ids,
            detectors=detectors,
            exemptions=self.overrides.exemptions,
            tightenings=self.overrides.tightenings,
        )
        self.writer = Writer(book)
        self.metrics = Metrics()
        self.authenticator = Authenticator(engine, settings, clock)
        shared = None
        if settings.redis_url is not None:
            shared = RedisPlaces(settings.redis_url.get_secret_value())
        self.streams = StreamPlaces(shared)
        self.files = Files(
            engine,
            configured.build,
            settings.secrets.encryption_key.get_secret_value(),
            lambda: self.worlds.current.settings,
            clock=clock,
            ids=ids,
        )
        self.enclosures = Enclosures(self.files)
        self.vaults = MaskVaults(engine, settings.secrets.encryption_key.get_secret_value(), clock)
        self.exchange = Exchange(
            self.worlds.world,
            self.writer,
            Router(),
            self.metrics,
            clock=clock,
            owner=self.owner,
            ids=ids,
            evidence=LedgerEvidence(self.writer),
            fingerprints=Fingerprints(settings.secrets.pepper.get_secret_value()),
            enclosures=self.enclosures,
            vaults=self.vaults,
        )
        alone = engine.dialect.name == "sqlite"
        self.repeats = Repeats(
            self.writer,
            settings.secrets.encryption_key.get_secret_value(),
            clock=clock,
            owner=self.owner,
            alone=alone,
            limits=lambda: self.worlds.current.settings.limits,
        )
        self.upkeep = Upkeep(
            self.writer,
            self.worlds.world,
            self.metrics,
            clock=clock,
            owner=self.owner,
            alone=alone,
            repeats=self.repeats,
        )
        gate = Gate(
            self.worlds.world, self.authenticator, self.exchange, self.streams, self.metrics, repeats=self.repeats
        )
        self.surface = Surface(gate, ROUTES)
        self.pages = self._pages()
        self._guarded = CatchBugs(self.pages)
        self._refreshing: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self.surface(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    def reload(self) -> None:
        """Read the configuration again, in the writer's thread; the old world stays where the new one does not read."""
        task = asyncio.get_running_loop().create_task(self._reload())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _reload(self) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self.writer.transact(self.worlds.reload)
            self.authenticator.invalidate()

    def _pages(self) -> FastAPI:
        pages = FastAPI(
            title="Haechi",
            version="0.1.0",
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            lifespan=self._lifespan,
        )
        settings = self.settings
        add_refusals(pages)
        health.add(pages, self)
        pages.include_router(start.router(settings.web.frame_ancestors))
        secret = settings.secrets.session_key.get_secret_value()
        directory = Directory(self.engine, settings.secrets.pepper.get_secret_value(), self.clock, self._ids)
        sessions = Sessions(self.engine, secret, self.clock, self._ids)
        throttle = Throttle(self.clock)
        pages.include_router(
            session.router(self.authenticator, sessions, throttle, settings.zone, settings.web.frame_ancestors)
        )
        pages.include_router(
            policy_check.router(self.authenticator, self.worlds.world, self.enclosures, self.vaults, clock=self.clock)
        )
        pages.include_router(conversations.router(self.authenticator, self.vaults))
        pages.include_router(
            oversight.router(
                self.authenticator,
                Oversight(self.engine, self.clock, self._ids),
                self.engine,
                lambda: self.worlds.current.settings,
                clock=self.clock,
                configured=lambda: actions_of(self.worlds.current.settings),
                tightenings=self.overrides.tightenings,
                changed=self.overrides.look,
            )
        )
        standing = LedgerStanding(self.engine, lambda: self.worlds.current.calendar, self.clock)
        pages.include_router(files_api.router(self.authenticator, self.files, settings.attachments, settings.zone))
        name = settings.organisation.name
        pages.include_router(me.router(self.authenticator, directory, standing, name, settings.zone, clock=self.clock))
        return pages

    def openapi(self) -> dict[str, Any]:
        """The description of both lanes."""
        described = dict(self.pages.openapi())
        described["paths"] = {**openapi_paths(ROUTES), **described.get("paths", {})}
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        described["components"] = {**described.get("components", {}), "securitySchemes": schemes}
        return described

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.writer.start()
        await self.authenticator.start()
        await self.overrides.start()
        await self.upkeep.start()
        await self.files.start()
        self._refreshing = asyncio.create_task(self._refresh())
        try:
            yield
        finally:
            self._refreshing.cancel()
            await self.exchange.idle()
            await self.upkeep.stop()
            await self.files.stop()
            await self.authenticator.stop()
            await self.overrides.stop()
            await self.streams.close()
            await self.worlds.close()
            await self.writer.stop()
            self.engine.dispose()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self.writer.transact(self.worlds.refresh)
                self.metrics.live.set(self.exchange.live)
            except LedgerUnavailable:
                continue
            except Exception:
                log.exception("the world was not refreshed; the old one stays")


def build_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    clock: Callable[[], int] = now_us,
    ids: Callable[[], str] = uuid7,
    detectors: Sequence[Detector] = (),
) -> App:
    """The app over its database, which must be migrated. `detectors` are a site's own, beside those that ship."""
    engine = engine or open_engine(settings.database_url.get_secret_value())
    return App(settings, engine, clock=clock, ids=ids, detectors=detectors)
