"""Gemini's generateContent: POST {base_url}/models/{model}:generateContent, and :streamGenerateContent for streams.

    system, developer ─▶ systemInstruction      finishReason  STOP ─▶ stop, or tool_calls after a call
    assistant         ─▶ role model                           MAX_TOKENS ─▶ length
    tool              ─▶ user: functionResponse               SAFETY and its like, a blocked prompt ─▶ content_filter

Served so by the Gemini API (`…/v1beta`) with an API key, and by Vertex AI (`…/publishers/google`) with one or with a service
account (service_account.py); its embeddings are another format. Streams have no terminal event: an answer is complete when it
ended after a finish reason, and every chunk's usage is the whole usage so far. A call's thought signature travels as
`extra_content.google.thought_signature` and must come back with it.
Source: the API reference for GenerateContentRequest, GenerateContentResponse and function calling.
"""

from __future__ import annotations

import re
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
    embeddings,
    functions,
    head,
    inputs,
    parts,
    plain,
    schema_of,
    tool_call,
    web_citation,
)

_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION"}
)
_SETTINGS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
#: Thinking by budget until 2.5, by level since 3.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
_LEVELS = {"none": "minimal", "xhigh": "high"}
_BEFORE_LEVELS = re.compile(r"gemini-[12](\.|-|$)")
#: What stands for a signature that the caller's library lost; from 3 on a call without any is refused.
_LOST_SIGNATURE = "skip_thought_signature_validator"


class GeminiGenerateContent(Sse):
    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {"x-goog-api-key": api_key} if api_key else {}

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        asked = Asked(call.body)
        by_budget = _BEFORE_LEVELS.match(call.model) is not None
        system, contents = _contents(asked.take("messages"), None if by_budget else _LOST_SIGNATURE)
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": system}
        settings: dict[str, Any] = {}
        asked.rename(settings, **_SETTINGS)
        if (cap := asked.cap()) is not None:
            settings["maxOutputTokens"] = cap
        if stops := asked.stops():
            settings["stopSequences"] = stops
        kind, schema = schema_of(asked.take("response_format"))
        if kind != "text":
            settings["responseMimeType"] = "application/json"
        if schema is not None:
            settings["responseJsonSchema"] = schema
        if effort := asked.take("reasoning_effort"):
            settings["thinkingConfig"] = (
                {"thinkingBudget": _BUDGETS[effort]} if by_budget else {"thinkingLevel": _LEVELS.get(effort, effort)}
            )
        _tools(asked, body)
        asked.done()
        if settings:
            body["generationConfig"] = settings
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Outgoing(f"/models/{quote(call.model, safe='')}:{verb}", body)

    def answer(self, said: dict[str, Any], call: Call) -> Answer:
        reader = _Reader(call)
        chunks = [*reader.feed(said), *(reader.end() or ())]
        choices: dict[int, dict[str, Any]] = {}
        for chunk in chunks:
            for piece in chunk["choices"]:
                _add(choices.setdefault(piece["index"], choice({"content": None}, "stop", piece["index"])), piece)
        if not choices:
            raise ValueError("no candidates")
        for one in choices.values():
            if one["message"]["content"] is None and not one["message"].get("tool_calls"):
                one["message"]["content"] = ""
        usage = said.get("usageMetadata")
        body = head(said.get("responseId"), said.get("modelVersion"), call)
        return Answer(body.completion([choices[i] for i in sorted(choices)], _told(usage)), usage, reader.context)

    def reader(self, call: Call) -> _Reader:
        return _Reader(call)

    def embedding(self, call: Call) -> Outgoing:
        asked = Asked(call.body)
        model = f"models/{call.model}"
        size = asked.take("dimensions")
        requests = [
            {
                "model": model,
                "content": {"parts": [{"text": text}]},
                **({} if size is None else {"outputDimensionality": size}),
            }
            for text in inputs(asked)
        ]
        asked.take("encoding_format")  # vectors come as numbers and are encoded here
        asked.done()
        return Outgoing(f"/models/{quote(call.model, safe='')}:batchEmbedContents", {"requests": requests})

    def embedded(self, said: dict[str, Any], call: Call) -> Answer:
        vectors = [one["values"] for one in said["embeddings"]]
        usage = said.get("usageMetadata")
        sent = (usage or {}).get("promptTokenCount") or 0
        return Answer(embeddings(call.model, vectors, sent, call), usage)


