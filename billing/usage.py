"""What one answer used, as disjoint meters.

    raw usage (any vendor) ──extract──▶ Usage ──RateCard.charge──▶ Charge

A meter is the smallest thing that can carry its own price. The meters of a `Usage` never overlap: every unit of quantity sits
in exactly one of them, so cost is the plain sum of quantity times price and no "is the cache inside the prompt?" survives here.
The one part that is not settled at extraction is reasoning: it sits inside `output`, and `reasoning_tokens` says how much of
`output` it is, because whether it has a price of its own is for the price list to say (see `split_reasoning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, field

Quality = Literal["exact", "estimated", "suspense"]

# Order is the order of lines on a statement.
INPUT_METERS: tuple[str, ...] = (
    "input",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read",
    "cache_read_audio",
    "cache_read_image",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write",
    "input_tool",
)
OUTPUT_METERS: tuple[str, ...] = ("output", "output_audio", "output_image", "output_video", "output_reasoning")
TOKEN_METERS: tuple[str, ...] = (*INPUT_METERS, *OUTPUT_METERS, "citation")
OTHER_METERS: tuple[str, ...] = (
    "web_search",  # per call or per query, as the vendor counts
    "x_search",
    "grounded_prompt",  # a prompt that was grounded at all, however many queries it took
    "code_exec_session",
    "file_search",
    "search_unit",  # rerank
    "request",
    "image",
    "page",
    "second_audio",
    "char",
    "cache_storage_hour",
    "gpu_second",  # internal
)
_TOKENS = frozenset(TOKEN_METERS)
METERS: tuple[str, ...] = (*TOKEN_METERS, *OTHER_METERS)

# What a meter is priced at when it has no price of its own. Nothing else falls back: any other missing price is suspense.
FALLBACKS: Mapping[str, str] = MappingProxyType({"cache_write_5m": "cache_write", "cache_write_1h": "cache_write"})


class Served(Struct, frozen=True):
    """The part of a usage that one other model answered (an adviser, a fallback inside the vendor's own loop)."""

    model: str
    meters: Mapping[str, int]
    prompt_tokens: int | None = None
    reasoning_tokens: int | None = None


class Usage(Struct, frozen=True):
    """Disjoint quantities of one answer.

    `meters`: meter name → quantity (tokens, calls, seconds …), never negative. Empty when `quality` is `suspense`, whose
    `reason` then begins with one word (`missing`, `malformed`, `inconsistent`, `unknown`).
    `extractor`: the family and version that read it, such as `openai_chat/1`.
    `served`: when other models took part, the whole of `meters` split by model; `""` is the model that was called.
    `prompt_tokens`: everything sent, cached or not: the basis of price tiers.
    `reasoning_tokens`: how much of `output` was reasoning, where the vendor says so.
    `reported_ticks`: the vendor's own charge in 1e-10 USD; whether that vendor is trusted is the caller's knowledge.
    `conditions`: what the usage itself says about its price (`service_tier`, `region`, `speed`).
    `info`: facts worth keeping that carry no price.
    """

    meters: Mapping[str, int]
    extractor: str
    quality: Quality = "exact"
    reason: str | None = None
    prompt_tokens: int | None = None
    reasoning_tokens: int | None = None
    reported_ticks: int | None = None
    served: tuple[Served, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """All token meters together."""
        return sum(quantity for meter, quantity in self.meters.items() if meter in _TOKENS)


def suspense(extractor: str, reason: str, *, reported_ticks: int | None = None) -> Usage:
    """A usage that cannot be booked as an amount: not zero, not a guess, and somebody is told why."""
    return Usage({}, extractor, "suspense", reason, reported_ticks=reported_ticks)


def split_reasoning(meters: Mapping[str, int], reasoning_tokens: int | None) -> Mapping[str, int]:
    """The same quantities with reasoning on a line of its own, for a price list that prices it apart."""
    output = meters.get("output", 0)
    if not reasoning_tokens or "output_reasoning" in meters or reasoning_tokens > output:
        return meters
    return {**meters, "output": output - reasoning_tokens, "output_reasoning": reasoning_tokens}
