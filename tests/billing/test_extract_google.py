"""Gemini: thoughts beside the candidates, cache inside the prompt, modalities everywhere. Each row has its sum."""

from __future__ import annotations

from typing import Any

import pytest

from billing.extract import extract


def gemini(prompt: int, candidates: int, total: int | None = None, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, **more}
    return usage if total is None else {**usage, "totalTokenCount": total}


def kinds(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": kind.upper(), "tokenCount": quantity} for kind, quantity in counts.items()]


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (gemini(10, 20, 30), {"input": 10, "output": 20}),
        (gemini(10, 20, 130, thoughtsTokenCount=100), {"input": 10, "output": 120}),  # 10 + 20 + 100: outside
        (
            gemini(10, 120, 130, thoughtsTokenCount=100),
            {"input": 10, "output": 120},
        ),  # 10 + 120: inside, as it once was
        ({"promptTokenCount": 10, "thoughtsTokenCount": 5, "totalTokenCount": 15}, {"input": 10, "output": 5}),
        # 100 sent, 60 of them cached
        (gemini(100, 20, 120, cachedContentTokenCount=60), {"input": 40, "cache_read": 60, "output": 20}),
        # text 900 - 500 cached, audio 600 - 100 cached: audio out of the cache has a price of its own
        (
            gemini(
                1500,
                80,
                1580,
                cachedContentTokenCount=600,
                promptTokensDetails=kinds(text=900, audio=600),
                cacheTokensDetails=kinds(text=500, audio=100),
            ),
            {"input": 400, "input_audio": 500, "cache_read": 500, "cache_read_audio": 100, "output": 80},
        ),
        (
            gemini(700, 5, 705, promptTokensDetails=kinds(text=100, image=258, video=300, document=42)),
            {"input": 142, "input_image": 258, "input_video": 300, "output": 5},  # documents are read as text
        ),
        # a list that leaves out the cached part: 40 listed + 60 cached = 100
        (
            gemini(100, 20, 120, cachedContentTokenCount=60, promptTokensDetails=kinds(text=40)),
            {"input": 40, "cache_read": 60, "output": 20},
        ),
        # the image is listed, the words around it are not: 1300 - 1290 = 10
        (
            gemini(8, 1300, 1308, candidatesTokensDetails=kinds(image=1290)),
            {"input": 8, "output": 10, "output_image": 1290},
        ),
        # what URL context put before the model: 10 + 20 + 400
        (gemini(10, 20, 430, toolUsePromptTokenCount=400), {"input": 10, "input_tool": 400, "output": 20}),
    ],
)
def test_generate_content(usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("google", "generateContent", usage, model="gemini-2.5-flash")
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)


def test_an_sdk_spells_it_differently() -> None:
    usage = {
        "prompt_token_count": 100,
        "candidates_token_count": 20,
        "thoughts_token_count": 5,
        "cached_content_token_count": 60,
        "prompt_tokens_details": [{"modality": "TEXT", "token_count": 100}],
        "total_token_count": 125,
    }
    found = extract("google", "sdk", usage)
    assert found.meters == {"input": 40, "cache_read": 60, "output": 25}
    assert found.reasoning_tokens == 5


@pytest.mark.parametrize(
    "usage",
    [
        {"trafficType": "ON_DEMAND"},
        gemini(10, 20, 31),
        gemini(10, 20, 29),
        gemini(10, 20, 130, thoughtsTokenCount=99),
        gemini(10, 20, 30, cachedContentTokenCount=11),
        gemini(10, 20, 30, promptTokensDetails=kinds(text=11)),
        gemini(10, 20, 30, promptTokensDetails=kinds(text=9)),
        gemini(10, 20, 30, promptTokensDetails=kinds(smell=10)),
        gemini(10, 20, 30, promptTokensDetails=7),
        # which of the two was cached is not said, and they cost differently
        gemini(10, 20, 30, cachedContentTokenCount=5, promptTokensDetails=kinds(text=5, audio=5)),
        gemini(10, 20, 30, candidatesTokensDetails=kinds(image=21)),
        gemini(-10, 20, 10),
    ],
)
def test_what_does_not_add_up(usage: dict[str, Any]) -> None:
    assert extract("google", "generateContent", usage, model="gemini-2.5-flash").quality == "suspense"


GROUNDED = {"webSearchQueries": ["해치", "광화문 해치", "해치", ""], "groundingChunks": [{"web": {"uri": "u"}}]}


