"""An upstream that speaks another wire format than OpenAI's chat completions: everything about it but the format.

    call ─▶ Dialect.request ─▶ Transport ─▶ status? type? ─▶ Dialect.answer ─▶ Reply
                                                         └─▶ Events ─▶ Dialect.reader().feed ─▶ Stream of chunks

A dialect is pure: it turns values into values and knows no socket. What it cannot say to its vendor it refuses before anything
is sent, by the parameter's name (`Unsayable`); nothing is dropped but the few hints in `HINTS`, which change no answer's
meaning and no price. The usage stays as the vendor wrote it, beside the translation; see base.Reply.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

import orjson

from gateway.providers.base import NOTHING, Call, Failure, ProviderError, Reply, Stream
from gateway.providers.sse import EventParser, LineTooLong
from gateway.providers.transport import Response, Timeouts, Transport
from gateway.providers.vectors import packed
from gateway.providers.wire import (
    ANSWER_TIMEOUTS,
    MAX_ANSWER,
    MAX_STREAM,
    STREAM_TIMEOUTS,
    broken,
    check_head,
    dumped,
    json_object,
    refusal,
    whole_answer,
)

#: Requests may carry these to any vendor; whoever has no use for them leaves them out. All are about caching, identity and
#: repeatability ("best effort" by OpenAI's own definition), none about what is answered.
HINTS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "random_seed",
        "service_tier",
        "store",
        "user",
    }
)
#: Values that ask for what happens anyway.
_DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "top_logprobs": (0,),
}


class Unsayable(Exception):
    """The request asks for something this vendor's format has no words for. The message is the parameter's name."""


class Asked:
    """A request being translated: every field is taken once, and what nobody took is refused."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in body.items() if value is not None}

    def take(self, name: str) -> Any:
        return self._left.pop(name, None)

    def rename(self, into: dict[str, Any], **names: str) -> None:
        """Fields the vendor knows by another name and means the same by: theirs=ours."""
        for theirs, ours in names.items():
            if ours in self._left:
                into[theirs] = self._left.pop(ours)

    def cap(self) -> int | None:
        """The smaller of the two caps on the answer."""
        caps = [cap for cap in (self.take("max_completion_tokens"), self.take("max_tokens")) if cap is not None]
        return min(caps, default=None)

    def stops(self) -> list[str]:
        stop = self.take("stop")
        return [stop] if isinstance(stop, str) else list(stop or ())

    def done(self) -> None:
        """Raises Unsayable for the first field that is left and means something."""
        for name, value in sorted(self._left.items()):
            if name not in HINTS and value not in _DEFAULTS.get(name, ()):
                raise Unsayable(name)


class Outgoing(NamedTuple):
    """A request in the vendor's words. `path` goes behind the base address."""

    path: str
    body: Mapping[str, Any]


class Answer(NamedTuple):
    """An answer in ours: a chat.completion or embeddings object, the usage as the vendor wrote it, and what belongs to it."""

    body: dict[str, Any]
    usage: Any = None
    context: Mapping[str, Any] = NOTHING


