"""A vendor's raw usage object → `Usage`.

One file per usage family (a shape and its rules), listed in `FAMILIES`; a (provider, flavor) pair leads to exactly one.
To add a family: write its file, add it to the tuple. Files beginning with `_` are shared by families.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from billing.extract import (
    anthropic_messages,
    bedrock_converse,
    cohere,
    deepseek,
    gemini,
    gemini_openai,
    llamacpp,
    mistral,
    naver,
    ollama,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_images,
    openai_realtime,
    openai_responses,
    openrouter,
    perplexity,
    upstage,
    xai,
)
from billing.extract._gate import Inconsistent
from billing.usage import Usage, suspense

__all__ = ["FAMILIES", "FLAVORS", "PROVIDERS", "extract", "family_of", "kept"]


class Family(Protocol):
    """What a family's file offers. `read` may raise Inconsistent and nothing else, whatever JSON it is given."""

    EXTRACTOR: str
    ROUTES: tuple[tuple[str, str], ...]

    def read(
        self, usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object], /
    ) -> Usage: ...


FAMILIES: tuple[Family, ...] = (
    anthropic_messages,
    bedrock_converse,
    cohere,
    deepseek,
    gemini,
    gemini_openai,
    llamacpp,
    mistral,
    naver,
    ollama,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_images,
    openai_realtime,
    openai_responses,
    openrouter,
    perplexity,
    upstage,
    xai,
)

_READERS = {route: family for family in FAMILIES for route in family.ROUTES}
PROVIDERS: frozenset[str] = frozenset(provider for provider, _ in _READERS)
FLAVORS: frozenset[str] = frozenset(flavor for _, flavor in _READERS)
_KEPT = frozenset(
    {"service_tier", "processing", "batch", "output_items", "search_context_size", "region", "deployment", "tools"}
)
_EMPTY: Mapping[str, object] = {}


def family_of(provider: str, flavor: str) -> str | None:
    """The extractor that reads such usage, such as `openai_chat/1`; None where nobody does."""
    family = _READERS.get((provider, flavor))
    return None if family is None else family.EXTRACTOR


def kept(context: Mapping[str, object]) -> dict[str, Any]:
    """What of a context to keep with a usage so that it is read the same way again: counts and kinds, never words.

    Gemini's grounding repeats what was searched for and found; how many different questions and which kind of source is all that
    is billed. The name of the model that answered has a place of its own.
    """
    found: dict[str, Any] = {
        name: value for name, value in context.items() if name in _KEPT and value not in (None, "", [], {})
    }
    grounding = gemini.counted(context)
    return {**found, "groundingMetadata": grounding} if grounding else found


def extract(
    provider: str, flavor: str, usage: object, *, model: str = "", context: Mapping[str, object] | None = None
) -> Usage:
    """Read a provider's own usage object (the content of it, as parsed from JSON). Never raises for any JSON.

    `flavor` is the API surface: chat, responses, messages, converse, generateContent, v2, embeddings, images, audio, realtime,
    rerank, sdk, openai-compat. `context` is what only the rest of the answer knows (`output_items`, `groundingMetadata`, `tools`,
    `search_context_size`); keys nobody reads do no harm.
    What cannot be trusted comes back with quality `suspense` and a reason, never as 0.
    """
    family = _READERS.get((provider, flavor))
    if family is None:
        return suspense("none/0", f"unknown: no reader for {provider} {flavor}")
    if usage is None:
        return suspense(family.EXTRACTOR, "missing")
    if not isinstance(usage, Mapping):
        return suspense(family.EXTRACTOR, "malformed: usage is no object")
    try:
        return family.read(usage, provider, flavor, model, _EMPTY if context is None else context)
    except Inconsistent as fault:
        return suspense(family.EXTRACTOR, str(fault), reported_ticks=fault.reported)
