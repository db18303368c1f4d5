"""Anthropic's POST /messages. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.providers.scripted.foreign import Foreign, Telling, function, given, sse

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_CHOICE = {"any": "required", "none": "none", "auto": "auto"}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages(Foreign):
    request_id = "request-id"

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        messages = [{"role": "system", "content": _texts(request["system"])}] if request.get("system") else []
        for message in request["messages"]:
            messages += _turn(message)
        wanted = request.get("tool_choice") or {}
        named = {"type": "function", "function": {"name": wanted.get("name")}}
        form = (request.get("output_config") or {}).get("format")
        return given(
            model=request["model"],
            messages=messages,
            max_tokens=request["max_tokens"],
            stop=request.get("stop_sequences"),
            tools=[
                function(tool["name"], tool.get("description"), tool["input_schema"])
                for tool in request.get("tools") or ()
                if "input_schema" in tool
            ],
            tool_choice=named if wanted.get("type") == "tool" else _CHOICE.get(wanted.get("type", "")),
            response_format=form and {"type": "json_schema", "json_schema": {"schema": form["schema"]}},
        )

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "input_tokens": sent,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": answered,
            "service_tier": "standard",
        }

    def whole(self, telling: Telling) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "text", "text": telling.text}
        if telling.choice.tool is not None:
            arguments = orjson.loads(telling.text) if telling.choice.finish == "tool_calls" else {}
            block = {
                "type": "tool_use",
                "id": f"toolu_{telling.id}",
                "name": telling.choice.tool,
                "input": arguments,
            }
        return {
            **_head(telling),
            "content": [block],
            "stop_reason": _STOP[telling.choice.finish],
            **({} if telling.usage is None else {"usage": telling.usage}),
        }

    def begin(self, telling: Telling) -> bytes:
        first = {} if telling.usage is None else {"usage": {**telling.usage, "output_tokens": 1}}
        block: dict[str, Any] = {"type": "text", "text": ""}
        if telling.choice.tool is not None:
            block = {"type": "tool_use", "id": f"toolu_{telling.id}", "name": telling.choice.tool, "input": {}}
        message = {**_head(telling), "content": [], "stop_reason": None, **first}
        return (
            _event("message_start", message=message)
            + _event("content_block_start", index=0, content_block=block)
            + _event("ping")
        )

    def piece(self, telling: Telling, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        if telling.choice.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        return _event("content_block_delta", index=0, delta=delta)

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        yield _event("content_block_stop", index=0), None
        delta = {"stop_reason": _STOP[telling.choice.finish], "stop_sequence": None}
        for usage in telling.usages:
            yield _event("message_delta", delta=delta, usage=usage), usage
        if not telling.usages:
            yield _event("message_delta", delta=delta), None
        yield _event("message_stop"), None

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _ERRORS.get(status, "api_error"), "message": message}}


def _head(telling: Telling) -> dict[str, Any]:
    return {
        "id": f"msg_{telling.id}",
        "type": "message",
        "role": "assistant",
        "model": telling.model,
        "stop_sequence": None,
    }


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)


def _texts(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _turn(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    found: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    calls = []
    for block in content:
        if block["type"] == "text":
            said.append(block)
        elif block["type"] == "tool_result":
            text = _texts(block.get("content") or "")
            found.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
        elif block["type"] == "tool_use":
            arguments = orjson.dumps(block["input"]).decode()
            calls.append({"id": block["id"], "function": {"name": block["name"], "arguments": arguments}})
        else:
            said.append({"type": "image_url", "image_url": {"url": "data:"}})
    if said or calls:
        found.append(given(role=message["role"], content=said, tool_calls=calls))
    return found
