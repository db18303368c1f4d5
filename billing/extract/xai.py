"""xAI: OpenAI's shapes with reasoning outside the completion (chat) or inside the output (responses), and the exact charge.

    chat, sdk:  total_tokens = prompt + completion + reasoning
    responses:  total_tokens = input + output, reasoning inside
    cost_in_usd_ticks: what was charged, 1e-10 USD, after discounts and with tools
    server_side_tool_usage_details: how many calls of each server-side tool

Source: the vendor's API reference for usage, pricing and server-side tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.extract._gate import Inconsistent, count, part, reported_ticks, whole
from billing.extract._tools import tool_meters
from billing.extract.openai_chat import read_chat
from billing.extract.openai_responses import read_responses
from billing.usage import Usage

EXTRACTOR = "xai/1"
ROUTES: tuple[tuple[str, str], ...] = (("xai", "chat"), ("xai", "responses"), ("xai", "sdk"), ("xai", "openai-compat"))
_CALLS = {
    "web_search_calls": "web_search",
    "x_search_calls": "x_search",
    "code_interpreter_calls": "code_exec_session",
    "file_search_calls": "file_search",
    "document_search_calls": "file_search",
    "image_generation_calls": "image",
}
_FREE_CALLS = frozenset({"mcp_calls"})
_SDK_TOOLS = {
    "WEB_SEARCH": "web_search",
    "X_SEARCH": "x_search",
    "CODE_EXECUTION": "code_exec_session",
    "COLLECTIONS_SEARCH": "file_search",
    "DOCUMENT_SEARCH": "file_search",
    "MCP": "",
}


def read(usage: Mapping[str, Any], provider: str, flavor: str, model: str, context: Mapping[str, object]) -> Usage:
    charged = reported_ticks(usage.get("cost_in_usd_ticks"), "cost_in_usd_ticks")
    try:
        tools = _tools(usage, context)
        if "input_tokens" in usage or flavor == "responses":
            return read_responses(usage, EXTRACTOR, extra=tools, reported=charged)
        plain = {**context, "output_items": None}
        return read_chat(_as_chat(usage), plain, EXTRACTOR, outside=True, extra=tools, reported=charged)
    except Inconsistent as fault:
        fault.reported = charged
        raise


def _tools(usage: Mapping[str, Any], context: Mapping[str, object]) -> dict[str, int]:
    """Calls of server-side tools, from the most particular statement there is."""
    meters: dict[str, int] = {}
    details = part(usage, "server_side_tool_usage_details")
    used = usage.get("server_side_tools_used")
    if details:
        for name, value in details.items():
            quantity = whole(value, f"server_side_tool_usage_details.{name}") if value is not None else 0
            if quantity and name not in _FREE_CALLS:
                if name not in _CALLS:
                    raise Inconsistent(f"unknown: server-side tool {name}")
                meters[_CALLS[name]] = meters.get(_CALLS[name], 0) + quantity
    elif isinstance(used, list) and used:
        for tool in used:
            meter = _SDK_TOOLS.get(str(tool).upper().removeprefix("SERVER_SIDE_TOOL_"))
            if meter is None:
                raise Inconsistent("unknown: a server-side tool")
            if meter:
                meters[meter] = meters.get(meter, 0) + 1
    else:
        meters = tool_meters(context, code_by_session=False)
        if not context.get("output_items") and count(usage, "num_server_side_tools_used"):
            raise Inconsistent("unknown: which server-side tools were used")
    if count(usage, "num_sources_used"):
        raise Inconsistent("unknown: sources of the former live search")
    return meters


def _as_chat(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The SDK's flat names as the chat object has them."""
    if "cached_prompt_text_tokens" not in usage and "prompt_image_tokens" not in usage:
        return usage
    details = {
        **part(usage, "prompt_tokens_details"),
        "cached_tokens": usage.get("cached_prompt_text_tokens"),
        "image_tokens": usage.get("prompt_image_tokens"),
    }
    return {**usage, "prompt_tokens_details": details}
