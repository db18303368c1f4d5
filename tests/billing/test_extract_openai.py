"""OpenAI's surfaces. Each row: what the vendor states, and the disjoint meters with the sum that gives them."""

from __future__ import annotations

from typing import Any

import pytest

from billing.extract import extract


def chat(prompt: Any, completion: Any, total: Any = None, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, **more}
    return usage if total is None else {**usage, "total_tokens": total}


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (chat(10, 5, 15), {"input": 10, "output": 5}),
        (chat(10, 5), {"input": 10, "output": 5}),
        (chat(0, 0, 0), {"input": 0, "output": 0}),  # stated zeros are zeros, not "missing"
        (chat(10, 5, 15, prompt_tokens_details=None, completion_tokens_details=None), {"input": 10, "output": 5}),
        # 100 sent, 60 of them from the cache: 40 fresh
        (chat(100, 5, 105, prompt_tokens_details={"cached_tokens": 60}), {"input": 40, "cache_read": 60, "output": 5}),
        (chat(100, 5, 105, prompt_tokens_details={"cached_tokens": 100}), {"input": 0, "cache_read": 100, "output": 5}),
        (chat(100, 5, 105, cached_tokens=60), {"input": 40, "cache_read": 60, "output": 5}),  # at the top, as some do
        # 100 - 30 read - 20 written = 50
        (
            chat(100, 5, 105, prompt_tokens_details={"cached_tokens": 30, "cache_write_tokens": 20}),
            {"input": 50, "cache_read": 30, "cache_write": 20, "output": 5},
        ),
        # 100 - 70 audio = 30; 50 - 40 audio = 10
        (
            chat(
                100,
                50,
                150,
                prompt_tokens_details={"audio_tokens": 70, "text_tokens": 30},
                completion_tokens_details={"audio_tokens": 40, "text_tokens": 10},
            ),
            {"input": 30, "input_audio": 70, "output": 10, "output_audio": 40},
        ),
        # predictions, accepted or rejected, are ordinary output
        (
            chat(
                10,
                50,
                60,
                completion_tokens_details={"accepted_prediction_tokens": 20, "rejected_prediction_tokens": 15},
            ),
            {"input": 10, "output": 50},
        ),
        (chat(8, None, 8), {"input": 8}),
        (chat(10.0, 5, 15), {"input": 10, "output": 5}),  # the same number, written differently
    ],
)
def test_chat(usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("openai", "chat", usage, model="gpt-5-mini")
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)


@pytest.mark.parametrize(
    ("usage", "output", "reasoning"),
    [
        (chat(10, 50, 60, completion_tokens_details={"reasoning_tokens": 30}), 50, 30),  # 10 + 50: inside
        (chat(10, 20, 60, completion_tokens_details={"reasoning_tokens": 30}), 50, 30),  # 10 + 20 + 30: outside
        (chat(10, 50, None, completion_tokens_details={"reasoning_tokens": 30}), 50, 30),  # no total: inside
        (chat(10, 50, 60, completion_tokens_details={"reasoning_tokens": 0}), 50, 0),
        (chat(10, 50, 60), 50, None),
        (chat(10, 50, 60, reasoning_tokens=30), 50, 30),
    ],
)
def test_the_total_says_where_reasoning_is(usage: dict[str, Any], output: int, reasoning: int | None) -> None:
    found = extract("openai", "chat", usage)
    assert (found.meters["output"], found.reasoning_tokens, found.quality) == (output, reasoning, "exact")


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (None, "missing"),
        ([], "malformed"),
        ("usage", "malformed"),
        ({}, "missing: prompt_tokens"),
        ({"prompt_tokens": 5}, "missing: completion_tokens"),
        (chat(10, 5, 16), "inconsistent"),
        (chat(10, 5, 14), "inconsistent"),
        (chat(10, 5, 17, completion_tokens_details={"reasoning_tokens": 1}), "inconsistent"),  # 15 or 16, not 17
        (chat(-1, 5, 4), "inconsistent: prompt_tokens is negative"),
        (chat(True, 5, 6), "malformed: prompt_tokens"),
        (chat("10", 5, 15), "malformed: prompt_tokens"),
        (chat(10.5, 5, 15.5), "malformed: prompt_tokens"),
        (chat(float("nan"), 5, 15), "malformed: prompt_tokens"),
        (chat(float("inf"), 5, 15), "malformed: prompt_tokens"),
        (chat(10**15, 5), "inconsistent: prompt_tokens is absurd"),
        (chat(10, 5, 15, prompt_tokens_details={"cached_tokens": 11}), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details={"cached_tokens": 6, "audio_tokens": 5}), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details={"cached_tokens": -6}), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details={"cached_tokens": False}), "malformed"),
        (chat(10, 5, 15, prompt_tokens_details={"text_tokens": 8, "audio_tokens": 5}), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details=""), "malformed"),
        (chat(10, 5, 15, completion_tokens_details={"reasoning_tokens": 6}), "inconsistent"),
        (chat(10, 5, 15, completion_tokens_details={"rejected_prediction_tokens": 6}), "inconsistent"),
        (chat(10, 5, 15, completion_tokens_details={"reasoning_tokens": 3, "audio_tokens": 3}), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details={"cached_tokens": 4}, cached_tokens=3), "inconsistent"),
        (chat(10, 5, 15, prompt_tokens_details={"smell_tokens": 4}), "unknown: prompt_tokens_details.smell_tokens"),
    ],
)
def test_what_does_not_fit_together_is_suspense(usage: Any, why: str) -> None:
    found = extract("openai", "chat", usage)
    assert found.quality == "suspense"
    assert found.meters == {}
    assert found.reason is not None
    assert found.reason.startswith(why)