def _contents(given: Any, lost: str | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system parts, turns). A result is named after the function that was called, which only the call itself says."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in given:
        role = message["role"]
        if role in {"system", "developer"}:
            if text := plain(message.get("content")):
                system.append({"text": text})
            continue
        if role == "tool":
            found = [_result(names[message["tool_call_id"]], plain(message.get("content")))]
        elif role in {"user", "assistant"}:
            found = [_part(part) for part in parts(message.get("content"))]
            for number, call in enumerate(message.get("tool_calls") or ()):
                names[call["id"]] = call["function"]["name"]
                found.append(_called(call, lost if not number else None))
        else:
            raise Unsayable(f"messages of role {role}")
        side = "model" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == side:
            turns[-1]["parts"] += found
        elif found:
            turns.append({"role": side, "parts": found})
    return system, turns


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] in {"text", "refusal"}:
        return {"text": part.get("text") or part["refusal"]}
    media, data, _ = attached(part)
    return {"inlineData": {"mimeType": media, "data": data}}


def _called(call: Mapping[str, Any], lost: str | None) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": call["function"]["name"], "args": arguments_of(call)}}
    google = (call.get("extra_content") or {}).get("google") or {}
    signature = google.get("thought_signature") or lost
    if signature:
        part["thoughtSignature"] = signature
    return part


def _result(name: str, text: str) -> dict[str, Any]:
    """Results are objects there; what is none is put into one."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    return {"functionResponse": {"name": name, "response": value if isinstance(value, dict) else {"result": value}}}


def _tools(asked: Asked, body: dict[str, Any]) -> None:
    declared = []
    for function in functions(asked.take("tools")):
        one = {"name": function["name"], "description": function.get("description") or ""}
        if function.get("parameters"):
            one["parametersJsonSchema"] = function["parameters"]
        declared.append(one)
    tools: list[dict[str, Any]] = [{"functionDeclarations": declared}] if declared else []
    if asked.take("web_search_options") is not None:
        tools.append({"googleSearch": {}})
    wanted = asked.take("tool_choice")
    if tools:
        body["tools"] = tools
    if declared and wanted is not None:
        config: dict[str, Any] = {"mode": "ANY" if isinstance(wanted, dict) else _MODES[wanted]}
        if isinstance(wanted, dict):
            config["allowedFunctionNames"] = [wanted["function"]["name"]]
        body["toolConfig"] = {"functionCallingConfig": config}


def _told(usage: Any) -> dict[str, Any] | None:
    """OpenAI's completion has the thoughts inside."""
    if not isinstance(usage, dict) or "promptTokenCount" not in usage:
        return None
    thoughts = usage.get("thoughtsTokenCount") or 0
    sent = usage["promptTokenCount"] + (usage.get("toolUsePromptTokenCount") or 0)
    answered = max((usage.get("candidatesTokenCount") or 0) + thoughts, 0)
    return chat_usage(sent, answered, cached=usage.get("cachedContentTokenCount") or 0, reasoning=thoughts)


