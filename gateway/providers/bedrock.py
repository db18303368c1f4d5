"""Amazon Bedrock's Converse, one format for every model there: POST {base_url}/model/{model}/converse and …/converse-stream.

    system, developer ─▶ system      stopReason  end_turn, stop_sequence ─▶ stop · tool_use ─▶ tool_calls
    tool              ─▶ toolResult              max_tokens ─▶ length · guardrail_intervened, content_filtered ─▶ content_filter

The credential is an Amazon Bedrock API key, sent as a bearer token, or an access key that signs every request. Streams are not
server-sent events but binary frames:

    total length │ headers length │ CRC of these two │ headers (name, type 7, length, text) │ payload │ CRC of all before
         4                4                4                                                               4 bytes

Source: the API reference for Converse, ConverseStream, and the event stream encoding of the AWS SDKs.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from gateway.providers.base import NOTHING, Call
from gateway.providers.sigv4 import access_key, signed
from gateway.providers.sse import MAX_LINE, LineTooLong
from gateway.providers.translated import (
    Answer,
    Asked,
    Head,
    Outgoing,
    Parser,
    Signer,
    Sse,
    Unsayable,
    arguments_of,
    attached,
    chat_usage,
    choice,
    functions,
    head,
    more_arguments,
    parts,
    plain,
    schema_of,
    tool_call,
)

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
}


_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class BedrockConverse(Sse):
    """An API key of Bedrock is a bearer token; an access key, `ID:SECRET` or `ID:SECRET:TOKEN`, signs each request."""

    request_id = "x-amzn-requestid"
    stream_type = "application/vnd.amazon.eventstream"

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {} if api_key and ":" in api_key else super().headers(api_key)

    def signer(self, base_url: str, api_key: str | None) -> Signer | None:
        if api_key is None or ":" not in api_key:
            return None
        key = access_key(api_key)
        region = _REGION.search(urlsplit(base_url).hostname or "")
        if region is None:
            raise ValueError("a signature names the region: write https://bedrock-runtime.REGION.amazonaws.com")

        def sign(url: str, body: bytes) -> Mapping[str, str]:
            return signed(key, url, body, region=region[1], service="bedrock", at=datetime.now(UTC))

        return sign

    def parser(self) -> Parser:
        return EventFrames()

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        asked = Asked(call.body)
        system, messages = _messages(asked.take("messages"))
        body: dict[str, Any] = {"messages": messages}
        if system:
            body["system"] = system
        settings: dict[str, Any] = {}
        asked.rename(settings, temperature="temperature", topP="top_p")
        if (cap := asked.cap()) is not None:
            settings["maxTokens"] = cap
        if stops := asked.stops():
            settings["stopSequences"] = stops
        if settings:
            body["inferenceConfig"] = settings
        wanted = asked.take("response_format")
        kind, schema = schema_of(wanted)
        if schema is not None:
            described = {"schema": orjson.dumps(schema).decode(), "name": wanted["json_schema"].get("name") or "answer"}
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}
        elif kind != "text":
            raise Unsayable(f"response_format {kind}")
        _tools(asked, body)
        asked.done()
        verb = "converse-stream" if stream else "converse"
        return Outgoing(f"/model/{quote(call.model, safe='')}/{verb}", body)

    def answer(self, said: dict[str, Any], call: Call) -> Answer:
        text, thoughts = "", ""
        calls: list[dict[str, Any]] = []
        for block in said["output"]["message"]["content"]:
            if "text" in block:
                text += block["text"]
            elif "toolUse" in block:
                use = block["toolUse"]
                calls.append(tool_call(use["toolUseId"], use["name"], orjson.dumps(use["input"]).decode()))
            elif "reasoningContent" in block:
                thoughts += (block["reasoningContent"].get("reasoningText") or {}).get("text") or ""
        message: dict[str, Any] = {"content": text if text or not calls else None}
        if thoughts:
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        usage = said.get("usage")
        finish = _FINISH.get(said["stopReason"], "stop")
        return Answer(head(None, None, call).completion([choice(message, finish)], _told(usage)), usage)

    def reader(self, call: Call) -> _Reader:
        return _Reader(call)


def _messages(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in given:
        role = message["role"]
        if role in {"system", "developer"}:
            if text := plain(message.get("content")):
                system.append({"text": text})
            continue
        if role == "tool":
            content = [{"text": plain(message.get("content")) or " "}]
            blocks: list[dict[str, Any]] = [{"toolResult": {"toolUseId": message["tool_call_id"], "content": content}}]
        elif role in {"user", "assistant"}:
            blocks = [_block(part) for part in parts(message.get("content"))]
            for call in message.get("tool_calls") or ():
                name = call["function"]["name"]
                blocks.append({"toolUse": {"toolUseId": call["id"], "name": name, "input": arguments_of(call)}})
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
        return {"text": part.get("text") or part["refusal"]}
    media, data, name = attached(part)
    if media.startswith("image/"):
        return {"image": {"format": media.removeprefix("image/"), "source": {"bytes": data}}}
    if media in _DOCUMENTS:
        # Names there may hold little more than letters and digits.
        plain_name = "".join(letter if letter.isalnum() else " " for letter in name or "document").strip()
        return {"document": {"format": _DOCUMENTS[media], "name": plain_name or "document", "source": {"bytes": data}}}
    raise Unsayable(media)


def _tools(asked: Asked, body: dict[str, Any]) -> None:
    tools = []
    for function in functions(asked.take("tools")):
        spec: dict[str, Any] = {
            "name": function["name"],
            "inputSchema": {"json": function.get("parameters") or {"type": "object"}},
        }
        if function.get("description"):
            spec["description"] = function["description"]
        tools.append({"toolSpec": spec})
    wanted = asked.take("tool_choice")
    if not tools or wanted == "none":
        return
    config: dict[str, Any] = {"tools": tools}
    if isinstance(wanted, dict):
        config["toolChoice"] = {"tool": {"name": wanted["function"]["name"]}}
    elif wanted == "required":
        config["toolChoice"] = {"any": {}}
    body["toolConfig"] = config


def _told(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    cached = usage.get("cacheReadInputTokens") or 0
    sent = (usage.get("inputTokens") or 0) + cached + (usage.get("cacheWriteInputTokens") or 0)
    return chat_usage(sent, usage.get("outputTokens") or 0, cached=cached)


class _Reader:
    """One stream: `messageStop` ends the text, `metadata` has the usage; mostly in this order, and the start may be missing."""

    def __init__(self, call: Call) -> None:
        self.usage: Any = None
        self.context: Mapping[str, Any] = NOTHING
        self.done = False
        self._head: Head = head(None, None, call)
        self._begun = False
        self._stopped = False
        self._stated: Any = None
        self._open: int | None = None
        self._argued = False
        self._calls = 0

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        kind, said = next(iter(event.items()))
        chunks = self._chunks(kind, said)
        if chunks and not self._begun and "error" not in chunks[0]:
            self._begun = True
            chunks = [self._head.chunk({"role": "assistant", "content": ""}), *chunks]
        return chunks

    def _chunks(self, kind: str, said: Any) -> list[dict[str, Any]]:
        if kind == "contentBlockDelta":
            return self._delta(said["contentBlockIndex"], said["delta"])
        if kind == "contentBlockStart":
            return self._start(said["contentBlockIndex"], said.get("start") or {})
        if kind == "contentBlockStop":
            return self._stop(said["contentBlockIndex"])
        if kind == "messageStop":
            self._stopped = True
            return [self._head.chunk({}, _FINISH.get(said["stopReason"], "stop")), *self._told()]
        if kind == "metadata":
            self._stated = said.get("usage")
            self.done = self._stopped and self._stated is None
            return self._told()
        if kind.endswith("Exception"):
            return [{"error": {"message": "the provider broke off", "type": _word(kind), "code": _word(kind)}}]
        return []

    def _told(self) -> list[dict[str, Any]]:
        """The closing chunk, once the text has ended and the usage is known."""
        if not self._stopped or self._stated is None:
            return []
        self.done = True
        self.usage = self._stated
        return [self._head.usage(_told(self.usage) or {})]

    def end(self) -> Sequence[dict[str, Any]] | None:
        """Some models state no usage: the answer is complete all the same."""
        self.done = self._stopped
        return [] if self._stopped else None

    def _start(self, index: int, start: dict[str, Any]) -> list[dict[str, Any]]:
        if "toolUse" not in start:
            return []
        self._open, self._argued = index, False
        self._calls += 1
        use = start["toolUse"]
        return [self._head.chunk({"tool_calls": [tool_call(use["toolUseId"], use["name"], "", self._calls - 1)]})]

    def _delta(self, index: int, delta: dict[str, Any]) -> list[dict[str, Any]]:
        if "text" in delta:
            return [self._head.chunk({"content": delta["text"]})]
        if "toolUse" in delta and index == self._open:
            self._argued = self._argued or bool(delta["toolUse"]["input"])
            return [self._head.chunk(more_arguments(self._calls - 1, delta["toolUse"]["input"]))]
        thought = (delta.get("reasoningContent") or {}).get("text")
        return [self._head.chunk({"reasoning_content": thought})] if thought else []

    def _stop(self, index: int) -> list[dict[str, Any]]:
        if index != self._open:
            return []
        self._open = None
        return [] if self._argued else [self._head.chunk(more_arguments(self._calls - 1, "{}"))]


def _word(kind: str) -> str:
    """throttlingException → throttling_exception"""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)


_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_STRING = 7


class EventFrames:
    """Binary frames, incrementally. A payload comes out as `{"<event type>": payload}`; a frame whose sums are wrong as no
    JSON, so that whoever reads it breaks off."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._tail += data
        return list(self._frames())

    def rest(self) -> list[bytes]:
        return [bytes(self._tail)] if self._tail else []

    def _frames(self) -> Iterator[bytes]:
        while len(self._tail) >= _PRELUDE.size:
            total, headers, checked = _PRELUDE.unpack_from(self._tail)
            if checked != zlib.crc32(self._tail[:8]) or headers + 16 > total:
                self._tail.clear()
                yield b"no frame"
                return
            if total > MAX_LINE:
                raise LineTooLong(MAX_LINE)
            if len(self._tail) < total:
                return
            frame = bytes(self._tail[:total])
            del self._tail[:total]
            if _CRC.unpack_from(frame, total - 4)[0] != zlib.crc32(frame[:-4]):
                yield b"no frame"
                return
            names = dict(_headers(frame[12 : 12 + headers]))
            kind = names.get(":event-type") or names.get(":exception-type") or "unknown"
            yield b'{"%b":%b}' % (kind.encode(), frame[12 + headers : -4] or b"{}")


def _headers(block: bytes) -> Iterator[tuple[str, str]]:
    """The headers up to the first one that is no text: the ones that matter come first and are."""
    place = 0
    while place < len(block):
        name = block[place + 1 : place + 1 + block[place]].decode("utf-8", "replace")
        place += 1 + block[place]
        if place + 3 > len(block) or block[place] != _STRING:
            return
        size = int.from_bytes(block[place + 1 : place + 3])
        yield name, block[place + 3 : place + 3 + size].decode("utf-8", "replace")
        place += 3 + size
