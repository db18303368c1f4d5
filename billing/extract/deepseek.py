"""DeepSeek: OpenAI's chat shape, with the prompt split into cache hits and misses.

    prompt_tokens = prompt_cache_hit_tokens + prompt_cache_miss_tokens; a write to the cache is billed as a miss
    completion_tokens ⊇ reasoning_tokens

Source: the vendor's API reference for the chat completion object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "deepseek/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(("deepseek", flavor) for flavor in ("chat", "sdk", "openai-compat"))


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    hit, miss, prompt = (
        count(usage, name) for name in ("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_tokens")
    )
    if hit is not None and miss is not None and prompt is not None and hit + miss != prompt:
        raise Inconsistent("inconsistent: cache hits + misses are not prompt_tokens")
    return read_chat(usage, context, EXTRACTOR, cached=hit)