@pytest.mark.parametrize(
    ("model", "metadata", "more"),
    [
        ("gemini-2.5-pro", GROUNDED, {"grounded_prompt": 1}),  # 2.x bills the prompt, however many queries
        ("gemini-3.1-pro-preview", GROUNDED, {"web_search": 2}),  # 3.x bills distinct queries that ask something
        ("gemini-2.5-pro", {"webSearchQueries": []}, {}),
        ("gemini-2.5-pro", {}, {}),
        ("gemini-2.5-pro", None, {}),
        ("gemini-2.5-pro", [GROUNDED, GROUNDED], {"grounded_prompt": 1}),
        ("gemini-3-flash-preview", [GROUNDED, {"webSearchQueries": ["또 다른"]}], {"web_search": 3}),
    ],
)
def test_grounding_is_billed_by_generation(model: str, metadata: Any, more: dict[str, int]) -> None:
    context = {"groundingMetadata": metadata}
    found = extract("google", "generateContent", gemini(10, 20, 30), model=model, context=context)
    assert found.meters == {"input": 10, "output": 20, **more}


def test_grounding_on_maps_has_a_price_of_its_own() -> None:
    context = {"groundingMetadata": {"groundingChunks": [{"maps": {"uri": "u"}}]}}
    found = extract("google", "generateContent", gemini(10, 20, 30), model="gemini-2.5-flash", context=context)
    assert (found.meters["grounded_prompt"], found.conditions) == (1, {"grounding": "maps"})


def test_grounding_of_an_unknown_generation_is_suspense() -> None:
    context = {"groundingMetadata": GROUNDED}
    found = extract("google", "generateContent", gemini(1, 1, 2), model="gemini-flash-latest", context=context)
    assert found.reason == "unknown: how grounding of this model is billed"
    context["response_model"] = "gemini-2.5-flash"
    found = extract("google", "generateContent", gemini(1, 1, 2), model="gemini-flash-latest", context=context)
    assert found.meters["grounded_prompt"] == 1


@pytest.mark.parametrize(
    ("tools", "billed"),
    [
        (None, 400),
        (["url_context"], 400),
        ([{"urlContext": {}}], 400),
        ([{"type": "code_execution"}], 400),
        (["google_search"], 0),  # the tokens of a search are inside its fee
        ([{"googleSearch": {}}], 0),
        ({"googleMaps": {}}, 0),
    ],
)
def test_tool_tokens_are_billed_except_for_grounding(tools: Any, billed: int) -> None:
    usage = gemini(10, 20, 430, toolUsePromptTokenCount=400)
    found = extract("google", "generateContent", usage, model="gemini-2.5-pro", context={"tools": tools})
    assert found.meters.get("input_tool", 0) == billed
    assert found.info == {"tool_use_prompt_tokens": 400}


def test_tool_tokens_of_a_grounded_answer_are_not_billed_and_of_two_tools_are_unclear() -> None:
    usage = gemini(10, 20, 430, toolUsePromptTokenCount=400)
    found = extract("google", "generateContent", usage, model="gemini-2.5-pro", context={"groundingMetadata": GROUNDED})
    assert found.meters == {"input": 10, "output": 20, "grounded_prompt": 1}
    context = {"tools": ["google_search", "url_context"]}
    assert extract("google", "generateContent", usage, context=context).quality == "suspense"


@pytest.mark.parametrize(
    ("traffic", "conditions"),
    [
        ("ON_DEMAND", {}),
        ("ON_DEMAND_FLEX", {"service_tier": "flex"}),
        ("ON_DEMAND_PRIORITY", {"service_tier": "priority"}),
        ("PROVISIONED_THROUGHPUT", {"service_tier": "provisioned"}),
        (7, {}),
    ],
)
def test_the_kind_of_traffic_is_a_service_tier(traffic: Any, conditions: dict[str, str]) -> None:
    usage = gemini(10, 20, 30, trafficType=traffic)
    assert extract("google", "generateContent", usage).conditions == conditions


@pytest.mark.parametrize(
    ("usage", "output", "reasoning"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 29, "total_tokens": 38}, 29, None),
        # thoughts are in the total only: 296 - 9 - 29 = 258
        ({"prompt_tokens": 9, "completion_tokens": 29, "total_tokens": 296}, 287, 258),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 29,
                "total_tokens": 296,
                "completion_tokens_details": {"reasoning_tokens": 258},
            },
            287,
            258,
        ),
    ],
)
@pytest.mark.parametrize("flavor", ["openai-compat", "chat"])
def test_the_compatible_address_leaves_thoughts_out_of_the_completion(
    flavor: str, usage: dict[str, Any], output: int, reasoning: int | None
) -> None:
    found = extract("google", flavor, usage)
    assert (found.quality, found.meters["output"], found.reasoning_tokens) == ("exact", output, reasoning)


def test_the_compatible_address_must_add_up_too() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 29, "total_tokens": 37}
    assert extract("google", "openai-compat", usage).quality == "suspense"
    embedded = extract("google", "openai-compat", {"prompt_tokens": 9, "total_tokens": 9}, model="gemini-embedding-001")
    assert embedded.meters == {"input": 9}
    assert extract("google", "chat", gemini(10, 20, 30)).meters == {"input": 10, "output": 20}
