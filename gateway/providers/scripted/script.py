"""What an upstream does, as values: a response with its delays and its end, the log of a request, the directives.

Nothing here knows a wire format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gateway.providers.scripted.text import count_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `delay` seconds, then send `data`. `tokens` of the answer go out with it, and `usage` where it carries that."""

    data: bytes
    delay: float = 0.0
    tokens: int = 0
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """One response. `steps` is iterated once.

    `before`: seconds until the head. `length`: the content-length announced, None for chunked. `cut`: after the last step the
    connection breaks, by RST or by FIN, where an honest response would end.
    """

    status: int
    headers: Mapping[str, str]
    steps: Iterable[Step]
    before: float = 0.0
    length: int | None = None
    cut: Literal["rst", "fin"] | None = None
    model: str = ""
    stream: bool = False
    prompt_tokens: int = 0


class Upstream(Protocol):
    """Whatever can be put behind a ScriptedTransport or the scripted server."""

    def answer(self, path: str, body: bytes) -> Script: ...


Ended = Literal["open", "complete", "client_closed", "cut"]


@dataclass(slots=True)
class Arrival:
    """The upstream's own log of one request. `completion_tokens_sent` counts what was handed over, not what was planned."""

    id: int
    at: float
    authorization: str
    client_request_id: str | None
    model: str
    stream: bool
    prompt_tokens: int
    status: int
    completion_tokens_sent: int = 0
    usage_sent: Mapping[str, Any] | None = None
    ended: Ended = "open"

    def sent(self, step: Step) -> None:
        self.completion_tokens_sent += step.tokens
        if step.usage is not None:
            self.usage_sent = step.usage


_CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key")


def arrival(number: int, at: float, headers: Mapping[str, str], script: Script) -> Arrival:
    """`headers` by any case; of the credential only the last four characters are kept."""
    return Arrival(
        id=number,
        at=at,
        authorization=next((headers[name] for name in _CREDENTIALS if name in headers), "")[-4:],
        client_request_id=headers.get("x-client-request-id"),
        model=script.model,
        stream=script.stream,
        prompt_tokens=script.prompt_tokens,
        status=script.status,
    )


# ── directives ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_DIRECTIVE = re.compile(
    r"\[\[(?:(fail|slow|stall|cut|pace|chunks):(\d{1,6}(?:\.\d{1,3})?)|(garbage|no-usage|usage-twice|usage-absurd|zero-usage))\]\]"
)
_USAGE_FLAGS = {"no-usage": "none", "usage-twice": "twice", "usage-absurd": "absurd", "zero-usage": "zero"}
_MAX_CHUNKS = 200_000


@dataclass(frozen=True, slots=True)
class Faults:
    """The directives of one request. None and False mean not asked for; seconds throughout."""

    fail: int | None = None
    slow: float = 0.0
    stall: float = 0.0
    cut: int | None = None
    pace: float | None = None
    chunks: int | None = None
    garbage: bool = False
    usage: Literal["right", "none", "twice", "absurd", "zero"] = "right"


def read_directives(text: str) -> tuple[Faults, str]:
    """The directives in `text`, and `text` without them. Of two of a kind the last one counts."""
    found: dict[str, Any] = {}
    for name, value, flag in _DIRECTIVE.findall(text):
        if flag == "garbage":
            found["garbage"] = True
        elif flag:
            found["usage"] = _USAGE_FLAGS[flag]
        elif name == "fail":
            found["fail"] = min(599, max(300, int(float(value))))
        elif name in {"cut", "chunks"}:
            found[name] = min(_MAX_CHUNKS, int(float(value)))
        else:
            found[name] = float(value) / (1000 if name == "pace" else 1)
    return (Faults(**found), _DIRECTIVE.sub("", text).strip()) if found else (Faults(), text)


# ── what a dialect is given and gives ───────────────────────────────────────────────────────────────────────────────────


class Rejected(Exception):
    """The request is one that a real upstream would answer with a 4xx."""

    def __init__(self, message: str, param: str | None, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Choice:
    """One composed answer, cut into tokens. `tool` is set when `pieces` are the arguments of a call to it."""

    pieces: Sequence[str]
    finish: Literal["stop", "length", "tool_calls"]
    tool: str | None = None

    @property
    def tokens(self) -> int:
        return len(self.pieces) + (count_tokens(self.tool) if self.tool else 0)


class Engine(Protocol):
    """What a dialect asks of the engine it speaks for."""

    faults: bool
    pace: float
    cut: Literal["rst", "fin"]
    clock: Callable[[], float]
    new_id: Callable[[], str]

    def refuse(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        before: float = 0.0,
        request: Mapping[str, Any],
    ) -> Script: ...


#: A function from a parsed request to what is sent. Whatever it stumbles over in the request becomes a refusal.
Dialect = Callable[[Engine, dict[str, Any]], Script]
