"""xAI, Perplexity, Mistral, DeepSeek, Cohere, OpenRouter, CLOVA Studio and local servers. Each row has its sum."""

from __future__ import annotations

from typing import Any

import pytest

from billing.extract import extract


def chat(prompt: Any, completion: Any, total: Any = None, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, **more}
    return usage if total is None else {**usage, "total_tokens": total}


def reasoning(tokens: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": tokens}}


DEEP = "sonar-deep-research"


@pytest.mark.parametrize(
    ("provider", "flavor", "model", "usage", "meters"),
    [
        # xAI keeps reasoning beside the completion: 12 + 2 + 320 = 334
        ("xai", "chat", "grok", chat(12, 2, 334, **reasoning(320)), {"input": 12, "output": 322}),
        ("xai", "chat", "grok", chat(12, 2, None, **reasoning(320)), {"input": 12, "output": 322}),
        ("xai", "chat", "grok", chat(12, 322, 334, **reasoning(320)), {"input": 12, "output": 322}),
        (
            "xai",
            "chat",
            "grok",
            chat(300, 5, 305, prompt_tokens_details={"text_tokens": 44, "image_tokens": 256, "cached_tokens": 40}),
            {"input": 4, "cache_read": 40, "input_image": 256, "output": 5},  # 300 - 256 - 40
        ),
        (
            "xai",
            "sdk",
            "grok",
            {
                "prompt_tokens": 300,
                "cached_prompt_text_tokens": 40,
                "prompt_image_tokens": 256,
                "prompt_text_tokens": 44,
                "completion_tokens": 5,
                "reasoning_tokens": 95,
                "total_tokens": 400,  # 300 + 5 + 95
                "server_side_tools_used": ["SERVER_SIDE_TOOL_WEB_SEARCH", "SERVER_SIDE_TOOL_X_SEARCH"],
            },
            {"input": 4, "cache_read": 40, "input_image": 256, "output": 100, "web_search": 1, "x_search": 1},
        ),
        # in responses it is inside: 100 + 50 = 150
        (
            "xai",
            "responses",
            "grok",
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 30},
                "total_tokens": 150,
                "num_server_side_tools_used": 6,
                "server_side_tool_usage_details": {
                    "web_search_calls": 2,
                    "x_search_calls": 1,
                    "code_interpreter_calls": 1,
                    "file_search_calls": 1,
                    "document_search_calls": 1,
                    "mcp_calls": 4,
                    "image_generation_calls": 0,
                },
            },
            {"input": 100, "output": 50, "web_search": 2, "x_search": 1, "code_exec_session": 1, "file_search": 2},
        ),
        # Sonar: searches and citations are inside the request fee
        (
            "perplexity",
            "chat",
            "sonar",
            chat(10, 50, 60, citation_tokens=900, num_search_queries=2),
            {"input": 10, "output": 50, "request": 1},
        ),
        (
            "perplexity",
            "chat",
            "sonar-reasoning-pro",
            chat(10, 50, 60, reasoning_tokens=30),
            {"input": 10, "output": 50, "request": 1},
        ),
        # Deep Research: 7000 + 90000 answered, citations and searches apart
        (
            "perplexity",
            "chat",
            DEEP,
            chat(30, 7000, 7030, citation_tokens=8000, num_search_queries=20, reasoning_tokens=90_000),
            {"input": 30, "output": 97_000, "citation": 8000, "web_search": 20},
        ),
        (
            "perplexity",
            "responses",
            "sonar",
            {
                "input_tokens": 100,
                "input_tokens_details": {"cache_read_input_tokens": 40, "cache_creation_input_tokens": 0},
                "output_tokens": 50,
                "total_tokens": 150,
                "tool_calls_details": {"web_search": {"invocation": 3}},
            },
            {"input": 60, "cache_read": 40, "output": 50, "web_search": 3},
        ),
        # where searches are charged beside the fee, the charge says so
        (
            "perplexity",
            "chat",
            "sonar-pro",
            chat(10, 50, 60, num_search_queries=2, cost={"search_queries_cost": 0.01, "total_cost": 0.02}),
            {"input": 10, "output": 50, "request": 1, "web_search": 2},
        ),
        ("perplexity", "embeddings", "embed", {"prompt_tokens": 9, "total_tokens": 9}, {"input": 9}),
        ("upstage", "images", "document-parse", {"pages": 4}, {"page": 4}),
        ("openrouter", "embeddings", "e", {"prompt_tokens": 9, "total_tokens": 9, "cost": 0.1}, {"input": 9}),
        # Mistral: an older name for the cached part
        (
            "mistral",
            "chat",
            "m",
            chat(600, 100, 700, num_cached_tokens=512),
            {"input": 88, "cache_read": 512, "output": 100},
        ),
        (
            "mistral",
            "chat",
            "m",
            chat(600, 100, 700, num_cached_tokens=0, prompt_tokens_details={"cached_tokens": 512}),
            {"input": 88, "cache_read": 512, "output": 100},
        ),
        # audio is billed by the second; its 800 tokens are in the total and nowhere else
        (
            "mistral",
            "audio",
            "voxtral",
            chat(4, 200, 1004, prompt_audio_seconds=60),
            {"input": 4, "output": 200, "second_audio": 60},
        ),
        (
            "mistral",
            "chat",
            "voxtral",
            chat(13, 151, 164, prompt_audio_seconds=36),
            {"input": 13, "output": 151, "second_audio": 36},
        ),
        (
            "mistral",
            "chat",
            "agent",
            chat(50, 30, 580, connector_tokens=500, connectors={"web_search": 2}),
            {"input": 50, "input_tool": 500, "output": 30, "web_search": 2},  # 50 + 30 + 500
        ),
        ("mistral", "images", "ocr", {"pages_processed": 3, "doc_size_bytes": 9000}, {"page": 3}),
        # DeepSeek: 640 hits + 60 misses = 700
        (
            "deepseek",
            "chat",
            "d",
            chat(700, 200, 900, prompt_cache_hit_tokens=640, prompt_cache_miss_tokens=60, **reasoning(150)),
            {"input": 60, "cache_read": 640, "output": 200},
        ),
        # Cohere: what is billed, not what the model saw
        (
            "cohere",
            "v2",
            "command",
            {
                "billed_units": {"input_tokens": 12, "output_tokens": 7},
                "tokens": {"input_tokens": 507, "output_tokens": 10},
                "cached_tokens": 448,
            },
            {"input": 12, "output": 7},
        ),
        (
            "cohere",
            "v2",
            "command",
            {"billed_units": {"input_tokens": 9.0, "output_tokens": 25.0}},
            {"input": 9, "output": 25},
        ),
        (
            "cohere",
            "rerank",
            "rerank",
            {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}},
            {"search_unit": 2},
        ),
        ("cohere", "embeddings", "embed", {"billed_units": {"input_tokens": 10}}, {"input": 10}),
        ("cohere", "embeddings", "embed", {"billed_units": {"images": 3}}, {"image": 3}),
        # OpenRouter: both cache counts are inside the prompt, even for Claude: 194 - 100 - 40 = 54
        (
            "openrouter",
            "chat",
            "anthropic/claude",
            chat(194, 2, 196, prompt_tokens_details={"cached_tokens": 100, "cache_write_tokens": 40}),
            {"input": 54, "cache_read": 100, "cache_write": 40, "output": 2},
        ),
        (
            "openrouter",
            "chat",
            "google/gemini",
            chat(500, 2, 502, prompt_tokens_details={"video_tokens": 300}, server_tool_use={"web_search_requests": 1}),
            {"input": 200, "output": 2, "web_search": 1, "input_video": 300},  # 500 - 300
        ),
        # CLOVA Studio in its own names
        (
            "naver",
            "chat",
            "HCX-007",
            {
                "promptTokens": 29,
                "completionTokens": 71,
                "totalTokens": 100,
                "completionTokensDetails": {"thinkingTokens": 40},
            },
            {"input": 29, "output": 71},
        ),
        ("naver", "openai-compat", "HCX-005", chat(29, 71, 100), {"input": 29, "output": 71}),
        (
            "ollama",
            "chat",
            "gemma3",
            {"prompt_eval_count": 26, "prompt_eval_cached_count": 10, "eval_count": 98},
            {"input": 16, "cache_read": 10, "output": 98},
        ),
        ("ollama", "openai-compat", "gemma3", chat(26, 98, 124), {"input": 26, "output": 98}),
        ("ollama", "embeddings", "embed", {"prompt_eval_count": 26}, {"input": 26}),
        # llama.cpp: timings leave the cached part out, usage has it in
        (
            "llamacpp",
            "chat",
            "g",
            {"cache_n": 236, "prompt_n": 1, "predicted_n": 35},
            {"input": 1, "cache_read": 236, "output": 35},
        ),
        (
            "llamacpp",
            "chat",
            "g",
            chat(237, 35, 272, prompt_tokens_details={"cached_tokens": 236}),
            {"input": 1, "cache_read": 236, "output": 35},
        ),
    ],
)
def test_usage(provider: str, flavor: str, model: str, usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract(provider, flavor, usage, model=model)
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)


