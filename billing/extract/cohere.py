"""Cohere: what is billed is `billed_units`; `tokens` is what the model really saw, many times as much, and costs nothing.

    billed_units: input_tokens, output_tokens, search_units (rerank), images and image_tokens (embeddings)

Its numbers may be written as 12.0. `cached_tokens` stands beside them undocumented and carries no price.
Source: the vendor's API reference for chat v2 `usage`, and `meta` of embed and rerank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, only_used, part
from billing.usage import Usage

EXTRACTOR = "cohere/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("cohere", flavor) for flavor in ("v2", "chat", "embeddings", "rerank", "sdk")
)
_METERS = {
    "input_tokens": "input",
    "image_tokens": "input_image",
    "output_tokens": "output",
    "search_units": "search_unit",
    "images": "image",
}


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    billed = part(usage, "billed_units")
    stated = {name: count(billed, name) for name in billed}
    if all(quantity is None for quantity in stated.values()):
        raise Inconsistent("missing: billed_units")
    for name, quantity in stated.items():
        if quantity and name not in _METERS:
            raise Inconsistent(f"unknown: billed_units.{name}")
    if count(part(usage, "tokens"), "output_tokens") and stated.get("output_tokens") is None:
        raise Inconsistent("missing: billed_units.output_tokens")
    meters = only_used({meter: stated.get(name) for name, meter in _METERS.items()})
    return Usage(meters, EXTRACTOR, prompt_tokens=meters.get("input", 0) + meters.get("input_image", 0))
