"""Gemini's generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content

Its JSON is that of protocol buffers: names may be written in either of two ways, and libraries write tools in the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.providers.scripted.foreign import Foreign, Telling, function, given, sse

_STOP = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_MODES = {"ANY": "required", "NONE": "none", "AUTO": "auto"}
_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class GenerateContent(Foreign):
    garbage = b'data: {"candidates":[{"con\n\n'

    def __init__(self, *, streams: bool) -> None:
        self._streams = streams

    def streaming(self, request: Mapping[str, Any]) -> bool:
        return self._streams

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        if request.get("systemInstruction"):
            messages.append({"role": "system", "content": request["systemInstruction"]["parts"][0]["text"]})
        for content in request["contents"]:
            messages += _turn(content)
        settings = request.get("generationConfig") or {}
        form: dict[str, Any] | None = None
        if settings.get("responseMimeType") == "application/json":
            schema = settings.get("responseJsonSchema")
            form = {"type": "json_object"}
            if schema is not None:
                form = {"type": "json_schema", "json_schema": {"schema": schema}}
        config = (request.get("toolConfig") or {}).get("functionCallingConfig") or {}
        named = {"type": "function", "function": {"name": (config.get("allowedFunctionNames") or [None])[0]}}
        return given(
            model=request["model"],
            messages=messages,
            max_tokens=settings.get("maxOutputTokens"),
            seed=settings.get("seed"),
            stop=settings.get("stopSequences"),
            tools=[
                function(one["name"], one.get("description"), one.get("parametersJsonSchema") or one.get("parameters"))
                for tool in request.get("tools") or ()
                for one in tool.get("functionDeclarations") or tool.get("function_declarations") or ()
            ],
            tool_choice=named if config.get("allowedFunctionNames") else _MODES.get(config.get("mode", "")),
            response_format=form,
        )

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "promptTokenCount": sent,
            "candidatesTokenCount": answered,
            "totalTokenCount": sent + answered,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": sent}],
        }

    def whole(self, telling: Telling) -> dict[str, Any]:
        part: dict[str, Any] = {"text": telling.text}
        if telling.choice.tool is not None:
            part = _call(telling)
        return _response(telling, [part], telling.usage, finish=_STOP[telling.choice.finish])

    def begin(self, telling: Telling) -> bytes:
        return b""

    def piece(self, telling: Telling, text: str) -> bytes:
        # A call is never told in pieces; an empty one keeps the pace.
        parts = [] if telling.choice.tool is not None else [{"text": text}]
        return sse(_response(telling, parts, {"trafficType": "ON_DEMAND"}))

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        parts = [] if telling.choice.tool is None else [_call(telling)]
        for usage in telling.usages[:-1]:
            yield sse(_response(telling, [], usage)), usage
        yield sse(_response(telling, parts, telling.usage, finish=_STOP[telling.choice.finish])), telling.usage

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": _ERRORS.get(status, "UNKNOWN")}}


def _response(
    telling: Telling, parts: list[dict[str, Any]], usage: Mapping[str, Any] | None, finish: str | None = None
) -> dict[str, Any]:
    return {
        "candidates": [
            {"index": 0, "content": {"role": "model", "parts": parts}, **({"finishReason": finish} if finish else {})}
        ],
        **({} if usage is None else {"usageMetadata": usage}),
        "modelVersion": telling.model,
        "responseId": telling.id,
    }


def _call(telling: Telling) -> dict[str, Any]:
    arguments = orjson.loads(telling.text) if telling.choice.finish == "tool_calls" else {}
    return {"functionCall": {"name": telling.choice.tool, "args": arguments}}


def _turn(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    role = "assistant" if content.get("role") == "model" else "user"
    found: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    calls = []
    for part in content["parts"]:
        if "text" in part:
            said.append({"type": "text", "text": part["text"]})
        elif "functionCall" in part:
            called = part["functionCall"]
            calls.append({"function": {"name": called["name"], "arguments": orjson.dumps(called["args"]).decode()}})
        elif "functionResponse" in part:
            found.append({"role": "tool", "content": orjson.dumps(part["functionResponse"]["response"]).decode()})
        else:
            said.append({"type": "image_url", "image_url": {"url": "data:"}})
    if said or calls:
        found.append(given(role=role, content=said, tool_calls=calls))
    return found