class Reader(Protocol):
    """One stream's translation. It may raise LookupError, TypeError, ValueError or AttributeError for events without sense."""

    usage: Any
    context: Mapping[str, Any]
    done: bool

    def feed(self, event: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """The chunks this event amounts to. Sets `done` with the vendor's terminal event."""

    def end(self) -> Sequence[dict[str, Any]] | None:
        """The bytes have ended: the last chunks, or None where the answer was not complete."""


class Parser(Protocol):
    """Cuts bytes into events' JSON payloads. May raise LineTooLong."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def rest(self) -> list[bytes]: ...


#: (url, body) → the headers that go with them.
Signer: TypeAlias = Callable[[str, bytes], Mapping[str, str]]


class Tokens(Protocol):
    """Bearer tokens that end, as service_account.AccessTokens."""

    async def token(self) -> str: ...

    def refused(self, token: str) -> None: ...

    async def close(self) -> None: ...


class Dialect(Protocol):
    """A wire format. `answer` and `embedded` may raise what a Reader may."""

    request_id: str
    stream_type: str

    def headers(self, api_key: str | None) -> Mapping[str, str]: ...

    def signer(self, base_url: str, api_key: str | None) -> Signer | None: ...

    def request(self, call: Call, *, stream: bool) -> Outgoing: ...

    def answer(self, said: dict[str, Any], call: Call) -> Answer: ...

    def reader(self, call: Call) -> Reader: ...

    def parser(self) -> Parser: ...

    def embedding(self, call: Call) -> Outgoing: ...

    def embedded(self, said: dict[str, Any], call: Call) -> Answer: ...


class Sse:
    """What most dialects have in common; to be derived from. No embeddings unless a dialect says how."""

    request_id = "x-request-id"
    stream_type = "text/event-stream"

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {api_key}"} if api_key else {}

    def signer(self, base_url: str, api_key: str | None) -> Signer | None:
        """What marks each request as ours where a header that is always the same does not. Raises ValueError."""
        return None

    def parser(self) -> Parser:
        return EventParser()

    def embedding(self, call: Call) -> Outgoing:
        raise Unsayable("embeddings")

    def embedded(self, said: dict[str, Any], call: Call) -> Answer:
        raise Unsayable("embeddings")


# What events and answers of no sense make a translation stumble over.
NONSENSE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, struct.error)


class Translated:
    """One upstream account behind a dialect.

    Raises ValueError for an address or a key that cannot work. Every call carries `x-client-request-id:
    <request_id>:<attempt>`, which joins the upstream's log to ours where it keeps one.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: Transport,
        dialect: Dialect,
        tokens: Tokens | None = None,
        stream_timeouts: Timeouts = STREAM_TIMEOUTS,
        answer_timeouts: Timeouts = ANSWER_TIMEOUTS,
        max_answer: int = MAX_ANSWER,
        max_stream: int = MAX_STREAM,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in {"http", "https"} or not address.hostname or address.username is not None:
            raise ValueError(f"the base_url of provider {name} is not a plain http:// or https:// address")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError(f"the key of provider {name} has characters a header cannot carry")
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._dialect = dialect
        self._stream_timeouts = stream_timeouts
        self._answer_timeouts = answer_timeouts
        self._max_answer = max_answer
        self._max_stream = max_stream
        self._headers = {"content-type": "application/json", **dialect.headers(api_key)}
        self._signer = dialect.signer(self._base_url, api_key)
        self._tokens = tokens

    async def ask(self, call: Call) -> Reply:
        outgoing = _said(lambda: self._dialect.request(call, stream=False))
        return await self._whole(call, outgoing, self._dialect.answer)

    async def embed(self, call: Call) -> Reply:
        return await self._whole(call, _said(lambda: self._dialect.embedding(call)), self._dialect.embedded)

    async def stream(self, call: Call) -> Stream:
        outgoing = _said(lambda: self._dialect.request(call, stream=True))
        kind = self._dialect.stream_type
        response = await self._send(call, outgoing, kind, self._stream_timeouts)
        request_id = response.headers.get(self._dialect.request_id)
        try:
            if response.status != 200:
                raise await refusal(response, request_id)
            check_head(response, kind, request_id)
        except BaseException:
            response.close()
            raise
        return _TranslatedStream(
            response, request_id, self._dialect.parser(), self._dialect.reader(call), self._max_stream
        )

    async def close(self) -> None:
        if self._tokens is not None:
            await self._tokens.close()
        await self._transport.close()

    async def _whole(
        self, call: Call, outgoing: Outgoing, translate: Callable[[dict[str, Any], Call], Answer]
    ) -> Reply:
        response = await self._send(call, outgoing, "application/json", self._answer_timeouts)
        request_id = response.headers.get(self._dialect.request_id)
        said = await whole_answer(response, request_id, self._max_answer)
        try:
            answer = translate(orjson.loads(said), call)
        except NONSENSE as error:
            raise broken(f"the answer makes no sense: {type(error).__name__}", request_id) from None
        except ProviderError as error:
            error.provider_request_id = request_id
            raise
        return Reply(
            orjson.dumps(answer.body), provider_request_id=request_id, usage=answer.usage, context=answer.context
        )

    async def _send(self, call: Call, outgoing: Outgoing, accept: str, timeouts: Timeouts) -> Response:
        body = dumped(outgoing.body)
        headers = {
            **self._headers,
            "accept": accept,
            "x-client-request-id": f"{call.request_id}:{call.attempt}",
        }
        url = self._base_url + outgoing.path
        if self._signer is not None:
            headers |= self._signer(url, body)
        if self._tokens is None:
            return await self._transport.post(url, headers, body, timeouts=timeouts)
        token = await self._tokens.token()
        headers["authorization"] = f"Bearer {token}"
        response = await self._transport.post(url, headers, body, timeouts=timeouts)
        if response.status == 401:
            self._tokens.refused(token)
        return response


def _said(translate: Callable[[], Outgoing]) -> Outgoing:
    """A request in the vendor's words, or its refusal: nothing has been sent."""
    try:
        return translate()
    except Unsayable as unknown:
        detail = f"this provider has no {unknown}"
    except NONSENSE:
        detail = "the request has a field of the wrong shape"
    raise ProviderError(Failure.REFUSED, sent=False, status=400, detail=detail) from None


class _TranslatedStream:
    """The arriving answer; see base.Stream. A failure behind good chunks is kept for the next call."""

    __slots__ = ("_done", "_failure", "_left", "_next", "_parser", "_reader", "_response", "provider_request_id")

    def __init__(
        self, response: Response, provider_request_id: str | None, parser: Parser, reader: Reader, max_bytes: int
    ) -> None:
        self.provider_request_id = provider_request_id
        self._response = response
        self._next = response.chunks().__anext__
        self._parser = parser
        self._reader = reader
        self._left = max_bytes
        self._done = False
        self._failure: ProviderError | None = None

    @property
    def usage(self) -> Any:
        return self._reader.usage

    @property
    def context(self) -> Mapping[str, Any]:
        return self._reader.context

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._done:
            if self._failure is not None:
                raise self._failure
            try:
                found = self._payloads(await self._next())
            except StopAsyncIteration:
                found = self._last()
            except ProviderError as error:
                error.provider_request_id = self.provider_request_id
                self._failure = error
                raise
            if found:
                return found
        raise StopAsyncIteration

    def _payloads(self, data: bytes) -> list[bytes]:
        self._left -= len(data)
        try:
            events = self._parser.feed(data)
        except LineTooLong:
            self._fail("event over 1 MiB")
            return []
        good = self._translated(events)
        if self._left < 0 and not self._done and self._failure is None:
            self._fail("stream over its cap")
        return good

    def _last(self) -> list[bytes]:
        good = self._translated(self._parser.rest())
        if self._done or self._failure is not None:
            return good
        ending = self._reader.end()
        if ending is None:
            self._fail("ended before the answer did")
            return good
        self._done = True
        return good + [orjson.dumps(chunk) for chunk in ending]

    def _translated(self, events: list[bytes]) -> list[bytes]:
        good: list[bytes] = []
        for event in events:
            if not event or event == b"[DONE]":
                continue
            try:
                good += map(orjson.dumps, self._reader.feed(json_object(event)))
            except NONSENSE as error:
                self._fail(f"an event makes no sense: {type(error).__name__}")
                return good
            if self._reader.done:
                self._done = True
                self._response.finish()
                return good
        return good

    def _fail(self, detail: str) -> None:
        self._failure = broken(detail, self.provider_request_id)
        self._response.close()

    async def close(self) -> None:
        if not self._done:
            self._response.close()


# ── OpenAI's shapes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Head:
    """What every chunk of one answer repeats."""

    id: str
    model: str
    created: int

    def chunk(self, delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }

    def usage(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """The closing chunk that carries nothing else."""
        return {**self.chunk({}), "choices": [], "usage": usage}

    def completion(self, choices: list[dict[str, Any]], usage: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **({} if usage is None else {"usage": usage}),
        }


def head(identity: object, model: object, call: Call) -> Head:
    """`identity` and `model` as the vendor gave them; ours where it gave none."""
    known = identity if isinstance(identity, str) and identity else f"{call.request_id}-{call.attempt}"
    served = model if isinstance(model, str) and model else call.model
    return Head(known, served, int(time.time()))


def choice(message: dict[str, Any], finish: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}


def tool_call(identity: str, name: str, arguments: str, index: int | None = None) -> dict[str, Any]:
    """A call in a message, or with `index` the delta that begins it."""
    call = {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    return call if index is None else {"index": index, **call}


def more_arguments(index: int, arguments: str) -> dict[str, Any]:
    """The delta that continues a call."""
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def web_citation(
    url: str, title: str | None = None, start: int | None = None, end: int | None = None
) -> dict[str, Any]:
    """An annotation of a message: where a passage comes from."""
    place = {} if start is None else {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": {"url": url, "title": title or url, **place}}


def cited(annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields search models are known by: `annotations`, and `citations`, the plain list of addresses."""
    if not annotations:
        return {}
    urls = dict.fromkeys(one["url_citation"]["url"] for one in annotations)
    return {"annotations": annotations, "citations": list(urls)}


def chat_usage(sent: int, answered: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """OpenAI's usage for whoever reads the answer; money is never computed from it."""
    return {
        "prompt_tokens": sent,
        "completion_tokens": answered,
        "total_tokens": sent + answered,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def embeddings(model: str, vectors: Sequence[Sequence[float]], sent: int, call: Call) -> dict[str, Any]:
    """OpenAI's list, its vectors as numbers or, where the call asks for it, as base64 of little-endian floats."""
    encoded = call.body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": packed(vector) if encoded else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": sent, "total_tokens": sent}
    return {"object": "list", "model": model, "data": data, "usage": usage}


# ── pieces of OpenAI's requests ─────────────────────────────────────────────────────────────────────────────────────────


def parts(content: Any) -> list[dict[str, Any]]:
    """A message's content as a list of parts; empty text is no part."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if part.get("type") != "text" or part["text"]]


def plain(content: Any) -> str:
    """The text of a content that may hold nothing else."""
    found = []
    for part in parts(content):
        if part.get("type") not in {"text", "refusal"}:
            raise Unsayable(f"{part.get('type')} there")
        found.append(part.get("text") or part.get("refusal") or "")
    return "\n".join(found)


def data_url(url: str) -> tuple[str, str]:
    """(media type, base64 text) of a data: URL."""
    kind, found, data = url.partition(";base64,")
    if not found or not kind.startswith("data:"):
        raise Unsayable("content by address")
    return kind.removeprefix("data:").partition(";")[0], data


def attached(part: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """(media type, base64 text, name) of an image, audio or file part."""
    kind = part.get("type")
    if kind == "image_url":
        return *data_url(part["image_url"]["url"]), None
    if kind == "input_audio":
        sound = part["input_audio"]
        return f"audio/{sound['format']}", sound["data"], None
    if kind == "file" and "file_data" in part["file"]:
        return *data_url(part["file"]["file_data"]), part["file"].get("filename")
    raise Unsayable(str(kind))


def functions(tools: Any) -> list[dict[str, Any]]:
    """The declared functions; other kinds of tools are OpenAI's alone."""
    found = []
    for tool in tools or ():
        if tool.get("type") != "function":
            raise Unsayable(f"tools of type {tool.get('type')}")
        found.append(tool["function"])
    return found


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call the model made earlier, as a value."""
    text = call["function"].get("arguments") or "{}"
    found = orjson.loads(text) if isinstance(text, str) else text
    if not isinstance(found, dict):
        raise ValueError("arguments are no object")
    return found


def schema_of(wanted: Mapping[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """(kind, schema) of a `response_format`."""
    if wanted is None:
        return "text", None
    if wanted["type"] == "json_schema":
        return "json_schema", wanted["json_schema"]["schema"]
    return wanted["type"], None


def inputs(asked: Asked) -> list[str]:
    """The texts to embed."""
    given = asked.take("input")
    texts = [given] if isinstance(given, str) else given
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Unsayable("input of that kind")
    return list(texts)
