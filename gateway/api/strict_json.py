"""JSON from a caller, read strictly: one reading of the bytes, or a refusal.

What two parsers read differently is how checks are walked around, so duplicate keys, NaN, lone surrogates, bytes that are not
UTF-8 and deep nesting are refused. A duplicate is found by counting: the fast parser keeps one of them, so it has fewer keys
than the text has; where the text could be miscounted (odd spacing, escaped quotes at a key's end) a slow parser looks.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from gateway.errors import BadRequest

# `"key" :` with spaces between; ordinary clients never write it, prose inside strings often looks like ` :`.
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NOT_JSON = "The body is not valid JSON. 본문이 올바른 JSON이 아닙니다."


class _Duplicate(ValueError):
    pass


def loads(raw: bytes, max_depth: int) -> dict[str, Any]:
    """The object in `raw`; BadRequest for everything else."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{_NOT_JSON} (line {error.lineno}, column {error.colno})", code="invalid_json") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object. 본문은 JSON 객체여야 합니다.", code="invalid_json")
    keys = _count_keys(value, max_depth)
    written = raw.count(b'":') - raw.count(b'\\":')
    if written != keys or b'\\\\"' in raw or _SPACED_KEY.search(raw):
        _look_for_duplicates(raw)
    return value


def quotable(name: str) -> str:
    """A key as an error may repeat it. What landed there by mistake may be text of a prompt, so only what could be a name is."""
    return name[:64] if _NAME.fullmatch(name[:64]) else "?"


def _count_keys(value: Any, max_depth: int) -> int:
    """Keys of all objects in it; refuses what is nested deeper than any request needs."""
    keys = 0
    level: list[Any] = [value]
    for _ in range(max_depth):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                keys += len(item)
                below += [child for child in item.values() if type(child) is dict or type(child) is list]
            else:
                below += [child for child in item if type(child) is dict or type(child) is list]
        if not below:
            return keys
        level = below
    raise BadRequest(
        f"The body is nested deeper than {max_depth} levels. 본문의 중첩이 {max_depth}단계를 넘습니다.",
        code="invalid_json",
    )


def _look_for_duplicates(raw: bytes) -> None:
    try:
        json.loads(raw, object_pairs_hook=_once)
    except _Duplicate as error:
        raise BadRequest(
            f"The key {quotable(str(error))!r} is written twice in one object; send it once. 같은 키가 두 번 있습니다.",
            code="duplicate_key",
        ) from None
    except (ValueError, RecursionError):
        _refuse()


def _refuse() -> NoReturn:
    raise BadRequest(_NOT_JSON, code="invalid_json")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Duplicate(key[:64])
        found[key] = value
    return found
