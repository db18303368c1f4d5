"""How many streams one key and one person may have open at once. Rates, never money.

In one process a counter is enough. With Redis the count is shared by all processes: each open stream is a member of a sorted
set scored with the time its lease ends, so the streams of a process that died fall out by themselves. A Redis that is slow or
gone never decides anything: the process's own count does, and a metric says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from gateway.errors import TooManyRequests

log = logging.getLogger("haechi.limits")

_LEASE_SECONDS = 900
_TIMEOUT_SECONDS = 0.05
_QUIET_SECONDS = 5.0

#: Drop what has lapsed, count, and take a place unless the set is full: one step, so that two processes cannot both take it.
_TAKE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


class Shared(Protocol):
    """Places shared between processes. `take` answers None when it cannot tell."""

    async def take(self, name: str, member: str, limit: int) -> bool | None: ...

    def give(self, name: str, member: str) -> None: ...

    async def close(self) -> None: ...


class RedisPlaces:
    """Shared places in Redis. After a failure it is left alone for a few seconds: a slow Redis must not slow requests."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=16,
            timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._redis: Any = Redis(connection_pool=pool)
        self._take: Any = self._redis.register_script(_TAKE)
        self._clock = clock
        self._quiet_until = 0.0
        self._giving: set[asyncio.Task[None]] = set()
        self.degraded = False

    async def take(self, name: str, member: str, limit: int) -> bool | None:
        now = self._clock()
        if now < self._quiet_until:
            return None
        try:
            taken = await self._take(
                keys=[f"haechi:{name}"], args=[now, now + _LEASE_SECONDS, limit, member, _LEASE_SECONDS]
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
            return None
        self.degraded = False
        return bool(taken)

    def give(self, name: str, member: str) -> None:
        task = asyncio.get_running_loop().create_task(self._remove(name, member))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    async def _remove(self, name: str, member: str) -> None:
        try:
            await self._redis.zrem(f"haechi:{name}", member)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)  # the lease frees the place

    def _fail(self, error: Exception) -> None:
        if not self.degraded:
            log.error("Redis does not answer (%s): each process counts its own streams", type(error).__name__)
        self.degraded = True
        self._quiet_until = self._clock() + _QUIET_SECONDS

    async def close(self) -> None:
        if self._giving:
            await asyncio.wait(self._giving, timeout=1.0)
        await self._redis.aclose()


class StreamPlaces:
    """The count of open streams by name; `shared` adds the other processes' where there is one."""

    def __init__(self, shared: Shared | None = None) -> None:
        self._open: Counter[str] = Counter()
        self._shared = shared

    async def take(self, limits: tuple[tuple[str, int], ...], member: str) -> None:
        """Take a place under every (name, limit), or raise TooManyRequests and take none."""
        taken: list[str] = []
        for name, limit in limits:
            free = self._open[name] < limit
            if free and self._shared is not None:
                free = await self._shared.take(name, member, limit) is not False
            if not free:
                self.give(tuple(taken), member)
                raise TooManyRequests(
                    f"{limit} streams are open already; wait for one to end. 동시에 열 수 있는 스트림은 {limit}개입니다.",
                    headers={"retry-after": "1"},
                )
            self._open[name] += 1
            taken.append(name)

    def give(self, names: tuple[str, ...], member: str) -> None:
        for name in names:
            self._open[name] -= 1
            if self._open[name] <= 0:
                del self._open[name]
            if self._shared is not None:
                self._shared.give(name, member)

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()
