"""Transcription and speech.

    {"type": "tokens", input_tokens ⊇ input_token_details.audio_tokens + text_tokens, output_tokens, total_tokens}
    {"type": "duration", seconds}: billed by the second, rounded to the nearest one as OpenAI documents it

A speech model's output tokens are audio. Source: the API reference for transcriptions and speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, no_unknown_tokens, only_used, part, whole, within
from billing.usage import Usage

EXTRACTOR = "openai_audio/1"
ROUTES: tuple[tuple[str, str], ...] = tuple((provider, "audio") for provider in ("openai", "azure", "groq", "vllm"))
_PARTS = frozenset({"text_tokens", "audio_tokens"})


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if usage.get("type") == "duration" or ("seconds" in usage and "input_tokens" not in usage):
        return Usage({"second_audio": _seconds(usage.get("seconds"))}, EXTRACTOR)
    sent, answered = needed(usage, "input_tokens"), needed(usage, "output_tokens")
    total = count(usage, "total_tokens")
    if total is not None and total != sent + answered:
        raise Inconsistent("inconsistent: total_tokens is not input + output")
    details = part(usage, "input_token_details")
    no_unknown_tokens(details, _PARTS, "input_token_details")
    heard = count(details, "audio_tokens") or 0
    text = within({"audio_tokens": heard}, sent, "input_tokens")
    stated = count(details, "text_tokens")
    if stated is not None and stated != text:
        raise Inconsistent("inconsistent: text_tokens + audio_tokens are not input_tokens")
    spoken = "tts" in model.lower()
    meters = only_used(
        {
            "input": text,
            "input_audio": heard,
            "output": None if spoken else answered,
            "output_audio": answered if spoken else None,
        }
    )
    return Usage(meters, EXTRACTOR, prompt_tokens=sent)


def _seconds(value: Any) -> int:
    if value is None:
        raise Inconsistent("missing: seconds")
    if type(value) is float and 0 <= value < 10**9:  # false for NaN
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite() and 0 <= value < 10**9:
        return int(value.quantize(Decimal(1), ROUND_HALF_UP))
    return whole(value, "seconds")
