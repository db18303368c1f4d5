"""Gemini `usageMetadata`, from the Gemini API and from Vertex AI, in camelCase or as an SDK spells it.

    promptTokenCount ⊇ cachedContentTokenCount; both by modality in promptTokensDetails, cacheTokensDetails
    answer           = candidatesTokenCount + thoughtsTokenCount (older answers had the thoughts inside: the total tells)
    toolUsePromptTokenCount beside the prompt: what URL context, file search and code execution put in front of the model.
                       For Search and Maps grounding it is not billed.
    totalTokenCount  = prompt + candidates + thoughts + tool use

Grounding is not in it: `context["groundingMetadata"]` says whether (2.x bills the prompt) or with how many queries (3.x).
Source: the API reference for `UsageMetadata`, `GroundingMetadata` and the vendor's price page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, items, needed, only_used, snake, text, within
from billing.usage import Usage

EXTRACTOR = "gemini/1"
ROUTES: tuple[tuple[str, str], ...] = (
    ("google", "generateContent"),
    ("google", "sdk"),
    ("google", "embeddings"),
    ("google", "images"),
    ("google", "audio"),
)
_VERSION = re.compile(r"gemini-(\d+)")
# Documents are read as pages of text and images at the price of text.
_KINDS = {"TEXT": "text", "DOCUMENT": "text", "AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}
_UNSPECIFIED = ("MODALITY_UNSPECIFIED", "")
_TRAFFIC = {"on_demand_priority": "priority", "on_demand_flex": "flex", "provisioned_throughput": "provisioned"}
_GROUNDING_TOOLS = frozenset({"googlesearch", "googlesearchretrieval", "googlemaps", "enterprisewebsearch"})
_BILLED_TOOLS = frozenset({"urlcontext", "filesearch", "codeexecution"})


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    block = snake(usage)
    sent = needed(block, "prompt_token_count")
    candidates = count(block, "candidates_token_count") or count(block, "response_token_count") or 0
    thoughts = count(block, "thoughts_token_count")
    tools = count(block, "tool_use_prompt_token_count") or 0
    answered = _answered(sent, candidates, thoughts or 0, tools, count(block, "total_token_count"))

    prompt = _by_kind(
        block, "prompt_tokens_details", sent, explained_by=count(block, "cached_content_token_count") or 0
    )
    cached = _cached(block, prompt)
    for kind, quantity in cached.items():
        prompt[kind] = within({f"cached {kind}": quantity}, prompt[kind], f"{kind} of promptTokenCount")
    # The image of an image model is listed, the words around it often are not: the rest is text.
    drawn = _by_kind(block, "candidates_tokens_details", candidates)
    grounding, conditions = _grounding(context, _model(model, context))
    meters = only_used(
        {
            "input": prompt["text"],
            "input_audio": prompt["audio"],
            "input_image": prompt["image"],
            "input_video": prompt["video"],
            "cache_read": cached["text"] + cached["video"],
            "cache_read_audio": cached["audio"],
            "cache_read_image": cached["image"],
            "input_tool": tools if _tool_tokens_are_billed(context, grounded=bool(grounding)) else 0,
            "output": within(
                {"media": drawn["audio"] + drawn["image"] + drawn["video"]}, answered, "candidatesTokenCount"
            ),
            "output_audio": drawn["audio"],
            "output_image": drawn["image"],
            "output_video": drawn["video"],
            **grounding,
        }
    )
    traffic = _TRAFFIC.get((text(block.get("traffic_type")) or "").lower())
    if traffic:
        conditions["service_tier"] = traffic
    if thoughts is not None and thoughts > meters["output"]:
        raise Inconsistent("inconsistent: thoughtsTokenCount exceeds the text answered")
    return Usage(
        meters,
        EXTRACTOR,
        prompt_tokens=sent,
        reasoning_tokens=thoughts,
        conditions=conditions,
        info={"tool_use_prompt_tokens": tools} if tools else {},
    )


def _answered(sent: int, candidates: int, thoughts: int, tools: int, total: int | None) -> int:
    """All tokens answered; the total says whether the thoughts are among the candidates."""
    if total is None or total == sent + candidates + thoughts + tools:
        return candidates + thoughts
    if total == sent + candidates + tools and thoughts <= candidates:
        return candidates
    raise Inconsistent("inconsistent: totalTokenCount is not prompt + candidates + thoughts + tool use")


def _by_kind(block: Mapping[str, Any], name: str, total: int, *, explained_by: int = 0) -> dict[str, int]:
    """`total` by modality; what the list leaves out is text.

    `explained_by`: a prompt list may leave out the cached part and nothing else. Raises Inconsistent when the list has more than
    the total, or a prompt list leaves out something else.
    """
    found = {"text": 0, "audio": 0, "image": 0, "video": 0}
    listed = items(block, name)
    for item in listed:
        modality = str(item.get("modality") or "").upper()
        quantity = count(item, "token_count") or 0
        if modality in _UNSPECIFIED and not quantity:
            continue
        if modality not in _KINDS:
            raise Inconsistent(f"unknown: modality {modality or 'unstated'}")
        found[_KINDS[modality]] += quantity
    rest = within(found, total, name)
    if rest and listed and name == "prompt_tokens_details" and rest != explained_by:
        raise Inconsistent("inconsistent: promptTokensDetails are not promptTokenCount")
    if rest and rest == explained_by and listed and name == "prompt_tokens_details":
        for kind, quantity in _by_kind(block, "cache_tokens_details", explained_by).items():
            found[kind] += quantity
        return found
    found["text"] += rest
    return found


def _cached(block: Mapping[str, Any], prompt: Mapping[str, int]) -> dict[str, int]:
    """The cached part by modality. Audio costs other than text: where the list is missing only a one-kind prompt is clear."""
    total = count(block, "cached_content_token_count") or 0
    if items(block, "cache_tokens_details"):
        return _by_kind(block, "cache_tokens_details", total)
    kinds = [kind for kind, quantity in prompt.items() if quantity]
    if total and len(kinds) > 1:
        raise Inconsistent("missing: the modalities of cachedContentTokenCount")
    kind = kinds[0] if kinds else "text"
    return {name: total if name == kind else 0 for name in ("text", "audio", "image", "video")}


def _model(model: str, context: Mapping[str, object]) -> str:
    return text(context.get("response_model")) or model


def _grounding(context: Mapping[str, object], model: str) -> tuple[dict[str, int], dict[str, str]]:
    """What grounding costs beside the tokens: one grounded prompt (2.x) or one search per distinct query (3.x)."""
    queries, kinds = _grounded(context)
    if not queries and not kinds:
        return {}, {}
    conditions = {"grounding": "maps"} if kinds == {"maps"} and not queries else {}
    version = _VERSION.search(model.lower())
    if version is None:
        raise Inconsistent("unknown: how grounding of this model is billed")
    if int(version[1]) >= 3 and queries:
        return {"web_search": len(queries)}, conditions
    return {"grounded_prompt": 1}, conditions


def counted(context: Mapping[str, object]) -> dict[str, Any] | None:
    """The grounding of a context as far as it is billed, in the vendor's own words: numbers stand for what was asked."""
    queries, kinds = _grounded(context)
    if not queries and not kinds:
        return None
    asked = [str(number) for number in range(1, len(queries) + 1)]
    return {"webSearchQueries": asked, "groundingChunks": [{kind: {"uri": "-"}} for kind in sorted(kinds)]}


