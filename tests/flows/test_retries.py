"""The official SDK tries again by itself. Each try is a request of its own, upstream and in the ledger; none is charged twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import openai
import pytest
from flows.harness import Gateway, Town, eventually


def sdk(place: Town, gateway: Gateway, **more: Any) -> openai.OpenAI:
    """As a program sets it up: two retries, which is the default."""
    return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=place.key, **more)


def ask(client: openai.OpenAI, prompt: str, **more: Any) -> Any:
    return client.chat.completions.create(model="inside", messages=[{"role": "user", "content": prompt}], **more)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_failing_provider_is_asked_three_times_and_each_is_one_row(
    place: Town, gateway: Gateway, stream: bool
) -> None:
    before = {row["id"] for row in place.events()}
    with pytest.raises(openai.InternalServerError) as raised:
        ask(sdk(place, gateway), "[[fail:500]] 세 번", stream=stream)
    rows = [row for row in place.events() if row["id"] not in before]
    assert [(row["attempt"], row["quality"], row["tokens"], row["won"]) for row in rows] == [(1, "exact", 0, 0)] * 3
    assert len({row["request_id"] for row in rows}) == 3
    assert raised.value.request_id in {row["request_id"] for row in rows}
    place.books_agree()


def test_an_answer_that_broke_is_asked_again_and_each_is_an_estimate(place: Town, gateway: Gateway) -> None:
    before = {row["id"] for row in place.events()}
    with pytest.raises(openai.InternalServerError):
        ask(sdk(place, gateway, max_retries=1), "[[cut:1]] 두 번")
    rows = [row for row in place.events() if row["id"] not in before]
    assert [row["quality"] for row in rows] == ["estimated"] * 2
    place.books_agree()


def test_a_client_that_gives_up_and_asks_again_pays_for_what_was_generated(place: Town, gateway: Gateway) -> None:
    """Each try went upstream and was answered there: that it was not waited for does not make it free, nor charged twice."""
    before = {row["id"] for row in place.events()}
    with pytest.raises(openai.APITimeoutError):
        ask(sdk(place, gateway, timeout=0.4, max_retries=1), "[[slow:1.2]] [[chunks:9]] 못 기다려")

    def booked() -> list[dict[str, Any]]:
        return [row for row in place.events() if row["id"] not in before]

    rows = eventually(lambda: booked() if len(booked()) == 2 else None, what="both are booked")
    assert [(row["quality"], row["outcome"], place.output_tokens(row)) for row in rows] == [
        ("exact", "aborted", 9),
        ("exact", "aborted", 9),
    ]
    place.books_agree()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_empty_budget_is_asked_once(found: Callable[..., Town], stream: bool) -> None:
    town = found("sqlite", quota_wait_seconds=0)
    gateway = town.gateway()
    town.cli("quota set --user kim@town.example --won 0 --period day")
    with pytest.raises(openai.RateLimitError) as raised:
        ask(sdk(town, gateway), "안녕", stream=stream)
    assert raised.value.code == "insufficient_quota"
    told = gateway.get("/metrics", key="").body.decode()
    counted = re.search(r'haechi_refusals_total\{code="insufficient_quota"\} (\S+)', told)
    assert counted is not None
    assert float(counted[1]) == 1
    assert town.arrivals() == {}
    town.books_agree()
