"""`python -m gateway rate`, as a person types it: a usage object of every provider and surface in, what it costs out.

Prices are given on each line, so that every sum can be written beside its usage: a token in costs 1, a token out 4 millionths
of a dollar, a token from a cache 0.1 and one written to it 1.25.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from billing.extract import family_of
from billing.rate import FLAVORS, VENDORS

PRICES = {
    "input": "0.000001",
    "output": "0.000004",
    "cache_read": "0.0000001",
    "cache_write": "0.00000125",
    "cache_write_5m": "0.00000125",
    "input_audio": "0.00001",
    "output_audio": "0.00002",
    "output_image": "0.00003",
    "search_unit": "0.002",
    "request": "0.005",
    "web_search": "0.01",
    "second_audio": "0.0001",
    "page": "0.001",
}


class Case(NamedTuple):
    """What an answer states, and what that costs in USD."""

    usage: dict[str, Any]
    amount: str


# 7 × 1 + 5 × 4 = 27 millionths
CHAT = Case({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, "0.000027")
# 5 × 1 + 2 × 0.1 + 5 × 4 = 25.2
CACHED = Case({**CHAT.usage, "prompt_tokens_details": {"cached_tokens": 2}}, "0.0000252")
RESPONSES = Case({"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}, "0.000027")
# 7 × 1 + 4 × 0.1 + 2 × 1.25 + 5 × 4 = 29.9
MESSAGES = Case(
    {"input_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 5}, "0.0000299"
)
CONVERSE = Case({"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}, "0.000027")
# 7 × 1 + (5 + 3 thoughts) × 4 = 39
GENERATE = Case(
    {"promptTokenCount": 7, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 15}, "0.000039"
)
EMBEDDINGS = Case({"prompt_tokens": 7, "total_tokens": 7}, "0.000007")
BILLED = Case({"billed_units": {"input_tokens": 7.0, "output_tokens": 5.0}, "tokens": {"input_tokens": 99}}, "0.000027")

# By surface; a vendor whose own shape differs stands below.
CASES = {
    "chat": CHAT,
    "sdk": CACHED,
    "openai-compat": CHAT,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "converse": CONVERSE,
    "generateContent": GENERATE,
    "embeddings": EMBEDDINGS,
    # 7 text tokens in, 3 of a picture out: 7 × 1 + 3 × 30 = 97
    "images": Case(
        {
            "input_tokens": 7,
            "input_tokens_details": {"text_tokens": 7, "image_tokens": 0},
            "output_tokens": 3,
            "total_tokens": 10,
        },
        "0.000097",
    ),
    # 30 seconds × 100
    "audio": Case({"type": "duration", "seconds": 30}, "0.003"),
    # 4 text and 3 audio in, 1 text and 4 audio out: 4 × 1 + 3 × 10 + 1 × 4 + 4 × 20 = 118
    "realtime": Case(
        {
            "total_tokens": 12,
            "input_tokens": 7,
            "output_tokens": 5,
            "input_token_details": {"text_tokens": 4, "audio_tokens": 3, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 1, "audio_tokens": 4},
        },
        "0.000118",
    ),
}
OWN = {
    ("cohere", "chat"): BILLED,
    ("cohere", "v2"): BILLED,
    ("cohere", "sdk"): BILLED,
    ("cohere", "embeddings"): Case({"billed_units": {"input_tokens": 7}}, "0.000007"),
    # one search unit
    ("cohere", "rerank"): Case({"billed_units": {"search_units": 1}}, "0.002"),
    ("anthropic", "sdk"): MESSAGES,
    ("aws", "sdk"): CONVERSE,
    ("google", "sdk"): GENERATE,
    ("google", "embeddings"): Case({"promptTokenCount": 7, "totalTokenCount": 7}, "0.000007"),
    # 3 tokens of a picture: 7 × 1 + 3 × 30
    ("google", "images"): Case(
        {
            "promptTokenCount": 7,
            "candidatesTokenCount": 3,
            "totalTokenCount": 10,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}],
        },
        "0.000097",
    ),
    # 3 tokens of speech: 7 × 1 + 3 × 20
    ("google", "audio"): Case(
        {
            "promptTokenCount": 7,
            "candidatesTokenCount": 3,
            "totalTokenCount": 10,
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
        },
        "0.000067",
    ),
    # the request fee of 5,000 beside the tokens
    ("perplexity", "chat"): Case(CHAT.usage, "0.005027"),
    ("perplexity", "sdk"): Case(CHAT.usage, "0.005027"),
    ("perplexity", "openai-compat"): Case(CHAT.usage, "0.005027"),
    ("perplexity", "embeddings"): EMBEDDINGS,
    # 3 pages
    ("mistral", "images"): Case({"pages_processed": 3}, "0.003"),
    ("upstage", "images"): Case({"pages": 3}, "0.003"),
    # its conversations state prompts and completions, whatever the surface is called
    ("mistral", "responses"): CHAT,
    # 30 seconds × 100, and its tokens 7 × 1 + 5 × 4
    ("mistral", "audio"): Case(
        {"prompt_audio_seconds": 30, "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, "0.003027"
    ),
    ("ollama", "chat"): Case({"prompt_eval_count": 7, "eval_count": 5}, "0.000027"),
    ("llamacpp", "chat"): Case({"prompt_n": 5, "cache_n": 2, "predicted_n": 5}, "0.0000252"),
    ("naver", "chat"): Case({"promptTokens": 7, "completionTokens": 5, "totalTokens": 12}, "0.000027"),
    # reasoning of 3 outside the 5: 7 × 1 + 8 × 4
    ("xai", "chat"): Case(
        {**CHAT.usage, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 3}}, "0.000039"
    ),
    ("deepseek", "chat"): Case(
        {**CHAT.usage, "prompt_cache_hit_tokens": 2, "prompt_cache_miss_tokens": 5}, "0.0000252"
    ),
    ("openrouter", "embeddings"): EMBEDDINGS,
}

READ = [(provider, flavor) for provider in VENDORS for flavor in FLAVORS if family_of(provider, flavor)]
UNREAD = [(provider, flavor) for provider in VENDORS for flavor in FLAVORS if not family_of(provider, flavor)]


def line(provider: str, flavor: str, usage: Any) -> dict[str, Any]:
    at = "2026-11-24T00:00:00Z"
    return {"provider": provider, "flavor": flavor, "model": "m", "at": at, "usage": usage, "prices": PRICES}


def typed(folder: Path, *lines: str) -> tuple[int, list[dict[str, Any]]]:
    """The command in a folder with no configuration and no ledger."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAECHI_")}
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "rate"],
        input="".join(f"{one}\n" for one in lines),
        cwd=folder,
        env={**env, "HAECHI_CONFIG": str(folder / "none.yaml"), "HAECHI_DATA": str(folder / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    assert list(folder.iterdir()) == []
    return ran.returncode, [json.loads(answer) for answer in ran.stdout.splitlines()]


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Every provider and surface there is, in one run."""
    lines = [json.dumps(line(*pair, (OWN.get(pair) or CASES[pair[1]]).usage)) for pair in READ]
    code, answers = typed(tmp_path_factory.mktemp("rate"), *lines)
    assert code == 0
    return dict(zip(READ, answers, strict=True))


@pytest.mark.parametrize("pair", READ, ids="/".join)
def test_what_every_provider_and_surface_states_is_priced(
    rated: dict[tuple[str, str], dict[str, Any]], pair: tuple[str, str]
) -> None:
    answer = rated[pair]
    assert (answer["quality"], answer["amount"], answer["currency"]) == (
        "exact",
        (OWN.get(pair) or CASES[pair[1]]).amount,
        "USD",
    )
    assert sum(meter in PRICES for meter in answer["meters"]) == len(answer["meters"])


def test_a_surface_a_provider_does_not_have_is_in_suspense_and_no_error(tmp_path: Path) -> None:
    code, answers = typed(tmp_path, *(json.dumps(line(*pair, CHAT.usage)) for pair in UNREAD))
    assert code == 0
    for pair, answer in zip(UNREAD, answers, strict=True):
        assert (answer["quality"], answer["amount"], answer["ticks"]) == ("suspense", None, None), pair
        assert answer["reason"].startswith("unknown: no reader"), pair


def test_a_bad_line_is_told_and_the_rest_goes_on_in_order(tmp_path: Path) -> None:
    good = json.dumps(line("openai", "chat", CHAT.usage))
    code, answers = typed(tmp_path, good, "{", '{"provider": "nobody"}', good)
    assert code == 1
    assert [set(answer) == {"error"} for answer in answers] == [False, True, True, False]
    assert answers[0] == answers[3]