def _grounded(context: Mapping[str, object]) -> tuple[set[str], set[str]]:
    """The different queries of a grounded answer, and the kinds of its sources."""
    stated = context.get("groundingMetadata") or context.get("grounding_metadata")
    blocks = [
        snake(block) for block in (stated if isinstance(stated, list) else [stated]) if isinstance(block, Mapping)
    ]
    queries: set[str] = set()
    kinds: set[str] = set()
    for block in blocks:
        asked = block.get("web_search_queries")
        queries.update(
            query for query in (asked if isinstance(asked, list) else []) if isinstance(query, str) and query
        )
        chunks = block.get("grounding_chunks")
        for chunk in chunks if isinstance(chunks, list) else []:
            if isinstance(chunk, Mapping):
                kinds.update(kind for kind in ("web", "maps") if chunk.get(kind))
    return queries, kinds


def _tool_tokens_are_billed(context: Mapping[str, object], *, grounded: bool) -> bool:
    """Whether the tool tokens of this answer are paid for. The tools tell; where they are not known, grounding does."""
    named = _tools(context.get("tools"))
    if named & _BILLED_TOOLS:
        if named & _GROUNDING_TOOLS:
            raise Inconsistent("unknown: which of several tools the tool tokens belong to")
        return True
    return not (named & _GROUNDING_TOOLS or grounded)


def _tools(stated: object) -> set[str]:
    """Tool names without case or separators, from a list of names or of tool objects, or from an object by name."""
    names: list[object] = []
    if isinstance(stated, Mapping):
        names += stated
    for tool in stated if isinstance(stated, list) else []:
        names += [tool.get("type"), tool.get("name"), *tool] if isinstance(tool, Mapping) else [tool]
    return {re.sub(r"[^a-z]", "", name.lower()) for name in names if isinstance(name, str)}
