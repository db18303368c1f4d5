"""HyperCLOVA X on CLOVA Studio: its own camelCase counts, or OpenAI's shape from the compatible address.

    totalTokens = promptTokens + completionTokens; thinking is taken to be inside the completion unless the total says otherwise

Source: the vendor's API guide for chat completions v3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import part, snake
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "naver/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(("naver", flavor) for flavor in ("chat", "sdk", "openai-compat"))


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "promptTokens" not in usage and "completionTokens" not in usage:
        return read_chat(usage, context, EXTRACTOR)
    block = snake(usage)
    details = dict(part(block, "completion_tokens_details"))
    if "thinking_tokens" in details:
        details["reasoning_tokens"] = details.pop("thinking_tokens")
    return read_chat({**block, "completion_tokens_details": details}, context, EXTRACTOR)
