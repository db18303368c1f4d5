"""The `rate` command's lines. Every amount has its sum beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.prices import load
from billing.rate import rate_lines
from billing.usage import METERS

BOOK = load()
NOON = "2026-11-02T12:00:00Z"


def line(provider: str, flavor: str, model: str, usage: Any, **more: Any) -> dict[str, Any]:
    return {"provider": provider, "flavor": flavor, "model": model, "at": NOON, "usage": usage, **more}


def rate(*lines: Any) -> list[dict[str, Any]]:
    texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
    return [json.loads(answer) for answer in rate_lines(texts, BOOK)]


def chat(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def test_the_shape_of_an_answer() -> None:
    (answer,) = rate(
        line("openai", "chat", "gpt-5-mini", chat(1000, 500, prompt_tokens_details={"cached_tokens": 200}))
    )
    # 800 × 0.25e-6 + 200 × 0.025e-6 + 500 × 2e-6 = 0.0002 + 0.000005 + 0.001 = 0.001205 USD
    assert answer == {
        "meters": {"input": 800, "cache_read": 200, "output": 500},
        "currency": "USD",
        "amount": "0.001205",
        "ticks": 12_050_000,
        "quality": "exact",
        "lines": [
            {"meter": "input", "model": "gpt-5-mini", "quantity": 800, "unit_price": "0.00000025", "amount": "0.0002"},
            {
                "meter": "cache_read",
                "model": "gpt-5-mini",
                "quantity": 200,
                "unit_price": "0.000000025",
                "amount": "0.000005",
            },
            {"meter": "output", "model": "gpt-5-mini", "quantity": 500, "unit_price": "0.000002", "amount": "0.001"},
        ],
    }


def test_order_is_kept_and_a_bad_line_does_not_stop_the_rest() -> None:
    good = line("openai", "chat", "gpt-5-mini", chat(1, 0))
    lines = [json.dumps(good), "{", "", "  \n", json.dumps({**good, "provider": "acme"}), json.dumps(good)]
    rated = rate_lines(lines, BOOK)
    answers = [json.loads(answer) for answer in rated]
    assert [("error" in answer) for answer in answers] == [False, True, True, False]
    assert answers[1] == {"error": "the line is no JSON"}
    assert answers[2]["error"].startswith("provider: expected one of openai, azure")
    assert rated.bad == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"provider": None}, "provider: "),
        ({"provider": ["openai"]}, "provider: "),
        ({"flavor": "telepathy"}, "flavor: "),
        ({"model": ""}, "model: "),
        ({"model": 7}, "model: "),
        ({"at": None}, "at: "),
        ({"at": "yesterday"}, "at: "),
        ({"at": "2026-11-02T12:00:00"}, "at: "),  # no zone
        ({"at": 1_793_491_200}, "at: "),
        ({"context": []}, "context: "),
        ({"prices": []}, "prices: "),
        ({"prices": {"tokens": "1"}}, "prices: unknown meter tokens"),
        ({"prices": {"input": "-1"}}, "prices.input: "),
        ({"prices": {"input": "free"}}, "prices.input: "),
        ({"prices": {"input": True}}, "prices.input: "),
        ({"prices": {"input": "0.0000000000001"}}, "prices.input: "),  # finer than 1e-12
        ({"prices": {"input": "NaN"}}, "prices.input: "),
    ],
)
def test_a_bad_line_says_what_is_wrong(change: dict[str, Any], error: str) -> None:
    (answer,) = rate({**line("openai", "chat", "gpt-5-mini", chat(1, 1)), **change})
    assert answer.keys() == {"error"}
    assert answer["error"].startswith(error)


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"x"', '{"a":', "[" * 100_000, '{"usage": 1e99999999999999999999}']
)
def test_what_is_no_line_at_all(text: str) -> None:
    (answer,) = rate(text)
    assert answer.keys() == {"error"}


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (None, "missing"),
        (
            chat(10, 5) | {"total_tokens": 16},
            "inconsistent: the total is not input + output, with or without reasoning",
        ),
        (
            {"prompt_tokens": float("nan"), "completion_tokens": 1},
            "malformed: prompt_tokens is no whole number of ordinary size",
        ),
    ],
)
def test_what_cannot_be_trusted_has_no_amount(usage: Any, reason: str) -> None:
    (answer,) = rate(line("openai", "chat", "gpt-5-mini", usage))
    assert (answer["amount"], answer["ticks"], answer["quality"]) == (None, None, "suspense")
    assert answer["reason"] == reason
    assert (answer["meters"], answer["lines"]) == ({}, [])


def test_a_model_without_a_price_is_suspense_and_keeps_its_quantities() -> None:
    (answer,) = rate(line("openai", "chat", "gpt-99", chat(10, 5)))
    assert (answer["ticks"], answer["quality"], answer["reason"]) == (None, "suspense", "no price for openai/gpt-99")
    assert answer["meters"] == {"input": 10, "output": 5}


GIVEN = {"input": "0.000003", "output": "0.000015", "cache_read": "3E-7"}


@pytest.mark.parametrize(
    ("prices", "usage", "ticks", "meters"),
    [
        # 10 × 3e-6 + 5 × 15e-6 = 1.05e-4 USD
        (GIVEN, chat(10, 5), 1_050_000, {"input": 10, "output": 5}),
        # 4 × 3e-6 + 6 × 3e-7 + 5 × 15e-6 = 1.2e-5 + 1.8e-6 + 7.5e-5 = 8.88e-5 USD
        (
            GIVEN,
            chat(10, 5, prompt_tokens_details={"cached_tokens": 6}),
            888_000,
            {"input": 4, "cache_read": 6, "output": 5},
        ),
        # reasoning leaves output if and only if it is given a price: 2 × 15e-6 + 3 × 1e-6 = 3.3e-5; and 10 × 3e-6
        (
            {**GIVEN, "output_reasoning": "0.000001"},
            chat(10, 5, completion_tokens_details={"reasoning_tokens": 3}),
            630_000,
            {"input": 10, "output": 2, "output_reasoning": 3},
        ),
        (GIVEN, chat(10, 5, completion_tokens_details={"reasoning_tokens": 3}), 1_050_000, {"input": 10, "output": 5}),
        # a missing price is suspense, not zero
        ({"input": "0.000003"}, chat(10, 5), None, {"input": 10, "output": 5}),
        ({"input": "0.000003"}, chat(10, 0), 300_000, {"input": 10, "output": 0}),
        ({"input": 3, "output": 0.5}, chat(1, 1), 35_000_000_000, {"input": 1, "output": 1}),  # numbers as written
        # no tiers: a long prompt costs what it is said to cost. 300,000 × 3e-6 = 0.9
        (GIVEN, chat(300_000, 0), 9_000_000_000, {"input": 300_000, "output": 0}),
    ],
)
def test_given_prices_stand_in_for_the_book(
    prices: dict[str, Any], usage: dict[str, Any], ticks: int | None, meters: dict[str, int]
) -> None:
    (answer,) = rate(line("openai", "chat", "anything", usage, prices=prices))
    assert (answer["ticks"], answer["meters"]) == (ticks, meters)
    assert answer["quality"] == ("suspense" if ticks is None else "exact")


def test_given_prices_do_not_follow_conditions_or_clocks() -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"}
    prices = {"input": "0.000001", "output": "0.000001"}
    (answer,) = rate(line("anthropic", "messages", "m", usage, prices=prices, context={"service_tier": "flex"}))
    assert answer["ticks"] == 150_000  # 15 × 1e-6
    (answer,) = rate({**line("deepseek", "chat", "m", chat(15, 0), prices=prices), "at": "2026-11-02T02:00:00Z"})
    assert answer["ticks"] == 150_000
    (answer,) = rate({**line("deepseek", "chat", "m", chat(15, 0), prices=prices), "at": None})
    assert answer["ticks"] == 150_000


def test_lines_add_up_to_the_exact_amount() -> None:
    # 1 × 0.000000000033 + 2 × 0.000000000033 = 0.000000000099 USD: 0.99 ticks, booked as 1
    prices = {"input": "0.000000000033", "output": "0.000000000033"}
    (answer,) = rate(line("openai", "chat", "m", chat(1, 2), prices=prices))
    assert (answer["amount"], answer["ticks"]) == ("0.000000000099", 1)
    assert [part["amount"] for part in answer["lines"]] == ["0.000000000033", "0.000000000066"]


XAI = chat(12, 2) | {
    "total_tokens": 334,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 320},
    "cost_in_usd_ticks": 1_641_500,
}


def test_a_reported_charge_with_the_book() -> None:
    agrees, more, less, unknown = rate(
        # 10 × 0.3e-6 + 2 × 0.075e-6 + 322 × 0.5e-6 = 1.6415e-4 USD
        line("xai", "chat", "grok-3-mini", XAI),
        line("xai", "chat", "grok-3-mini", XAI | {"cost_in_usd_ticks": 2_000_000}),
        line("xai", "chat", "grok-3-mini", XAI | {"cost_in_usd_ticks": 1}),
        line("xai", "chat", "grok-unheard-of", XAI),
    )
    assert (agrees["ticks"], agrees["amount"]) == (1_641_500, "0.00016415")
    assert more["ticks"] == 2_000_000
    assert more["lines"][-1]["meter"] == "reported"
    assert more["lines"][-1]["amount"] == "0.00003585"  # 0.0002 - 0.00016415
    assert less["ticks"] == 1_641_500
    assert (unknown["ticks"], unknown["quality"]) == (1_641_500, "exact")


def test_a_reported_charge_beside_given_prices() -> None:
    given, none_given, gap = rate(
        line("xai", "chat", "g", XAI, prices=GIVEN),
        line("xai", "chat", "g", XAI, prices={}),
        line("xai", "chat", "g", XAI, prices={"input": "0.000003"}),
    )
    # 10 × 3e-6 + 2 × 3e-7 + 322 × 15e-6 = 3e-5 + 6e-7 + 4.83e-3 = 4.8606e-3: computed, whatever was reported
    assert given["ticks"] == 48_606_000
    assert (none_given["ticks"], none_given["quality"]) == (1_641_500, "exact")
    assert gap["quality"] == "suspense"
    assert gap["reason"] == "no price for cache_read of given/g"


def test_no_prices_at_all() -> None:
    missing, nothing, broken = rate(
        line("openai", "chat", "m", chat(1, 1), prices={}),
        line("openai", "chat", "m", chat(0, 0), prices={}),
        line("openai", "chat", "m", {}, prices={}),
    )
    assert (missing["quality"], missing["reason"]) == ("suspense", "no price for input, output of m")
    assert (nothing["ticks"], nothing["amount"], nothing["quality"]) == (0, "0", "exact")
    assert broken["quality"] == "suspense"


@pytest.mark.parametrize(
    ("context", "ticks"),
    [
        ({}, 22_500),  # 1 × 0.25e-6 + 1 × 2e-6 = 2.25e-6
        ({"service_tier": "default"}, 22_500),
        ({"batch": True}, 11_250),  # half
        ({"processing": "batch"}, 11_250),
        ({"service_tier": "priority"}, 40_500),  # 0.45e-6 + 3.6e-6
        ({"service_tier": "scale"}, None),
        ({"region": "kr"}, 22_500),  # this model's list knows no regions
        ({"response_model": "gpt-5-mini-2025-08-07"}, 22_500),
        ({"response_model": "gpt-5-mini-2026-12-31"}, 22_500),  # a date behind the called name
        ({"response_model": "gpt-5"}, 112_500),  # what was served is what is charged: 1.25e-6 + 10e-6
        ({"response_model": "gpt-99"}, None),
        ({"response_model": 7}, 22_500),
        ({"output_items": {"web_search_call": 2}}, 200_022_500),  # 2 × 0.01
    ],
)
def test_the_context_chooses_the_price(context: dict[str, Any], ticks: int | None) -> None:
    (answer,) = rate(line("openai", "chat", "gpt-5-mini", chat(1, 1), context=context))
    assert answer["ticks"] == ticks
    assert "ignored" not in answer


def test_unknown_context_is_ignored_and_reported() -> None:
    (answer,) = rate(
        line("openai", "chat", "gpt-5-mini", chat(1, 1), context={"weather": "fine", "mood": 1, "region": None})
    )
    assert (answer["ticks"], answer["ignored"]) == (22_500, ["mood", "weather"])


def test_time_chooses_the_price() -> None:
    peak, off, before = rate(
        {**line("deepseek", "chat", "deepseek-v4-pro", chat(1000, 0)), "at": "2026-11-02T02:00:00Z"},
        {**line("deepseek", "chat", "deepseek-v4-pro", chat(1000, 0)), "at": "2026-11-02T14:00:00+09:00"},  # 05:00 UTC
        {**line("deepseek", "chat", "deepseek-v4-pro", chat(1000, 0)), "at": "2026-09-09T05:00:00Z"},
    )
    assert peak["ticks"] == 2 * off["ticks"]
    assert before["reason"] == "no price for deepseek/deepseek-v4-pro before 2026-09-10"


def test_other_models_that_took_part_have_lines_of_their_own() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "iterations": [
            {"type": "message", "input_tokens": 1000, "output_tokens": 100},
            {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 2000, "output_tokens": 200},
        ],
    }
    (answer,) = rate(line("anthropic", "messages", "claude-sonnet-4-6", usage))
    # 1000 × 3e-6 + 100 × 15e-6 + 2000 × 5e-6 + 200 × 25e-6 = 0.003 + 0.0015 + 0.01 + 0.005 = 0.0195
    assert (answer["ticks"], answer["meters"]) == (195_000_000, {"input": 3000, "output": 300})
    assert [(part["model"], part["meter"], part["quantity"]) for part in answer["lines"]] == [
        ("claude-sonnet-4-6", "input", 1000),
        ("claude-sonnet-4-6", "output", 100),
        ("claude-opus-4-7", "input", 2000),
        ("claude-opus-4-7", "output", 200),
    ]


@pytest.mark.parametrize(
    ("provider", "flavor", "model", "usage", "ticks"),
    [
        # 1500 searched at 2.5 USD a thousand is per unit 0.0025: 2 × 0.0025 = 0.005
        ("cohere", "rerank", "rerank-v4.0-pro", {"billed_units": {"search_units": 2}}, 50_000_000),
        (
            "google",
            "generateContent",
            "models/gemini-2.5-flash",
            {"promptTokenCount": 10, "totalTokenCount": 10},
            30_000,
        ),
        # 100 × 1e-6 + 400 × 1e-6 + 0.012 = 0.0125
        ("perplexity", "chat", "sonar", chat(100, 400, search_context_size="high"), 125_000_000),
        ("perplexity", "chat", "sonar", chat(100, 400), 55_000_000),  # low unless said otherwise: + 0.005
        ("vllm", "chat", "exaone-4-32b", chat(100, 400), 0),
        ("ollama", "chat", "gemma-3-270m", {"prompt_eval_count": 5, "eval_count": 5}, 0),
        ("xai", "chat", "grok-4.7", chat(199_999, 0), 3_999_980_000),  # 199,999 × 2e-6
        ("xai", "chat", "grok-4.7", chat(200_000, 0), 8_000_000_000),  # the tier begins at 200,000: × 4e-6
        ("openai", "audio", "whisper-1", {"type": "duration", "seconds": 60}, 60_000_000),  # 60 × 0.0001
        ("upstage", "chat", "solar-pro2", chat(1, 1), None),
        ("naver", "chat", "HCX-007", {"promptTokens": 1, "completionTokens": 1, "totalTokens": 2}, None),
    ],
)
def test_providers(provider: str, flavor: str, model: str, usage: dict[str, Any], ticks: int | None) -> None:
    (answer,) = rate(line(provider, flavor, model, usage))
    assert answer["ticks"] == ticks


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=10,
)
FIELDS = {
    "provider": st.one_of(st.sampled_from(["openai", "anthropic", "google", "xai", "cohere"]), ANYTHING),
    "flavor": st.one_of(st.sampled_from(["chat", "messages", "responses", "v2", "generateContent"]), ANYTHING),
    "model": st.one_of(st.sampled_from(["gpt-5-mini", "gemini-3-pro"]), ANYTHING),
    "at": st.one_of(st.just(NOON), ANYTHING),
    "usage": ANYTHING,
    "context": st.one_of(
        st.dictionaries(st.sampled_from(["response_model", "output_items", "tools", "batch", "region"]), ANYTHING),
        ANYTHING,
    ),
    "prices": st.one_of(st.none(), st.dictionaries(st.sampled_from(METERS), ANYTHING), ANYTHING),
}


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_no_line_stops_the_command(fields: dict[str, Any]) -> None:
    (answer,) = rate(fields)
    assert ("error" in answer) != ("ticks" in answer)
    json.dumps(answer).encode("ascii")


def test_every_meter_can_be_given_a_price() -> None:
    prices = dict.fromkeys(METERS, "0.000001")
    (answer,) = rate(line("openai", "chat", "m", chat(1, 1), prices=prices))
    assert answer["ticks"] == 20_000


def test_a_provider_without_a_reader_for_that_surface_is_suspense() -> None:
    (answer,) = rate(line("groq", "rerank", "m", chat(1, 1), prices=GIVEN))
    assert answer["reason"] == "unknown: no reader for groq rerank"
