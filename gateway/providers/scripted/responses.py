"""OpenAI's POST /responses. https://platform.openai.com/docs/api-reference/responses

A model whose name begins with `sonar` answers as search models do: with an item of search results, and a citation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.providers.scripted.foreign import Foreign, Telling, function, given, sse

_SOURCE = {"id": 1, "url": "https://example.org/practice", "title": "Practice", "snippet": "연습용 자료"}
_ERRORS = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class Responses(Foreign):
    garbage = b'data: {"type":"response.output_text.delta","del\n\n'

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        messages = [{"role": "system", "content": request["instructions"]}] if request.get("instructions") else []
        items = request["input"]
        for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
            messages.append(_message(item))
        form = (request.get("text") or {}).get("format") or {}
        wanted = request.get("tool_choice")
        return given(
            model=request["model"],
            messages=messages,
            max_tokens=request.get("max_output_tokens"),
            tools=[
                function(tool["name"], tool.get("description"), tool.get("parameters"))
                for tool in request.get("tools") or ()
                if tool["type"] == "function"
            ],
            tool_choice={"function": {"name": wanted["name"]}} if isinstance(wanted, dict) else wanted,
            response_format={"type": "json_schema", "json_schema": form}
            if form.get("type") == "json_schema"
            else form or None,
        )

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {
            "input_tokens": sent,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sent + answered,
        }

    def whole(self, telling: Telling) -> dict[str, Any]:
        items = [*_searched(telling), _item(telling, telling.text, "completed")]
        cut = telling.choice.finish == "length"
        return {
            **_head(telling),
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": items,
            **({} if telling.usage is None else {"usage": telling.usage}),
        }

    def begin(self, telling: Telling) -> bytes:
        created = {**_head(telling), "status": "in_progress", "output": []}
        index = len(_searched(telling))
        events: list[tuple[str, dict[str, Any]]] = [
            ("response.created", {"response": created}),
            ("response.in_progress", {"response": created}),
        ]
        events += [("response.output_item.done", {"output_index": 0, "item": item}) for item in _searched(telling)]
        item = _item(telling, "", "in_progress")
        events.append(("response.output_item.added", {"output_index": index, "item": item}))
        return b"".join(_event(kind, **fields) for kind, fields in events)

    def piece(self, telling: Telling, text: str) -> bytes:
        index = len(_searched(telling))
        if telling.choice.tool is not None:
            kind = "response.function_call_arguments.delta"
            return _event(kind, item_id=_identity(telling), output_index=index, delta=text)
        return _event(
            "response.output_text.delta", item_id=_identity(telling), output_index=index, content_index=0, delta=text
        )

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        index = len(_searched(telling))
        item = _item(telling, telling.text, "completed")
        yield _event("response.output_item.done", output_index=index, item=item), None
        whole = self.whole(telling)
        yield _event(f"response.{whole['status']}", response=whole), telling.usage

    def error(self, status: int, message: str) -> dict[str, Any]:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": _ERRORS.get(status)}}


def _head(telling: Telling) -> dict[str, Any]:
    return {"id": f"resp_{telling.id}", "object": "response", "created_at": telling.created, "model": telling.model}


def _identity(telling: Telling) -> str:
    return f"{'msg' if telling.choice.tool is None else 'fc'}_{telling.id}"


def _item(telling: Telling, text: str, status: str) -> dict[str, Any]:
    if telling.choice.tool is not None:
        called = {"call_id": f"call_{telling.id}", "name": telling.choice.tool, "arguments": text}
        return {"id": _identity(telling), "type": "function_call", "status": status, **called}
    notes = []
    if _searched(telling) and status == "completed":
        place = {"start_index": 0, "end_index": len(text)}
        notes = [{"type": "url_citation", "url": _SOURCE["url"], "title": _SOURCE["title"], **place}]
    content = [{"type": "output_text", "text": text, "annotations": notes}] if status == "completed" else []
    return {"id": _identity(telling), "type": "message", "role": "assistant", "status": status, "content": content}


def _searched(telling: Telling) -> list[dict[str, Any]]:
    if not telling.model.startswith("sonar"):
        return []
    return [{"id": f"sr_{telling.id}", "type": "search_results", "queries": ["practice"], "results": [_SOURCE]}]


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "function_call":
        return {"role": "assistant", "tool_calls": [{"function": item}]}
    if kind == "function_call_output":
        return {"role": "tool", "content": item["output"]}
    content = item["content"]
    if isinstance(content, str):
        return {"role": item["role"], "content": content}
    parts = [
        {"type": "text", "text": part["text"]}
        if "text" in part
        else {"type": "image_url", "image_url": {"url": "data:"}}
        for part in content
    ]
    return {"role": item["role"], "content": parts}
