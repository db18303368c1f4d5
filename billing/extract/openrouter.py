"""OpenRouter: OpenAI's shapes for every vendor behind it, cache reads and writes inside the prompt, and the charge.

    cost: what the account is charged, in dollars. With the customer's own vendor key (`is_byok`) it is the fee alone, often 0,
    and cost_details.upstream_inference_cost is what the vendor charges that key.

Server tools are in the charge and in no token count. Source: the vendor's API reference for usage accounting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, part, reported_usd
from billing.extract._tools import tool_meters
from billing.extract.openai_chat import read_chat
from billing.extract.openai_responses import read_responses
from billing.usage import Usage

EXTRACTOR = "openrouter/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("openrouter", flavor) for flavor in ("chat", "responses", "embeddings", "sdk", "openai-compat")
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    charged = _charged(usage)
    try:
        extra = tool_meters(context)
        searches = count(part(usage, "server_tool_use"), "web_search_requests")
        if searches:
            extra["web_search"] = searches
        if "input_tokens" in usage or flavor == "responses":
            return read_responses(usage, EXTRACTOR, extra=extra, reported=charged)
        block, video = _without_video(usage)
        if video:
            extra["input_video"] = video
        found = read_chat(block, {}, EXTRACTOR, extra=extra, reported=charged)
        if not video:
            return found
        return Usage(
            found.meters,
            EXTRACTOR,
            prompt_tokens=(found.prompt_tokens or 0) + video,
            reasoning_tokens=found.reasoning_tokens,
            reported_ticks=charged,
        )
    except Inconsistent as fault:
        fault.reported = charged
        raise


def _charged(usage: Mapping[str, Any]) -> int | None:
    cost = reported_usd(usage.get("cost"), "cost")
    upstream = reported_usd(part(usage, "cost_details").get("upstream_inference_cost"), "upstream_inference_cost")
    own_key = usage.get("is_byok") is True
    if own_key and upstream is None:
        return None  # what the vendor charges the key is not said, and the fee is not the charge
    if cost is None or upstream is None:
        return cost
    return cost + upstream if own_key or cost == 0 else cost


def _without_video(usage: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """Video is a part of the prompt that the common shape does not know: take it out of the prompt and of the total."""
    details = part(usage, "prompt_tokens_details")
    video = count(details, "video_tokens") or 0
    if not video:
        return usage, 0
    prompt, total = count(usage, "prompt_tokens"), count(usage, "total_tokens")
    if prompt is None or video > prompt or (total is not None and video > total):
        raise Inconsistent("inconsistent: video_tokens exceed prompt_tokens")
    rest = {name: value for name, value in details.items() if name != "video_tokens"}
    block = {**usage, "prompt_tokens": prompt - video, "prompt_tokens_details": rest}
    if total is not None:
        block["total_tokens"] = total - video
    return block, video
