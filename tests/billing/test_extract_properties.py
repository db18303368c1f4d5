"""What holds for every family, whatever it is given."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import billing.extract
from billing.extract import FAMILIES, extract
from billing.extract.openai_chat import EXTRACTOR, read_chat
from billing.pricing import Price, PriceBook
from billing.usage import METERS, TOKEN_METERS, Usage

ROUTES = [route for family in FAMILIES for route in family.ROUTES]
SPECIAL = st.sampled_from(
    [True, False, None, -1, 0, 1, 2**63, 10**30, 1.5, math.nan, math.inf, -math.inf, "", "7", [], {}]
)
NUMBERS = st.one_of(st.integers(0, 2000), SPECIAL)
# The names vendors use, so that the search gets past the first lookup.
NAMES = st.sampled_from(
    re.findall(
        r"\w+",
        """
    prompt_tokens completion_tokens total_tokens input_tokens output_tokens cached_tokens audio_tokens
    image_tokens text_tokens reasoning_tokens prompt_tokens_details completion_tokens_details
    input_tokens_details output_tokens_details input_token_details output_token_details cached_tokens_details
    cache_write_tokens cache_creation cache_creation_input_tokens cache_read_input_tokens
    ephemeral_5m_input_tokens ephemeral_1h_input_tokens server_tool_use web_search_requests iterations model
    type service_tier thinking_tokens output_details promptTokenCount candidatesTokenCount thoughtsTokenCount
    totalTokenCount cachedContentTokenCount promptTokensDetails cacheTokensDetails modality tokenCount
    toolUsePromptTokenCount trafficType inputTokens outputTokens totalTokens cacheReadInputTokens
    cacheWriteInputTokens cacheDetails ttl cost cost_in_usd_ticks total_cost cost_details
    upstream_inference_cost is_byok num_server_side_tools_used server_side_tool_usage_details web_search_calls
    server_side_tools_used citation_tokens num_search_queries prompt_audio_seconds num_cached_tokens
    connectors web_search pages_processed prompt_cache_hit_tokens prompt_cache_miss_tokens billed_units
    search_units tokens promptTokens completionTokens prompt_eval_count eval_count prompt_n cache_n
    predicted_n seconds video_tokens tool_calls_details invocation
    """,
    )
)
JSON = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=5), st.sampled_from(["TEXT", "AUDIO", "5m", "tokens", "duration", "message"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), inner, max_size=6)
    ),
    max_leaves=14,
)
CONTEXTS = st.dictionaries(
    st.sampled_from(["output_items", "groundingMetadata", "tools", "search_context_size", "response_model", "other"]),
    JSON,
    max_size=3,
)
MODELS = st.sampled_from(
    ["", "gemini-2.5-pro", "gemini-3-pro", "sonar-deep-research", "gpt-4o-mini-tts", "x-embedding"]
)


@pytest.mark.parametrize("route", ROUTES, ids="/".join)
def test_no_json_makes_a_reader_raise(route: tuple[str, str]) -> None:
    @settings(max_examples=30, deadline=None)
    @given(usage=JSON, context=CONTEXTS, model=MODELS)
    def holds(usage: Any, context: dict[str, Any], model: str) -> None:
        found = extract(*route, usage, model=model, context=context)
        assert found.quality in ("exact", "suspense")
        assert (found.reason is None) == (found.quality == "exact")
        assert set(found.meters) <= set(METERS)
        assert all(type(quantity) is int and quantity >= 0 for quantity in found.meters.values())
        assert found.reported_ticks is None or found.reported_ticks >= 0
        if found.reasoning_tokens is not None:
            assert 0 <= found.reasoning_tokens <= found.meters["output"]

    holds()


COUNTS = st.integers(0, 5000)


@settings(max_examples=200, deadline=None)
@given(quantities=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS))
def test_disjoint_meters_sum_to_the_family_total(quantities: tuple[int, ...]) -> None:
    """The same seven quantities, told the way four families tell them, come back as the same meters."""
    fresh, cached, written, audio, text, thought, spoken = quantities
    prompt = fresh + cached + written + audio
    answer = text + thought + spoken
    told = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": audio},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken},
    }
    inside = extract("openai", "chat", told)
    outside = extract("xai", "chat", {**told, "completion_tokens": text + spoken})
    gemini = extract(
        "google",
        "generateContent",
        {
            "promptTokenCount": prompt - written,
            "cachedContentTokenCount": cached,
            "candidatesTokenCount": text + spoken,
            "thoughtsTokenCount": thought,
            "totalTokenCount": prompt - written + answer,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": fresh + cached},
                {"modality": "AUDIO", "tokenCount": audio},
            ],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": cached}],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": spoken}],
        },
    )
    anthropic = extract(
        "anthropic",
        "messages",
        {
            "input_tokens": fresh,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
            "output_tokens": text + thought,
        },
    )
    expected = {
        "input": fresh,
        "cache_read": cached,
        "cache_write": written,
        "input_audio": audio,
        "output": text + thought,
        "output_audio": spoken,
    }
    used = {meter: quantity for meter, quantity in expected.items() if quantity}
    for found in (inside, outside):
        assert {meter: quantity for meter, quantity in found.meters.items() if quantity} == used
        assert found.tokens == prompt + answer
    assert gemini.tokens == prompt - written + answer
    assert gemini.meters.get("input_audio", 0) == audio
    assert anthropic.tokens == fresh + cached + written + text + thought


@settings(max_examples=300, deadline=None)
@given(
    usage=st.fixed_dictionaries(
        {"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS},
        optional={
            "total_tokens": NUMBERS,
            "cached_tokens": NUMBERS,
            "prompt_tokens_details": st.one_of(
                SPECIAL, st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "odd_tokens"]), NUMBERS)
            ),
            "completion_tokens_details": st.one_of(
                SPECIAL, st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens"]), NUMBERS)
            ),
        },
    ),
    add_up=st.booleans(),
)
def test_the_short_way_through_openai_chat_rules_as_the_long_one(usage: dict[str, Any], add_up: bool) -> None:
    if add_up and type(usage["prompt_tokens"]) is int and type(usage["completion_tokens"]) is int:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    found = extract("openai", "chat", usage)
    try:
        careful: Usage | None = read_chat(usage, {}, EXTRACTOR)
    except billing.extract.Inconsistent:
        careful = None
    assert (found.quality == "suspense") == (careful is None)
    if careful is not None:
        assert found == careful


def test_every_family_is_registered_once_and_claims_its_own_routes() -> None:
    folder = Path(billing.extract.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert {family.__name__.rpartition(".")[2] for family in FAMILIES} == files  # type: ignore[attr-defined]
    assert len(ROUTES) == len(set(ROUTES))
    extractors = [family.EXTRACTOR for family in FAMILIES]
    assert len(extractors) == len(set(extractors))
    assert all(extractor.rpartition("/")[0] in files for extractor in extractors)


# -- what holds for prices ----------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=UTC)
PICO = st.integers(0, 10**9)
USED = st.dictionaries(st.sampled_from(METERS), st.integers(0, 10**7), max_size=6)


def book(prices: dict[str, int], tiers: dict[str, int]) -> PriceBook:
    rows = [Price(f"{m}", "v", "v/m", m, "USD", pico, START, confirmed=True) for m, pico in prices.items()]
    rows += [
        Price(f"{m}>", "v", "v/m", m, "USD", pico, START, tier_gt=1000, confirmed=True) for m, pico in tiers.items()
    ]
    return PriceBook(rows)


EVERY_PRICE = st.fixed_dictionaries(dict.fromkeys(METERS, PICO))


@settings(max_examples=150, deadline=None)
@given(prices=EVERY_PRICE, meters=USED, reasoning=st.integers(0, 10**7))
def test_lines_sum_to_the_amount_and_rating_again_gives_the_same(
    prices: dict[str, int], meters: dict[str, int], reasoning: int
) -> None:
    meters.pop("output_reasoning", None)
    usage = Usage(meters, "test/1", reasoning_tokens=min(reasoning, meters.get("output", 0)))
    card = book(prices, {}).card("v/m", START)
    charge = card.charge(usage)
    assert charge.ticks is not None
    assert charge.amount_pico is not None
    assert sum(line.amount_ticks for line in charge.lines) == charge.ticks
    assert sum(line.amount_pico for line in charge.lines) == charge.amount_pico
    assert abs(charge.ticks * 100 - charge.amount_pico) <= 50
    assert sum(charge.meters.get(meter, 0) for meter in TOKEN_METERS) == usage.tokens
    assert book(prices, {}).card("v/m", START).charge(usage) == charge


@settings(max_examples=150, deadline=None)
@given(prices=EVERY_PRICE, tiers=st.dictionaries(st.sampled_from(METERS), PICO, max_size=4), meters=USED, more=USED)
def test_more_of_anything_never_costs_less_within_a_tier(
    prices: dict[str, int], tiers: dict[str, int], meters: dict[str, int], more: dict[str, int]
) -> None:
    card = book(prices, tiers).card("v/m", START)
    less = card.charge(Usage(meters, "test/1", prompt_tokens=500)).ticks
    added = {meter: meters.get(meter, 0) + more.get(meter, 0) for meter in {**meters, **more}}
    assert (card.charge(Usage(added, "test/1", prompt_tokens=500)).ticks or 0) >= (less or 0)


@settings(max_examples=150, deadline=None)
@given(
    prices=EVERY_PRICE,
    tiers=st.dictionaries(st.sampled_from(METERS), PICO, max_size=4),
    quantities=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
)
def test_no_answer_within_its_bounds_exceeds_its_ceiling(
    prices: dict[str, int], tiers: dict[str, int], quantities: tuple[int, ...]
) -> None:
    sent, answered, cached, thought = quantities
    # the dearest of everything is the ceiling only where a cached token is no dearer than a fresh one, as everywhere
    prices["cache_read"] = min(prices["cache_read"], prices["input"])
    tiers.pop("cache_read", None)
    card = book(prices, tiers).card("v/m", START)
    usage = Usage(
        {"input": sent, "cache_read": cached, "output": answered, "request": 1},
        "test/1",
        reasoning_tokens=min(thought, answered),
    )
    charge = card.charge(usage)
    assert charge.ticks is not None
    assert charge.ticks <= card.ceiling(sent + cached, answered)