def _add(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """One chunk's piece into the choice it belongs to."""
    message = whole["message"]
    for name, value in piece["delta"].items():
        if name == "role":
            continue
        if name == "tool_calls":
            value = [{key: part for key, part in call.items() if key != "index"} for call in value]  # noqa: PLW2901
        message[name] = value if message.get(name) is None else message[name] + value
    if piece["finish_reason"]:
        whole["finish_reason"] = piece["finish_reason"]


class _Reader:
    """One stream. `usage` waits for a finish reason: before it, what a chunk states is only the usage so far."""

    def __init__(self, call: Call) -> None:
        self.usage: Any = None
        self.context: Mapping[str, Any] = NOTHING
        self.done = False
        self._call = call
        self._head: Head | None = None
        self._stated: Any = None
        self._finished: set[int] = set()
        self._seen: set[int] = set()
        self._calls: dict[int, int] = {}
        # A call whose arguments arrive in pieces: its part so far, and the pieces by their place.
        self._open: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._grounding: list[dict[str, Any]] = []

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        if "error" in event:
            code = str(event["error"].get("status") or "").lower()
            return [{"error": {"message": "the provider broke off", "type": code, "code": code}}]
        if self._head is None:
            self._head = head(event.get("responseId"), event.get("modelVersion"), self._call)
        chunks: list[dict[str, Any]] = []
        for candidate in event.get("candidates") or ():
            chunks += self._candidate(candidate)
        if not event.get("candidates") and (event.get("promptFeedback") or {}).get("blockReason"):
            self._finished.add(0)
            chunks.append(self._head.chunk({"role": "assistant", "content": ""}, "content_filter"))
        # Some chunks carry a piece of it (a traffic type); only one with counts is a usage.
        stated = event.get("usageMetadata")
        if isinstance(stated, dict) and any(name.endswith("TokenCount") for name in stated):
            self._stated = stated
        if self._finished:
            self.usage = self._stated
        return chunks

    def end(self) -> Sequence[dict[str, Any]] | None:
        if self._head is None or not self._finished or self._finished < self._seen:
            return None
        self.done = True
        told = _told(self.usage)
        return [] if told is None else [self._head.usage(told)]

    def _candidate(self, candidate: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._head is not None
        index = candidate.get("index") or 0
        deltas = self._deltas(index, (candidate.get("content") or {}).get("parts") or ())
        finish = None
        if reason := candidate.get("finishReason"):
            self._finished.add(index)
            deltas += self._closed(index)
            finish = "content_filter" if reason in _FILTERED else _FINISH.get(reason, "stop")
            if finish == "stop" and self._calls.get(index):
                finish = "tool_calls"
        if grounding := candidate.get("groundingMetadata"):
            self._grounding.append(grounding)
            self.context = {"groundingMetadata": self._grounding if len(self._grounding) > 1 else grounding}
            deltas.append(cited(_sources(grounding)))
        if index not in self._seen:
            self._seen.add(index)
            deltas = [{"role": "assistant", **(deltas[0] if deltas else {"content": ""})}, *deltas[1:]]
        last = len(deltas) - 1
        if finish and last < 0:
            return [self._head.chunk({}, finish, index)]
        return [self._head.chunk(delta, finish if place == last else None, index) for place, delta in enumerate(deltas)]

    def _deltas(self, index: int, given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = []
        for part in given:
            if "functionCall" in part:
                deltas += self._call_delta(index, part)
            elif part.get("text"):
                deltas.append({"reasoning_content" if part.get("thought") else "content": part["text"]})
            elif "inlineData" in part:
                drawn = part["inlineData"]
                url = f"data:{drawn['mimeType']};base64,{drawn['data']}"
                deltas.append({"images": [{"type": "image_url", "image_url": {"url": url}}]})
        return deltas

    def _call_delta(self, index: int, part: dict[str, Any]) -> list[dict[str, Any]]:
        call = part["functionCall"]
        if "name" in call:
            deltas = self._closed(index)
            if not call.get("willContinue"):
                return [*deltas, self._whole_call(index, part, call.get("args") or {})]
            self._open[index] = (part, call.get("args") or {})
            return deltas
        if index not in self._open:
            raise ValueError("arguments of no call")
        for piece in call.get("partialArgs") or ():
            _place(self._open[index][1], piece)
        return [] if call.get("willContinue") else self._closed(index)

    def _closed(self, index: int) -> list[dict[str, Any]]:
        begun = self._open.pop(index, None)
        return [] if begun is None else [self._whole_call(index, *begun)]

    def _whole_call(self, index: int, part: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._head is not None
        number = self._calls.get(index, 0)
        self._calls[index] = number + 1
        call = part["functionCall"]
        identity = call.get("id") or f"call_{self._head.id}_{index}_{number}"
        found = tool_call(identity, call["name"], orjson.dumps(arguments).decode(), number)
        if signature := part.get("thoughtSignature"):
            found["extra_content"] = {"google": {"thought_signature": signature}}
        return {"tool_calls": [found]}


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,4})\]")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


def _place(root: dict[str, Any], piece: dict[str, Any]) -> None:
    """One piece of an argument at its JSON path, such as `$.recipe.steps[2]`; pieces of a string are joined."""
    steps: list[str | int] = [name or int(number) for name, number in _STEP.findall(piece["jsonPath"])]
    value = next((piece[name] for name in _VALUES if name in piece), None)
    if "nullValue" in piece:
        value = None
    target: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            while len(target) <= step:
                target.append(None)
        if following is None:
            before = target[step] if isinstance(step, int) else target.get(step)
            target[step] = before + value if isinstance(before, str) and isinstance(value, str) else value
            return
        inner = target[step] if isinstance(step, int) else target.get(step)
        if inner is None:
            inner = target[step] = [] if isinstance(following, int) else {}
        target = inner


def _sources(grounding: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pages an answer rests on. Which passage rests on which is counted in bytes there, and left out."""
    pages = [chunk.get("web") or {} for chunk in grounding.get("groundingChunks") or ()]
    return [web_citation(page["uri"], page.get("title")) for page in pages if page.get("uri")]
