"""One request head (request line and headers, up to and with the empty line) -> what it says, or a refusal.

The head is cut out by us and given to llhttp alone, so that the length of a body is decided in exactly one place, from
headers that were checked to agree. llhttp (strict) refuses by itself: bare CR or LF, folded lines, a space before the
colon, NUL and control characters, bad names, repeated or non-numeric Content-Length, and Content-Length beside
Transfer-Encoding. What it lets pass and is refused here: `Transfer-Encoding: gzip, chunked`, Transfer-Encoding in
HTTP/1.0, absolute and asterisk targets, a fragment, several spaces in the request line, HTTP/0.9 and 2.0, RTSP, an
absent or doubled Host, methods of other protocols, upgrades.
"""

from __future__ import annotations

from typing import NamedTuple

import httptools

from gateway.errors import Refusal
from gateway.server.limits import ServerLimits
from gateway.server.refusals import (
    expectation_failed,
    head_too_large,
    malformed,
    target_too_long,
    too_many_headers,
    upgrade_refused,
)

# TRACE echoes headers, CONNECT and PRI are other protocols: none of them has a route here.
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
# Repeating one of these makes two readers disagree about the request.
SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"expect"})
HOST_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:[]%"

CHUNKED = -1
# Longest request line besides its target: method, two spaces, version.
_LINE_EXTRA = len(b"OPTIONS  HTTP/1.1")


class Head(NamedTuple):
    method: str
    path: bytes  # percent-encoded, as sent
    query: bytes
    http11: bool
    headers: list[tuple[bytes, bytes]]  # names in lower case, in the order sent
    fields: dict[bytes, bytes]  # the same, repeated ones joined with ", "
    length: int  # of the body: 0 none, CHUNKED unknown
    keep_alive: bool
    expects_continue: bool


class HeadParser:
    """Parses whole heads, one after the other. One for all connections of an event loop: it keeps nothing between."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits

    def parse(self, head: bytes) -> Head:
        """`head` ends with the empty line. Raises Refusal; the connection must then be closed."""
        line_end = head.index(b"\r\n")
        method, target, http11 = self._request_line(head[:line_end])
        try:
            # Without callbacks: one pass in C that says whether every line is what the split below takes it for.
            httptools.HttpRequestParser(None).feed_data(head)
        except httptools.HttpParserUpgrade:
            raise upgrade_refused() from None
        except httptools.HttpParserError as error:
            raise malformed(f"{error}.", "헤더를 확인하세요.") from None
        headers: list[tuple[bytes, bytes]] = []
        for line in head[line_end + 2 : -4].split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon:  # only a head without headers has a line without one
                headers.append((name.lower(), value.strip(b" \t")))
        if len(headers) > self._limits.header_count:
            raise too_many_headers(self._limits.header_count)
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _joined(headers)

        _check_host(fields.get(b"host"), http11=http11)
        if b"upgrade" in fields:
            raise upgrade_refused()
        expects_continue = b"expect" in fields and _expects_continue(fields[b"expect"], http11=http11)
        connection = fields.get(b"connection")
        keep_alive = http11 and (connection is None or b"close" not in connection.lower())
        length = _body_length(fields, http11=http11)
        path, _, query = target.partition(b"?")
        return Head(method, path, query, http11, headers, fields, length, keep_alive, expects_continue)

    def _request_line(self, line: bytes) -> tuple[str, bytes, bool]:
        """Method, target and whether the version is 1.1."""
        limit = self._limits.target_bytes
        if len(line) > limit + _LINE_EXTRA:
            raise target_too_long(limit)
        try:
            method, target, version = line.split(b" ")
            name = METHODS[method]
        except (ValueError, KeyError):
            raise malformed("bad request line or method.", "요청 줄 또는 메서드를 확인하세요.") from None
        http11 = version == b"HTTP/1.1"
        if not http11 and version != b"HTTP/1.0":
            raise malformed("only HTTP/1.1 and 1.0 are served.", "HTTP/1.1과 1.0만 지원합니다.")
        if len(target) > limit:
            raise target_too_long(limit)
        if target[:1] != b"/" or b"#" in target or not target.isascii():
            raise malformed("the target must be a path.", "요청 대상은 경로여야 합니다.")
        return name, target, http11


def check_unfinished(start: bytes | bytearray, limits: ServerLimits) -> Refusal | None:
    """Whether the beginning of a head can be refused already; it has no empty line yet."""
    line_end = start.find(b"\r\n", 2)
    if (len(start) if line_end < 0 else line_end) > limits.target_bytes + _LINE_EXTRA:
        return target_too_long(limits.target_bytes)
    if len(start) > limits.head_bytes:
        return head_too_large(limits.head_bytes)
    # A first byte that starts no method is another protocol (a TLS hello, say): waiting for more helps nobody.
    if start[:1] != b"\r" and not start[:1].isupper():
        return malformed("this is not HTTP/1.1.", "HTTP/1.1이 아닙니다.")
    if start.count(b"\n") != start.count(b"\r\n"):
        return malformed("bare LF.", "LF 앞에 CR이 없습니다.")
    return None


def _check_host(host: bytes | None, *, http11: bool) -> None:
    if (host is None and http11) or (host is not None and (not host or host.translate(None, HOST_CHARS))):
        raise malformed("one valid Host header is needed.", "올바른 Host 헤더가 하나 있어야 합니다.")


def _expects_continue(expect: bytes, *, http11: bool) -> bool:
    if expect.lower() != b"100-continue":
        raise expectation_failed()
    return http11  # RFC 9110 §10.1.1: ignored from an HTTP/1.0 client


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in fields:
            fields[name] = value
        elif name in SINGLE:
            raise malformed(
                f"repeated {name.decode('ascii')} header.", f"{name.decode('ascii')} 헤더가 여러 번 나옵니다."
            )
        else:
            fields[name] += b", " + value
    return fields


def _body_length(fields: dict[bytes, bytes], *, http11: bool) -> int:
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None or not http11 or coding.lower() != b"chunked":
            raise malformed("unclear body length.", "본문 길이를 알 수 없습니다.")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit():
        raise malformed("bad Content-Length.", "Content-Length를 확인하세요.")
    return int(length)
