"""Upstage: Solar answers in OpenAI's chat shape, document parsing counts `pages`.

Source: the vendor's API reference for chat completions and document parse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import needed
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "upstage/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("upstage", flavor) for flavor in ("chat", "images", "sdk", "openai-compat")
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "pages" in usage and "prompt_tokens" not in usage:
        return Usage({"page": needed(usage, "pages")}, EXTRACTOR)
    return read_chat(usage, context, EXTRACTOR)
