"""Budgets over HTTP: who is refused, what they are told, and that no race spends a won too much.

Prices here are USD 1 and 4 per million tokens in and out, a dollar is 1,400 won: 1,400 and 5,600 micro-won a token, and two
for roundings. That is all the arithmetic there is, and every hold below is held against it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from flows.harness import CHAT, Answer, Gateway, Person, Town, asking, eventually

WON = 1_000_000


def ceiling(input_bound: int, output_cap: int) -> int:
    """The most such a request can cost, micro-won."""
    return 1_400 * input_bound + 5_600 * output_cap + 2


def micro_won(decimal: str) -> int:
    whole, _, part = decimal.partition(".")
    return int(whole) * WON + int(part.ljust(6, "0"))


@pytest.fixture(scope="module")
def place(found: Callable[..., Town]) -> Town:
    return found("sqlite", quota_wait_seconds=1)


# ── every scope, every period ───────────────────────────────────────────────────────────────────────────────────────────


class Whose(NamedTuple):
    option: str
    scope: str
    own: bool


SCOPES = {
    "organisation": Whose("--organisation", "organisation", own=False),
    "top department": Whose("--department CITY", "department", own=False),
    "ancestor department": Whose("--department FIN", "department", own=False),
    "own department": Whose("--department TAX", "department", own=False),
    "own": Whose("--user kim@town.example", "user", own=True),
}


def resets(period: str) -> datetime:
    """When the period that is running now ends, where the organisation is."""
    midnight = datetime.now(ZoneInfo("Asia/Seoul")).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + timedelta(days=1)
    if period == "month":
        return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return midnight.replace(year=midnight.year + 1, month=1, day=1)


@pytest.mark.parametrize("period", ["day", "month", "year"])
@pytest.mark.parametrize("whose", SCOPES)
def test_a_budget_of_nothing_refuses_whoever_it_is_for(place: Town, gateway: Gateway, whose: str, period: str) -> None:
    option, scope, own = SCOPES[whose]
    before = place.arrivals().keys()
    place.cli(f"quota set {option} --won 0 --period {period}")
    try:
        answers = [gateway.chat("안녕"), gateway.chat("안녕", stream=True)]
        free = gateway.chat("안녕", model="free")
    finally:
        place.cli(f"quota lift {option} --period {period}")
    for answer in answers:
        assert answer.status == 429
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert (answer.error["type"], answer.error["code"]) == ("insufficient_quota", "insufficient_quota")
        told = answer.error["haechi"]
        assert (told["scope"], told["period"]) == (scope, period)
        assert datetime.fromisoformat(told["resets_at"]) == resets(period)
        assert datetime.fromisoformat(told["resets_at"]).utcoffset() == timedelta(hours=9)
        assert "free" in told["alternatives"]
        numbers = [told["limit_krw"], told["used_krw"], told["held_krw"]]
        assert (None not in numbers) if own else numbers == [None, None, None]
    assert free.status == 200, "what costs nothing stays usable"
    assert place.arrivals().keys() - before == {f"{free.request_id}:1"}, "nothing was sent that was refused"
    assert gateway.chat("안녕").status == 200, "a lifted quota is lifted from the next request on"
    place.books_agree()


# Each row: whose budget ran out, whose role the caller has in TAX, and whether its numbers are any of their business.
@pytest.mark.parametrize(
    ("option", "role", "shown"),
    [
        ("--department TAX", "manager", True),
        ("--department FIN", "manager", False),
        ("--organisation", "manager", False),
        ("--department FIN", "finance", True),
        ("--organisation", "auditor", True),
        ("--organisation", "it_admin", True),
    ],
)
def test_the_numbers_of_a_budget_are_for_those_who_answer_for_it(
    found: Callable[..., Town], option: str, role: str, shown: bool
) -> None:
    """Everybody else is told that it is used up, by its kind, and not what the others have spent."""
    town = found("sqlite", quota_wait_seconds=0)
    gateway = town.gateway()
    email = f"{role}@town.example"
    town.cli(f"user add --email {email} --department TAX --role {role} --signed")
    town.cli(f"quota set {option} --won 0 --period month")
    told = gateway.chat("안녕", key=town.new_key(email)).error["haechi"]
    assert (told["limit_krw"], told["used_krw"], told["held_krw"]) == (("0", "0", "0") if shown else (None,) * 3)
    scopes = gateway.get("/api/me", key=town.new_key(email)).json["scopes"]
    assert [scope["limit"] for scope in scopes] == ["0" if shown else None]


def test_somebody_elses_budget_is_not_mine(place: Town, gateway: Gateway) -> None:
    lee = place.new_key("lee@town.example")
    place.cli("quota set --department FIN --won 0 --period month")
    try:
        assert gateway.chat("안녕").status == 429
        assert gateway.chat("안녕", key=lee).status == 200
    finally:
        place.cli("quota lift --department FIN --period month")


def test_a_soft_budget_warns_and_does_not_refuse(place: Town, gateway: Gateway) -> None:
    place.cli("quota set --organisation --won 0 --period day --soft")
    try:
        assert gateway.chat("안녕").status == 200
    finally:
        place.cli("quota lift --organisation --period day")


def test_the_narrowest_of_several_budgets_is_named(place: Town, gateway: Gateway) -> None:
    someone = place.new_person("narrow")
    place.cli("quota set --department TAX --won 1000 --period month")
    place.cli(f"quota set --user {someone.email} --won 0 --period year")
    try:
        assert gateway.chat("안녕", key=someone.key).error["haechi"]["scope"] == "user"
    finally:
        place.cli("quota lift --department TAX --period month")


def test_ones_own_numbers_are_those_of_the_ledger(place: Town, gateway: Gateway) -> None:
    someone = place.new_person("numbers")
    spent = gateway.chat("[[chunks:40]] 얼마나 드나", key=someone.key)
    place.cli(f"quota set --user {someone.email} --won 1 --period month")
    told = gateway.chat("긴 질문 " * 400, key=someone.key).error["haechi"]
    row = place.event(spent.request_id)
    assert told["used_krw"] == spent.headers["x-haechi-cost-krw"]
    assert micro_won(told["used_krw"]) == row["won"] + row["vat"]
    assert (told["limit_krw"], told["held_krw"]) == ("1", "0")


# ── clamping and waiting ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_clamped_to_what_the_budget_affords(place: Town, gateway: Gateway, stream: bool) -> None:
    """The upstream is told the smaller cap and stops there: the most the budget can pay for, and not a token more."""
    someone = place.new_person(f"clamped-{stream}".lower())
    place.cli(f"quota set --user {someone.email} --won 2 --period month")
    answer = gateway.chat("[[pace:0]] [[chunks:5000]] 길게", key=someone.key, stream=stream, max_tokens=100_000)
    assert answer.status == 200
    (hold,) = place.rows("SELECT * FROM hold WHERE request_id = :r", r=answer.request_id)
    assert hold["amount"] == ceiling(hold["input_bound"], hold["output_cap"]) <= 2 * WON
    assert ceiling(hold["input_bound"], hold["output_cap"] + 1) > 2 * WON
    assert place.arrivals()[hold["id"]]["completion_tokens_sent"] == hold["output_cap"]
    finish = answer.chunks[-1] if stream else answer.json
    assert finish["choices"][0]["finish_reason"] == "length"
    assert place.counter(f"user:{someone.id}", hold["month"])[0] <= 2 * WON
    place.books_agree()


@pytest.mark.parametrize(("busy_seconds", "expected"), [(0.5, 200), (3, 429)])
def test_a_request_waits_a_moment_for_money_that_is_only_set_aside(
    place: Town, gateway: Gateway, busy_seconds: float, expected: int
) -> None:
    someone = place.new_person(f"waits-{expected}")
    place.cli(f"quota set --user {someone.email} --won 2 --period month")
    with ThreadPoolExecutor() as pool:
        busy = f"[[slow:{busy_seconds}]] [[chunks:9]] 먼저"
        first = pool.submit(gateway.chat, busy, key=someone.key, max_tokens=250)
        eventually(lambda: place.rows("SELECT id FROM hold WHERE user_id = :u", u=someone.id), what="the first holds")
        began = time.monotonic()
        second = gateway.chat("[[chunks:9]] 나중", key=someone.key, max_tokens=250)
        waited = time.monotonic() - began
        assert first.result().status == 200
    assert second.status == expected
    assert waited >= min(busy_seconds, 1) * 0.5, "it was not refused, nor served, at once"
    if expected == 429:
        assert micro_won(second.error["haechi"]["held_krw"]) > 0, "reserved is told apart from spent"
    place.books_agree()


# ── races ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """Looks at a counter as fast as it can and remembers the most that was ever spent and held together."""

    def __init__(self, town: Town, scope: str, period: str) -> None:
        self.most = self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(town, scope, period))

    def _look(self, town: Town, scope: str, period: str) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, sum(town.counter(scope, period)))
            self.looks += 1

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


async def at_once(gateways: list[Gateway], key: str, raw: bytes, count: int) -> list[Answer]:
    """`count` requests before any of them is answered, spread over the gateways."""

    async def one(number: int) -> Answer:
        url = gateways[number % len(gateways)].base_url + CHAT
        async with session.post(url, data=raw) as response:
            body = await response.read()
            return Answer(response.status, dict(response.headers), body)  # type: ignore[arg-type]

    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(number) for number in range(count)))


def affordable(budget: int, by_bytes: int, counted: int) -> Counter[int]:
    """How many holds of each size fit: the cheap bound while it fits, the counted one for what is left."""
    first = budget // by_bytes
    return Counter({by_bytes: first}) + Counter({counted: (budget - first * by_bytes) // counted})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest, found: Callable[..., Town]) -> tuple[Town, list[Gateway]]:
    """One gateway on an embedded ledger, two on PostgreSQL."""
    town = found(request.param, quota_wait_seconds=0.2)
    return town, [town.gateway() for _ in range(1 if request.param == "sqlite" else 2)]


async def test_two_hundred_at_once_get_exactly_what_fifty_may(crowded: tuple[Town, list[Gateway]]) -> None:
    """Nothing is given back while they ask, so how many get through is arithmetic, whichever they are."""
    town, gateways = crowded
    someone = town.new_person("crowd")
    cap = 200  # below what is worth clamping to: a request fits whole or not at all
    raw = json.dumps(asking("[[slow:5]] [[chunks:50]]" + " 다 같이" * 100, max_tokens=cap), ensure_ascii=False).encode()
    probe = gateways[0].post(raw.replace(b"slow:5", b"slow:0"), key=someone.key)
    spent = micro_won(probe.headers["x-haechi-cost-krw"])
    (hold,) = town.rows("SELECT month FROM hold WHERE user_id = :u", u=someone.id)
    budget = (spent + 50 * ceiling(len(raw), cap) - 1) // WON  # one short of fifty by bytes: the fiftieth is counted
    town.cli(f"quota set --user {someone.email} --won {budget} --period month")
    with Watch(town, f"user:{someone.id}", hold["month"]) as watch:
        answers = await at_once(gateways, someone.key, raw, 200)
    assert watch.looks > 20
    assert watch.most <= budget * WON, "more was promised than there is"

    holds = town.rows("SELECT * FROM hold WHERE user_id = :u AND request_id <> :p", u=someone.id, p=probe.request_id)
    sizes = Counter(hold["amount"] for hold in holds)
    assert all(hold["amount"] == ceiling(hold["input_bound"], cap) for hold in holds)
    bounds = {hold["input_bound"] for hold in holds}
    counted = min(bounds)
    assert bounds == {len(raw), counted}
    assert sizes == affordable(budget * WON - spent, ceiling(len(raw), cap), ceiling(counted, cap))
    served = [answer for answer in answers if answer.status == 200]
    assert len(served) == len(holds) == 50
    assert {answer.error["code"] for answer in answers if answer.status != 200} == {"insufficient_quota"}
    await asyncio.to_thread(town.books_agree)


async def test_quick_requests_take_turns_and_never_overspend(crowded: tuple[Town, list[Gateway]]) -> None:
    """The same crowd, answered at once: what is given back is used again, and the budget is spent to its end."""
    town, gateways = crowded
    someone = town.new_person("turns")
    raw = json.dumps(asking("[[pace:0]] [[chunks:200]] 차례로", max_tokens=200), ensure_ascii=False).encode()
    probe = gateways[0].post(raw, key=someone.key)
    (hold,) = town.rows("SELECT month FROM hold WHERE user_id = :u", u=someone.id)
    town.cli(f"quota set --user {someone.email} --won 60 --period month")
    with Watch(town, f"user:{someone.id}", hold["month"]) as watch:
        answers = await at_once(gateways, someone.key, raw, 200)
    assert watch.most <= 60 * WON
    assert {answer.status for answer in answers} == {200, 429}
    served = sum(1 for answer in answers if answer.status == 200)
    cost = micro_won(probe.headers["x-haechi-cost-krw"])
    assert (served + 1) * cost <= 60 * WON
    while (another := gateways[0].post(raw, key=someone.key)).status == 200:
        served += 1
    assert another.error["code"] == "insufficient_quota"
    left = 60 * WON - (served + 1) * cost
    assert 0 <= left < ceiling(len(raw), 200), "it was refused while it could be carried"
    await asyncio.to_thread(town.books_agree)


# ── from when on ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_quota_holds_from_the_next_request_on_in_every_process(crowded: tuple[Town, list[Gateway]]) -> None:
    town, gateways = crowded
    someone = town.new_person("next")
    for won, expected in [(0, 429), (100, 200), (0, 429), (50, 200)]:
        town.cli(f"quota set --user {someone.email} --won {won} --period day")
        assert [gateway.chat("안녕", key=someone.key).status for gateway in gateways] == [expected] * len(gateways)


def test_a_revoked_key_is_refused_within_five_seconds_everywhere(crowded: tuple[Town, list[Gateway]]) -> None:
    town, gateways = crowded
    someone = town.new_person("revoked")
    assert all(gateway.chat("안녕", key=someone.key).status == 200 for gateway in gateways)
    town.cli(f"key revoke {someone.key[:12]}")
    for gateway in gateways:
        answer = eventually(lambda g=gateway: refusal(g, someone), within=5, what="the revoked key is refused")
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    town.books_agree()


def test_a_key_ends_at_its_instant(crowded: tuple[Town, list[Gateway]]) -> None:
    town, gateways = crowded
    email = town.new_person("expires").email
    ends = datetime.now(ZoneInfo("Asia/Seoul")) + timedelta(seconds=1.5)
    key = town.new_key(email, expires=ends.isoformat())
    assert gateways[0].chat("안녕", key=key).status == 200
    time.sleep(max(0.0, (ends - datetime.now(ends.tzinfo)).total_seconds()))
    assert [gateway.chat("안녕", key=key).status for gateway in gateways] == [401] * len(gateways)
    past = town.new_key(email, expires="2020-01-01")
    assert [gateway.chat("안녕", key=past).status for gateway in gateways] == [401] * len(gateways)


def refusal(gateway: Gateway, someone: Person) -> Any:
    answer = gateway.chat("안녕", key=someone.key)
    return answer if answer.status != 200 else None
