"""The scripted upstream as a Transport, in this process and without a socket."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

from multidict import CIMultiDict

from gateway.providers.base import Failure, ProviderError
from gateway.providers.scripted.script import Arrival, Script, Upstream, arrival
from gateway.providers.scripted.text import LONG
from gateway.providers.transport import Response, Timeouts


class ScriptedTransport:
    """A Transport with no socket: the script is played to whoever reads, and stops when nobody does.

    `log` holds the last `log_size` arrivals, oldest first, live: an Arrival changes while its answer is being read.
    """

    def __init__(self, upstream: Upstream, *, log_size: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self.log: deque[Arrival] = deque(maxlen=log_size)
        self._upstream = upstream
        self._clock = clock
        self._arrivals = 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeouts: Timeouts) -> Response:
        path = url.partition("?")[0]
        if len(body) > LONG:
            script = await asyncio.to_thread(self._upstream.answer, path, body)
        else:
            script = self._upstream.answer(path, body)
        self._arrivals += 1
        entry = arrival(self._arrivals, self._clock(), CIMultiDict(headers), script)
        self.log.append(entry)
        try:
            await asyncio.sleep(min(script.before, timeouts.first_byte))
        except asyncio.CancelledError:
            entry.ended = "client_closed"
            raise
        if script.before > timeouts.first_byte:
            entry.ended = "client_closed"
            raise ProviderError(Failure.TIMEOUT, sent=True, detail="no first byte")
        return _ScriptedResponse(script, entry, timeouts.idle)

    async def close(self) -> None:
        """Nothing is held open between requests."""


class _ScriptedResponse:
    __slots__ = ("_cut", "_entry", "_idle", "_steps", "_waking", "headers", "status")

    def __init__(self, script: Script, entry: Arrival, idle: float) -> None:
        self.status = script.status
        self.headers: Mapping[str, str] = CIMultiDict(script.headers)
        self._steps = iter(script.steps)
        self._cut = script.cut is not None
        self._entry = entry
        self._idle = idle
        self._waking: asyncio.Future[None] | None = None

    async def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        async for part in self.chunks():
            parts.append(part)
            if sum(map(len, parts)) > limit:
                self.close()
                raise ProviderError(Failure.BROKEN, sent=True, detail=f"body over {limit} bytes")
        return b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._entry.ended == "complete":
            raise StopAsyncIteration
        step = None if self._entry.ended != "open" else next(self._steps, None)
        if step is not None:
            try:
                await self._wait(min(step.delay, self._idle))
            except asyncio.CancelledError:
                self.close()
                raise
            if step.delay > self._idle:
                self.close()
                raise ProviderError(Failure.TIMEOUT, sent=True, detail="silence in mid-answer")
        if step is None and not self._cut and self._entry.ended == "open":
            self._entry.ended = "complete"
            raise StopAsyncIteration
        if step is None or self._entry.ended != "open":
            if self._entry.ended == "open":
                self._entry.ended = "cut"
            raise ProviderError(Failure.BROKEN, sent=True, detail="connection cut")
        self._entry.sent(step)
        return step.data

    async def _wait(self, delay: float) -> None:
        """Sleep, but wake at once when another task closes us."""
        if not delay:
            # Even an upstream with no pace must let other work run between two chunks.
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._waking = loop.create_future()
        timer = loop.call_later(delay, _wake, self._waking)
        try:
            await self._waking
        finally:
            timer.cancel()
            self._waking = None

    def finish(self) -> None:
        if self._entry.ended == "open":
            self._entry.ended = "complete" if not self._cut and next(self._steps, None) is None else "client_closed"

    def close(self) -> None:
        if self._entry.ended == "open":
            self._entry.ended = "client_closed"
        if self._waking is not None:
            _wake(self._waking)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
