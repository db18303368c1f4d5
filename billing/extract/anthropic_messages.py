"""Anthropic messages: the three input counts stand beside each other.

    sent   = input_tokens + cache_read_input_tokens + cache_creation_input_tokens
             cache_creation_input_tokens = cache_creation.ephemeral_5m + ephemeral_1h (without the split: 5 minutes, the default)
    answer = output_tokens ⊇ output_tokens_details.thinking_tokens
    server_tool_use.web_search_requests is billed per search; web fetches cost only their tokens

`iterations` lists every model call behind one answer: an adviser, a summary of a long context, a model that refused and the one
that answered instead. Each is billed at its own model; the top-level counts then cover only some of them and serve as the check.
Source: the API reference for the message object and its streaming events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from billing.extract._gate import Inconsistent, count, items, needed, only_used, part, text
from billing.usage import INPUT_METERS, Served, Usage

EXTRACTOR = "anthropic_messages/1"
ROUTES: tuple[tuple[str, str], ...] = (
    *((provider, "messages") for provider in ("anthropic", "aws", "azure", "google", "openrouter", "vllm", "ollama")),
    ("anthropic", "sdk"),
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    top = _counts(usage)
    thinking = count(part(usage, "output_tokens_details"), "thinking_tokens")
    if thinking is not None and thinking > top["output"]:
        raise Inconsistent("inconsistent: thinking_tokens exceed output_tokens")
    searches = count(part(usage, "server_tool_use"), "web_search_requests") or 0
    iterations = items(usage, "iterations")
    conditions = {
        name: value.lower()
        for name, value in (
            ("service_tier", text(usage.get("service_tier"))),
            ("region", text(usage.get("inference_geo"))),
            ("speed", text(usage.get("speed"))),
        )
        if value and value.lower() not in ("standard", "global", "not_available")
    }
    served = _served(iterations, top, searches) if iterations else ()
    meters = _added(part_.meters for part_ in served) if served else {**top, "web_search": searches}
    return Usage(
        only_used(meters),
        EXTRACTOR,
        prompt_tokens=_sent(top),
        reasoning_tokens=None if served else thinking,
        served=served,
        conditions=conditions,
    )


def _counts(block: Mapping[str, Any]) -> dict[str, int]:
    """The counts of one model call. Raises Inconsistent when the split of cache writes is not their sum."""
    split = part(block, "cache_creation")
    short, long = count(split, "ephemeral_5m_input_tokens"), count(split, "ephemeral_1h_input_tokens")
    written = count(block, "cache_creation_input_tokens")
    if short is None and long is None:
        short, long = written or 0, 0
    else:
        short, long = short or 0, long or 0
        if written is not None and written != short + long:
            raise Inconsistent("inconsistent: cache_creation is not cache_creation_input_tokens")
    return {
        "input": needed(block, "input_tokens"),
        "cache_read": count(block, "cache_read_input_tokens") or 0,
        "cache_write_5m": short,
        "cache_write_1h": long,
        "output": needed(block, "output_tokens"),
    }


def _served(iterations: Sequence[Mapping[str, Any]], top: Mapping[str, int], searches: int) -> tuple[Served, ...]:
    """Every call at its own model. Searches are the answering model's and stay with the model that was called."""
    calls = [_counts(iteration) for iteration in iterations]
    models = [text(iteration.get("model")) or "" for iteration in iterations]
    own = [
        counts
        for counts, iteration in zip(calls, iterations, strict=True)
        if iteration.get("type") in (None, "message", "fallback_message")
    ]
    unnamed = [counts for counts, model in zip(calls, models, strict=True) if not model]
    covered = ([calls[-1]], own, unnamed, calls)
    if not any(_totals(_added(part)) == _totals(top) for part in covered):
        raise Inconsistent("inconsistent: iterations do not add up to the usage they belong to")
    served = [
        Served(model, only_used(counts), prompt_tokens=_sent(counts))
        for model, counts in zip(models, calls, strict=True)
    ]
    if searches:
        served.append(Served("", {"web_search": searches}))
    return tuple(served)


def _added(parts: Any) -> dict[str, int]:
    sums: dict[str, int] = {}
    for meters in parts:
        for meter, quantity in meters.items():
            sums[meter] = sums.get(meter, 0) + quantity
    return sums


def _sent(counts: Mapping[str, int]) -> int:
    return sum(counts.get(meter, 0) for meter in INPUT_METERS)


def _totals(counts: Mapping[str, int]) -> tuple[int, int, int, int]:
    """What an iteration and the top level must agree on; the split of cache writes is not always repeated."""
    return (
        counts.get("input", 0),
        counts.get("cache_read", 0),
        counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0),
        counts.get("output", 0),
    )
