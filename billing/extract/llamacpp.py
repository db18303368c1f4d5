"""llama.cpp's server: OpenAI's usage, or its own `timings`.

    usage.prompt_tokens includes what came from the cache (prompt_tokens_details.cached_tokens)
    timings.prompt_n excludes it: sent = prompt_n + cache_n; predicted_n is the answer

Source: the server's README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import count, needed, only_used
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "llamacpp/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("llamacpp", flavor) for flavor in ("chat", "sdk", "openai-compat", "embeddings")
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "prompt_n" not in usage:
        return read_chat(usage, context, EXTRACTOR)
    fresh, cached = needed(usage, "prompt_n"), count(usage, "cache_n") or 0
    meters = only_used({"input": fresh, "cache_read": cached, "output": needed(usage, "predicted_n")})
    return Usage(meters, EXTRACTOR, prompt_tokens=fresh + cached)
