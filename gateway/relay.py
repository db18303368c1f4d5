"""Between an upstream's stream and the client's: what is handed on, what is kept back, what is remembered.

    upstream payloads ──▶ Relay.feed ──▶ bytes for the client
                             ├ usage frames are taken out (last one wins, never a sum)
                             ├ the usage we asked for and the client did not is stripped from the other frames
                             ├ the first delta has a role; a choice that called tools ends with `tool_calls`
                             └ what was generated is remembered, so that an answer cut short can still be counted

Frames pass as the bytes that came; only those that must change are parsed. Pure: no sockets, no clock.
"""

from __future__ import annotations

from typing import Any

import orjson

#: Remembered payloads are folded into a plain text count beyond this, so that a long answer does not pile up.
_KEPT_BYTES = 256 * 1024

#: Where models write: answers, two vendors' spellings of reasoning, refusals.
_WRITTEN = ("content", "reasoning_content", "reasoning", "refusal")


class UpstreamSaidError(Exception):
    """The upstream sent an error object inside its stream. `code` is its machine code, if it had one."""

    def __init__(self, code: str | None) -> None:
        super().__init__(code)
        self.code = code


class Relay:
    """One stream. `include_usage` is what the client asked for."""

    __slots__ = ("_called", "_client_usage", "_kept", "_kept_bytes", "_text", "frames", "last", "model", "usage")

    def __init__(self, *, include_usage: bool) -> None:
        self._client_usage = include_usage
        self._called: set[int] = set()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text: list[str] = []
        #: Frames with content that came from the upstream.
        self.frames = 0
        #: The provider's usage object as it came, None while there was none (an explicit zero is not none).
        self.usage: Any = None
        #: Identity of the answer for a frame of our own: id, created, model.
        self.last: dict[str, Any] = {}
        self.model: str | None = None

    def feed(self, payloads: list[bytes]) -> bytes:
        """The bytes to send for these payloads; empty when none of them is for the client. Raises UpstreamSaidError."""
        out: list[bytes] = []
        for payload in payloads:
            frame = payload
            if not self.frames or b'"usage"' in payload or b'"error"' in payload or b'"tool_calls"' in payload:
                changed = self._look(payload)
                if changed is None:
                    continue
                frame = changed
            elif self._called and b'"finish_reason"' in payload:
                frame = self._finish(payload)
            self.frames += 1
            self._keep(payload)
            out.append(b"data: " + frame + b"\n\n")
        return b"".join(out)

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """The client's own final usage chunk; empty if it did not ask for one."""
        if not self._client_usage:
            return b""
        chunk = {**self.last, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    def text(self) -> str:
        """Everything generated so far: content, reasoning, refusals and tool calls, for counting only."""
        self._fold()
        return "".join(self._text)

    # -- frames that need a look ------------------------------------------------------------------------------------

    def _look(self, payload: bytes) -> bytes | None:
        if self.frames and b'"usage":null' in payload and not self._wants_parsing(payload):
            if self._client_usage:
                return payload
            stripped = payload.replace(b',"usage":null', b"", 1)
            if b'"usage"' not in stripped:
                return stripped
        chunk = orjson.loads(payload)
        if chunk.get("error") is not None:
            error = chunk["error"]
            code = error.get("code") or error.get("type") if isinstance(error, dict) else None
            raise UpstreamSaidError(code if isinstance(code, str) else None)
        self._remember(chunk)
        choices = chunk.get("choices")
        usage = chunk.pop("usage", None)
        if usage is not None:
            self.usage = usage
            if not choices:
                return None
        if not self.frames:
            _give_role(choices)
        self._note_tools(choices)
        if self._client_usage:
            chunk["usage"] = None
        return orjson.dumps(chunk)

    def _wants_parsing(self, payload: bytes) -> bool:
        return b'"error"' in payload or b'"tool_calls"' in payload or bool(self._called)

    def _remember(self, chunk: dict[str, Any]) -> None:
        self.last = {
            key: chunk[key] for key in ("id", "created", "model", "system_fingerprint", "service_tier") if key in chunk
        }
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self.model = model

    def _note_tools(self, choices: Any) -> None:
        for choice in choices or ():
            index = choice.get("index", 0)
            delta = choice.get("delta")
            if isinstance(delta, dict) and delta.get("tool_calls"):
                self._called.add(index)
                for call in delta["tool_calls"]:
                    function = call.get("function") if isinstance(call, dict) else None
                    if isinstance(function, dict) and not isinstance(function.get("arguments", ""), str):
                        function["arguments"] = orjson.dumps(function["arguments"]).decode()
            if index in self._called and choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "tool_calls"

    def _finish(self, payload: bytes) -> bytes:
        chunk = orjson.loads(payload)
        self._note_tools(chunk.get("choices"))
        return orjson.dumps(chunk)

    # -- what was generated -----------------------------------------------------------------------------------------

    def _keep(self, payload: bytes) -> None:
        self._kept.append(payload)
        self._kept_bytes += len(payload)
        if self._kept_bytes > _KEPT_BYTES:
            self._fold()

    def _fold(self) -> None:
        for payload in self._kept:
            for choice in orjson.loads(payload).get("choices") or ():
                delta = choice.get("delta")
                if isinstance(delta, dict):
                    self._text += generated(delta)
        self._kept.clear()
        self._kept_bytes = 0


def generated(message: dict[str, Any]) -> list[str]:
    """Every string of a delta or message that the model wrote."""
    found = [
        message[key]
        for key in ("content", "reasoning_content", "reasoning", "refusal")
        if isinstance(message.get(key), str)
    ]
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found += [function[key] for key in ("name", "arguments") if isinstance(function.get(key), str)]
    return found


def _give_role(choices: Any) -> None:
    for choice in choices or ():
        delta = choice.get("delta")
        if isinstance(delta, dict):
            delta.setdefault("role", "assistant")
