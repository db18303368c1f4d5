"""The shipped fake upstream: practice models for people, and an upstream that misbehaves to order for tests.

    request body ─▶ ScriptedEngine.answer ─▶ Script(status, headers, steps of wire bytes with delays, how it ends)
                                               │
                    ScriptedTransport  ◀───────┤  in process, no socket
                    scripted_server    ◀───────┘  the same bytes over a real one

The engine does no I/O and does not wait: it says what to send and when. Its text is a function of model, prompt and `seed`.
It composes an answer first (`Choice`: pieces of text or a tool call) and then speaks a dialect; another dialect is another
function from a request to a Script, added to `dialects` by the ending of its path.

Tokens are counted by a tokeniser of our own, simple enough to check by hand: a run of up to twelve Latin letters, of up to two
Hangul syllables or of up to three digits, each with the one space before it, a run of white space, or any other single
character is one token. A message costs three tokens beside its text and an answer three to begin. So a text never has more
tokens than UTF-8 bytes, and a request never more than the bytes of its `messages` and `tools`.

With `faults=True` directives in the last user message are obeyed; otherwise they are plain text:
`[[fail:STATUS]]` `[[slow:SECONDS]]` before the first byte, `[[stall:SECONDS]]` silence in mid-answer, `[[cut:CHUNKS]]` breaks
the connection after so many chunks (a whole answer: in mid-body), `[[pace:MS]]`, `[[chunks:N]]` tokens of text, `[[garbage]]`
something that is not JSON, `[[no-usage]]`, `[[usage-twice]]` (the last one is right), `[[usage-absurd]]`, `[[zero-usage]]`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import re._parser as _regex  # type: ignore[import-not-found]  # the one regular expression parser there is, not in typeshed
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson
from multidict import CIMultiDict

from gateway.providers.base import Failure, ProviderError
from gateway.providers.transport import Response, Timeouts

# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

MESSAGE_OVERHEAD = 3
ANSWER_OVERHEAD = 3
IMAGE_TOKENS = {"low": 85, "auto": 765, "high": 765}
OTHER_PART_TOKENS = 100

_PIECE = re.compile(r" ?[A-Za-z]{1,12}| ?[가-힣]{1,2}| ?[0-9]{1,3}|\s+|.", re.DOTALL)
_LONG = 64 << 10
_HANGUL = re.compile(r"[가-힣ㄱ-ㅣ]")


def pieces(text: str) -> list[str]:
    """The text cut into its tokens; joined they are the text again."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    if len(text) < _LONG:
        return len(_PIECE.findall(text))
    # One by one: no list of millions of strings, and other threads get their turn.
    return sum(1 for _ in _PIECE.finditer(text))


def count_prompt_tokens(request: Mapping[str, Any]) -> int:
    """Tokens of a chat request: messages, their overhead, and the tools as compact JSON."""
    total = ANSWER_OVERHEAD
    for message in request["messages"]:
        total += MESSAGE_OVERHEAD + sum(_part_tokens(part) for part in _parts(message))
        if isinstance(message.get("name"), str):
            total += count_tokens(message["name"])
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            total += count_tokens(f"{function.get('name', '')}{function.get('arguments', '')}")
    if request.get("tools"):
        total += count_tokens(orjson.dumps(request["tools"]).decode())
    return total


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content or () if isinstance(part, dict)]


def _part_tokens(part: Mapping[str, Any]) -> int:
    if part.get("type") in {"text", "refusal"}:
        return count_tokens(str(part.get("text") or part.get("refusal") or ""))
    flat = OTHER_PART_TOKENS
    if part.get("type") == "image_url":
        image = part.get("image_url")
        detail = image.get("detail", "auto") if isinstance(image, dict) else "auto"
        flat = IMAGE_TOKENS.get(detail, IMAGE_TOKENS["auto"])
    # A short link stands for a large picture; the byte bound on a request's tokens holds all the same.
    return min(flat, len(orjson.dumps(part)))


# ── what an upstream does ───────────────────────────────────────────────────────────────────────────────────────────────


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


