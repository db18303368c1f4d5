"""Cohere's chat v2: POST {base_url}/chat, and embeddings: POST {base_url}/embed.

Messages and tools are OpenAI's but for the names of settings; answers, events and finish reasons are its own.

    message-start ▶ tool-plan-delta* ▶ (tool-call-start ▶ tool-call-delta* ▶ tool-call-end)*
                  ▶ (content-start ▶ content-delta* ▶ content-end)* ▶ citation-start* ▶ message-end

`usage` (embeddings: `meta`) is kept whole: what is billed stands in its `billed_units`. Source: the API reference for chat v2
and embed v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.providers.base import NOTHING, Call
from gateway.providers.translated import (
    Answer,
    Asked,
    Head,
    Outgoing,
    Sse,
    Unsayable,
    attached,
    chat_usage,
    choice,
    embeddings,
    functions,
    head,
    inputs,
    more_arguments,
    parts,
    plain,
    schema_of,
    tool_call,
)

_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
_BROKE = frozenset({"ERROR", "ERROR_LIMIT", "TIMEOUT"})


class CohereChat(Sse):
    request_id = "x-debug-trace-id"

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        asked = Asked(call.body)
        body: dict[str, Any] = {
            "model": call.model,
            "messages": [_message(message) for message in asked.take("messages")],
            "stream": stream,
        }
        asked.rename(
            body,
            temperature="temperature",
            p="top_p",
            k="top_k",
            seed="seed",
            frequency_penalty="frequency_penalty",
            presence_penalty="presence_penalty",
        )
        if (cap := asked.cap()) is not None:
            body["max_tokens"] = cap
        if stops := asked.stops():
            body["stop_sequences"] = stops
        kind, schema = schema_of(asked.take("response_format"))
        if kind != "text":
            body["response_format"] = {"type": "json_object", **({} if schema is None else {"json_schema": schema})}
        if effort := asked.take("reasoning_effort"):
            body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
        _tools(asked, body)
        asked.done()
        return Outgoing("/chat", body)

    def answer(self, said: dict[str, Any], call: Call) -> Answer:
        if said["finish_reason"] in _BROKE:
            raise ValueError("the answer says that it failed")
        given = said["message"]
        text, thoughts = "", given.get("tool_plan") or ""
        for part in given.get("content") or ():
            if part["type"] == "text":
                text += part["text"]
            elif part["type"] == "thinking":
                thoughts += part["thinking"]
        calls = [
            tool_call(one["id"], one["function"]["name"], one["function"].get("arguments") or "{}")
            for one in given.get("tool_calls") or ()
        ]
        message: dict[str, Any] = {"content": text if text or not calls else None}
        if thoughts:
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        if given.get("citations"):
            message["annotations"] = [_annotation(one) for one in given["citations"]]
        usage = said.get("usage")
        finish = _FINISH.get(said["finish_reason"], "stop")
        return Answer(head(said.get("id"), None, call).completion([choice(message, finish)], _told(usage)), usage)

    def reader(self, call: Call) -> _Reader:
        return _Reader(call)

    def embedding(self, call: Call) -> Outgoing:
        asked = Asked(call.body)
        body: dict[str, Any] = {
            "model": call.model,
            "texts": inputs(asked),
            "input_type": "search_document",
            "embedding_types": ["float"],
        }
        asked.rename(body, output_dimension="dimensions")
        asked.take("encoding_format")  # vectors come as numbers and are encoded here
        asked.done()
        return Outgoing("/embed", body)

    def embedded(self, said: dict[str, Any], call: Call) -> Answer:
        meta = said.get("meta")
        sent = ((meta or {}).get("billed_units") or {}).get("input_tokens") or 0
        return Answer(embeddings(call.model, said["embeddings"]["float"], int(sent), call), meta)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message["role"], message.get("content")
    if role in {"system", "developer"}:
        return {"role": "system", "content": plain(content)}
    if role == "tool":
        return {"role": "tool", "tool_call_id": message["tool_call_id"], "content": plain(content)}
    if role == "user":
        return {"role": "user", "content": [_part(part) for part in parts(content)]}
    if role != "assistant":
        raise Unsayable(f"messages of role {role}")
    found: dict[str, Any] = {"role": "assistant"}
    if text := plain(content):
        found["content"] = text
    if message.get("tool_calls"):
        found["tool_calls"] = [
            {"id": one["id"], "type": "function", "function": one["function"]} for one in message["tool_calls"]
        ]
    return found


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    media, data, _ = attached(part)
    if not media.startswith("image/"):
        raise Unsayable(media)
    return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}


def _tools(asked: Asked, body: dict[str, Any]) -> None:
    declared = functions(asked.take("tools"))
    wanted = asked.take("tool_choice")
    if isinstance(wanted, dict):
        # A named function: the only one offered, and required.
        declared = [function for function in declared if function["name"] == wanted["function"]["name"]]
        wanted = "required"
    if not declared:
        return
    if any(function.get("strict") for function in declared):
        body["strict_tools"] = True
    body["tools"] = [
        {"type": "function", "function": {"parameters": {"type": "object"}, **_without_strict(function)}}
        for function in declared
    ]
    if wanted in {"required", "none"}:
        body["tool_choice"] = wanted.upper()


def _without_strict(function: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in function.items() if name != "strict"}


def _told(usage: Any) -> dict[str, Any] | None:
    """What the model saw; what is billed is the meter's business."""
    if not isinstance(usage, dict):
        return None
    counts = usage.get("tokens") or usage.get("billed_units") or {}
    return chat_usage(int(counts.get("input_tokens") or 0), int(counts.get("output_tokens") or 0))


