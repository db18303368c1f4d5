"""OpenAI responses, and the same surface of others.

    input_tokens  ⊇ input_tokens_details.cached_tokens, cache_write_tokens (and audio, image where stated)
    output_tokens ⊇ output_tokens_details.reasoning_tokens
    total_tokens  = input + output

Server-side tools are not in it: they are counted by the items of `output` (see `_tools`). In a stream the usage stands only in
the closing `response.completed` (or `response.incomplete`). Source: the API reference for the response object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import count, needed, no_unknown_tokens, only_used, part, with_reasoning, within
from billing.extract._tools import tool_meters
from billing.usage import Usage

EXTRACTOR = "openai_responses/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    (provider, "responses") for provider in ("openai", "azure", "aws", "groq", "vllm", "ollama", "llamacpp", "upstage")
)
_INPUT_PARTS = frozenset({"cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "text_tokens"})
_OUTPUT_PARTS = frozenset({"reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens"})


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    return read_responses(usage, EXTRACTOR, extra=tool_meters(context))


def read_responses(
    usage: Mapping[str, Any],
    extractor: str,
    *,
    extra: Mapping[str, int] | None = None,
    reported: int | None = None,
) -> Usage:
    """The whole rule for this shape; `extra` are meters outside the token total. Raises Inconsistent."""
    sent, answered = needed(usage, "input_tokens"), needed(usage, "output_tokens")
    sent_details, answered_details = part(usage, "input_tokens_details"), part(usage, "output_tokens_details")
    no_unknown_tokens(sent_details, _INPUT_PARTS, "input_tokens_details")
    no_unknown_tokens(answered_details, _OUTPUT_PARTS, "output_tokens_details")
    reasoning = count(answered_details, "reasoning_tokens")
    output = with_reasoning(sent, answered, reasoning or 0, count(usage, "total_tokens"), outside=False)
    sent_parts = {
        "cache_read": count(sent_details, "cached_tokens") or 0,
        "cache_write": count(sent_details, "cache_write_tokens") or 0,
        "input_audio": count(sent_details, "audio_tokens") or 0,
        "input_image": count(sent_details, "image_tokens") or 0,
    }
    answered_parts = {
        "output_audio": count(answered_details, "audio_tokens") or 0,
        "output_image": count(answered_details, "image_tokens") or 0,
    }
    meters = only_used(
        {
            "input": within(sent_parts, sent, "input_tokens"),
            **sent_parts,
            "output": within({**answered_parts, "reasoning_tokens": reasoning or 0}, output, "output_tokens")
            + (reasoning or 0),
            **answered_parts,
        }
    )
    for meter, quantity in (extra or {}).items():
        if quantity:
            meters[meter] = meters.get(meter, 0) + quantity
    return Usage(meters, extractor, prompt_tokens=sent, reasoning_tokens=reasoning, reported_ticks=reported)
