"""Anthropic and Bedrock: input counts that stand beside each other. Each row has its sum."""

from __future__ import annotations

from typing import Any

import pytest

from billing.extract import extract


def call(sent: int, answered: int, **more: Any) -> dict[str, Any]:
    return {"input_tokens": sent, "output_tokens": answered, **more}


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (call(10, 5), {"input": 10, "output": 5}),
        # nothing is inside anything: 10 + 20 + 30 were sent
        (
            call(10, 5, cache_read_input_tokens=20, cache_creation_input_tokens=30),
            {"input": 10, "cache_read": 20, "cache_write_5m": 30, "output": 5},  # five minutes is the default lifetime
        ),
        # 12 + 18 = 30: the split is the total, not an addition to it
        (
            call(
                10,
                5,
                cache_creation_input_tokens=30,
                cache_creation={"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 18},
            ),
            {"input": 10, "cache_write_5m": 12, "cache_write_1h": 18, "output": 5},
        ),
        (
            call(10, 5, cache_creation={"ephemeral_1h_input_tokens": 18}),
            {"input": 10, "cache_write_1h": 18, "output": 5},
        ),
        (call(10, 5, cache_read_input_tokens=None, cache_creation=None), {"input": 10, "output": 5}),
        (
            call(10, 5, server_tool_use={"web_search_requests": 2, "web_fetch_requests": 7}),
            {"input": 10, "output": 5, "web_search": 2},
        ),
        (call(0, 0), {"input": 0, "output": 0}),
    ],
)
def test_messages(usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("anthropic", "messages", usage, model="claude-sonnet-4-5")
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)
    assert found.prompt_tokens == found.tokens - found.meters["output"]


def test_thinking_is_a_part_of_the_output() -> None:
    found = extract("anthropic", "messages", call(10, 50, output_tokens_details={"thinking_tokens": 30}))
    assert (found.meters["output"], found.reasoning_tokens) == (50, 30)


@pytest.mark.parametrize(
    ("stated", "conditions"),
    [
        ({"service_tier": "standard", "inference_geo": "global"}, {}),
        ({"service_tier": "batch"}, {"service_tier": "batch"}),
        ({"service_tier": "priority"}, {"service_tier": "priority"}),
        ({"inference_geo": "us"}, {"region": "us"}),
        ({"inference_geo": "not_available", "speed": "fast"}, {"speed": "fast"}),
        ({"service_tier": None}, {}),
    ],
)
def test_the_answer_says_at_which_prices_it_was_served(stated: dict[str, Any], conditions: dict[str, str]) -> None:
    assert extract("anthropic", "messages", call(10, 5, **stated)).conditions == conditions


ADVISED = [
    call(1000, 40, type="message"),
    call(2500, 700, type="advisor_message", model="claude-opus-4-7"),
    call(1200, 900, type="message"),
]


def test_an_adviser_is_billed_as_itself() -> None:
    # the top level has the asking model only: 1000 + 1200 and 40 + 900
    found = extract("anthropic", "messages", call(2200, 940, iterations=ADVISED))
    assert found.meters == {"input": 4700, "output": 1640}  # 1000 + 2500 + 1200; 40 + 700 + 900
    assert [(part.model, part.meters) for part in found.served] == [
        ("", {"input": 1000, "output": 40}),
        ("claude-opus-4-7", {"input": 2500, "output": 700}),
        ("", {"input": 1200, "output": 900}),
    ]


def test_a_refusal_and_the_model_that_answered_instead_are_both_billed() -> None:
    refused = call(408, 0, type="message", model="claude-fable-5")
    answered = call(412, 264, type="fallback_message", model="claude-opus-4-8")
    found = extract("anthropic", "messages", call(412, 264, iterations=[refused, answered]))
    assert found.meters == {"input": 820, "output": 264}  # 408 + 412
    assert [part.model for part in found.served] == ["claude-fable-5", "claude-opus-4-8"]


def test_a_summary_of_a_long_context_is_billed_though_the_top_level_leaves_it_out() -> None:
    summary = call(180_000, 3_500, type="compaction")
    found = extract("anthropic", "messages", call(23_000, 1_000, iterations=[summary, call(23_000, 1_000)]))
    assert found.meters == {"input": 203_000, "output": 4_500}


def test_searches_of_an_advised_answer_are_counted_once() -> None:
    usage = call(2200, 940, iterations=ADVISED, server_tool_use={"web_search_requests": 3})
    found = extract("anthropic", "messages", usage)
    assert found.meters["web_search"] == 3
    assert sum(part.meters.get("web_search", 0) for part in found.served) == 3


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 10},
        {"output_tokens": 10},
        call(-1, 5),
        call(10, 5, cache_read_input_tokens=-3),
        call(
            10,
            5,
            cache_creation_input_tokens=31,
            cache_creation={"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 18},
        ),
        call(10, 5, cache_creation=7),
        call(10, 5, output_tokens_details={"thinking_tokens": 6}),
        call(10, 5, server_tool_use={"web_search_requests": -1}),
        call(2201, 940, iterations=ADVISED),
        call(10, 5, iterations=7),
        call(10, 5, iterations=[7]),
        call(10, 5, iterations=[{"input_tokens": 10}]),
    ],
)
def test_messages_that_do_not_add_up(usage: dict[str, Any]) -> None:
    assert extract("anthropic", "messages", usage).quality == "suspense"


def converse(sent: int, answered: int, **more: Any) -> dict[str, Any]:
    return {"inputTokens": sent, "outputTokens": answered, **more}


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (converse(30, 90, totalTokens=120), {"input": 30, "output": 90}),
        # 30 + 90 + 1500 + 100 = 1720: the total with the cache
        (
            converse(30, 90, totalTokens=1720, cacheReadInputTokens=1500, cacheWriteInputTokens=100),
            {"input": 30, "cache_read": 1500, "cache_write": 100, "output": 90},
        ),
        (
            converse(30, 90, totalTokens=120, cacheReadInputTokens=1500),  # or without it
            {"input": 30, "cache_read": 1500, "output": 90},
        ),
        (
            converse(
                30,
                90,
                cacheWriteInputTokens=100,
                cacheDetails=[{"ttl": "5m", "inputTokens": 60}, {"ttl": "1h", "inputTokens": 40}],
            ),
            {"input": 30, "cache_write_5m": 60, "cache_write_1h": 40, "output": 90},  # 60 + 40 = 100
        ),
        (
            converse(22, 57, cacheReadInputTokens=4, cacheReadInputTokenCount=4, serverToolUsage={}),
            {"input": 22, "cache_read": 4, "output": 57},  # one number under two names
        ),
    ],
)
@pytest.mark.parametrize("flavor", ["converse", "sdk"])
def test_converse(flavor: str, usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("aws", flavor, usage)
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)


@pytest.mark.parametrize(
    "usage",
    [
        converse(30, 90, totalTokens=121),
        converse(30, 90, cacheReadInputTokens=4, cacheReadInputTokenCount=5),
        converse(30, 90, cacheWriteInputTokens=100, cacheDetails=[{"ttl": "5m", "inputTokens": 60}]),
        converse(30, 90, cacheWriteInputTokens=60, cacheDetails=[{"ttl": "9d", "inputTokens": 60}]),
        converse(30, 90, serverToolUsage={"webSearchRequests": 1}),
        {"inputTokens": 30},
    ],
)
def test_converse_that_does_not_add_up(usage: dict[str, Any]) -> None:
    assert extract("aws", "converse", usage).quality == "suspense"
