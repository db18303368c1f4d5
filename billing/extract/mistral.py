"""Mistral: OpenAI's chat shape, with its own names for a few things.

    prompt_tokens ⊇ prompt_tokens_details.cached_tokens, or num_cached_tokens as older answers had it
    prompt_audio_seconds: audio is billed by the second; its tokens may be in the total, and nowhere else
    connector_tokens, connectors {tool: calls}: what agents' tools put before the model, and how often they ran
    pages_processed: OCR (`usage_info`)

Source: the vendor's API reference for usage info, transcription, OCR and conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, part
from billing.extract.openai_chat import read_chat
from billing.usage import Usage

EXTRACTOR = "mistral/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("mistral", flavor) for flavor in ("chat", "responses", "audio", "images", "sdk", "openai-compat")
)
_CONNECTORS = {
    "web_search": "web_search",
    "code_interpreter": "code_exec_session",
    "image_generation": "image",
    "document_library": "file_search",
}


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    if "pages_processed" in usage and "prompt_tokens" not in usage:
        return Usage({"page": needed(usage, "pages_processed")}, EXTRACTOR)
    block = dict(usage)
    extra = _connectors(block)
    seconds = count(block, "prompt_audio_seconds") or 0
    total, prompt, completion = (count(block, f"{side}_tokens") for side in ("total", "prompt", "completion"))
    beside = extra.get("input_tool", 0)
    if total is not None and prompt is not None and completion is not None:
        more = total - prompt - completion
        if (seconds and more >= beside) or (beside and more == beside):
            block["total_tokens"] = prompt + completion
    if seconds:
        extra["second_audio"] = seconds
    return read_chat(block, context, EXTRACTOR, cached=count(block, "num_cached_tokens"), extra=extra)


def _connectors(block: Mapping[str, Any]) -> dict[str, int]:
    extra: dict[str, int] = {}
    tokens = count(block, "connector_tokens")
    if tokens:
        extra["input_tool"] = tokens
    for name in part(block, "connectors"):
        quantity = count(block["connectors"], name)
        if quantity:
            if name not in _CONNECTORS:
                raise Inconsistent(f"unknown: connector {name}")
            extra[_CONNECTORS[name]] = extra.get(_CONNECTORS[name], 0) + quantity
    return extra