@pytest.mark.parametrize(
    ("provider", "flavor", "usage", "why"),
    [
        ("xai", "chat", chat(12, 2, 333, **reasoning(320)), "inconsistent"),
        ("xai", "responses", {"input_tokens": 1, "output_tokens": 1, "num_server_side_tools_used": 1}, "unknown"),
        (
            "xai",
            "responses",
            {"input_tokens": 1, "output_tokens": 1, "server_side_tool_usage_details": {"teleport_calls": 1}},
            "unknown",
        ),
        ("xai", "sdk", chat(1, 1, 2, server_side_tools_used=["SERVER_SIDE_TOOL_TELEPORT"]), "unknown"),
        ("xai", "chat", chat(1, 1, 2, num_sources_used=3), "unknown"),
        ("xai", "chat", chat(1, 1, 2, cost_in_usd_ticks=-5), "inconsistent"),
        ("xai", "chat", chat(1, 1, 2, cost_in_usd_ticks=1.5), "malformed"),
        ("perplexity", "chat", chat(10, 50, 61), "inconsistent"),
        ("perplexity", "chat", chat(10, 50, 60, cost={"total_cost": -0.1}), "inconsistent"),
        ("perplexity", "chat", chat(10, 50, 60, cost={"total_cost": float("nan")}), "inconsistent"),
        ("perplexity", "chat", chat(10, 50, 60, cost={"total_cost": "0.1"}), "malformed"),
        (
            "perplexity",
            "responses",
            {"input_tokens": 1, "output_tokens": 1, "tool_calls_details": {"fetch_url": {"invocation": 1}}},
            "unknown",
        ),
        ("mistral", "chat", chat(600, 100, 700, num_cached_tokens=601), "inconsistent"),
        ("mistral", "chat", chat(600, 100, 1004), "inconsistent"),  # more in the total, and no audio to explain it
        ("mistral", "chat", chat(50, 30, 80, connectors={"teleport": 1}), "unknown"),
        (
            "deepseek",
            "chat",
            chat(700, 200, 900, prompt_cache_hit_tokens=640, prompt_cache_miss_tokens=61),
            "inconsistent",
        ),
        ("cohere", "v2", {"tokens": {"input_tokens": 507, "output_tokens": 10}}, "missing: billed_units"),
        ("cohere", "v2", {"billed_units": {"input_tokens": 5}, "tokens": {"output_tokens": 10}}, "missing"),
        ("cohere", "v2", {"billed_units": {"classifications": 5}}, "unknown"),
        ("openrouter", "chat", chat(10, 5, 15, cost=-1), "inconsistent"),
        ("openrouter", "chat", chat(10, 5, 15, prompt_tokens_details={"video_tokens": 11}), "inconsistent"),
        ("naver", "chat", {"promptTokens": 29, "completionTokens": 71, "totalTokens": 101}, "inconsistent"),
        ("naver", "chat", {"promptTokens": 29}, "missing"),
        # null and 0 both mean that an older version lost count of a cached prompt
        ("ollama", "chat", {"eval_count": 98}, "missing: prompt_eval_count"),
        ("ollama", "chat", {"prompt_eval_count": None, "eval_count": 98}, "missing: prompt_eval_count"),
        ("ollama", "chat", {"prompt_eval_count": 0, "eval_count": 98}, "missing: prompt_eval_count"),
        ("ollama", "chat", {"prompt_eval_count": 5, "prompt_eval_cached_count": 6, "eval_count": 1}, "inconsistent"),
        ("llamacpp", "chat", {"prompt_n": 1}, "missing"),
    ],
)
def test_what_does_not_fit_is_suspense(provider: str, flavor: str, usage: dict[str, Any], why: str) -> None:
    found = extract(provider, flavor, usage, model="sonar")
    assert (found.quality, found.meters) == ("suspense", {})
    assert found.reason is not None
    assert found.reason.startswith(why)


