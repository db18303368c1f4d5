"""From a request, in the shape of chat completions, to what will be said: the same in every dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.providers.scripted.schema import smallest
from gateway.providers.scripted.script import Choice, Engine, Faults, Rejected, Step, read_directives
from gateway.providers.scripted.text import compose, count_tokens, parts, pieces


def asked_for(engine: Engine, request: Mapping[str, Any]) -> tuple[Faults, str]:
    """The directives of a request, where they are obeyed, and the prompt without them."""
    prompt = _last_user_text(request["messages"])
    return read_directives(prompt) if engine.faults else (Faults(), prompt)


def usages(
    faults: Faults, sent: int, answered: int, write: Callable[[int, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The usage objects to send, in order, as `write` puts the two counts down."""
    if faults.usage == "none":
        return []
    if faults.usage == "zero":
        return [write(0, 0)]
    if faults.usage == "absurd":
        return [write(sent, 10**18)]
    if faults.usage == "twice":
        return [write(sent, answered // 2), write(sent, answered)]
    return [write(sent, answered)]


def in_one_piece(body: bytes, tokens: int, told: Sequence[Mapping[str, Any]], faults: Faults) -> list[Step]:
    middle = len(body) // 2
    if faults.cut is not None:
        return [Step(body[:middle])]
    last = Step(
        body[middle:], delay=faults.stall, tokens=tokens, usage=told[-1] if told and not faults.garbage else None
    )
    if faults.stall:
        return [Step(body[:middle]), last]
    return [Step(body, tokens=tokens, usage=last.usage)]


def check_chat(request: Mapping[str, Any]) -> None:
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Rejected("you must provide a model parameter", "model")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Rejected("'messages' must be a non-empty array of objects.", "messages")
    for name, least, most in (
        ("n", 1, 128),
        ("max_tokens", 1, None),
        ("max_completion_tokens", 1, None),
        ("top_logprobs", 0, 20),
    ):
        value = request.get(name)
        if value is not None and (type(value) is not int or value < least or (most is not None and value > most)):
            raise Rejected(f"'{name}' is out of range.", name, code="integer_out_of_range")
    if request.get("top_logprobs") and not request.get("logprobs"):
        raise Rejected("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    if request.get("stream_options") is not None and not isinstance(request["stream_options"], dict):
        raise Rejected("'stream_options' must be an object.", "stream_options")
    if request.get("stream_options") is not None and request.get("stream") is not True:
        raise Rejected("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    stop = request.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        raise Rejected("'stop' takes at most four sequences.", "stop")


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return " ".join(
                str(part["text"]) for part in parts(message) if part.get("type") == "text" and "text" in part
            )
    return ""


def choice_of(request: Mapping[str, Any], prompt: str, index: int, tokens: int | None) -> Choice:
    limits = [limit for limit in (request.get("max_completion_tokens"), request.get("max_tokens")) if limit is not None]
    limit = min(limits, default=None)
    called = _called(request, prompt)
    if called is not None:
        name = str(called["name"])
        arguments = pieces(orjson.dumps(smallest(called.get("parameters") or {"type": "object"})).decode())
        room = None if limit is None else max(0, limit - count_tokens(name))
        if room is not None and len(arguments) > room:
            return Choice(arguments[:room], "length", tool=name)
        return Choice(arguments, "tool_calls", tool=name)
    found = _document(request, prompt) or compose(request["model"], prompt, request.get("seed"), index, tokens)
    found = _stopped(found, request.get("stop"))
    if limit is not None and len(found) > limit:
        return Choice(found[:limit], "length")
    return Choice(found, "stop")


def _called(request: Mapping[str, Any], prompt: str) -> Mapping[str, Any] | None:
    """The function to call, if any: a named one, the first one when one is required, or one whose name the user wrote."""
    functions: list[dict[str, Any]] = [
        tool["function"] for tool in request.get("tools") or () if isinstance(tool.get("function"), dict)
    ]
    choice = request.get("tool_choice") or "auto"
    if choice == "none" or not functions:
        return None
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        named = next((function for function in functions if function.get("name") == wanted), None)
        if named is None:
            raise Rejected("'tool_choice' names a function that 'tools' does not declare.", "tool_choice")
        return named
    asked = request["messages"][-1].get("role") == "user"
    mentioned = next((function for function in functions if asked and str(function.get("name")) in prompt), None)
    return mentioned or (functions[0] if choice == "required" else None)


def _document(request: Mapping[str, Any], prompt: str) -> list[str] | None:
    """The JSON that `response_format` asks for, as tokens."""
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_object":
        return pieces(orjson.dumps({"practice": True, "topic": prompt[:20], "answer": "연습용 답변입니다."}).decode())
    if wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema")
        if not isinstance(schema, dict):
            raise Rejected("'response_format.json_schema.schema' is missing.", "response_format")
        return pieces(orjson.dumps(smallest(schema)).decode())
    return None


def _stopped(found: list[str], stop: object) -> list[str]:
    sequences = [one for one in ([stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []) if one]
    text = "".join(found)
    ends = [place for place in (text.find(one) for one in sequences) if place >= 0]
    return pieces(text[: min(ends)]) if ends else found
