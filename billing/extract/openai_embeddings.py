"""Embeddings in OpenAI's shape: everything sent is input, nothing is answered.

    prompt_tokens = total_tokens (a completion_tokens of 0 may stand beside them)

Source: the API reference for the embeddings object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, part
from billing.usage import Usage

EXTRACTOR = "openai_embeddings/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    (provider, "embeddings")
    for provider in ("openai", "azure", "mistral", "together", "upstage", "naver", "vllm", "local")
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    prompt, total = count(usage, "prompt_tokens"), count(usage, "total_tokens")
    sent = prompt if prompt is not None else total
    if sent is None:
        raise Inconsistent("missing: prompt_tokens")
    if total is not None and total != sent:
        raise Inconsistent("inconsistent: total_tokens is not prompt_tokens, and an embedding answers none")
    if count(usage, "completion_tokens"):
        raise Inconsistent("inconsistent: an embedding answers no tokens")
    details = part(usage, "prompt_tokens_details")
    image = count(details, "image_tokens") or 0
    if image > sent:
        raise Inconsistent("inconsistent: image_tokens exceed prompt_tokens")
    meters = {"input": sent - image, "input_image": image} if image else {"input": sent}
    return Usage(meters, EXTRACTOR, prompt_tokens=sent)
