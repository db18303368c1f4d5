"""Anthropic's messages: POST {base_url}/messages.

    system, developer ─▶ system            stop_reason  end_turn, stop_sequence, pause_turn ─▶ stop
    tool              ─▶ user: tool_result              tool_use ─▶ tool_calls · refusal ─▶ content_filter
    assistant calls   ─▶ tool_use                       max_tokens, model_context_window_exceeded ─▶ length

    message_start ▶ (content_block_start ▶ content_block_delta* ▶ content_block_stop)* ▶ message_delta ▶ message_stop

The usage of `message_delta` is cumulative and replaces what `message_start` said; what it leaves out stands. A JSON object
without a schema is asked for in words: the format has none for it. Source: the API reference for messages and their events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from gateway.providers.base import NOTHING, Call
from gateway.providers.translated import (
    Answer,
    Asked,
    Head,
    Outgoing,
    Sse,
    Unsayable,
    arguments_of,
    attached,
    chat_usage,
    choice,
    cited,
    functions,
    head,
    more_arguments,
    parts,
    plain,
    schema_of,
    tool_call,
    web_citation,
)

_VERSION = "2023-06-01"
_VERTEX_VERSION = "vertex-2023-10-16"
#: The format requires a cap; exchanges always give one.
_CAP = 4096
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_EFFORT = {"minimal": "low", "xhigh": "max"}
_JSON = "Answer with one JSON object and nothing around it."


class AnthropicMessages(Sse):
    request_id = "request-id"

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {"anthropic-version": _VERSION, **({"x-api-key": api_key} if api_key else {})}

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        asked = Asked(call.body)
        system, messages = _messages(asked.take("messages"))
        body: dict[str, Any] = {"model": call.model, "messages": messages, "max_tokens": asked.cap() or _CAP}
        asked.rename(body, temperature="temperature", top_p="top_p", top_k="top_k", thinking="thinking")
        if stops := asked.stops():
            body["stop_sequences"] = stops
        kind, schema = schema_of(asked.take("response_format"))
        output: dict[str, Any] = {}
        if schema is not None:
            output["format"] = {"type": "json_schema", "schema": schema}
        elif kind == "json_object":
            system.append({"type": "text", "text": _JSON})
        if effort := asked.take("reasoning_effort"):
            if effort == "none":
                body["thinking"] = {"type": "disabled"}
            else:
                output["effort"] = _EFFORT.get(effort, effort)
        if output:
            body["output_config"] = output
        if system:
            body["system"] = system
        _tools(asked, body)
        asked.done()
        if stream:
            body["stream"] = True
        return Outgoing("/messages", body)

    def answer(self, said: dict[str, Any], call: Call) -> Answer:
        message: dict[str, Any] = {"content": None}
        text, thoughts = "", ""
        calls: list[dict[str, Any]] = []
        kept: list[dict[str, Any]] = []
        notes: list[dict[str, Any]] = []
        for block in said["content"]:
            kind = block["type"]
            if kind == "text":
                notes += _citations(block.get("citations"), len(text), len(text) + len(block["text"]))
                text += block["text"]
            elif kind == "thinking":
                thoughts += block["thinking"]
                kept.append(block)
            elif kind == "redacted_thinking":
                kept.append(block)
            elif kind == "tool_use":
                calls.append(tool_call(block["id"], block["name"], orjson.dumps(block["input"]).decode()))
        if text or not calls:
            message["content"] = text
        if thoughts:
            message["reasoning_content"] = thoughts
        if kept:
            message["thinking_blocks"] = kept
        if calls:
            message["tool_calls"] = calls
        message |= cited(notes)
        usage = said.get("usage")
        finish = _FINISH.get(said["stop_reason"], "stop")
        body = head(said.get("id"), said.get("model"), call).completion([choice(message, finish)], _told(usage))
        return Answer(body, usage)

    def reader(self, call: Call) -> _Reader:
        return _Reader(call)


class AnthropicOnVertex(AnthropicMessages):
    """The same at Google's `…/publishers/anthropic`: the model stands in the address, the version in the body.

    Source: Anthropic, "Claude on Vertex AI".
    """

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {}

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        body = {"anthropic_version": _VERTEX_VERSION, **super().request(call, stream=stream).body}
        del body["model"]
        verb = "streamRawPredict" if stream else "rawPredict"
        return Outgoing(f"/models/{quote(call.model, safe='')}:{verb}", body)


def _messages(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system, turns). All results of one turn's calls must stand in one message, so neighbours of a role are joined."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in given:
        role = message["role"]
        if role in {"system", "developer"}:
            if text := plain(message.get("content")):
                system.append({"type": "text", "text": text})
            continue
        if role == "tool":
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
            if content := [_block(part) for part in parts(message.get("content"))]:
                result["content"] = content
            blocks = [result]
        elif role in {"user", "assistant"}:
            blocks = [_block(part) for part in parts(message.get("content"))]
            if role == "assistant":
                blocks = [*(message.get("thinking_blocks") or ()), *blocks, *map(_use, message.get("tool_calls") or ())]
        else:
            raise Unsayable(f"messages of role {role}")
        side = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    return system, turns


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] in {"text", "refusal"}:
        return {"type": "text", "text": part.get("text") or part["refusal"]}
    media, data, name = attached(part)
    source = {"type": "base64", "media_type": media, "data": data}
    if media.startswith("image/"):
        return {"type": "image", "source": source}
    if media == "application/pdf":
        return {"type": "document", "source": source, **({"title": name} if name else {})}
    raise Unsayable(media)


def _use(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments_of(call)}


def _tools(asked: Asked, body: dict[str, Any]) -> None:
    tools: list[dict[str, Any]] = []
    for function in functions(asked.take("tools")):
        tool = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        asked_for = {name: function[name] for name in ("description", "strict") if function.get(name)}
        tools.append({**tool, **asked_for})
    if (search := asked.take("web_search_options")) is not None:
        tool = {"type": "web_search_20250305", "name": "web_search"}
        if (place := (search.get("user_location") or {}).get("approximate")) is not None:
            tool["user_location"] = {"type": "approximate", **place}
        tools.append(tool)
    wanted = asked.take("tool_choice")
    alone = asked.take("parallel_tool_calls") is False
    if not tools:
        return
    body["tools"] = tools
    if isinstance(wanted, dict):
        chosen: dict[str, Any] = {"type": "tool", "name": wanted["function"]["name"]}
    else:
        chosen = {"type": {"required": "any"}.get(wanted or "auto", wanted or "auto")}
    if alone and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    if wanted is not None or alone:
        body["tool_choice"] = chosen


def _citations(listed: Any, start: int | None, end: int | None) -> list[dict[str, Any]]:
    return [web_citation(one["url"], one.get("title"), start, end) for one in listed or () if one.get("url")]


def _told(usage: Any) -> dict[str, Any] | None:
    """The three input counts stand beside each other; OpenAI's prompt is all of them."""
    if not isinstance(usage, dict):
        return None
    cached = usage.get("cache_read_input_tokens") or 0
    sent = (usage.get("input_tokens") or 0) + cached + (usage.get("cache_creation_input_tokens") or 0)
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return chat_usage(sent, usage.get("output_tokens") or 0, cached=cached, reasoning=thinking)


