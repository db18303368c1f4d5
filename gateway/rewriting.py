"""Answers on their way back: looked at by the output guard, and with masked values put back in. Only where one of both is on.

    upstream payloads ─▶ Rewriter ─▶ Relay ─▶ client
                            └ per choice and field a Pipe: OutputGuard ─▶ Restorer

The guard sees what the model wrote; what the Restorer puts in was the caller's own before it was masked. Both hold back a bounded
end of the text until it is certain; what is held back goes out with the frame that ends its choice. A choice the guard blocks
ends there, with `content_filter`; the upstream is still read to its usage. Token probabilities spell a text out once more, so
they are left out of an answer that is rewritten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.evidence.records import Item
from policies.decision import Action, band, strictest_action
from policies.masking import OutputGuard, Restorer, Verdict

#: Where models write text of their own: answers, two spellings of reasoning, refusals.
_WRITTEN = ("content", "reasoning_content", "reasoning", "refusal")

#: Of a chunk of our own: what it has in common with those of the upstream.
_HEAD = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


@dataclass(slots=True)
class Pipe:
    """What one text passes through, in order."""

    guard: OutputGuard | None
    restorer: Restorer | None

    @property
    def blocked(self) -> bool:
        return self.guard is not None and self.guard.blocked

    def feed(self, text: str) -> str:
        if self.guard is not None:
            text = self.guard.feed(text)
        return text if self.restorer is None else self.restorer.feed(text)

    def finish(self) -> str:
        text = "" if self.guard is None else self.guard.finish()
        return text if self.restorer is None else self.restorer.feed(text) + self.restorer.finish()


class Rewriter:
    """One answer. `make` gives the pipe of one text; its argument says whether that text is JSON."""

    def __init__(self, make: Callable[[bool], Pipe]) -> None:
        self._make = make
        self._pipes: dict[int, dict[tuple[str, int], Pipe]] = {}
        self._ended: set[int] = set()
        self._head: dict[str, Any] = {}

    def payloads(self, payloads: list[bytes]) -> list[bytes]:
        """What goes on of these stream payloads, now that they have come."""
        out: list[bytes] = []
        for payload in payloads:
            chunk = orjson.loads(payload)
            choices = chunk.get("choices") if isinstance(chunk, dict) else None
            if not isinstance(choices, list) or not choices:
                out.append(payload)
                continue
            self._head = {name: chunk[name] for name in _HEAD if name in chunk}
            chunk["choices"] = [choice for choice in choices if isinstance(choice, dict) and self._delta(choice)]
            if chunk["choices"] or chunk.get("usage") is not None:
                out.append(orjson.dumps(chunk))
        return out

    def end(self) -> list[bytes]:
        """What was still held back, where the upstream ended without ending its choices."""
        choices = []
        for index in [index for index in self._pipes if index not in self._ended]:
            choice: dict[str, Any] = {"index": index, "delta": {}, "finish_reason": None}
            self._flush(index, choice, choice["delta"])
            if choice["delta"] or choice["finish_reason"]:
                choices.append(choice)
        return [orjson.dumps({**self._head, "choices": choices})] if choices else []

    def whole(self, body: bytes) -> bytes:
        """A whole answer, rewritten."""
        answer = orjson.loads(body)
        for number, choice in enumerate(answer["choices"]):
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            index = choice.get("index", number)
            choice.pop("logprobs", None)
            for holder, name, key in _texts(message):
                pipe = self._pipe(index, key)
                holder[name] = pipe.feed(holder[name]) + pipe.finish()
            if any(pipe.blocked for pipe in self._pipes.get(index, {}).values()):
                choice["finish_reason"] = "content_filter"
        return orjson.dumps(answer)

    def items(self) -> tuple[Action, int, tuple[Item, ...]]:
        """(the strictest action, characters that passed the guard, what it found), for the record."""
        verdicts = self._verdicts()
        found: Counter[tuple[str, str, Any, Action]] = Counter()
        for verdict in verdicts:
            for kind, rule, score, action in verdict.findings:
                found[kind, rule, band(score) or "possible", action] += 1
        items = tuple(
            Item(kind, rule, sure, done, newest=True, count=count)
            for (kind, rule, sure, done), count in sorted(found.items())
        )
        return strictest_action(*(v.action for v in verdicts)), sum(v.passed for v in verdicts), items

    @property
    def unresolved(self) -> int:
        """How many placeholders the model made up, or bent beyond recognition: they are left as it wrote them."""
        pipes = [pipe for of_choice in self._pipes.values() for pipe in of_choice.values()]
        return len({token for pipe in pipes if pipe.restorer is not None for token in pipe.restorer.unresolved})

    # -- inside -------------------------------------------------------------------------------------------------------

    def _verdicts(self) -> list[Verdict]:
        pipes = [pipe for of_choice in self._pipes.values() for pipe in of_choice.values()]
        return [pipe.guard.verdict() for pipe in pipes if pipe.guard is not None]

    def _delta(self, choice: dict[str, Any]) -> bool:
        """Rewrite one choice of a chunk; whether anything of it is left to send."""
        index = choice.get("index", 0)
        if index in self._ended:
            return False
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return True
        choice.pop("logprobs", None)
        given = bool(delta)
        for holder, name, key in _texts(delta):
            written = holder[name]
            holder[name] = self._pipe(index, key).feed(written)
            if written and not holder[name] and name in _WRITTEN:
                del holder[name]
        finished = choice.get("finish_reason") is not None
        if finished:
            self._flush(index, choice, delta)
            self._ended.add(index)
        elif any(pipe.blocked for pipe in self._pipes.get(index, {}).values()):
            choice["finish_reason"] = "content_filter"
            self._ended.add(index)
            return True
        return bool(delta) or finished or not given

    def _flush(self, index: int, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        for (name, number), pipe in self._pipes.get(index, {}).items():
            rest = pipe.finish()
            if pipe.blocked:
                choice["finish_reason"] = "content_filter"
            if not rest:
                continue
            if name in _WRITTEN:
                delta[name] = (delta.get(name) or "") + rest
            elif name == "function_call":
                call = delta.setdefault("function_call", {})
                call["arguments"] = (call.get("arguments") or "") + rest
            else:
                kind, field = name.split(".")
                delta.setdefault("tool_calls", []).append({"index": number, kind: {field: rest}})

    def _pipe(self, index: int, key: tuple[str, int]) -> Pipe:
        pipes = self._pipes.setdefault(index, {})
        pipe = pipes.get(key)
        if pipe is None:
            pipe = pipes[key] = self._make(key[0] not in _WRITTEN)
        return pipe


def _texts(message: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, tuple[str, int]]]:
    """(object, field, which text it belongs to) of every text in a message or a delta."""
    for name in _WRITTEN:
        if isinstance(message.get(name), str):
            yield message, name, (name, 0)
    call = message.get("function_call")
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        yield call, "arguments", ("function_call", 0)
    for number, called in enumerate(message.get("tool_calls") or ()):
        if not isinstance(called, dict):
            continue
        for kind, field in (("function", "arguments"), ("custom", "input")):
            inner = called.get(kind)
            if isinstance(inner, dict) and isinstance(inner.get(field), str):
                yield inner, field, (f"{kind}.{field}", called.get("index", number))
