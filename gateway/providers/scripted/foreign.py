"""What the dialects that are not chat completions have in common: one answer, said in a vendor's own format.

vendor's request ─▶ read ─▶ chat request ─▶ composing ─▶ begin, piece, piece, …, end   (or whole)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.providers.scripted.composing import asked_for, check_chat, choice_of, in_one_piece, usages
from gateway.providers.scripted.script import Choice, Engine, Faults, Rejected, Script, Step
from gateway.providers.scripted.text import count_prompt_tokens


@dataclass(frozen=True, slots=True)
class Telling:
    """One answer on its way out. `usages` are the vendor's usage objects to send; the last one is meant."""

    id: str
    model: str
    created: int
    choice: Choice
    usages: Sequence[Mapping[str, Any]]

    @property
    def text(self) -> str:
        return "".join(self.choice.pieces)

    @property
    def usage(self) -> Mapping[str, Any] | None:
        return self.usages[-1] if self.usages else None


class Foreign:
    """A vendor's format. Whatever goes wrong is said in it, too."""

    request_id = "x-request-id"
    stream_type = "text/event-stream; charset=utf-8"
    garbage = b'data: {"type":"garbage","del\n\n'

    def __call__(self, engine: Engine, request: dict[str, Any]) -> Script:
        identity = engine.new_id()
        headers = {self.request_id: f"req_{identity}"}
        try:
            chat = self.read(request)
            check_chat(chat)
            faults, prompt = asked_for(engine, chat)
            if faults.fail is not None:
                return self._refused(
                    request, headers, faults.fail, "The practice upstream was told to fail.", faults.slow
                )
            choice = choice_of(chat, prompt, 0, faults.chunks)
            sent = count_prompt_tokens(chat)
        except Rejected as rejected:
            return self._refused(request, headers, rejected.status, rejected.message)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            return self._refused(request, headers, 400, "The request is malformed.")
        told = usages(faults, sent, choice.tokens, self.usage)
        telling = Telling(identity, chat["model"], int(engine.clock()), choice, told)
        stream = self.streaming(request)
        if stream:
            pace = engine.pace if faults.pace is None else faults.pace
            steps: Any = self._steps(telling, faults, pace)
            length = None
        else:
            body = b'{"type":"garbage","con' if faults.garbage else orjson.dumps(self.whole(telling))
            steps, length = in_one_piece(body, choice.tokens, told, faults), len(body)
        return Script(
            200,
            headers | {"content-type": self.stream_type if stream else "application/json"},
            steps,
            before=faults.slow,
            length=length,
            cut=None if faults.cut is None else engine.cut,
            model=chat["model"],
            stream=stream,
            prompt_tokens=sent,
        )

    # what a vendor's file says

    def streaming(self, request: Mapping[str, Any]) -> bool:
        return request.get("stream") is True

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as chat completions would put it."""
        raise NotImplementedError

    def usage(self, sent: int, answered: int) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self, telling: Telling) -> dict[str, Any]:
        raise NotImplementedError

    def begin(self, telling: Telling) -> bytes:
        raise NotImplementedError

    def piece(self, telling: Telling, text: str) -> bytes:
        raise NotImplementedError

    def end(self, telling: Telling) -> Iterator[tuple[bytes, Mapping[str, Any] | None]]:
        """The closing events, each with the usage it carries."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> dict[str, Any]:
        raise NotImplementedError

    def _steps(self, telling: Telling, faults: Faults, pace: float) -> Iterator[Step]:
        choice = telling.choice
        yield Step(self.begin(telling), tokens=choice.tokens - len(choice.pieces))
        for place, text in enumerate(choice.pieces):
            if faults.cut is not None and place >= faults.cut:
                return
            half_way = place == len(choice.pieces) // 2
            if half_way and faults.garbage:
                yield Step(self.garbage)
            yield Step(self.piece(telling, text), delay=pace + faults.stall if half_way else pace, tokens=1)
        if faults.cut is not None:
            return
        for data, usage in self.end(telling):
            yield Step(data, usage=usage)

    def _refused(
        self, request: Mapping[str, Any], headers: dict[str, str], status: int, message: str, before: float = 0.0
    ) -> Script:
        body = orjson.dumps(self.error(status, message))
        wait = {"retry-after": "1", "retry-after-ms": "1000"} if status in {429, 503} else {}
        return Script(
            status,
            headers | {"content-type": "application/json"} | wait,
            [Step(body)],
            before=before,
            length=len(body),
            model=str(request.get("model", "")),
            stream=self.streaming(request),
        )


def sse(event: Mapping[str, Any], name: str | None = None) -> bytes:
    named = b"" if name is None else b"event: %b\n" % name.encode()
    return named + b"data: %b\n\n" % orjson.dumps(event)


def function(name: str, description: object, parameters: object) -> dict[str, Any]:
    """A tool as chat completions declare it."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def given(**fields: Any) -> dict[str, Any]:
    """A request's fields less those that were not given."""
    return {name: value for name, value in fields.items() if value not in (None, [])}
