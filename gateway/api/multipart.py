"""`multipart/form-data` (RFC 7578) of a body that is here already and whose size was bounded: a few fields and one file.

Strict, because nothing here has to take what a program of twenty years ago sends: every part has a name and ends with the
boundary, nested multiparts and transfer encodings are refused.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import BadRequest

_BOUNDARY = re.compile(r"""multipart/form-data\s*;(?:.*;)?\s*boundary\s*=\s*("[^"]{1,70}"|[^\s";,]{1,70})""", re.I)
_PARAMETER = re.compile(r""";\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s";]+)""")
_MOST_PARTS = 16
_MOST_HEAD = 8 * 1024


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field. `filename` is None for what is no file."""

    name: str
    filename: str | None
    content: bytes


def parts(content_type: str, body: bytes) -> list[FormPart]:
    """The fields in order. Raises BadRequest."""
    found = _BOUNDARY.match(content_type.strip())
    if found is None:
        raise _refused("send it as multipart/form-data with a boundary", "multipart/form-data로 보내십시오")
    boundary = found[1].strip('"').encode("latin-1", "replace")
    return list(_parts(b"--" + boundary, body))


def _parts(delimiter: bytes, body: bytes) -> Iterator[FormPart]:
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter)
    if at < 0:
        raise _refused("the boundary is not in the body", "본문에 구분선이 없습니다")
    at += len(delimiter) + (0 if body.startswith(delimiter) else 2)
    for _ in range(_MOST_PARTS + 1):
        if body[at : at + 2] == b"--":
            return
        line = body.find(b"\r\n", at)
        if line < 0 or body[at:line].strip(b" \t"):
            raise _refused("a part does not begin on a line of its own", "형식이 맞지 않습니다")
        # A part without headers has its empty line at once.
        head_end = line if body[line + 2 : line + 4] == b"\r\n" else body.find(b"\r\n\r\n", line)
        end = body.find(b"\r\n" + delimiter, head_end + 4) if head_end >= 0 else -1
        if head_end < 0 or end < 0 or head_end - line > _MOST_HEAD:
            # An empty part's line end is the delimiter's own.
            if head_end >= 0 and body.startswith(b"\r\n" + delimiter, head_end + 2):
                end = head_end + 2
            else:
                raise _refused("a part does not end", "본문이 도중에 끝났습니다")
        yield _part(body[line + 2 : head_end], body[head_end + 4 : end])
        at = end + 2 + len(delimiter)
    raise _refused(f"more than {_MOST_PARTS} parts", "항목이 너무 많습니다")


def _part(head: bytes, content: bytes) -> FormPart:
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    if not disposition.lower().startswith("form-data"):
        raise _refused("a part is not form-data", "형식이 맞지 않습니다")
    if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise _refused("a part has a transfer encoding", "전송 인코딩은 받지 않습니다")
    given = {key.lower(): _unquoted(value) for key, value in _PARAMETER.findall(disposition)}
    if "name" not in given:
        raise _refused("a part has no name", "이름 없는 항목이 있습니다")
    filename = given.get("filename")
    if "filename*" in given:
        filename = _extended(given["filename*"])
    return FormPart(given["name"], filename, content)


def _unquoted(value: str) -> str:
    """Browsers percent-encode quotes in names and escape nothing; others escape with a backslash."""
    if not value.startswith('"'):
        return value
    return re.sub(r'\\(["\\])', r"\1", value[1:-1]).replace("%22", '"').replace("%0D", "").replace("%0A", "")


def _extended(value: str) -> str:
    """`UTF-8''%EB%B3%B4%EA%B3%A0.pdf` (RFC 8187)"""
    charset, _, rest = value.partition("'")
    _, _, encoded = rest.partition("'")
    if charset.lower() != "utf-8":
        raise _refused("a file name is not in UTF-8", "파일 이름은 UTF-8로 보내십시오")
    return urllib.parse.unquote(encoded)


def _refused(english: str, korean: str) -> BadRequest:
    return BadRequest(
        f"The upload cannot be read: {english}. 올린 내용을 읽을 수 없습니다: {korean}.", code="invalid_multipart"
    )
