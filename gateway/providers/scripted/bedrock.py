"""Amazon Bedrock's Converse and ConverseStream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.providers.scripted.foreign import Foreign, Telling, function, given

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_STRING = 7


class Converse(Foreign):
    request_id = "x-amzn-requestid"
    stream_type = "application/vnd.amazon.eventstream"
    garbage = b"\x00\x00\x00\x20garbage where a frame should be."

    def __init__(self, *, streams: bool) -> None:
        self._streams = streams

    def streaming(self, request: Mapping[str, Any]) -> bool:
        return self._streams

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": part["text"]} for part in request.get("system") or ()
        ]
        for message in request["messages"]:
            messages += _turn(message)
        settings = request.get("inferenceConfig") or {}
        config = request.get("toolConfig") or {}
        wanted = config.get("toolChoice") or {}
        form = ((request.get("outputConfig") or {}).get("textFormat") or {}).get("structure")
        named = {"type": "function", "function": {"name": (wanted.get("tool") or {}).get("name")}}
        return given(
            model=request["model"],
            messages=messages,
            max_tokens=settings.get("maxTokens"),
            stop=settings.get("stopSequences"),
            tools=[
                function(
                    tool["toolSpec"]["name"],
                    tool["toolSpec"].get("description"),
                    tool["toolSpec"]["inputSchema"]["json"],
                )
                for tool in config.get("tools") or ()
            ],
            tool_choice=named if "tool" in wanted else "required" if "any" in wanted else None,
            response_format=form
            and {"type": "json_schema", "json_schema": {"schema": orjson.loads(form["jsonSchema"]["schema"])}},
        )

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        return {"inputTokens": sent, "outputTokens": answered, "totalTokens": sent + answered}

    def whole(self, telling: Telling) -> dict[str, Any]:
        block: dict[str, Any] = {"text": telling.text}
        if telling.choice.tool is not None:
            arguments = orjson.loads(telling.text) if telling.choice.finish == "tool_calls" else {}
            block = {"toolUse": {**_use(telling), "input": arguments}}
        return {
            "output": {"message": {"role": "assistant", "content": [block]}},
            "stopReason": _STOP[telling.choice.finish],
            "metrics": {"latencyMs": 1},
            **({} if telling.usage is None else {"usage": telling.usage}),
        }

    def begin(self, telling: Telling) -> bytes:
        started = frame("messageStart", {"role": "assistant"})
        if telling.choice.tool is None:
            return started
        return started + frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": _use(telling)}})

    def piece(self, telling: Telling, text: str) -> bytes:
        delta: dict[str, Any] = {"text": text}
        if telling.choice.tool is not None:
            delta = {"toolUse": {"input": text}}
        return frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        yield frame("contentBlockStop", {"contentBlockIndex": 0}), None
        yield frame("messageStop", {"stopReason": _STOP[telling.choice.finish]}), None
        stated = {} if telling.usage is None else {"usage": telling.usage}
        yield frame("metadata", {**stated, "metrics": {"latencyMs": 1}}), telling.usage

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"message": message}


def frame(kind: str, event: Mapping[str, Any]) -> bytes:
    """One event as it stands on the wire: lengths and their sum, headers, payload, the sum of it all."""
    texts = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + bytes([_STRING]) + len(value).to_bytes(2) + value.encode()
        for name, value in texts.items()
    )
    payload = orjson.dumps(event)
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def _use(telling: Telling) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_{telling.id}", "name": telling.choice.tool}


def _turn(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    calls = []
    for block in message["content"]:
        if "text" in block:
            said.append({"type": "text", "text": block["text"]})
        elif "toolResult" in block:
            result = block["toolResult"]
            found.append({"role": "tool", "content": "".join(part.get("text") or "" for part in result["content"])})
        elif "toolUse" in block:
            used = block["toolUse"]
            calls.append({"function": {"name": used["name"], "arguments": orjson.dumps(used["input"]).decode()}})
        else:
            said.append({"type": "image_url", "image_url": {"url": "data:"}})
    if said or calls:
        found.append(given(role=message["role"], content=said, tool_calls=calls))
    return found