def _annotation(citation: Mapping[str, Any]) -> dict[str, Any]:
    """A passage and the documents or tool results it rests on. They have no address, so it is no `url_citation`."""
    return {
        "type": "citation",
        "start_index": citation.get("start"),
        "end_index": citation.get("end"),
        "text": citation.get("text"),
        "sources": [source.get("id") for source in citation.get("sources") or ()],
    }


class _Reader:
    def __init__(self, call: Call) -> None:
        self.usage: Any = None
        self.context: Mapping[str, Any] = NOTHING
        self.done = False
        self._call = call
        self._head: Head | None = None
        self._calls = 0
        self._argued = False

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        kind = event["type"]
        if kind == "message-start":
            self._head = head(event.get("id"), None, self._call)
            return [self._head.chunk({"role": "assistant", "content": ""})]
        if self._head is None:
            raise ValueError("events before message-start")
        if kind == "message-end":
            return self._end(event["delta"])
        delta = self._delta(kind, event)
        return [] if delta is None else [self._head.chunk(delta)]

    def end(self) -> Sequence[dict[str, Any]] | None:
        return None

    def _delta(self, kind: str, event: dict[str, Any]) -> dict[str, Any] | None:
        if kind in {"content-start", "content-delta"}:
            content = event["delta"]["message"]["content"]
            if content.get("text"):
                return {"content": content["text"]}
            return {"reasoning_content": content["thinking"]} if content.get("thinking") else None
        if kind == "tool-plan-delta":
            return {"reasoning_content": event["delta"]["message"]["tool_plan"]}
        if kind == "tool-call-start":
            begun = event["delta"]["message"]["tool_calls"]
            self._calls += 1
            arguments = begun["function"].get("arguments") or ""
            self._argued = bool(arguments)
            return {"tool_calls": [tool_call(begun["id"], begun["function"]["name"], arguments, self._calls - 1)]}
        if kind == "tool-call-delta":
            arguments = event["delta"]["message"]["tool_calls"]["function"].get("arguments") or ""
            self._argued = self._argued or bool(arguments)
            return more_arguments(self._calls - 1, arguments) if arguments else None
        if kind == "tool-call-end" and not self._argued:
            return more_arguments(self._calls - 1, "{}")
        if kind == "citation-start":
            return {"annotations": [_annotation(event["delta"]["message"]["citations"])]}
        return None

    def _end(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._head is not None
        self.done = True
        self.usage = delta.get("usage")
        if delta.get("finish_reason") in _BROKE:
            return [{"error": {"message": "the provider broke off", "type": "server_error", "code": "server_error"}}]
        told = _told(self.usage)
        finish = self._head.chunk({}, _FINISH.get(delta["finish_reason"], "stop"))
        return [finish] if told is None else [finish, self._head.usage(told)]
