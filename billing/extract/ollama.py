"""Ollama: its own counts, or OpenAI's shape from the compatible address.

    prompt_eval_count ⊇ prompt_eval_cached_count (newer versions); eval_count ⊇ thinking

Older versions leave out or zero `prompt_eval_count` when the prompt was cached. A prompt is never empty, so that is "unknown" and
must be counted again, not booked as 0. Source: the vendor's API reference for chat and generate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, only_used, within
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "ollama/1"
ROUTES: tuple[tuple[str, str], ...] = (
    *(("ollama", flavor) for flavor in ("chat", "sdk", "openai-compat", "embeddings")),
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "prompt_tokens" in usage:
        return read_chat(usage, context, EXTRACTOR)
    sent = count(usage, "prompt_eval_count")
    if not sent:
        raise Inconsistent("missing: prompt_eval_count")
    answered = count(usage, "eval_count") if flavor == "embeddings" else needed(usage, "eval_count")
    cached = count(usage, "prompt_eval_cached_count") or 0
    fresh = within({"prompt_eval_cached_count": cached}, sent, "prompt_eval_count")
    return Usage(only_used({"input": fresh, "cache_read": cached, "output": answered}), EXTRACTOR, prompt_tokens=sent)
