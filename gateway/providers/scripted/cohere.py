"""Cohere's POST /chat, version 2. https://docs.cohere.com/reference/chat"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.providers.scripted.foreign import Foreign, Telling, given, sse

_STOP = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


class ChatV2(Foreign):
    request_id = "x-debug-trace-id"

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        form = request.get("response_format") or {}
        wanted: dict[str, Any] | None = None
        if form.get("type") == "json_object":
            schema = form.get("json_schema")
            wanted = {"type": "json_object"}
            if schema is not None:
                wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
        return given(
            model=request["model"],
            messages=request["messages"],
            max_tokens=request.get("max_tokens"),
            seed=request.get("seed"),
            stop=request.get("stop_sequences"),
            tools=request.get("tools"),
            tool_choice=(request.get("tool_choice") or "auto").lower(),
            response_format=wanted,
        )

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "billed_units": {"input_tokens": sent, "output_tokens": answered},
            "tokens": {"input_tokens": sent, "output_tokens": answered},
        }

    def whole(self, telling: Telling) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": telling.text}]}
        if telling.choice.tool is not None:
            message = {"role": "assistant", "tool_calls": [_call(telling, telling.text)]}
        return {
            "id": telling.id,
            "message": message,
            "finish_reason": _STOP[telling.choice.finish],
            **({} if telling.usage is None else {"usage": telling.usage}),
        }

    def begin(self, telling: Telling) -> bytes:
        started = _event("message-start", {"message": {"role": "assistant"}}, id=telling.id)
        if telling.choice.tool is not None:
            return started + _event("tool-call-start", {"message": {"tool_calls": _call(telling, "")}}, index=0)
        return started + _event("content-start", {"message": {"content": {"type": "text", "text": ""}}}, index=0)

    def piece(self, telling: Telling, text: str) -> bytes:
        if telling.choice.tool is not None:
            delta: dict[str, Any] = {"message": {"tool_calls": {"function": {"arguments": text}}}}
            return _event("tool-call-delta", delta, index=0)
        return _event("content-delta", {"message": {"content": {"text": text}}}, index=0)

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        yield _event("content-end" if telling.choice.tool is None else "tool-call-end", None, index=0), None
        delta: dict[str, Any] = {"finish_reason": _STOP[telling.choice.finish]}
        if telling.usage is not None:
            delta |= {"usage": telling.usage}
        yield _event("message-end", delta), telling.usage

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"message": message}


def _call(telling: Telling, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{telling.id}",
        "type": "function",
        "function": {"name": telling.choice.tool, "arguments": arguments},
    }


def _event(kind: str, delta: Mapping[str, Any] | None, **fields: Any) -> bytes:
    return sse({"type": kind, **fields, **({} if delta is None else {"delta": delta})}, kind)
