"""Run the app until told to stop; drain; return an exit code.

SIGTERM, SIGINT ──▶ draining: 503 for new requests, `status.draining`
                      │ drain_grace_seconds
                      ▼
                    listening socket closed
                      │ drain_idle_seconds           idle connections closed
                      ▼
                    wait for running requests ─────▶ none left ──▶ lifespan shutdown ──▶ 0
                      │ drain_seconds (from the signal)
                      ▼
                    http.disconnect with reason "shutdown", `status.expired`; handlers send their last event
                      │ final_seconds
                      ▼
                    tasks cancelled, connections dropped ──▶ lifespan shutdown ──▶ 0
a second signal goes straight to the last line, a third does not wait for the lifespan either
SIGHUP ──▶ on_reload()
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Generator
from email.utils import formatdate
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from gateway.server.connection import Connection
from gateway.server.limits import ServerLimits
from gateway.server.shared import Shared
from gateway.server.status import ServerStatus

log = logging.getLogger(__name__)

STARTUP_FAILED = 1

# How often a drain looks whether it is over.
_DRAIN_POLL_SECONDS = 0.05
# How long cancelled handlers get to clean up.
_CANCEL_SECONDS = 2.0
# Descriptors besides client connections: upstream connections, the database, logs.
_SPARE_FILES = 1024


class Server(uvicorn.Server):
    """uvicorn's start-up (lifespan, listening socket, event loop) with our connections, signals, clock and drain."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        limits: ServerLimits,
        on_reload: Callable[[], None] | None = None,
        ready: Callable[[str, int], None] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=Connection,
                ws="none",
                loop="uvloop",
                lifespan="on",  # "auto" takes an exception while starting for "no lifespan" and serves all the same
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self._limits = limits
        self._on_reload = on_reload
        self._ready = ready
        self._shared = Shared(limits)
        self.server_state = self._shared
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._stop = asyncio.Event()
        self._forced = asyncio.Event()
        self._swept = 0.0
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def status(self) -> ServerStatus:
        return self._shared.status

    def stop(self) -> None:
        """What a SIGTERM does, from any thread: the first call drains, the second forces."""
        loop = self._loop
        if loop is None or not loop.is_running():
            self._count_signal()
        else:
            # The loop may close between the question and the call; then there is nothing left to stop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._count_signal)

    # uvicorn's life cycle

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # never given sockets
        self._loop = asyncio.get_running_loop()
        self.lifespan.state["server"] = self._shared.status
        self._swept = self._loop.time()
        self._sweep()
        await super().startup()
        if self._ready is not None and not self.should_exit:
            address = self.servers[0].sockets[0].getsockname()
            self._ready(address[0], address[1])

    async def main_loop(self) -> None:
        await self._stop.wait()

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # as above
        shared = self._shared
        limits = self._limits
        loop = asyncio.get_running_loop()
        began = loop.time()
        log.info("draining %d connections, %d requests", len(shared.open), len(shared.tasks))

        await self._pause(limits.drain_grace_seconds)
        for server in self.servers:
            server.close()
        finished = await self._wait_for_requests(
            began + limits.drain_seconds, idle_until=began + limits.drain_idle_seconds
        )
        if not finished and not self.force_exit:
            shared.status.expired = True
            for connection in tuple(shared.open):
                connection.expire()
            finished = await self._wait_for_requests(loop.time() + limits.final_seconds, idle_until=0.0)
        if not finished:
            await self._drop_requests()
        if self._signals < 3:
            await self._shut_lifespan()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _wait_for_requests(self, deadline: float, *, idle_until: float) -> bool:
        """Wait for every request and connection to end, until `deadline` (loop time). Whether they all did."""
        shared = self._shared
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if now >= idle_until:
                for connection in tuple(shared.open):
                    connection.retire()
            if not shared.open and not shared.tasks:
                return True
            if self.force_exit or now >= deadline:
                return False
            await self._pause(_DRAIN_POLL_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through a forcing signal."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._forced.wait()

    async def _drop_requests(self) -> None:
        shared = self._shared
        log.warning("dropping %d connections, %d requests", len(shared.open), len(shared.tasks))
        tasks = tuple(shared.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
        for connection in tuple(shared.open):
            connection.abort("shutdown")

    async def _shut_lifespan(self) -> None:
        """The app's own shutdown; a further signal ends the wait."""
        waited = asyncio.ensure_future(self.lifespan.shutdown())
        while not waited.done() and self._signals < 3:
            await asyncio.wait((waited,), timeout=_DRAIN_POLL_SECONDS)

    # The clock

    def _sweep(self) -> None:
        """Once per `sweep_seconds`: the clock, the date header, and the connections whose time has come."""
        loop = self._loop
        assert loop is not None
        shared = self._shared
        now = loop.time()
        elapsed = now - self._swept
        self._swept = shared.now = now
        self._sweeper = loop.call_later(self._limits.sweep_seconds, self._sweep)
        date = formatdate(time.time(), usegmt=True).encode("ascii")
        shared.default_headers = [(b"date", date)]
        shared.default_block = b"date: %b\r\n" % date
        shared.status.connections = len(shared.open)
        shared.status.running = len(shared.tasks)
        for connection in tuple(shared.open):
            if connection.wake <= now:
                try:
                    connection.inspect(now, elapsed)
                except Exception:  # one connection must not leave the others without time limits
                    log.exception("a connection could not be inspected and is dropped")
                    connection.abort("refused")

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals come through the event loop, and none is raised again at the end: a drained server exits with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._count_signal,
            signal.SIGINT: self._count_signal,
            signal.SIGHUP: self._reload,
        }
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._count_signal()

    def _count_signal(self) -> None:
        self._signals += 1
        self.should_exit = True
        self._shared.status.draining = True
        self._stop.set()
        if self._signals > 1:
            self.force_exit = True
            self._forced.set()

    def _reload(self) -> None:
        if self._on_reload is None:
            return
        try:
            self._on_reload()
        except (Exception, SystemExit):  # a configuration that would not start must not stop what runs
            log.exception("the reload failed; everything stays as it was")


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    limits: ServerLimits,
    on_reload: Callable[[], None] | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> int:
    """Serve `app` until SIGTERM or SIGINT and return the exit code: 0, or 1 when the app or the port did not start.

    `app` speaks the lifespan protocol; `scope["state"]["server"]`, there and in every request, is a ServerStatus.

    `ready(host, port)` is called once connections are accepted, with the real port when 0 was asked for; `on_reload()`
    on every SIGHUP, in the event loop, its exceptions logged. Raises ValueError for an impossible trusted proxy.
    """
    server = Server(app, host=host, port=port, limits=allowed_files(limits), on_reload=on_reload, ready=ready)
    try:
        server.run()
    except SystemExit:  # uvicorn's way to say that the lifespan or the socket failed; it has logged why
        return STARTUP_FAILED
    return 0 if server.started else STARTUP_FAILED


def allowed_files(limits: ServerLimits) -> ServerLimits:
    """Raise the process's limit on open files as far as `max_connections` needs; lower that to what is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.max_connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    return dataclasses.replace(limits, max_connections=max(soft - _SPARE_FILES, soft // 2))
