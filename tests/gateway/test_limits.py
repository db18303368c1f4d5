"""Open streams are counted in this process, and across processes where there is a Redis that answers."""

import asyncio
import contextlib

import pytest

from gateway.errors import TooManyRequests
from gateway.limits import RedisPlaces, StreamPlaces

TWO = (("key:a", 2),)


async def test_the_third_stream_of_a_key_waits_for_one_to_end() -> None:
    places = StreamPlaces()
    await places.take(TWO, "1")
    await places.take(TWO, "2")
    with pytest.raises(TooManyRequests) as refused:
        await places.take(TWO, "3")
    assert refused.value.headers["retry-after"] == "1"
    places.give(("key:a",), "1")
    await places.take(TWO, "3")


async def test_a_refusal_takes_no_place_under_any_name() -> None:
    places = StreamPlaces()
    await places.take((("user:u", 1),), "1")
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            await places.take((("key:a", 2), ("user:u", 1)), "x")
    await places.take((("key:a", 1),), "2")


async def test_two_processes_share_the_count_through_redis(redis_url: str) -> None:
    one, other = StreamPlaces(RedisPlaces(redis_url)), StreamPlaces(RedisPlaces(redis_url))
    await one.take(TWO, "1")
    await other.take(TWO, "2")
    for places in (one, other):
        with pytest.raises(TooManyRequests):
            await places.take(TWO, "3")
    one.give(("key:a",), "1")
    await asyncio.sleep(0.05)
    await other.take(TWO, "3")
    await one.close()
    await other.close()


async def test_places_of_a_process_that_died_fall_free_when_their_lease_ends(redis_url: str) -> None:
    now = 1_000.0
    dead = RedisPlaces(redis_url, clock=lambda: now)
    assert await dead.take("key:dead", "1", 1)
    later = RedisPlaces(redis_url, clock=lambda: now + 901)
    assert await later.take("key:dead", "2", 1)
    await dead.close()
    await later.close()


async def test_a_redis_that_is_gone_leaves_each_process_to_its_own_count() -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)  # accepts and never answers
    port = server.sockets[0].getsockname()[1]
    shared = RedisPlaces(f"redis://127.0.0.1:{port}")
    places = StreamPlaces(shared)
    await places.take(TWO, "1")
    await places.take(TWO, "2")
    assert shared.degraded
    with pytest.raises(TooManyRequests):
        await places.take(TWO, "3")
    with contextlib.suppress(Exception):
        await shared.close()
    server.close()