def test_deep_research_states_a_total_that_must_be_one_of_its_sums() -> None:
    usage = chat(30, 7000, 7031, reasoning_tokens=90_000)
    assert extract("perplexity", "chat", usage, model=DEEP).quality == "suspense"


@pytest.mark.parametrize(
    ("provider", "usage", "ticks"),
    [
        ("xai", chat(1, 1, 2, cost_in_usd_ticks=1_641_500), 1_641_500),
        ("perplexity", chat(1, 1, 2, cost={"total_cost": 0.0125}), 125_000_000),  # 0.0125 USD
        ("perplexity", chat(1, 1, 2, cost=0.006), 60_000_000),
        ("openrouter", chat(1, 1, 2, cost=0.00095), 9_500_000),
        ("openrouter", chat(1, 1, 2, cost=0), 0),
        # one's own vendor key: the fee is 0 and the vendor charges the key
        (
            "openrouter",
            chat(1, 1, 2, cost=0, is_byok=True, cost_details={"upstream_inference_cost": 0.002}),
            20_000_000,
        ),
        (
            "openrouter",
            chat(1, 1, 2, cost=0.0001, is_byok=True, cost_details={"upstream_inference_cost": 0.002}),
            21_000_000,
        ),
        ("openrouter", chat(1, 1, 2, cost=0.003, cost_details={"upstream_inference_cost": 0.002}), 30_000_000),
        ("openrouter", chat(1, 1, 2), None),
        ("openrouter", chat(1, 1, 2, cost=0, is_byok=True), None),  # what the key is charged is not said
        ("openai", chat(1, 1, 2, cost=99), None),  # no charge of this vendor's
    ],
)
def test_what_the_vendor_says_it_charged(provider: str, usage: dict[str, Any], ticks: int | None) -> None:
    assert extract(provider, "chat", usage, model="sonar").reported_ticks == ticks


