"""Reads a folder of provider answers: `<provider>/**/<name>.json` and, for the same answer as a stream, `<name>.chunks.txt`.

A stream file has one JSON event per line, in the vendor's own format. What is handed out is what a gateway would hold at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A usage object with what is needed to read it. `stated` are the raw numbers that must add up."""

    name: str
    provider: str
    flavor: str
    model: str
    usage: dict[str, Any]
    context: dict[str, Any] = field(default_factory=dict)
    stream: bool = False


def answers(folder: Path) -> Iterator[Answer]:
    """Every answer of the folder that states a usage."""
    for path in sorted(folder.rglob("*.json")):
        yield from _answer(folder, path, json.loads(path.read_text("utf-8")), stream=False)
    for path in sorted(folder.rglob("*.chunks.txt")):
        events = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        for body in _bodies(events):
            yield from _answer(folder, path, body, stream=True)


def _answer(folder: Path, path: Path, body: Any, *, stream: bool) -> Iterator[Answer]:
    place = path.relative_to(folder)
    provider = {"amazon-bedrock": "aws", "openai-compatible": "xai"}.get(place.parts[0], place.parts[0])
    if provider in ("alibaba", "moonshotai"):
        provider = "vllm"  # no vendors of ours: plain OpenAI shape
    if not isinstance(body, dict):
        return
    usage = body.get("usageMetadata") or body.get("usage") or body.get("meta") or body.get("timings")
    if "eval_count" in body:  # Ollama states its counts beside the message
        usage = {name: value for name, value in body.items() if name.endswith("_count")}
    if not isinstance(usage, dict):
        return
    model = body.get("modelVersion") or body.get("model") or path.stem
    items: dict[str, int] = {}
    for item in body.get("output") or []:
        if isinstance(item, dict):
            items[item.get("type", "")] = items.get(item.get("type", ""), 0) + 1
    context: dict[str, Any] = {"output_items": items} if items else {}
    for candidate in body.get("candidates") or []:
        if candidate.get("groundingMetadata"):
            context["groundingMetadata"] = candidate["groundingMetadata"]
    yield Answer(str(place), provider, _flavor(provider, place, body, usage), model, usage, context, stream)


def _flavor(provider: str, place: Path, body: dict[str, Any], usage: dict[str, Any]) -> str:
    if "usageMetadata" in body:
        return "generateContent"
    if provider == "aws":
        return "converse"
    if provider == "anthropic":
        return "messages"
    if provider == "cohere":
        return "rerank" if "search_units" in usage.get("billed_units", {}) else "v2"
    for flavor in ("images", "audio", "realtime", "embeddings"):
        if flavor in place.parts:
            return flavor
    return "responses" if "input_tokens" in usage else "chat"


def _bodies(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers a file of stream events amounts to: the last word of each on its usage."""
    message: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            if message is not None and message.get("closed"):
                yield message
            message = dict(event["message"])
        elif kind == "message_delta" and message is not None:
            # The closing event states running totals; what it leaves out stands as it was at the start.
            message["usage"] = {**message.get("usage", {}), **(event.get("usage") or {})}
            message["model"] = _served(event, message)
            message["closed"] = True
        elif kind in ("response.completed", "response.incomplete"):
            yield event["response"]
        elif kind == "message-end":  # Cohere
            yield {"usage": event["delta"]["usage"], "model": "command"}
        elif "metadata" in event and isinstance(event["metadata"], dict):  # Bedrock
            yield {"usage": event["metadata"].get("usage"), "model": "bedrock"}
        elif kind is None and (event.get("usage") or event.get("usageMetadata") or event.get("timings")):
            last = event
    if message is not None:
        yield message
    if last is not None:
        yield last


def _served(event: dict[str, Any], message: dict[str, Any]) -> Any:
    return (event.get("delta") or {}).get("model") or message.get("model")
