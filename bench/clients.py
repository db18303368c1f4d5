"""What the upstream clients cost: `python -m bench.clients`, CPU µs of one process against the C upstream, in seconds.

whole answer    post and read of 1.1 KB, 32 at a time
alone           the same, one at a time: nothing to share a turn of the loop with
burst           a stream of 100 chunks that comes in one piece
chunk           one chunk of a stream paced 20 ms, 16 and 150 streams at a time

`nothing` is a protocol that throws away what it reads: what the kernel and the event loop cost whoever asks.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop

from bench.machine import split_cores
from bench.rounds import Size, Upstream
from gateway.providers.lean import LeanTransport
from gateway.providers.proxied import AiohttpTransport
from gateway.providers.transport import Timeouts, Transport

CHUNKS = 100
PROMPT = "시민이 알기 쉬운 말로 안내문을 고쳐 써 주세요. " * 30
TIMEOUTS = Timeouts()
HEADERS = {"content-type": "application/json", "accept": "application/json", "authorization": "Bearer sk-bench"}


def body(model: str, *, stream: bool) -> bytes:
    asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}
    return json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()


WHOLE, BURST, PACED = body("bench", stream=False), body("bench", stream=True), body("bench-paced", stream=True)

#: Sends one request and hears its answer to the end.
Exchange = Callable[[bytes], Awaitable[None]]


def through(transport: Transport, url: str) -> Exchange:
    number = 0

    async def exchange(request: bytes) -> None:
        nonlocal number
        number += 1
        headers = {**HEADERS, "x-client-request-id": f"{number}:1"}
        response = await transport.post(url, headers, request, timeouts=TIMEOUTS)
        if request is WHOLE:
            await response.read(1 << 20)
        else:
            async for _ in response.chunks():
                pass
        response.close()

    return exchange


class Nothing(asyncio.Protocol):
    """Waits for the end of one answer, which the upstream writes last."""

    def __init__(self) -> None:
        self.wire: asyncio.WriteTransport
        self.done: asyncio.Future[None]
        self.ends = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(self.ends) and not self.done.done():
            self.done.set_result(None)


def with_nothing(port: int) -> Exchange:
    idle: list[Nothing] = []

    async def exchange(request: bytes) -> None:
        loop = asyncio.get_running_loop()
        protocol = idle.pop() if idle else (await loop.create_connection(Nothing, "127.0.0.1", port))[1]
        protocol.done = loop.create_future()
        protocol.ends = b"}" if request is WHOLE else b"0\r\n\r\n"
        protocol.wire.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(request), request))
        await protocol.done
        idle.append(protocol)

    return exchange


def cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


async def cost(exchange: Exchange, request: bytes, count: int, at_once: int) -> float:
    """µs for each of `count` exchanges."""

    async def several(number: int) -> None:
        for _ in range(number):
            await exchange(request)

    await several(1)
    gc.collect()
    before = cpu()
    await asyncio.gather(*(several(count // at_once) for _ in range(at_once)))
    return (cpu() - before) / count * 1e6


async def measure(exchange: Exchange) -> dict[str, float]:
    await cost(exchange, WHOLE, 640, 32)
    return {
        "whole answer": await cost(exchange, WHOLE, 6400, 32),
        "alone": await cost(exchange, WHOLE, 2000, 1),
        "burst": await cost(exchange, BURST, 300, 1),
        "chunk, 16 streams": await cost(exchange, PACED, 16, 16) / CHUNKS,
        "chunk, 150 streams": await cost(exchange, PACED, 150, 150) / CHUNKS,
    }


async def one(client: str, port: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    if client == "nothing":
        return await measure(with_nothing(port))
    transport: Transport = LeanTransport() if client == "lean" else AiohttpTransport()
    try:
        return await measure(through(transport, url))
    finally:
        await transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description="What the upstream clients cost.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cores = split_cores()
    upstream = Upstream(cores, Size())
    os.sched_setaffinity(0, cores.target)
    clients = ("nothing", "aiohttp", "lean")
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        for _ in range(options.rounds):
            for client in clients:
                for name, micros in uvloop.run(one(client, upstream.port)).items():
                    found[name][client].append(micros)
    finally:
        upstream.close()
    print(f"CPU µs, median of {options.rounds} (lowest–highest)\n")
    print(f"| | {' | '.join(clients)} |\n| --- | --- | --- | --- |")
    for name, by_client in found.items():
        cells = (
            f"{statistics.median(by_client[client]):.1f} ({min(by_client[client]):.0f}–{max(by_client[client]):.0f})"
            for client in clients
        )
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