def test_a_charge_is_kept_when_something_unknown_was_used() -> None:
    found = extract("xai", "chat", chat(1, 1, 2, num_sources_used=3, cost_in_usd_ticks=750_000))
    assert (found.quality, found.reported_ticks) == ("suspense", 750_000)


@pytest.mark.parametrize(
    ("usage", "context", "fees", "size"),
    [
        (chat(1, 1, 2), {}, 1, {}),
        (chat(1, 1, 2, search_context_size="High"), {}, 1, {"search_context_size": "high"}),
        (chat(1, 1, 2), {"search_context_size": "medium"}, 1, {"search_context_size": "medium"}),
        (chat(1, 1, 2, cost={"request_cost": 0, "total_cost": 0.1}), {}, 0, {}),  # the vendor says there was no fee
    ],
)
def test_the_request_fee_follows_the_search_context(
    usage: dict[str, Any], context: dict[str, Any], fees: int, size: dict[str, str]
) -> None:
    found = extract("perplexity", "chat", usage, model="sonar", context=context)
    assert (found.meters.get("request", 0), found.conditions) == (fees, size)


def test_items_of_an_xai_answer_count_where_its_usage_does_not() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "num_server_side_tools_used": 2}
    context = {"output_items": {"web_search_call": 1, "code_interpreter_call": 2, "message": 1}}
    found = extract("xai", "responses", usage, context=context)
    assert found.meters == {"input": 1, "output": 1, "web_search": 1, "code_exec_session": 2}  # by the call here
