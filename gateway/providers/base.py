"""What the exchange asks of an upstream, whoever it is.

    call ──▶ Provider.ask(call)    ──▶ Reply   (one JSON body)
         └─▶ Provider.stream(call) ──▶ Stream  (batches of SSE payloads, until it ends or breaks)

Everything that leaves a provider is in the OpenAI chat-completions wire shape: it is the shape most upstreams speak,
and so most bytes are handed on exactly as they were read. A provider that speaks another dialect translates in its own file,
and keeps the usage as its vendor wrote it beside the answer: money is computed from that, never from a translation.
Failures are `ProviderError`s, never exceptions of a client library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at one deployment, ready to leave.

    `model` is the upstream's own name for the model. `body` is the validated request without `model`, `stream` and
    `stream_options`; the provider adds those (streams always ask for usage). `client_key` is a stable pseudonym, never a name.
    """

    request_id: str
    attempt: int
    model: str
    body: Mapping[str, Any]
    purpose: str = "chat"


class Failure(StrEnum):
    """Why an attempt failed, in the words routing decides by."""

    CONNECT = "connect"  # nothing was sent: DNS, refused, TLS
    TIMEOUT = "timeout"  # no first byte, or silence in mid-stream, for longer than allowed
    RATE_LIMITED = "rate_limited"  # the upstream's own 429
    UNAVAILABLE = "unavailable"  # the upstream's 5xx
    REFUSED = "refused"  # the upstream's other 4xx: the request itself is at fault, or our credential
    BROKEN = "broken"  # the connection ended or the bytes made no sense


class ProviderError(Exception):
    """An attempt failed. `sent` says whether the upstream can have seen the request (and so may bill it).

    `status` is the upstream's HTTP status where there was one; `retry_after` its header, bare, as it came.
    `detail` is for our log, cut to 500 characters, never shown to the caller.
    """

    def __init__(
        self,
        failure: Failure,
        *,
        sent: bool,
        status: int | None = None,
        retry_after: str | None = None,
        retry_after_ms: str | None = None,
        provider_request_id: str | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(f"{failure}: {detail}" if detail else str(failure))
        self.failure = failure
        self.sent = sent
        self.status = status
        self.retry_after = retry_after
        self.retry_after_ms = retry_after_ms
        self.provider_request_id = provider_request_id
        self.detail = detail[:500]


#: What a reader of usage may need beside it, where there is nothing.
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: `body` is chat.completion JSON, byte for byte as the upstream sent it where it spoke that shape.

    `usage` is the vendor's own usage object where the body's is a translation, None where the body has it as it came.
    `context` is what else its extractor reads: `output_items`, `groundingMetadata` and the like.
    """

    body: bytes
    status: int = 200
    provider_request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Any = None
    context: Mapping[str, Any] = field(default_factory=dict)


class Stream(Protocol):
    """An answer that is arriving. Iterate once.

    Each item is a non-empty list of SSE payloads: the bytes after `data: ` of one event each, complete JSON objects that are
    chat.completion.chunk or an `{"error": …}` object. Comments and `[DONE]` are consumed. The iteration ends after the
    upstream's `[DONE]` (or, where a dialect has none, its terminal event); an end without it raises ProviderError(BROKEN).
    """

    provider_request_id: str | None

    @property
    def usage(self) -> Any:
        """As Reply.usage, once the vendor's last word on it has come; None before, and where the chunks have it as it came."""

    @property
    def context(self) -> Mapping[str, Any]:
        """As Reply.context."""

    def __aiter__(self) -> AsyncIterator[list[bytes]]: ...

    async def close(self) -> None:
        """Let go of the upstream. Before the end this closes the connection, which is how an upstream learns to stop."""


class Provider(Protocol):
    """One configured upstream account."""

    name: str

    async def ask(self, call: Call) -> Reply: ...

    async def stream(self, call: Call) -> Stream:
        """Returns once the upstream answered 200 with an event stream; raises ProviderError otherwise."""

    async def embed(self, call: Call) -> Reply:
        """Vectors for `call.body["input"]`, a string or a list of strings; the body is OpenAI's embeddings list."""

    async def close(self) -> None: ...
