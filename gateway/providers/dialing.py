"""From a name to a connected TCP socket: resolved once a minute, its addresses raced against each other.

    name ──▶ addresses, families in turn ──▶ first ─ 0.25 s ─▶ second ─ 0.25 s ─▶ … whichever answers first

uvloop's own connecting tries one address after the other: one that leads nowhere would take the whole time allowed.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any

#: Seconds a resolved name is believed.
_NAME_TTL = 60.0
#: Head start of one address over the next, in seconds (RFC 8305 §5).
_STAGGER = 0.25

#: What getaddrinfo says of one address: family, type, protocol, canonical name, address.
Address = tuple[Any, ...]
Resolve = Callable[[str, int], Awaitable[list[Address]]]


async def _system(host: str, port: int) -> list[Address]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Dialer:
    """The way to one host and port. `resolve` says which addresses it has; raises OSError where it has none."""

    __slots__ = ("_addresses", "_believed", "_host", "_port", "_resolve", "_resolving")

    def __init__(self, host: str, port: int, resolve: Resolve = _system) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._addresses: list[Address] = []
        self._believed = -math.inf
        self._resolving: asyncio.Lock | None = None

    async def dial(self) -> socket.socket:
        """A connected socket. Raises OSError, or UnicodeError for a name that cannot be one."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._believed:
            # Everybody who comes meanwhile waits for the same answer. Made here, because a lock belongs to a loop.
            self._resolving = self._resolving or asyncio.Lock()
            async with self._resolving:
                if loop.time() >= self._believed:
                    self._addresses = _interleaved(await self._resolve(self._host, self._port))
                    self._believed = loop.time() + _NAME_TTL
        addresses = self._addresses
        # The next connection begins with the next address, so that a name with several machines loads all of them.
        self._addresses = addresses[1:] + addresses[:1]
        try:
            if len(addresses) == 1:
                return await _open(loop, addresses[0])
            return await _race(loop, addresses)
        except BaseException:  # a time-out too
            self._believed = -math.inf
            raise


def _interleaved(found: list[Address]) -> list[Address]:
    """Families in turn, each in the resolver's order: an IPv6 that leads nowhere then costs one head start, not many."""
    families: dict[int, list[Address]] = {}
    for info in found:
        families.setdefault(info[0], []).append(info)
    return [info for row in itertools.zip_longest(*families.values()) for info in row if info is not None]


async def _open(loop: asyncio.AbstractEventLoop, info: Address) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        # A long answer is silent for minutes: without a sign of life, firewalls on the way forget the connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), 60)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(loop: asyncio.AbstractEventLoop, addresses: list[Address]) -> socket.socket:
    """The first address that answers, each a little later than the one before or as soon as that one failed."""
    waiting = list(reversed(addresses))
    running: set[asyncio.Task[socket.socket]] = set()
    won: list[socket.socket] = []
    failed: BaseException | None = None
    try:
        while not won:
            if waiting:
                running.add(loop.create_task(_open(loop, waiting.pop())))
            elif not running:
                raise failed or OSError(errno.EHOSTUNREACH, "no address")
            done, running = await asyncio.wait(
                running, timeout=_STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                failed = task.exception()
                if failed is None:
                    won.append(task.result())
                elif not isinstance(failed, OSError):
                    raise failed
        return won.pop(0)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
        for sock in won:
            sock.close()


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
