"""OpenAI's responses, spoken by others too (Perplexity's Sonar answers only here): POST {base_url}/responses.

    system, developer ─▶ instructions, as long as they come first    status  completed ─▶ stop, or tool_calls after a call
    assistant calls   ─▶ function_call                               incomplete ─▶ length, or content_filter
    tool              ─▶ function_call_output                        failed ─▶ a failure

The items of `output` are counted by type for the meter: tools that ran there are billed by the call. Pages a search found reach
the client as `annotations`, `citations` and `search_results`. Sources: OpenAI's API reference for the response object and its
events, Perplexity's for its responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.providers.base import NOTHING, Call, Failure, ProviderError
from gateway.providers.translated import (
    Answer,
    Asked,
    Head,
    Outgoing,
    Sse,
    Unsayable,
    chat_usage,
    choice,
    cited,
    functions,
    head,
    more_arguments,
    parts,
    plain,
    tool_call,
    web_citation,
)

_FILTERS = {
    "search_domain_filter": "search_domain_filter",
    "search_recency_filter": "search_recency_filter",
}
_SLOW_DOWN = frozenset({"rate_limit_exceeded", "rate_limited"})


class OpenAIResponses(Sse):
    def request(self, call: Call, *, stream: bool) -> Outgoing:
        asked = Asked(call.body)
        instructions, items = _items(asked.take("messages"))
        body: dict[str, Any] = {"model": call.model, "input": items, "store": False}
        if instructions:
            body["instructions"] = instructions
        if (cap := asked.cap()) is not None:
            body["max_output_tokens"] = cap
        asked.rename(
            body,
            temperature="temperature",
            top_p="top_p",
            parallel_tool_calls="parallel_tool_calls",
            prompt_cache_key="prompt_cache_key",
        )
        text: dict[str, Any] = {}
        if (wanted := asked.take("response_format")) is not None:
            text["format"] = (
                {"type": "json_schema", **wanted["json_schema"]} if wanted["type"] == "json_schema" else wanted
            )
        asked.rename(text, verbosity="verbosity")
        if text:
            body["text"] = text
        if effort := asked.take("reasoning_effort"):
            body["reasoning"] = {"effort": effort}
        _tools(asked, body)
        asked.done()
        if stream:
            body["stream"] = True
        return Outgoing("/responses", body)

    def answer(self, said: dict[str, Any], call: Call) -> Answer:
        _check(said)
        text, refusal, thoughts = "", "", ""
        calls: list[dict[str, Any]] = []
        found = _Found()
        for item in said["output"]:
            found.add(item)
            kind = item["type"]
            if kind == "message":
                for part in item["content"]:
                    if part["type"] == "refusal":
                        refusal += part["refusal"]
                    elif part["type"] == "output_text":
                        found.note(part.get("annotations"), len(text))
                        text += part["text"]
            elif kind == "function_call":
                calls.append(tool_call(item["call_id"], item["name"], item["arguments"] or "{}"))
            elif kind == "reasoning":
                thoughts += "".join(part.get("text") or "" for part in item.get("summary") or ())
        message: dict[str, Any] = {"content": text if text or not calls else None, **found.fields()}
        if refusal:
            message["refusal"] = refusal
        if thoughts:
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        usage = said.get("usage")
        body = head(said.get("id"), said.get("model"), call).completion(
            [choice(message, _finish(said, bool(calls)))], _told(usage)
        )
        if said.get("service_tier"):
            body["service_tier"] = said["service_tier"]
        return Answer(body, usage, found.context())

    def reader(self, call: Call) -> _Reader:
        return _Reader(call)


def _items(given: Any) -> tuple[str, list[dict[str, Any]]]:
    """(instructions, input items)."""
    instructions: list[str] = []
    items: list[dict[str, Any]] = []
    for message in given:
        role, content = message["role"], message.get("content")
        if role in {"system", "developer"} and not items:
            instructions.append(plain(content))
        elif role == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": plain(content)})
        elif role in {"system", "developer", "user"}:
            items.append({"type": "message", "role": role, "content": [_input(part) for part in parts(content)]})
        elif role == "assistant":
            if text := plain(content):
                said = [{"type": "output_text", "text": text}]
                items.append({"type": "message", "role": role, "content": said})
            items += [_call_item(one) for one in message.get("tool_calls") or ()]
        else:
            raise Unsayable(f"messages of role {role}")
    return "\n".join(instructions), items


def _input(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return {"type": "input_text", "text": part["text"]}
    if kind == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
    if kind == "file":
        return {"type": "input_file", **part["file"]}
    raise Unsayable(str(kind))


def _call_item(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "type": "function_call",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }


def _tools(asked: Asked, body: dict[str, Any]) -> None:
    tools: list[dict[str, Any]] = [
        {"type": "function", "strict": False, "parameters": {"type": "object", "properties": {}}, **function}
        for function in functions(asked.take("tools"))
    ]
    filters: dict[str, Any] = {}
    asked.rename(filters, **_FILTERS)
    search = asked.take("web_search_options")
    if search is not None or filters:
        tool: dict[str, Any] = {"type": "web_search"}
        if (size := (search or {}).get("search_context_size")) is not None:
            tool["search_context_size"] = size
        if (place := ((search or {}).get("user_location") or {}).get("approximate")) is not None:
            tool["user_location"] = {"type": "approximate", **place}
        if filters:
            tool["filters"] = filters
        tools.append(tool)
    wanted = asked.take("tool_choice")
    if tools:
        body["tools"] = tools
        if wanted is not None:
            chosen = {"type": "function", "name": wanted["function"]["name"]} if isinstance(wanted, dict) else wanted
            body["tool_choice"] = chosen


class _Found:
    """What the items of an answer amount to beside its text."""

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self._notes: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def add(self, item: Mapping[str, Any]) -> None:
        self.items[item["type"]] += 1
        if item["type"] == "search_results":
            self._results += item.get("results") or ()

    def note(self, annotations: Any, offset: int = 0) -> None:
        for one in annotations or ():
            if not one.get("url"):
                continue
            start, end = one.get("start_index"), one.get("end_index")
            place = (None, None) if start is None or end is None else (start + offset, end + offset)
            self._notes.append(web_citation(one["url"], one.get("title"), *place))

    def fields(self) -> dict[str, Any]:
        """For the message, or for the closing chunk of a stream."""
        notes = self._notes or [web_citation(one["url"], one.get("title")) for one in self._results if one.get("url")]
        return {**cited(notes), **({"search_results": self._results} if self._results else {})}

    def context(self) -> Mapping[str, Any]:
        return {"output_items": dict(self.items)}


def _check(said: Mapping[str, Any]) -> None:
    """An answer with status 200 may still say that it failed."""
    if said.get("status") not in {"failed", "cancelled"}:
        return
    code = str((said.get("error") or {}).get("code") or "")
    failure = Failure.RATE_LIMITED if code in _SLOW_DOWN else Failure.UNAVAILABLE
    raise ProviderError(failure, sent=True, status=200, detail=f"the response says {said['status']}")


def _finish(said: Mapping[str, Any], called: bool) -> str:
    if said.get("status") == "incomplete":
        reason = (said.get("incomplete_details") or {}).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if called else "stop"


def _told(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0
    return chat_usage(
        usage.get("input_tokens") or 0, usage.get("output_tokens") or 0, cached=cached, reasoning=reasoning
    )


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Reader:
    """One stream. Items may be told while they grow or only whole in the closing event; each is handed on once."""

    def __init__(self, call: Call) -> None:
        self.usage: Any = None
        self.context: Mapping[str, Any] = NOTHING
        self.done = False
        self._call = call
        self._head: Head | None = None
        self._text = False
        self._calls: dict[str, int] = {}
        self._argued: set[str] = set()

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        kind = event["type"]
        if kind == "response.output_text.delta":
            self._text = True
            return [self._chunk({"content": event["delta"]})] if event["delta"] else []
        if kind == "response.function_call_arguments.delta":
            self._argued.add(event["item_id"])
            return [self._chunk(more_arguments(self._calls[event["item_id"]], event["delta"]))]
        if kind == "response.reasoning_summary_text.delta":
            return [self._chunk({"reasoning_content": event["delta"]})]
        if kind == "response.refusal.delta":
            return [self._chunk({"refusal": event["delta"]})]
        if kind == "response.output_item.added" and event["item"]["type"] == "function_call":
            return self._call_begun(event["item"])
        if kind == "response.output_item.done" and event["item"]["type"] == "function_call":
            return self._call_done(event["item"])
        if kind in {"response.created", "response.in_progress"} and self._head is None:
            return self._begin(event["response"])
        if kind in _TERMINAL:
            return self._end(event["response"])
        if kind == "error":
            return [_error(event.get("code") or (event.get("error") or {}).get("code"))]
        return []

    def end(self) -> Sequence[dict[str, Any]] | None:
        return None

    def _begin(self, response: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._head = head(response.get("id"), response.get("model"), self._call)
        return [self._head.chunk({"role": "assistant", "content": ""})]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        if self._head is None:
            self._head = head(None, None, self._call)
            delta = {"role": "assistant", **delta}
        return self._head.chunk(delta, finish)

    def _call_begun(self, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        number = self._calls[item["id"]] = len(self._calls)
        return [self._chunk({"tool_calls": [tool_call(item["call_id"], item["name"], "", number)]})]

    def _call_done(self, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        begun = [] if item["id"] in self._calls else self._call_begun(item)
        if item["id"] in self._argued:
            return begun
        self._argued.add(item["id"])
        return [*begun, self._chunk(more_arguments(self._calls[item["id"]], item["arguments"] or "{}"))]

    def _end(self, response: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.done = True
        if response.get("status") == "failed":
            return [_error((response.get("error") or {}).get("code"))]
        chunks: list[dict[str, Any]] = []
        found = _Found()
        for item in response.get("output") or ():
            found.add(item)
            if item["type"] == "function_call":
                chunks += self._call_done(item)
            for part in item.get("content") or () if item["type"] == "message" else ():
                if part["type"] == "output_text":
                    found.note(part.get("annotations"))
                    if not self._text:
                        chunks.append(self._chunk({"content": part["text"]}))
        self.usage = response.get("usage")
        self.context = found.context()
        chunks.append(self._chunk(found.fields(), _finish(response, bool(self._calls))))
        assert self._head is not None
        told = _told(self.usage)
        if isinstance(response.get("model"), str):
            self._head.model = response["model"]
        if told is not None:
            last = self._head.usage(told)
            chunks.append({**last, "service_tier": response["service_tier"]} if response.get("service_tier") else last)
        return chunks


def _error(code: object) -> dict[str, Any]:
    word = code if isinstance(code, str) else "server_error"
    return {"error": {"message": "the provider broke off", "type": word, "code": word}}