def arrival(number: int, at: float, headers: Mapping[str, str], script: Script) -> Arrival:
    """`headers` by any case; of the credential only the last four characters are kept."""
    return Arrival(
        id=number,
        at=at,
        authorization=headers.get("authorization", "")[-4:],
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


# ── the engine ──────────────────────────────────────────────────────────────────────────────────────────────────────────


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


Dialect = Callable[["ScriptedEngine", dict[str, Any]], Script]


class ScriptedEngine:
    """Says what the practice upstream sends. `pace`: seconds between two chunks of a stream. `cut`: how [[cut]] breaks.

    `clock` gives the `created` of an answer and `new_id` the unlikely-to-repeat part of its ids; neither touches the text.
    """

    def __init__(
        self,
        *,
        faults: bool = False,
        pace: float = 0.015,
        cut: Literal["rst", "fin"] = "rst",
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: os.urandom(12).hex(),
        dialects: Mapping[str, Dialect] | None = None,
    ) -> None:
        self.faults = faults
        self.pace = pace
        self.cut = cut
        self.clock = clock
        self.new_id = new_id
        self._dialects = {"/chat/completions": chat_completions, **(dialects or {})}

    def answer(self, path: str, body: bytes) -> Script:
        """Never raises: what a real upstream would refuse is a Script with that status."""
        request: dict[str, Any] = {}
        try:
            speak = next((speak for ending, speak in self._dialects.items() if path.endswith(ending)), None)
            if speak is None:
                raise Rejected("Unknown request URL.", None, status=404, code="unknown_url")
            request = _json_object(body)
            return speak(self, request)
        except Rejected as refusal:
            return self.refuse(refusal.status, refusal.message, code=refusal.code, param=refusal.param, request=request)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            # Some field deep down, in a message, a tool or a schema, is not of the shape it should have.
            return self.refuse(400, "The request is malformed.", request=request)

    def refuse(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        before: float = 0.0,
        request: Mapping[str, Any],
    ) -> Script:
        kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
        body = orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
        headers = {"content-type": "application/json", "x-request-id": f"req_{self.new_id()}"}
        if status in {429, 503}:
            headers |= {"retry-after": "1", "retry-after-ms": "1000"}
        return Script(
            status,
            headers,
            [Step(body)],
            before=before,
            length=len(body),
            model=str(request.get("model", "")),
            stream=request.get("stream") is True,
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejected("We could not parse the JSON body of your request.", None) from None
    if not isinstance(request, dict):
        raise Rejected("The body must be a JSON object.", None)
    return request


# ── composing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_KO = (
    "먼저 목적과 대상을 한 문장으로 적고, 근거가 되는 규정과 날짜를 함께 밝혀 주세요.",
    "핵심을 세 가지로 나누어 결론, 이유, 다음 할 일의 순서로 정리하면 읽기 쉽습니다.",
    "숫자와 고유명사는 원문과 한 번 더 맞추어 보시기 바랍니다.",
    "관련 부서와 미리 협의할 점이 있으면 따로 표시해 두는 편이 좋습니다.",
    "민원인이 바로 이해할 수 있도록 어려운 한자말은 쉬운 말로 바꾸어 보세요.",
    "기한과 담당자를 표로 만들면 빠진 일이 한눈에 드러납니다.",
    "마지막으로 개인정보가 남아 있지 않은지 확인한 뒤에 공유해 주세요.",
)
_EN = (
    "Start with one sentence that states the purpose and the reader, then give the rule and the date it rests on.",
    "Three short parts usually work best: the conclusion, the reasons, and the next step with its owner.",
    "Check names and numbers once more against the source before you pass the text on.",
    "If another department has to agree, mark that point so that nobody has to search for it.",
    "Plain words are better than terms of art when the letter goes to a member of the public.",
    "A small table of deadlines and owners shows at a glance what is still missing.",
    "Before sharing it, make sure that no personal data is left in the text.",
)
_SHORTEST = 36
_QUOTE = 4


def compose(engine_model: str, prompt: str, seed: object, index: int, tokens: int | None) -> list[str]:
    """The tokens of a practice answer to `prompt`: 30 to 80 of them, or exactly `tokens`."""
    key = f"{engine_model}\0{seed}\0{index}\0{prompt}".encode()
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    quote = "".join(pieces(" ".join(prompt[:200].split()))[:_QUOTE]).strip()
    if _HANGUL.search(prompt) or not prompt:
        stock, opening = _KO, f"연습용 답변입니다. ‘{quote}’에 대해 이렇게 해 보세요."
    else:
        stock, opening = _EN, f"This is a practice answer. About “{quote}”:"
    start, stride = draw % len(stock), 1 + draw // len(stock) % (len(stock) - 1)
    found = pieces(opening)
    turn = 0
    while len(found) < (tokens or _SHORTEST):
        found += pieces(" " + stock[(start + turn * stride) % len(stock)])
        turn += 1
    return found[:tokens] if tokens else found


def smallest(schema: Any) -> Any:
    """A small JSON value that satisfies `schema`: required properties only, first alternatives, shortest arrays.

    Follows local `$ref`s and writes strings to a `pattern` without look-around. Raises Rejected for a schema that only an
    endless or a very large value satisfies: schemas come from callers, and this runs in the gateway's own process.
    """
    return _Sample(schema).of(schema, 0)


class _Sample:
    """One walk over one schema, of bounded depth, number of values and length of strings."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = 5_000

    def of(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if depth > 40 or self._left < 0:
            raise Rejected(
                "The schema requires a value without end, or one too large to practise with.", "response_format"
            )
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            return self.of(self._resolve(str(schema["$ref"])), depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list) and schema[word]:
                rest = {key: value for key, value in schema.items() if key != word}
                return self._first_possible([self._merged(rest, option) for option in schema[word]], depth)
        if isinstance(schema.get("allOf"), list):
            whole = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                whole = self._merged(whole, part)
            return self.of(whole, depth + 1)
        return self._of_type(schema, depth)

    def _resolve(self, reference: str) -> Any:
        target = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name:
                key = name.replace("~1", "/").replace("~0", "~")
                target = target.get(key, {}) if isinstance(target, dict) else {}
        return target

    def _merged(self, base: Mapping[str, Any], part: Any) -> dict[str, Any]:
        if isinstance(part, dict) and "$ref" in part and base:
            part = self._resolve(str(part["$ref"]))
        if not isinstance(part, dict):
            return dict(base)
        whole = {**base, **part}
        if isinstance(base.get("properties"), dict) and isinstance(part.get("properties"), dict):
            whole["properties"] = {**base["properties"], **part["properties"]}
        if isinstance(base.get("required"), list) and isinstance(part.get("required"), list):
            whole["required"] = [*base["required"], *part["required"]]
        return whole

    def _first_possible(self, options: Sequence[Any], depth: int) -> Any:
        # A recursive type ends in one of its later alternatives.
        for option in options[:-1]:
            try:
                return self.of(option, depth + 10)
            except Rejected:
                continue
        return self.of(options[-1], depth + 10)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            return self._first_possible([{**schema, "type": one} for one in kind], depth)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema, depth)
        if kind in {"integer", "number"}:
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else self._string(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        known = schema.get("properties")
        required = schema.get("required")
        known = known if isinstance(known, dict) else {}
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: self.of(known.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        found = [self.of(item, depth + 1) for item in first] if isinstance(first, list) else []
        least = _count(schema, "minItems", 0)
        while len(found) < least:
            found.append(self.of(schema.get("items", {}), depth + 1))
        return found

    def _string(self, schema: Mapping[str, Any]) -> str:
        shortest, longest = _count(schema, "minLength", 0), _count(schema, "maxLength", None)
        self._left -= shortest // 10
        if shortest > _LONG:
            raise Rejected("The schema requires a string too long to practise with.", "response_format")
        if isinstance(schema.get("pattern"), str):
            return _matching(schema["pattern"])
        fixed = _FORMATS.get(str(schema.get("format")))
        return fixed or "practice".ljust(shortest, "x")[:longest]


def _count(schema: Mapping[str, Any], name: str, default: int | None) -> Any:
    value = schema.get(name)
    return int(value) if isinstance(value, int | float) else default


def _limit(schema: Mapping[str, Any], name: str) -> float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """Zero where allowed, else the nearest bound, on the grid of `multipleOf`."""
    step = _limit(schema, "multipleOf") or (1 if whole else 0)
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    above, below = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    if above is not None and (low is None or above >= low):
        low = (math.floor(above / step) + 1) * step if step else _between(above, high if below is None else below)
    if below is not None and (high is None or below <= high):
        high = (math.ceil(below / step) - 1) * step if step else _between(low, below)
    value: float = 0
    if low is not None and low > 0:
        value = math.ceil(low / step) * step if step else low
    elif high is not None and high < 0:
        value = math.floor(high / step) * step if step else high
    return int(value) if whole else value


def _between(low: float | None, high: float | None) -> float:
    if low is None:
        return (high or 0) - 1
    return low + 1 if high is None else (low + high) / 2


_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "practice@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}


def _matching(pattern: str) -> str:
    """A short string the pattern matches. Written from the parsed pattern and never by trying: matching can take forever."""
    try:
        tree = _regex.parse(pattern)
        return _written(tree, {}, 1_000)
    except (re.error, OverflowError, RecursionError):
        return "practice"


def _written(tree: Any, groups: dict[int, str], room: int) -> str:
    text = ""
    for operation, value in tree:
        name = str(operation)
        if name in {"LITERAL", "NOT_LITERAL"}:
            text += chr(value) if name == "LITERAL" else _letter([("NEGATE", None), ("LITERAL", value)])
        elif name in {"IN", "ANY"}:
            text += _letter(value or [])
        elif name == "BRANCH":
            text += _written(value[1][0], groups, room - len(text))
        elif name == "SUBPATTERN":
            part = _written(value[-1], groups, room - len(text))
            if value[0] is not None:
                groups[value[0]] = part
            text += part
        elif name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            times = min(value[0], room)
            # Once more than needed where that is what makes the text anything at all.
            part = _written(value[2], groups, room // max(1, times))
            text += part * (times or (1 if value[1] and not text else 0))
        elif name == "ATOMIC_GROUP":
            text += _written(value, groups, room - len(text))
        elif name == "GROUPREF":
            text += groups.get(value, "")
        if len(text) > room:
            raise OverflowError("the pattern asks for a longer string than practice needs")
    return text


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdigit,
    "SPACE": str.isspace,
    "WORD": lambda letter: letter.isalnum() or letter == "_",
}


def _letter(choices: Any) -> str:
    """A character of a set as the regular expression parser gives it; an empty set stands for any character."""
    items = [(str(operation), value) for operation, value in choices]
    negated = bool(items) and items[0][0] == "NEGATE"
    wanted = [(name, value) for name, value in items if name != "NEGATE"]

    def holds(letter: str) -> bool:
        return any(_holds(letter, name, value) for name, value in wanted) != negated

    first = [chr(value if name == "LITERAL" else value[0]) for name, value in wanted if name in {"LITERAL", "RANGE"}]
    return next((letter for letter in [*"a0A -_.가", *first] if not items or holds(letter)), "a")


def _holds(letter: str, name: str, value: Any) -> bool:
    if name == "LITERAL":
        return bool(ord(letter) == value)
    if name == "RANGE":
        return bool(value[0] <= ord(letter) <= value[1])
    kind = str(value).removeprefix("CATEGORY_")
    return _CATEGORIES[kind.removeprefix("NOT_")](letter) != kind.startswith("NOT_")


# ── chat completions ────────────────────────────────────────────────────────────────────────────────────────────────────


def chat_completions(engine: ScriptedEngine, request: dict[str, Any]) -> Script:
    """OpenAI's POST /chat/completions. https://platform.openai.com/docs/api-reference/chat"""
    _check_chat(request)
    prompt = _last_user_text(request["messages"])
    faults, prompt = read_directives(prompt) if engine.faults else (Faults(), prompt)
    if faults.fail is not None:
        return engine.refuse(
            faults.fail,
            "The practice upstream was told to fail.",
            code="practice_fault",
            before=faults.slow,
            request=request,
        )
    choices = [_choice(request, prompt, index, faults.chunks) for index in range(request.get("n") or 1)]
    prompt_tokens = count_prompt_tokens(request)
    usage = _usage(prompt_tokens, sum(choice.tokens for choice in choices))
    head = {
        "id": f"chatcmpl-{engine.new_id()}",
        "object": "chat.completion",
        "created": int(engine.clock()),
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_practice",
    }
    headers = {"x-request-id": f"req_{head['id'][9:]}", "openai-processing-ms": "1"}
    stream = request.get("stream") is True
    if stream:
        headers |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        pace = engine.pace if faults.pace is None else faults.pace
        steps: Iterable[Step] = _chat_chunks(request, head, choices, usage, faults, pace=pace)
        length = None
    else:
        headers["content-type"] = "application/json"
        body = _chat_body(request, head, choices, usage, faults)
        steps, length = _in_one_piece(body, sum(choice.tokens for choice in choices), usage, faults), len(body)
    return Script(
        200,
        headers,
        steps,
        before=faults.slow,
        length=length,
        cut=None if faults.cut is None else engine.cut,
        model=request["model"],
        stream=stream,
        prompt_tokens=prompt_tokens,
    )


def _check_chat(request: Mapping[str, Any]) -> None:
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
                str(part["text"]) for part in _parts(message) if part.get("type") == "text" and "text" in part
            )
    return ""


