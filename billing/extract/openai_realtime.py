"""Realtime sessions: three modalities on either side, each with a cached part of its own.

    input_tokens  = text + audio + image (input_token_details); cached_tokens = the same three in cached_tokens_details
    output_tokens = text + audio (output_token_details)
    total_tokens  = input + output

Source: the API reference for the `response.done` event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, no_unknown_tokens, only_used, part, within
from billing.usage import Usage

EXTRACTOR = "openai_realtime/1"
ROUTES: tuple[tuple[str, str], ...] = (("openai", "realtime"), ("azure", "realtime"))
_KINDS = ("text", "audio", "image")
_INPUT_PARTS = frozenset({"text_tokens", "audio_tokens", "image_tokens", "cached_tokens"})
_OUTPUT_PARTS = frozenset({"text_tokens", "audio_tokens", "reasoning_tokens"})


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    sent, answered = needed(usage, "input_tokens"), needed(usage, "output_tokens")
    total = count(usage, "total_tokens")
    if total is not None and total != sent + answered:
        raise Inconsistent("inconsistent: total_tokens is not input + output")
    sent_details, answered_details = part(usage, "input_token_details"), part(usage, "output_token_details")
    no_unknown_tokens(sent_details, _INPUT_PARTS, "input_token_details")
    no_unknown_tokens(answered_details, _OUTPUT_PARTS, "output_token_details")
    fresh = _by_kind(sent_details, sent, "input_tokens")
    cached = _cached_by_kind(sent_details, fresh)
    for kind, quantity in cached.items():
        fresh[kind] = within({f"cached {kind}_tokens": quantity}, fresh[kind], f"{kind}_tokens")
    spoken = _by_kind(answered_details, answered, "output_tokens")
    reasoning = count(answered_details, "reasoning_tokens")
    if reasoning is not None and reasoning > spoken["text"]:
        raise Inconsistent("inconsistent: reasoning_tokens exceed the text of output_tokens")
    meters = only_used(
        {
            "input": fresh["text"],
            "input_audio": fresh["audio"],
            "input_image": fresh["image"],
            "cache_read": cached["text"],
            "cache_read_audio": cached["audio"],
            "cache_read_image": cached["image"],
            "output": spoken["text"],
            "output_audio": spoken["audio"],
        }
    )
    return Usage(meters, EXTRACTOR, prompt_tokens=sent, reasoning_tokens=reasoning)


def _by_kind(details: Mapping[str, Any], total: int, name: str) -> dict[str, int]:
    """The total by modality. Prices differ sixteen-fold, so a breakdown that does not add up is not completed by guessing."""
    stated = {kind: count(details, f"{kind}_tokens") for kind in _KINDS}
    found = {kind: quantity or 0 for kind, quantity in stated.items()}
    if all(quantity is None for quantity in stated.values()):
        if total:
            raise Inconsistent(f"missing: the modalities of {name}")
        return found
    if sum(found.values()) != total:
        raise Inconsistent(f"inconsistent: the modalities are not {name}")
    return found


def _cached_by_kind(details: Mapping[str, Any], whole: Mapping[str, int]) -> dict[str, int]:
    cached = count(details, "cached_tokens") or 0
    parts = part(details, "cached_tokens_details")
    if not parts:
        kinds = [kind for kind, quantity in whole.items() if quantity]
        if cached and len(kinds) != 1:
            raise Inconsistent("missing: the modalities of cached_tokens")
        return {kind: cached if kinds == [kind] else 0 for kind in _KINDS}
    found = {kind: count(parts, f"{kind}_tokens") or 0 for kind in _KINDS}
    if sum(found.values()) != cached:
        raise Inconsistent("inconsistent: cached_tokens_details are not cached_tokens")
    return found
