"""Gemini behind Google's OpenAI-compatible address.

The shape is OpenAI's, but thoughts are outside `completion_tokens` and often stated nowhere but in the total:
total_tokens = prompt + completion + thoughts. Nothing else can be in that total here, so what it has beyond prompt and completion
is thoughts, billed as output. Source: answers of that address and the vendor's page on thinking tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract import gemini, openai_chat, openai_embeddings
from billing.extract._gate import count, part
from billing.usage import Usage

EXTRACTOR = "gemini_openai/1"
ROUTES: tuple[tuple[str, str], ...] = (("google", "openai-compat"), ("google", "chat"))


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "promptTokenCount" in usage:
        return gemini.read(usage, provider, flavor, model, context)
    prompt, completion, total = (count(usage, f"{side}_tokens") for side in ("prompt", "completion", "total"))
    if completion is None and "embedding" in model.lower():
        return openai_embeddings.read(usage, provider, flavor, model, context)
    unstated = not count(part(usage, "completion_tokens_details"), "reasoning_tokens")
    if unstated and None not in (prompt, completion, total):
        assert prompt is not None
        assert completion is not None
        assert total is not None
        thoughts = total - prompt - completion
        if thoughts > 0:
            details = {**part(usage, "completion_tokens_details"), "reasoning_tokens": thoughts}
            return openai_chat.read_chat({**usage, "completion_tokens_details": details}, context, EXTRACTOR)
    return openai_chat.read_chat(usage, context, EXTRACTOR)