def _choice(request: Mapping[str, Any], prompt: str, index: int, tokens: int | None) -> Choice:
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


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _told(usage: dict[str, Any], faults: Faults) -> list[dict[str, Any]]:
    """The usage objects to send, in order."""
    if faults.usage == "none":
        return []
    if faults.usage == "zero":
        return [_usage(0, 0)]
    if faults.usage == "absurd":
        return [_usage(usage["prompt_tokens"], 10**18)]
    if faults.usage == "twice":
        return [_usage(usage["prompt_tokens"], usage["completion_tokens"] // 2), usage]
    return [usage]


def _logprobs(request: Mapping[str, Any], piece: str) -> dict[str, Any] | None:
    if not request.get("logprobs"):
        return None

    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    logprob = -(len(piece) % 5 + 1) / 10
    others = [
        one(f"{piece}{rank}" if rank else piece, logprob - rank) for rank in range(request.get("top_logprobs") or 0)
    ]
    return {**one(piece, logprob), "top_logprobs": others}


def _tool_call(
    request: Mapping[str, Any], head: Mapping[str, Any], index: int, name: str, arguments: str
) -> dict[str, Any]:
    return {
        "id": f"call_{head['id'][9:]}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _chat_body(
    request: Mapping[str, Any],
    head: Mapping[str, Any],
    choices: Sequence[Choice],
    usage: dict[str, Any],
    faults: Faults,
) -> bytes:
    if faults.garbage:
        return b'{"id": "chatcmpl-garbage", "choices": [{"index": 0, "mess'
    answers = []
    for index, choice in enumerate(choices):
        text = "".join(choice.pieces)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        logprobs = None
        if choice.tool is not None:
            message["content"] = None
            message["tool_calls"] = [_tool_call(request, head, index, choice.tool, text)]
        elif request.get("logprobs"):
            logprobs = {"content": [_logprobs(request, piece) for piece in choice.pieces], "refusal": None}
        answers.append({"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish})
    told = _told(usage, faults)[-1:]
    return orjson.dumps({**head, "choices": answers, **({"usage": told[0]} if told else {})})


def _in_one_piece(body: bytes, tokens: int, usage: dict[str, Any], faults: Faults) -> list[Step]:
    told = _told(usage, faults)[-1:]
    middle = len(body) // 2
    if faults.cut is not None:
        return [Step(body[:middle])]
    last = Step(
        body[middle:], delay=faults.stall, tokens=tokens, usage=told[0] if told and not faults.garbage else None
    )
    if faults.stall:
        return [Step(body[:middle]), last]
    return [Step(body, tokens=tokens, usage=last.usage)]


def _chat_chunks(
    request: Mapping[str, Any],
    head: Mapping[str, Any],
    choices: Sequence[Choice],
    usage: dict[str, Any],
    faults: Faults,
    *,
    pace: float,
) -> Iterator[Step]:
    """First a chunk with the role of each choice, then one token a chunk, the choices in turn, the ends, usage, [DONE]."""
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    base = {**head, "object": "chat.completion.chunk"}
    tail = {"usage": None} if asked else {}

    def event(index: int, delta: dict[str, Any], logprobs: object = None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return b"data: %b\n\n" % orjson.dumps({**base, "choices": [choice], **tail})

    for index, choice in enumerate(choices):
        delta: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        tokens = 0
        if choice.tool is not None:
            call = {"index": 0, **_tool_call(request, head, index, choice.tool, "")}
            delta, tokens = {"role": "assistant", "content": None, "tool_calls": [call]}, count_tokens(choice.tool)
        yield Step(event(index, delta), tokens=tokens)

    longest = max(len(choice.pieces) for choice in choices)
    chunks = sum(len(choice.pieces) for choice in choices)
    sent = 0
    for place in range(longest):
        for index, choice in enumerate(choices):
            if place >= len(choice.pieces):
                continue
            if faults.cut is not None and sent >= faults.cut:
                return
            piece = choice.pieces[place]
            delta = {"content": piece}
            if choice.tool is not None:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            found = None if choice.tool is not None else _logprobs(request, piece)
            half_way = sent == chunks // 2
            if half_way and faults.garbage:
                yield Step(b'data: {"id":"chatcmpl-garbage","choices":[{"ind\n\n')
            delay = pace + faults.stall if half_way else pace
            yield Step(event(index, delta, found and {"content": [found], "refusal": None}), delay=delay, tokens=1)
            sent += 1
    if faults.cut is not None:
        return
    for index, choice in enumerate(choices):
        yield Step(event(index, {}, finish=choice.finish))
    for told in _told(usage, faults) if asked else ():
        yield Step(b"data: %b\n\n" % orjson.dumps({**base, "choices": [], "usage": told}), usage=told)
    yield Step(b"data: [DONE]\n\n")


# ── in process ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ScriptedTransport:
    """A Transport with no socket: the script is played to whoever reads, and stops when nobody does.

    `log` holds the last `log_size` arrivals, oldest first, live: an Arrival changes while its answer is being read.
    """

    def __init__(self, upstream: Upstream, *, log_size: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self.log: deque[Arrival] = deque(maxlen=log_size)
        self._upstream = upstream
        self._clock = clock
        self._arrivals = 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeouts: Timeouts) -> Response:
        path = url.partition("?")[0]
        if len(body) > _LONG:
            script = await asyncio.to_thread(self._upstream.answer, path, body)
        else:
            script = self._upstream.answer(path, body)
        self._arrivals += 1
        entry = arrival(self._arrivals, self._clock(), CIMultiDict(headers), script)
        self.log.append(entry)
        try:
            await asyncio.sleep(min(script.before, timeouts.first_byte))
        except asyncio.CancelledError:
            entry.ended = "client_closed"
            raise
        if script.before > timeouts.first_byte:
            entry.ended = "client_closed"
            raise ProviderError(Failure.TIMEOUT, sent=True, detail="no first byte")
        return _ScriptedResponse(script, entry, timeouts.idle)

    async def close(self) -> None:
        """Nothing is held open between requests."""


class _ScriptedResponse:
    __slots__ = ("_cut", "_entry", "_idle", "_steps", "_waking", "headers", "status")

    def __init__(self, script: Script, entry: Arrival, idle: float) -> None:
        self.status = script.status
        self.headers: Mapping[str, str] = CIMultiDict(script.headers)
        self._steps = iter(script.steps)
        self._cut = script.cut is not None
        self._entry = entry
        self._idle = idle
        self._waking: asyncio.Future[None] | None = None

    async def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        async for part in self.chunks():
            parts.append(part)
            if sum(map(len, parts)) > limit:
                self.close()
                raise ProviderError(Failure.BROKEN, sent=True, detail=f"body over {limit} bytes")
        return b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._entry.ended == "complete":
            raise StopAsyncIteration
        step = None if self._entry.ended != "open" else next(self._steps, None)
        if step is not None:
            try:
                await self._wait(min(step.delay, self._idle))
            except asyncio.CancelledError:
                self.close()
                raise
            if step.delay > self._idle:
                self.close()
                raise ProviderError(Failure.TIMEOUT, sent=True, detail="silence in mid-answer")
        if step is None and not self._cut and self._entry.ended == "open":
            self._entry.ended = "complete"
            raise StopAsyncIteration
        if step is None or self._entry.ended != "open":
            if self._entry.ended == "open":
                self._entry.ended = "cut"
            raise ProviderError(Failure.BROKEN, sent=True, detail="connection cut")
        self._entry.sent(step)
        return step.data

    async def _wait(self, delay: float) -> None:
        """Sleep, but wake at once when another task closes us."""
        if not delay:
            # Even an upstream with no pace must let other work run between two chunks.
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._waking = loop.create_future()
        timer = loop.call_later(delay, _wake, self._waking)
        try:
            await self._waking
        finally:
            timer.cancel()
            self._waking = None

    def finish(self) -> None:
        if self._entry.ended == "open":
            self._entry.ended = "complete" if not self._cut and next(self._steps, None) is None else "client_closed"

    def close(self) -> None:
        if self._entry.ended == "open":
            self._entry.ended = "client_closed"
        if self._waking is not None:
            _wake(self._waking)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
