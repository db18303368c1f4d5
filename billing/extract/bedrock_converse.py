"""Amazon Bedrock Converse: the same three input counts as Anthropic, for every model.

    sent   = inputTokens + cacheReadInputTokens + cacheWriteInputTokens (by lifetime in cacheDetails, where stated)
    answer = outputTokens
    totalTokens = input + output, with or without the cache counts

Source: the API reference for `TokenUsage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, agreed, count, items, needed, only_used, part, snake
from billing.usage import Usage

EXTRACTOR = "bedrock_converse/1"
ROUTES: tuple[tuple[str, str], ...] = (("aws", "converse"), ("aws", "sdk"))
_LIFETIMES = {"5m": "cache_write_5m", "1h": "cache_write_1h"}


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    block = snake(usage)
    sent, answered = needed(block, "input_tokens"), needed(block, "output_tokens")
    # Some answers state each cache count under two names.
    read_, written = (
        agreed(count(block, f"{name}_input_tokens"), count(block, f"{name}_input_token_count"), f"{name}_input_tokens")
        or 0
        for name in ("cache_read", "cache_write")
    )
    total = count(block, "total_tokens")
    if total is not None and total not in (sent + answered, sent + answered + read_ + written):
        raise Inconsistent("inconsistent: totalTokens is not input + output, with or without the cache")
    tools = {name: value for name, value in part(block, "server_tool_usage").items() if value}
    if tools:
        raise Inconsistent(f"unknown: serverToolUsage {', '.join(sorted(map(str, tools)))}")
    meters = only_used(
        {"input": sent, "cache_read": read_, **_writes(items(block, "cache_details"), written), "output": answered}
    )
    return Usage(meters, EXTRACTOR, prompt_tokens=sent + read_ + written)


def _writes(details: list[Mapping[str, Any]], written: int) -> dict[str, int]:
    """Cache writes by lifetime; a plain `cache_write` where the answer does not say how long they live."""
    split: dict[str, int] = {}
    for detail in details:
        meter = _LIFETIMES.get(str(detail.get("ttl")))
        if meter is None:
            raise Inconsistent("unknown: a cache lifetime")
        split[meter] = split.get(meter, 0) + needed(detail, "input_tokens")
    if not split:
        return {"cache_write": written}
    if sum(split.values()) != written:
        raise Inconsistent("inconsistent: cacheDetails are not cacheWriteInputTokens")
    return split
