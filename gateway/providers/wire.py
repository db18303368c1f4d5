"""What every HTTP dialect does with a response: is it the answer, and if not, which failure is it.

    status 200? ─▶ content type? ─▶ one JSON object? ─▶ the dialect
    REFUSED        BROKEN           BROKEN
    RATE_LIMITED
    UNAVAILABLE

An upstream's own error text stays here: it may quote the prompt or our key, so only its machine codes reach `detail`.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from gateway.providers.base import Failure, ProviderError
from gateway.providers.transport import Response, Timeouts

# A stream's first byte is its first token; a whole answer's first byte comes after its last.
STREAM_TIMEOUTS = Timeouts(connect=10.0, first_byte=60.0, idle=30.0)
ANSWER_TIMEOUTS = Timeouts(connect=10.0, first_byte=300.0, idle=30.0)

MAX_ANSWER = 32 << 20
MAX_STREAM = 256 << 20
_MAX_ERROR = 64 << 10
# Above this many bytes proving an answer to be JSON takes long enough for other requests to notice.
_INLINE_CHECK = 256 << 10

# A double holds every number of so many digits.
_MOST_DIGITS = 300

# Words only: whatever could be a key or a piece of a prompt has other characters.
_CODE = re.compile(r"[a-z][a-z_]{0,63}")


class _AnyObject(msgspec.Struct):
    """A JSON object, nothing kept: the decoder walks the text and checks it without building values."""


_check_object = msgspec.json.Decoder(_AnyObject).decode


def proved(payload: bytes) -> bytes:
    """The payload, if it is one JSON object in UTF-8; raises ValueError, whose text says what it is instead.

    Upstreams that cut an emoji between two deltas send half a surrogate pair, which strict JSON readers refuse. One odd
    character is no reason to break an answer someone pays for: it becomes a question mark. Nor is a number that is none.
    """
    try:
        _check_object(payload)
    except (msgspec.DecodeError, RecursionError):
        return _readable(payload)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
    if b'"usage"' in payload and b'"usage":null' not in payload:
        # The walk lets numbers pass that no double holds; where money is stated they are looked at.
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError:
            return _readable(payload)
    return payload


def _readable(payload: bytes) -> bytes:
    """The same, as strict readers take it."""
    try:
        value = json.loads(payload, parse_float=_number, parse_int=_whole, parse_constant=str)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object") from None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _number(text: str) -> float | str:
    """A number no reader of JSON takes, such as NaN or 1e400, stays in the vendor's own words: then it counts as no number."""
    value = float(text)
    return value if math.isfinite(value) else text


def _whole(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def json_object(payload: bytes) -> dict[str, Any]:
    """As `proved`, parsed."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = orjson.loads(_readable(payload))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def dumped(request: Mapping[str, Any]) -> bytes:
    """A request's bytes. An integer over 64 bits or half a surrogate pair is refused: no upstream would take it either."""
    try:
        return orjson.dumps(request)
    except TypeError:
        raise ProviderError(Failure.REFUSED, sent=False, status=400, detail="the request is not JSON") from None


async def whole_answer(response: Response, request_id: str | None, max_bytes: int) -> bytes:
    """The body of an answer with status 200 that is one JSON object; anything else is raised as what it is."""
    try:
        if response.status != 200:
            raise await refusal(response, request_id)
        check_head(response, "application/json", request_id)
        answer = await response.read(max_bytes)
        if len(answer) > _INLINE_CHECK:
            return await asyncio.to_thread(proved, answer)
        return proved(answer)
    except ValueError as error:
        raise broken(str(error), request_id) from None
    except ProviderError as error:
        error.provider_request_id = error.provider_request_id or request_id
        raise
    finally:
        # A body read to its end has given its connection back already, and this does nothing.
        response.close()


def check_head(response: Response, wanted: str, request_id: str | None) -> None:
    encoding = response.headers.get("content-encoding")
    if encoding and encoding.lower() != "identity":
        raise broken("content-encoding was not asked for", request_id)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise broken(f"content type is not {wanted}", request_id)


def broken(detail: str, request_id: str | None) -> ProviderError:
    return ProviderError(Failure.BROKEN, sent=True, status=200, provider_request_id=request_id, detail=detail)


async def refusal(response: Response, request_id: str | None) -> ProviderError:
    """The error a status other than 200 stands for. The body only adds a machine code, so failing to read it is no failure."""
    status = response.status
    try:
        code = _machine_code(await response.read(_MAX_ERROR))
    except ProviderError:
        code = ""
    headers: Mapping[str, str] = response.headers
    return ProviderError(
        failure_of(status),
        sent=True,
        status=status,
        retry_after=headers.get("retry-after"),
        retry_after_ms=headers.get("retry-after-ms"),
        provider_request_id=request_id,
        detail=f"status {status} {code}".rstrip(),
    )


def failure_of(status: int) -> Failure:
    if status == 429:
        return Failure.RATE_LIMITED
    if status == 408:
        return Failure.TIMEOUT
    if status >= 500:
        return Failure.UNAVAILABLE
    if status >= 400:
        return Failure.REFUSED
    return Failure.BROKEN  # a redirect, which could lead anywhere, or a success that carries no answer


def _machine_code(body: bytes) -> str:
    """The error's code, type or status (which one vendor writes in capitals), if it is a plain word. OAuth says it bare."""
    try:
        error = orjson.loads(body)["error"]
        if isinstance(error, str):
            error = {"code": error}
        code = error.get("code") or error.get("type")
        if not isinstance(code, str):
            code = error["status"].lower()
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