class _Reader:
    """One stream. `usage` is set once a stop reason is there: before it the counts are those of the start."""

    def __init__(self, call: Call) -> None:
        self.usage: Any = None
        self.context: Mapping[str, Any] = NOTHING
        self.done = False
        self._call = call
        self._head: Head | None = None
        self._begun: dict[str, Any] = {}
        self._stated: Any = None
        self._finished = False
        self._tools = 0
        # The open tool call: the block's index in the message, whether any arguments came, what it began with.
        self._open: tuple[int, bool, Any] | None = None
        self._notes: list[dict[str, Any]] = []

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        kind = event["type"]
        if kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        if kind == "message_start":
            return self._begin(event["message"])
        if kind == "content_block_start":
            return self._start(event["index"], event["content_block"])
        if kind == "content_block_stop":
            return self._stop(event["index"])
        if kind == "message_delta":
            return self._end(event)
        if kind == "message_stop":
            return self._close()
        if kind == "error":
            code = event["error"]["type"]
            return [{"error": {"message": "the provider broke off", "type": code, "code": code}}]
        return []

    def end(self) -> Sequence[dict[str, Any]] | None:
        return None

    @property
    def _chunks(self) -> Head:
        if self._head is None:
            raise ValueError("events before message_start")
        return self._head

    def _begin(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Mostly empty. What a program that runs there has called comes whole, and no `message_delta` after it."""
        self._begun = message
        chunks = self._head = head(message.get("id"), message.get("model"), self._call)
        found = [chunks.chunk({"role": "assistant", "content": ""})]
        for index, block in enumerate(message.get("content") or ()):
            found += [*self._start(index, block), *self._stop(index)]
        return found

    def _start(self, index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
        kind = block["type"]
        if kind == "text" and block.get("text"):
            return [self._chunks.chunk({"content": block["text"]})]
        if kind == "redacted_thinking":
            return [self._chunks.chunk({"thinking_blocks": [block]})]
        if kind != "tool_use":
            return []
        self._open = (index, False, block.get("input"))
        self._tools += 1
        return [self._chunks.chunk({"tool_calls": [tool_call(block["id"], block["name"], "", self._tools - 1)]})]

    def _delta(self, index: int, delta: dict[str, Any]) -> list[dict[str, Any]]:
        kind = delta["type"]
        if kind == "text_delta":
            return [self._chunks.chunk({"content": delta["text"]})]
        if kind == "input_json_delta":
            if self._open is None or self._open[0] != index or not delta["partial_json"]:
                return []  # the arguments of the vendor's own tools, which run there
            self._open = (index, True, None)
            return [self._chunks.chunk(more_arguments(self._tools - 1, delta["partial_json"]))]
        if kind == "thinking_delta":
            return [self._chunks.chunk({"reasoning_content": delta["thinking"]})]
        if kind == "signature_delta":
            return [self._chunks.chunk({"thinking_blocks": [{"type": "thinking", "signature": delta["signature"]}]})]
        if kind == "citations_delta":
            self._notes += _citations([delta["citation"]], None, None)
        return []

    def _stop(self, index: int) -> list[dict[str, Any]]:
        if self._open is None or self._open[0] != index:
            return []
        _, came, begun = self._open
        self._open = None
        # A call without arguments has no deltas, and an empty string is no JSON.
        return [] if came else [self._chunks.chunk(more_arguments(self._tools - 1, orjson.dumps(begun or {}).decode()))]

    def _end(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        chunks = self._chunks
        said = event["delta"]
        if isinstance(said.get("model"), str):
            chunks.model = said["model"]  # another model answered than was called
        stated = event.get("usage")
        if stated is not None:
            self._stated = {**(self._begun.get("usage") or {}), **stated}
        reason = said.get("stop_reason")
        ends = reason is not None and not self._finished
        self._finished = self._finished or ends
        if self._finished:
            self.usage = self._stated
        return [chunks.chunk(cited(self._notes), _FINISH.get(reason, "stop"))] if ends else []

    def _close(self) -> list[dict[str, Any]]:
        chunks: list[dict[str, Any]] = []
        if not self._finished:
            chunks = self._end({"delta": self._begun, "usage": self._begun.get("usage")})
        if not self._finished:
            raise ValueError("an end without a reason")
        self.done = True
        return chunks if self.usage is None else [*chunks, self._chunks.usage(_told(self.usage) or {})]
