"""OpenAI chat completions and the many who answer in that shape.

    prompt_tokens      ⊇ cached_tokens, cache_write_tokens, audio_tokens, image_tokens
    completion_tokens  ⊇ reasoning_tokens, audio_tokens, image_tokens (rejected predictions are ordinary output)
    total_tokens       = prompt + completion, or + reasoning where a vendor keeps it outside

Whether reasoning is inside is decided by the total, vendor by vendor and answer by answer; where no total is stated it is inside,
as OpenAI documents it. Source: the vendors' API references for the chat completion object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import (
    Inconsistent,
    agreed,
    count,
    no_unknown_tokens,
    only_used,
    part,
    with_reasoning,
    within,
)
from billing.extract._tools import tool_meters
from billing.usage import Usage

EXTRACTOR = "openai_chat/1"
ROUTES: tuple[tuple[str, str], ...] = (
    *((provider, "chat") for provider in ("openai", "azure", "aws", "groq", "together", "vllm")),
    *((provider, "sdk") for provider in ("openai", "azure", "groq", "together", "vllm")),
    *(
        (provider, "openai-compat")
        for provider in ("openai", "azure", "anthropic", "aws", "groq", "together", "cohere", "vllm")
    ),
    # Not vendors: the scripted provider and whatever an operator runs behind an OpenAI-compatible address.
    ("practice", "chat"),
    ("local", "chat"),
)
_PROMPT_PARTS = frozenset(
    {"cached_tokens", "cache_write_tokens", "cache_creation_tokens", "audio_tokens", "image_tokens", "text_tokens"}
)
_COMPLETION_PARTS = frozenset(
    {
        "reasoning_tokens",
        "audio_tokens",
        "image_tokens",
        "text_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    }
)
_ORDINARY = 1_000_000_000
_UNUSUAL = -1


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    """The ordinary usage object is read without detours; anything unusual goes through `read_chat`, which rules the same."""
    prompt = usage.get("prompt_tokens")
    completion = usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if (
        type(prompt) is int
        and type(completion) is int
        and type(total) is int
        and 0 <= prompt < _ORDINARY
        and 0 <= completion < _ORDINARY
        and total == prompt + completion
        and "cached_tokens" not in usage
        and "reasoning_tokens" not in usage
        and "output_items" not in context
    ):
        cached = _lone_part(usage.get("prompt_tokens_details"), "cached_tokens", prompt)
        reasoning = _lone_part(usage.get("completion_tokens_details"), "reasoning_tokens", completion)
        if _UNUSUAL not in (cached, reasoning):
            meters = {"input": prompt - cached, "cache_read": cached} if cached else {"input": prompt}
            meters["output"] = completion
            return Usage(meters, EXTRACTOR, prompt_tokens=prompt, reasoning_tokens=reasoning)
    return read_chat(usage, context, EXTRACTOR)


def _lone_part(details: Any, usual: str, total: int) -> int | None:
    """The usual part of a breakdown that states nothing else but zeros: None if unstated, `_UNUSUAL` if it is not that simple."""
    if details is None:
        return None
    if type(details) is not dict:
        return _UNUSUAL
    for name, value in details.items():
        if value is not None and (type(value) is not int or (value and name != usual)):
            return _UNUSUAL
    found = details.get(usual)
    if found is None or 0 <= found <= total:
        return found
    return _UNUSUAL


def read_chat(
    usage: Mapping[str, Any],
    context: Mapping[str, object],
    extractor: str,
    *,
    outside: bool = False,
    extra: Mapping[str, int] | None = None,
    cached: int | None = None,
    reported: int | None = None,
    info: Mapping[str, Any] | None = None,
) -> Usage:
    """The whole rule for this shape.

    `outside`: where no total tells, reasoning is beside the completion and not inside it. `extra`: more meters of the family,
    outside the token total. `cached`: the cached part where the family states it under a name of its own. Raises Inconsistent.
    """
    prompt, completion, total = (count(usage, f"{side}_tokens") for side in ("prompt", "completion", "total"))
    sent, answered = part(usage, "prompt_tokens_details"), part(usage, "completion_tokens_details")
    no_unknown_tokens(sent, _PROMPT_PARTS, "prompt_tokens_details")
    no_unknown_tokens(answered, _COMPLETION_PARTS, "completion_tokens_details")
    if prompt is None:
        raise Inconsistent("missing: prompt_tokens")
    if completion is None and total != prompt:
        raise Inconsistent("missing: completion_tokens")
    reasoning = agreed(count(answered, "reasoning_tokens"), count(usage, "reasoning_tokens"), "reasoning_tokens")
    for stated in (count(sent, "cached_tokens"), count(usage, "cached_tokens")):
        cached = agreed(cached, stated, "cached_tokens")
    output = with_reasoning(prompt, completion or 0, reasoning or 0, total, outside=outside)

    sent_parts = {
        "cache_read": cached or 0,
        **_writes(sent),
        "input_audio": count(sent, "audio_tokens") or 0,
        "input_image": count(sent, "image_tokens") or 0,
    }
    answered_parts = {
        "output_audio": count(answered, "audio_tokens") or 0,
        "output_image": count(answered, "image_tokens") or 0,
    }
    _modalities_within(sent, prompt, "prompt_tokens")
    _modalities_within(answered, output, "completion_tokens")
    predicted = {kind: count(answered, f"{kind}_prediction_tokens") or 0 for kind in ("accepted", "rejected")}
    within(predicted, output, "completion_tokens")
    text = within(answered_parts, output, "completion_tokens")
    if reasoning is not None and reasoning > text:
        raise Inconsistent("inconsistent: reasoning_tokens exceed the text of completion_tokens")
    meters = only_used(
        {
            "input": within(sent_parts, prompt, "prompt_tokens"),
            **sent_parts,
            "output": None if completion is None else text,
            **answered_parts,
        }
    )
    for meter, quantity in {**tool_meters(context), **(extra or {})}.items():
        if quantity:
            meters[meter] = meters.get(meter, 0) + quantity
    return Usage(
        meters,
        extractor,
        prompt_tokens=prompt,
        reasoning_tokens=reasoning,
        reported_ticks=reported,
        info=info or {},
    )


def _writes(sent: Mapping[str, Any]) -> dict[str, int]:
    """Cache writes; translators of other vendors' usage name them differently and keep their lifetimes."""
    written = agreed(count(sent, "cache_write_tokens"), count(sent, "cache_creation_tokens"), "cache_write_tokens") or 0
    split = part(sent, "cache_creation_token_details")
    short, long = (count(split, f"ephemeral_{lifetime}_input_tokens") or 0 for lifetime in ("5m", "1h"))
    if not short + long:
        return {"cache_write": written}
    if short + long != written:
        raise Inconsistent("inconsistent: cache writes by lifetime are not all cache writes")
    return {"cache_write_5m": short, "cache_write_1h": long}


def _modalities_within(details: Mapping[str, Any], total: int, name: str) -> None:
    """text + audio + image cannot be more than the whole they break down; being less is a vendor that fills in only some."""
    within({kind: count(details, kind) or 0 for kind in ("text_tokens", "audio_tokens", "image_tokens")}, total, name)
