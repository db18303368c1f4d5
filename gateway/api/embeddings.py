"""POST /v1/embeddings: text or tokens in, vectors out, in the OpenAI shape. Nothing is generated: only input is held for."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.types import Receive, Scope, Send

from gateway.api import headers, strict_json
from gateway.api.chat_request import explained
from gateway.api.once import once
from gateway.api.openai_chat import WholeLine
from gateway.api.raw import Disconnect, json_headers, read_body, send_json
from gateway.api.surface import Gate
from gateway.errors import BadRequest
from gateway.exchange import Completed, Submission
from gateway.settings import Limits

#: Parsing more than this takes long enough for other requests to notice.
_INLINE_BYTES = 256 * 1024

#: OpenAI's own limit on texts in one request.
_MOST_INPUTS = 2048

#: `user` is understood and kept here: who the caller is stays with us.
_FORWARDED = ("input", "dimensions", "encoding_format")


class Embeddings(Struct):
    """The request as OpenAI documents it."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | list[Any]
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


FIELDS = frozenset(Embeddings.__struct_fields__)


async def embeddings(gate: Gate, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    """Authenticate, understand, and hand over to the exchange."""
    given = dict(scope["headers"])
    principal = await gate.authenticate(scope)
    limits = gate.settings.limits
    raw = await read_body(receive, limits.body_bytes)
    headers.refuse_encodings(given)
    request, body = await asyncio.to_thread(parse, raw, limits) if len(raw) > _INLINE_BYTES else parse(raw, limits)
    submission = Submission(
        request_id=request_id,
        surface="embeddings",
        model=request.model,
        body=body,
        stream=False,
        include_usage=False,
        output_cap=None,
        choices=1,
        size=len(raw),
        needs=frozenset({"embeddings"}),
        grade=headers.grade(given),
        purpose=headers.word(given, "x-haechi-purpose") or "embeddings",
        project=headers.word(given, "x-haechi-project"),
        operation="embeddings",
    )

    async def answer(ours: Submission) -> Completed:
        with Disconnect(receive) as gone:
            return await gate.exchange.complete(principal, ours, WholeLine(gone))

    if b"idempotency-key" in given:
        await once(gate, principal, submission, given, raw, send, answer)
        return
    done = await answer(submission)
    await send_json(send, 200, done.body, json_headers(request_id, headers.told(done.receipt)))


def parse(raw: bytes, limits: Limits) -> tuple[Embeddings, dict[str, Any]]:
    """Understand a body: the typed request, and what of it may leave. Raises BadRequest naming the field at fault."""
    given = strict_json.loads(raw, limits.depth)
    unknown = given.keys() - FIELDS
    if unknown:
        name = strict_json.quotable(min(unknown))
        raise BadRequest(
            f"Unrecognized request argument: {name}. Remove it. 알 수 없는 항목입니다: {name}",
            code="unknown_parameter",
            param=name,
        )
    try:
        request = msgspec.convert(given, Embeddings)
    except msgspec.ValidationError as error:
        raise explained(error) from None
    _check_input(request.input)
    return request, {name: given[name] for name in _FORWARDED if given.get(name) is not None}


def _check_input(given: str | list[Any]) -> None:
    """A text, texts, tokens, or lists of tokens: none empty, all of one kind."""
    if isinstance(given, str):
        good = bool(given)
    elif not 0 < len(given) <= _MOST_INPUTS and not _is_tokens(given):
        good = False
    elif isinstance(given[0], list):
        good = all(isinstance(one, list) and _is_tokens(one) for one in given)
    else:
        good = _is_tokens(given) or all(isinstance(one, str) and one for one in given)
    if not good:
        raise BadRequest(
            f"input is a text, up to {_MOST_INPUTS} texts, or tokens; none may be empty. "
            f"input은 글 하나, 글 {_MOST_INPUTS}개까지, 또는 토큰이며 비어 있을 수 없습니다.",
            code="invalid_value",
            param="input",
        )


def _is_tokens(given: list[Any]) -> bool:
    return bool(given) and all(type(one) is int and one >= 0 for one in given)
