"""Image generation and edits that are billed by tokens.

    input_tokens  = input_tokens_details.text_tokens + image_tokens (⊇ cached_tokens, taken from the text)
    output_tokens = image tokens, or output_tokens_details.text_tokens + image_tokens where a model also writes
    total_tokens  = input + output

Source: the API reference for the images response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, no_unknown_tokens, only_used, part, within
from billing.usage import Usage

EXTRACTOR = "openai_images/1"
ROUTES: tuple[tuple[str, str], ...] = (("openai", "images"), ("azure", "images"))
_PARTS = frozenset({"text_tokens", "image_tokens", "cached_tokens"})


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    sent, answered = needed(usage, "input_tokens"), needed(usage, "output_tokens")
    total = count(usage, "total_tokens")
    if total is not None and total != sent + answered:
        raise Inconsistent("inconsistent: total_tokens is not input + output")
    sent_details, answered_details = part(usage, "input_tokens_details"), part(usage, "output_tokens_details")
    no_unknown_tokens(sent_details, _PARTS, "input_tokens_details")
    no_unknown_tokens(answered_details, _PARTS, "output_tokens_details")
    image_in = count(sent_details, "image_tokens") or 0
    text_in = within({"image_tokens": image_in}, sent, "input_tokens")
    stated = count(sent_details, "text_tokens")
    if stated is not None and stated != text_in:
        raise Inconsistent("inconsistent: text_tokens + image_tokens are not input_tokens")
    cached = count(sent_details, "cached_tokens") or 0
    text_out = count(answered_details, "text_tokens") or 0
    image_out = within({"text_tokens": text_out}, answered, "output_tokens")
    drawn = count(answered_details, "image_tokens")
    if drawn is not None and drawn != image_out:
        raise Inconsistent("inconsistent: text_tokens + image_tokens are not output_tokens")
    meters = only_used(
        {
            "input": within({"cached_tokens": cached}, text_in, "text_tokens"),
            "cache_read": cached,
            "input_image": image_in,
            "output": text_out,
            "output_image": image_out,
        },
        always=("input",),
    )
    return Usage(meters, EXTRACTOR, prompt_tokens=sent)
