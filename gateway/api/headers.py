"""What every metered surface reads from a request's headers and says in its answer's."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from gateway.errors import BadRequest
from gateway.exchange import Receipt
from gateway.settings import GRADES, Grade

Headers = Mapping[bytes, bytes]

_WORD = re.compile(r"[\w .:/()\-]{1,64}")


def grade(headers: Headers) -> Grade:
    """The data grade the caller declares; open where nothing is declared."""
    given = headers.get(b"x-haechi-grade")
    if given is None:
        return "O"
    declared = given.decode("latin-1").upper()
    if declared not in GRADES:
        raise BadRequest(
            "x-haechi-grade is O, S or C. x-haechi-grade는 O, S, C 중 하나입니다.",
            code="invalid_value",
            param="x-haechi-grade",
        )
    return declared


def word(headers: Headers, name: str) -> str | None:
    """A short printable word of a header; Hangul comes percent-encoded or as UTF-8."""
    given = headers.get(name.encode())
    if given is None:
        return None
    try:
        found = urllib.parse.unquote(given.decode(), errors="strict")
    except UnicodeDecodeError:
        found = ""
    if not _WORD.fullmatch(found):
        raise BadRequest(
            f"{name} is 1 to 64 letters, digits, spaces or . : / ( ) - _. {name}에 쓸 수 없는 글자가 있습니다.",
            code="invalid_value",
            param=name,
        )
    return found


def refuse_encodings(headers: Headers) -> None:
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"", b"identity"):
        raise BadRequest(
            "Compressed request bodies are not taken; send it as it is. 압축된 본문은 받지 않습니다.",
            code="unsupported_encoding",
            param="content-encoding",
        )


def told(receipt: Receipt) -> list[tuple[bytes, bytes]]:
    """What a whole answer cost, which model gave it, and what the filters did to the question."""
    return [
        (b"x-haechi-cost-krw", receipt.cost_krw.encode()),
        (b"x-haechi-cost-quality", receipt.quality.encode()),
        (b"x-haechi-model", receipt.model.encode()),
        *filtered(receipt.policy, receipt.found),
        *([(b"x-haechi-policy-unresolved", b"%d" % receipt.unresolved)] if receipt.unresolved else ()),
    ]


def filtered(policy: str, found: str) -> list[tuple[bytes, bytes]]:
    """`x-haechi-policy: masked | warned | routed_inside` with the kinds and their number; nothing where nothing was found."""
    told = [(b"x-haechi-policy", policy), (b"x-haechi-policy-findings", found)]
    return [(name, value.encode()) for name, value in told if value]
