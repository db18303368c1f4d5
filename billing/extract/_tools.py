"""Server-side tools that are billed beside the tokens and counted by the items of the answer, not by its usage object."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from billing.extract._gate import Inconsistent, whole

# Item type in an answer → the meter one such item is a unit of.
_BILLED = MappingProxyType(
    {
        "web_search_call": "web_search",
        "web_search_preview_call": "web_search",
        "x_search_call": "x_search",
        "file_search_call": "file_search",
        "collections_search_call": "file_search",
        "image_generation_call": "image",
    }
)
# Items that cost only their tokens.
_FREE = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "tool_call",
        "mcp_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "tool_search_call",
    }
)


def tool_meters(context: Mapping[str, object], *, code_by_session: bool = True) -> dict[str, int]:
    """Meters for `context["output_items"]` ({item type: count}). Raises Inconsistent for a call nobody knows the price of.

    `code_by_session`: code runs are billed by the container, and the calls of one answer share one; otherwise by the call.
    """
    listed: Any = context.get("output_items")
    if not listed:
        return {}
    if not isinstance(listed, Mapping):
        raise Inconsistent("malformed: output_items is no object")
    meters: dict[str, int] = {}
    for kind, value in listed.items():
        quantity = whole(value, f"output_items.{kind}")
        meter = _BILLED.get(kind)
        if kind == "code_interpreter_call":
            if quantity:
                meters["code_exec_session"] = 1 if code_by_session else quantity
        elif meter is not None:
            meters[meter] = meters.get(meter, 0) + quantity
        elif quantity and str(kind).endswith("_call") and kind not in _FREE:
            raise Inconsistent(f"unknown: output item {kind}")
    return {meter: quantity for meter, quantity in meters.items() if quantity}
