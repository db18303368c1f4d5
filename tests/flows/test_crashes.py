"""SIGKILL at every step: what a restart, or another server on the same ledger, makes of what was left behind.

reserved    nothing had left             the hold is given back, no row
sent …      it may have left             one row, estimated, and a case for a person
checkpoint  so much was delivered        one row, estimated from the checkpoint
settled     booked, and then died        one row, exact
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
from flows.harness import CHAT, Gateway, Town, asking, eventually

#: The first test waits for two dozen processes to start and die; on a busy machine that takes longer than any test may.
pytestmark = pytest.mark.timeout(600)

#: Short, so that another server takes over within the test and not within half a minute.
LEASE_SECONDS = 2

PROMPT = "[[chunks:30]] 회의록을 정리해 줘"


class Death(NamedTuple):
    """Where the process dies, and what must be found afterwards."""

    point: str
    stream: bool
    leaves: str  # void · guess · exact


DEATHS = [
    Death("reserved", stream=True, leaves="void"),
    Death("reserved", stream=False, leaves="void"),
    Death("sent", stream=True, leaves="guess"),
    Death("sent", stream=False, leaves="guess"),
    Death("dispatched", stream=True, leaves="guess"),
    Death("dispatched", stream=False, leaves="guess"),
    Death("frame", stream=True, leaves="guess"),
    Death("metered", stream=True, leaves="guess"),
    Death("metered", stream=False, leaves="guess"),
    Death("settled", stream=True, leaves="exact"),
    Death("settled", stream=False, leaves="exact"),
]


def named(death: Death) -> str:
    return f"{death.point} {'stream' if death.stream else 'whole'}"


@dataclass
class Graveyard:
    """A town in which a gateway died once at every point, after the survivor has had its time."""

    town: Town
    survivor: Gateway
    heard: dict[str, bytes]


@pytest.fixture(scope="module")
def graveyards(found: Callable[..., Town]) -> dict[str, Graveyard]:
    """One of each kind, dug side by side: most of the time is that of two dozen processes starting."""
    towns = {kind: found(kind, lease_seconds=LEASE_SECONDS) for kind in ("sqlite", "postgresql")}
    # An embedded ledger has one server: the next one to start resolves. PostgreSQL has another one at work.
    survivors = {"postgresql": towns["postgresql"].gateway()}
    with ThreadPoolExecutor() as diggers:
        heard = dict(zip(towns, diggers.map(die_everywhere, towns.values()), strict=True))
    survivors["sqlite"] = towns["sqlite"].gateway()
    for town in towns.values():
        eventually(lambda t=town: not t.open_holds(), within=30, what="nothing is left unresolved")
    return {kind: Graveyard(town, survivors[kind], heard[kind]) for kind, town in towns.items()}


@pytest.fixture(params=["sqlite", "postgresql"])
def graveyard(request: pytest.FixtureRequest, graveyards: dict[str, Graveyard]) -> Graveyard:
    return graveyards[request.param]


def die_everywhere(town: Town) -> dict[str, bytes]:
    return {**{named(death): die_at(town, death) for death in DEATHS}, "checkpoint": die_in_mid_stream(town)}


def die_at(town: Town, death: Death) -> bytes:
    """What the client heard of a request in whose middle the gateway was killed."""
    doomed = town.gateway(HAECHI_FAULT_POINT=death.point)
    wire = doomed.wire()
    wire.ask(town.key, asking(PROMPT, stream=death.stream), {"x-haechi-project": named(death)})
    heard = wire.read_to_end()
    doomed.process.wait()
    return heard


def die_in_mid_stream(town: Town) -> bytes:
    """Killed from outside once a checkpoint is on disk: what was delivered until then is known."""
    doomed = town.gateway()
    wire = doomed.wire()
    wire.ask(town.key, asking("[[pace:3]] [[chunks:2000]] 길게", stream=True), {"x-haechi-project": "checkpoint"})
    wire.read_until(lambda seen: seen.count(b"data: ") > 260)
    eventually(
        lambda: town.rows("SELECT id FROM hold WHERE project = 'checkpoint' AND checkpoint IS NOT NULL"),
        what="a checkpoint",
    )
    doomed.process.kill()
    return wire.read_to_end()


@pytest.mark.parametrize("death", DEATHS, ids=named)
def test_a_death_leaves_exactly_what_is_known(graveyard: Graveyard, death: Death) -> None:
    town = graveyard.town
    (hold,) = town.rows("SELECT * FROM hold WHERE project = :p", p=named(death))
    rows = town.rows("SELECT * FROM usage_event WHERE project = :p", p=named(death))
    cases = [case for case in town.cases("crash_unknown") if case["subject"] == hold["id"]]
    if death.leaves == "void":
        assert (hold["state"], rows, cases) == ("voided", [], [])
        assert hold["id"] not in town.arrivals()
        return
    (row,) = rows
    if death.leaves == "exact":
        assert (hold["state"], row["outcome"], row["quality"], cases) == ("posted", "completed", "exact", [])
        assert town.output_tokens(row) == 30
        return
    assert (hold["state"], row["outcome"], row["quality"]) == ("expired", "expired", "estimated")
    assert row["reason"] == "the gateway stopped"
    assert row["tokens"] == hold["input_estimate"] > 0
    assert len(cases) == 1


@pytest.mark.parametrize("death", DEATHS, ids=named)
def test_no_client_of_a_dead_gateway_was_told_that_its_answer_is_whole(graveyard: Graveyard, death: Death) -> None:
    heard = graveyard.heard[named(death)]
    assert b"[DONE]" not in heard
    assert death.stream or b"chat.completion" not in heard


def test_a_checkpoint_is_what_a_cut_stream_is_billed_from(graveyard: Graveyard) -> None:
    town = graveyard.town
    (hold,) = town.rows("SELECT * FROM hold WHERE project = 'checkpoint'")
    (row,) = town.rows("SELECT * FROM usage_event WHERE project = 'checkpoint'")
    delivered = graveyard.heard["checkpoint"].count(b"data: ")
    kept = orjson.loads(hold["checkpoint"])["output_tokens"]
    assert (hold["state"], row["outcome"], row["quality"]) == ("expired", "expired", "estimated")
    assert town.output_tokens(row) == kept
    assert 256 <= kept <= delivered + 1
    assert [case for case in town.cases("crash_unknown") if case["subject"] == row["id"]] == []


def test_the_books_agree_after_every_death_and_the_budget_is_free(graveyard: Graveyard) -> None:
    graveyard.town.books_agree()
    assert graveyard.survivor.chat("다시 시작").status == 200
    graveyard.town.books_agree()


# ── under load ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Heard:
    """Answers that clients got to their last byte: request id → what they were told it cost."""

    answers: int
    whole: dict[str, str] = field(default_factory=dict)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, request_id: str, cost: str) -> None:
        self.whole[request_id] = cost
        if len(self.whole) >= self.answers:
            self.enough.set()


async def keep_asking(town: Town, gateways: list[Gateway], heard: Heard, stop: asyncio.Event) -> None:
    """32 clients, half of them streaming, until told to stop; a server that dies ends only the request it had."""

    async def client(number: int) -> None:
        base_url = gateways[number % len(gateways)].base_url
        stream = number % 2 == 0
        body: dict[str, Any] = asking(f"[[pace:1]] [[chunks:{5 + number}]] {number}", stream=stream)
        if stream:
            body["stream_options"] = {"include_usage": True}
        while not stop.is_set():
            try:
                async with session.post(base_url + CHAT, json=body) as response:
                    raw = await response.read()
                    note(response, raw)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)

    def note(response: aiohttp.ClientResponse, raw: bytes) -> None:
        if response.status == 200 and response.content_type == "application/json":
            heard.add(response.headers["x-request-id"], response.headers["x-haechi-cost-krw"])
        elif response.status == 200 and raw.endswith(b"data: [DONE]\n\n"):
            usage = orjson.loads(raw.split(b"\n\n")[-3].removeprefix(b"data: "))["usage"]
            heard.add(response.headers["x-request-id"], usage["cost_krw"])

    headers = {"authorization": f"Bearer {town.key}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(number) for number in range(32)))


async def under_load(town: Town, gateways: list[Gateway], victim: Gateway, *, answers: int) -> Heard:
    """Kill `victim` in the middle of the traffic, once so many answers came."""
    heard, stop = Heard(answers), asyncio.Event()
    load = asyncio.create_task(keep_asking(town, gateways, heard, stop))
    await asyncio.wait_for(heard.enough.wait(), 60)
    victim.process.kill()
    await asyncio.sleep(0.3)
    stop.set()
    await load
    return heard


def every_whole_answer_is_booked_once_and_exactly(town: Town, heard: Heard) -> None:
    rows = town.events()
    assert len({row["id"] for row in rows}) == len(rows)
    booked = {row["request_id"]: row for row in rows}
    for request_id, cost in heard.whole.items():
        row = booked[request_id]
        assert (row["quality"], row["outcome"]) == ("exact", "completed")
        assert micro_won(cost) == row["won"] + row["vat"]


def micro_won(decimal: str) -> int:
    whole, _, part = decimal.partition(".")
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))


async def test_killed_under_load_on_an_embedded_ledger(found: Callable[..., Town]) -> None:
    town = found("sqlite")
    victim = town.gateway()
    heard = await under_load(town, [victim], victim, answers=150)
    assert town.open_holds(), "nothing was in flight: this proves nothing"
    town.gateway()
    await asyncio.to_thread(town.books_agree)
    every_whole_answer_is_booked_once_and_exactly(town, heard)


async def test_one_of_two_gateways_dies_and_the_other_resolves_what_it_left(found: Callable[..., Town]) -> None:
    town = found("postgresql", lease_seconds=LEASE_SECONDS)
    victim, survivor = town.gateway(), town.gateway()
    heard = await under_load(town, [victim, survivor], victim, answers=150)
    assert survivor.ready == 200
    await asyncio.to_thread(town.books_agree)
    every_whole_answer_is_booked_once_and_exactly(town, heard)
    assert [row for row in town.events() if row["outcome"] == "expired"], "nothing was in flight: this proves nothing"