@pytest.mark.parametrize(
    ("items", "more"),
    [
        ({"web_search_call": 2, "message": 1, "reasoning": 2}, {"web_search": 2}),
        ({"file_search_call": 3}, {"file_search": 3}),
        ({"code_interpreter_call": 3}, {"code_exec_session": 1}),  # the calls of one answer share a container
        ({"image_generation_call": 1}, {"image": 1}),
        ({"function_call": 4, "mcp_call": 1, "web_search_call": 0}, {}),
    ],
)
@pytest.mark.parametrize("flavor", ["chat", "responses"])
def test_server_tools_are_counted_by_the_items_of_the_answer(
    flavor: str, items: dict[str, int], more: dict[str, int]
) -> None:
    usage = chat(10, 5, 15) if flavor == "chat" else {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    found = extract("openai", flavor, usage, context={"output_items": items})
    assert found.meters == {"input": 10, "output": 5, **more}
    assert found.tokens == 15


def test_a_tool_nobody_knows_is_suspense() -> None:
    usage = {"input_tokens": 10, "output_tokens": 5}
    found = extract("openai", "responses", usage, context={"output_items": {"teleport_call": 1}})
    assert found.reason == "unknown: output item teleport_call"


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
                "output_tokens": 40,
                "output_tokens_details": {"reasoning_tokens": 25},
                "total_tokens": 140,
            },
            {"input": 50, "cache_read": 30, "cache_write": 20, "output": 40},  # 100 - 30 - 20
        ),
        ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, {"input": 0, "output": 0}),
    ],
)
def test_responses(usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("openai", "responses", usage)
    assert (found.quality, found.meters) == ("exact", meters)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 10, "output_tokens": 5, "total_tokens": 16},
        {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 6}},
        {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 11}},
        {"input_tokens": 10},
        {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"odd_tokens": 1}},
    ],
)
def test_responses_that_do_not_add_up(usage: dict[str, Any]) -> None:
    assert extract("openai", "responses", usage).quality == "suspense"


@pytest.mark.parametrize(
    ("flavor", "model", "usage", "meters"),
    [
        ("embeddings", "e", {"prompt_tokens": 8, "total_tokens": 8}, {"input": 8}),
        ("embeddings", "e", {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}, {"input": 8}),
        # 394 = 10 text + 384 image
        (
            "images",
            "gpt-image-1",
            {
                "input_tokens": 394,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 384},
                "output_tokens": 1056,
                "total_tokens": 1450,
            },
            {"input": 10, "input_image": 384, "output_image": 1056},
        ),
        # 1056 = 56 words + 1000 drawn
        (
            "images",
            "gpt-image-1.5",
            {
                "input_tokens": 10,
                "output_tokens": 1056,
                "output_tokens_details": {"text_tokens": 56, "image_tokens": 1000},
            },
            {"input": 10, "output": 56, "output_image": 1000},
        ),
        ("audio", "whisper-1", {"type": "duration", "seconds": 9}, {"second_audio": 9}),
        ("audio", "whisper-1", {"type": "duration", "seconds": 8.5}, {"second_audio": 9}),  # to the nearest second
        ("audio", "whisper-1", {"type": "duration", "seconds": 8.4}, {"second_audio": 8}),
        # 114 = 14 text + 100 audio
        (
            "audio",
            "gpt-4o-transcribe",
            {
                "type": "tokens",
                "input_tokens": 114,
                "input_token_details": {"text_tokens": 14, "audio_tokens": 100},
                "output_tokens": 31,
                "total_tokens": 145,
            },
            {"input": 14, "input_audio": 100, "output": 31},
        ),
        ("audio", "gpt-4o-mini-tts", {"input_tokens": 14, "output_tokens": 101}, {"input": 14, "output_audio": 101}),
        # text 80 - 44 cached, audio 120 - 20 cached
        (
            "realtime",
            "gpt-realtime",
            {
                "total_tokens": 300,
                "input_tokens": 200,
                "output_tokens": 100,
                "input_token_details": {
                    "text_tokens": 80,
                    "audio_tokens": 120,
                    "cached_tokens": 64,
                    "cached_tokens_details": {"text_tokens": 44, "audio_tokens": 20},
                },
                "output_token_details": {"text_tokens": 30, "audio_tokens": 70},
            },
            {
                "input": 36,
                "input_audio": 100,
                "cache_read": 44,
                "cache_read_audio": 20,
                "output": 30,
                "output_audio": 70,
            },
        ),
        # a cached part without its modalities is clear where the prompt has one only
        (
            "realtime",
            "gpt-realtime",
            {
                "input_tokens": 20,
                "output_tokens": 10,
                "input_token_details": {"text_tokens": 0, "audio_tokens": 20, "cached_tokens": 5},
                "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
            },
            {"input": 0, "input_audio": 15, "cache_read_audio": 5, "output": 10},
        ),
    ],
)
def test_other_surfaces(flavor: str, model: str, usage: dict[str, Any], meters: dict[str, int]) -> None:
    found = extract("openai", flavor, usage, model=model)
    assert (found.quality, found.reason, found.meters) == ("exact", None, meters)


