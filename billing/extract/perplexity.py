"""Perplexity: Sonar chat completions until their end, and the responses surface after it.

    Sonar:         completion_tokens ⊇ reasoning_tokens; citations and searches are inside the request fee,
                   which depends on search_context_size (low unless asked otherwise)
    Deep Research: reasoning_tokens and citation_tokens stand beside the completion and are billed apart,
                   so are num_search_queries; there is no request fee. total_tokens covers prompt and completion only
    responses:     input_tokens ⊇ cached; tool_calls_details counts searches
    cost.total_cost: the charge in dollars, sometimes rounded

Source: the vendor's API reference for usage and its price page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, needed, only_used, part, reported_usd, text, with_reasoning
from billing.extract.openai_responses import read_responses
from billing.usage import Usage

EXTRACTOR = "perplexity/1"
ROUTES: tuple[tuple[str, str], ...] = tuple(
    ("perplexity", flavor) for flavor in ("chat", "responses", "embeddings", "sdk", "openai-compat")
)


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    stated = usage.get("cost")
    cost = part(usage, "cost") if isinstance(stated, Mapping) else {"total_cost": stated}
    charged = reported_usd(cost.get("total_cost"), "cost.total_cost")
    try:
        if "input_tokens" in usage or flavor == "responses":
            return _responses(usage, charged)
        if flavor == "embeddings":
            sent = needed(usage, "prompt_tokens")
            return Usage({"input": sent}, EXTRACTOR, prompt_tokens=sent, reported_ticks=charged)
        if "deep-research" in (text(context.get("response_model")) or model).lower():
            return _deep_research(usage, charged)
        return _sonar(usage, context, cost, charged)
    except Inconsistent as fault:
        fault.reported = charged
        raise


def _sonar(
    usage: Mapping[str, Any], context: Mapping[str, object], cost: Mapping[str, Any], charged: int | None
) -> Usage:
    prompt, completion = needed(usage, "prompt_tokens"), needed(usage, "completion_tokens")
    reasoning = count(usage, "reasoning_tokens")
    output = with_reasoning(prompt, completion, reasoning or 0, count(usage, "total_tokens"), outside=False)
    size = text(usage.get("search_context_size")) or text(context.get("search_context_size"))
    # Where the charge is broken down, it says whether there was a fee, and whether searches cost beside it.
    free = cost.get("request_cost") is not None and reported_usd(cost["request_cost"], "cost.request_cost") == 0
    searched = count(usage, "num_search_queries") if reported_usd(cost.get("search_queries_cost"), "cost") else 0
    return Usage(
        only_used({"input": prompt, "output": output, "request": 0 if free else 1, "web_search": searched}),
        EXTRACTOR,
        prompt_tokens=prompt,
        reasoning_tokens=reasoning,
        reported_ticks=charged,
        conditions={"search_context_size": size.lower()} if size else {},
        info=_info(usage, "citation_tokens", "num_search_queries"),
    )


def _deep_research(usage: Mapping[str, Any], charged: int | None) -> Usage:
    prompt, completion = needed(usage, "prompt_tokens"), needed(usage, "completion_tokens")
    reasoning = count(usage, "reasoning_tokens") or 0
    citation = count(usage, "citation_tokens") or 0
    total = count(usage, "total_tokens")
    base = prompt + completion
    if total is not None and total not in (base, base + reasoning, base + citation, base + reasoning + citation):
        raise Inconsistent("inconsistent: total_tokens is not prompt + completion, with or without what stands beside")
    return Usage(
        only_used(
            {
                "input": prompt,
                "output": completion + reasoning,
                "citation": citation,
                "web_search": count(usage, "num_search_queries"),
            }
        ),
        EXTRACTOR,
        prompt_tokens=prompt,
        reasoning_tokens=reasoning,
        reported_ticks=charged,
    )


def _responses(usage: Mapping[str, Any], charged: int | None) -> Usage:
    details = dict(part(usage, "input_tokens_details"))
    for theirs, ours in (
        ("cache_read_input_tokens", "cached_tokens"),
        ("cache_creation_input_tokens", "cache_write_tokens"),
    ):
        if theirs in details:
            details.setdefault(ours, details[theirs])
            del details[theirs]
    extra: dict[str, int] = {}
    for name, call in part(usage, "tool_calls_details").items():
        quantity = count(call, "invocation") if isinstance(call, Mapping) else None
        if quantity:
            if name not in ("web_search", "search_web"):
                raise Inconsistent(f"unknown: tool {name}")
            extra["web_search"] = extra.get("web_search", 0) + quantity
    return read_responses({**usage, "input_tokens_details": details}, EXTRACTOR, extra=extra, reported=charged)


def _info(usage: Mapping[str, Any], *names: str) -> dict[str, int]:
    return {name: quantity for name in names if (quantity := count(usage, name))}
