"""From a name to a socket: which addresses are tried, in which order, and that nothing is left of the others."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.providers.dialing import Address, Dialer

V4, V6 = socket.AF_INET, socket.AF_INET6


def at(port: int, family: socket.AddressFamily = V4, host: str = "127.0.0.1") -> Address:
    return (family, socket.SOCK_STREAM, 6, "", (host, port))


class Names:
    """Resolves to what it is told, and counts how often it was asked."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        await asyncio.sleep(0.01)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.addresses


@pytest.fixture
async def listening() -> AsyncIterator[list[int]]:
    """Ports of two servers that accept everything."""
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for _ in range(2):
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            await stack.enter_async_context(server)
            ports.append(server.sockets[0].getsockname()[1])
        yield ports


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue is full: it leaves a SYN unanswered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def reached(dialer: Dialer) -> int:
    """The port of the address that was taken."""
    with await dialer.dial() as sock:
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        port: int = sock.getpeername()[1]
        return port


def open_sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {name for name in found if name.startswith("socket:")}


async def test_a_name_is_resolved_once_for_everybody_who_comes_and_its_machines_take_turns(
    listening: list[int],
) -> None:
    names = Names(*map(at, listening))
    dialer = Dialer("upstream.invalid", 80, names)
    ports = await asyncio.gather(*(reached(dialer) for _ in range(10)))
    assert {port: ports.count(port) for port in listening} == dict.fromkeys(listening, 5)
    assert names.asked == 1


@pytest.mark.parametrize("way", ["silent", "refused", "both"])
async def test_an_address_that_leads_nowhere_costs_a_moment_and_leaves_nothing(
    listening: list[int], silent: int, free_port: int, way: str
) -> None:
    bad = {"silent": [silent], "refused": [free_port], "both": [silent, free_port, silent]}[way]
    dialer = Dialer("upstream.invalid", 80, Names(*map(at, bad), at(listening[0])))
    before = open_sockets()
    assert [await reached(dialer) for _ in range(3)] == [listening[0]] * 3
    await asyncio.sleep(0)
    assert open_sockets() == before


async def test_families_take_turns_in_the_resolvers_order(free_port: int, listening: list[int]) -> None:
    """The only IPv4 address is the last the resolver named, and the second that is tried."""
    unreachable = [at(free_port, V6, "::1")] * 30
    async with asyncio.timeout(5):
        assert await reached(Dialer("upstream.invalid", 80, Names(*unreachable, at(listening[0])))) == listening[0]


async def test_when_no_address_answers_the_name_is_asked_for_again(free_port: int, listening: list[int]) -> None:
    names = Names(at(free_port), at(free_port))
    dialer = Dialer("upstream.invalid", 80, names)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await dialer.dial()
    assert names.asked == 2
    names.addresses = [at(listening[0])]
    assert await reached(dialer) == listening[0]
    assert (await reached(dialer), names.asked) == (listening[0], 3)


async def test_a_name_nobody_knows_is_asked_for_again_each_time() -> None:
    names = Names()
    dialer = Dialer("upstream.invalid", 80, names)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await dialer.dial()
    assert names.asked == 2


@pytest.mark.parametrize("turns", range(12))
async def test_giving_up_at_any_moment_leaves_no_socket(silent: int, listening: list[int], turns: int) -> None:
    dialer = Dialer("upstream.invalid", 80, Names(at(silent), at(silent), at(listening[0])))
    before = open_sockets()
    dialing = asyncio.create_task(dialer.dial())
    for _ in range(turns):
        await asyncio.sleep(0.005 if turns % 2 else 0)
    dialing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialing
    for _ in range(3):
        await asyncio.sleep(0)
    assert open_sockets() == before