@pytest.mark.parametrize(
    ("flavor", "usage"),
    [
        ("embeddings", {"prompt_tokens": 8, "total_tokens": 9}),
        ("embeddings", {"prompt_tokens": 8, "completion_tokens": 1}),
        ("embeddings", {}),
        ("embeddings", {"prompt_tokens": 8, "prompt_tokens_details": {"image_tokens": 9}}),
        ("images", {"input_tokens": 5, "output_tokens": 5, "total_tokens": 11}),
        (
            "images",
            {"input_tokens": 5, "output_tokens": 5, "input_tokens_details": {"text_tokens": 2, "image_tokens": 2}},
        ),
        ("images", {"input_tokens": 5, "output_tokens": 5, "output_tokens_details": {"image_tokens": 4}}),
        ("audio", {"type": "duration"}),
        ("audio", {"type": "duration", "seconds": -1}),
        ("audio", {"type": "duration", "seconds": float("nan")}),
        ("audio", {"type": "duration", "seconds": True}),
        ("audio", {"input_tokens": 5, "output_tokens": 5, "total_tokens": 11}),
        (
            "audio",
            {"input_tokens": 5, "output_tokens": 5, "input_token_details": {"text_tokens": 2, "audio_tokens": 4}},
        ),
        ("audio", {"input_tokens": 5, "output_tokens": 5, "input_token_details": {"text_tokens": 2}}),
        ("realtime", {"input_tokens": 5, "output_tokens": 0}),
        ("realtime", {"input_tokens": 5, "output_tokens": 0, "input_token_details": {"text_tokens": 4}}),
        ("realtime", {"input_tokens": 5, "output_tokens": 0, "total_tokens": 6}),
        (
            "realtime",
            {
                "input_tokens": 5,
                "output_tokens": 0,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 1, "cached_tokens": 1},
            },
        ),
        (
            "realtime",
            {
                "input_tokens": 5,
                "output_tokens": 0,
                "input_token_details": {
                    "text_tokens": 5,
                    "cached_tokens": 2,
                    "cached_tokens_details": {"text_tokens": 1},
                },
            },
        ),
        (
            "realtime",
            {
                "input_tokens": 0,
                "output_tokens": 2,
                "output_token_details": {"text_tokens": 1, "audio_tokens": 1, "reasoning_tokens": 2},
            },
        ),
    ],
)
def test_other_surfaces_that_do_not_add_up(flavor: str, usage: dict[str, Any]) -> None:
    assert extract("openai", flavor, usage).quality == "suspense"


def test_nobody_reads_what_no_family_claims() -> None:
    found = extract("openai", "telepathy", {"prompt_tokens": 1})
    assert (found.quality, found.reason) == ("suspense", "unknown: no reader for openai telepathy")


@pytest.mark.parametrize("provider", ["azure", "groq", "together", "upstage", "vllm", "practice", "local"])
def test_the_same_shape_from_others(provider: str) -> None:
    found = extract(provider, "chat", chat(100, 5, 105, prompt_tokens_details={"cached_tokens": 60}))
    assert found.meters == {"input": 40, "cache_read": 60, "output": 5}


def test_a_translated_usage_keeps_the_lifetimes_of_cache_writes() -> None:
    details = {
        "cached_tokens": 10,
        "cache_creation_tokens": 30,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    found = extract("anthropic", "openai-compat", chat(100, 5, 105, prompt_tokens_details=details))
    # 100 - 10 read - 10 - 20 written = 60
    assert found.meters == {"input": 60, "cache_read": 10, "cache_write_5m": 10, "cache_write_1h": 20, "output": 5}
    details["cache_creation_tokens"] = 29
    assert extract("anthropic", "openai-compat", chat(100, 5, 105, prompt_tokens_details=details)).quality == "suspense"
