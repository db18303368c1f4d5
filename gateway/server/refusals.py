"""What the server itself answers when a request never reaches the app, in the API's own error shape.

    400 invalid_request          malformed or ambiguous: nothing after it on the connection can be trusted
    408 request_timeout          head or body too slow
    413 request_too_large        body over the route's limit
    414 uri_too_long             request target over the limit
    417 expectation_failed       an Expect we do not know
    431 headers_too_large        head too large or too many headers
    500 server_error             the app failed before it answered
    503 server_shutting_down     draining
    503 too_many_connections     at the connection limit

Every one of them closes the connection.
"""

from __future__ import annotations

import http
import os

from gateway.api.raw import error_body, error_headers
from gateway.errors import BadRequest, Refusal, Unavailable


class RequestTimeout(Refusal):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class TargetTooLong(Refusal):
    status = 414
    type = "invalid_request_error"
    code = "uri_too_long"


class ExpectationFailed(Refusal):
    status = 417
    type = "invalid_request_error"
    code = "expectation_failed"


class HeadTooLarge(Refusal):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class AppFailed(Refusal):
    status = 500
    type = "server_error"
    code = "server_error"


def malformed(english: str, korean: str) -> BadRequest:
    """A request we will not guess the meaning of."""
    return BadRequest(f"The HTTP request is malformed: {english} HTTP 요청 형식이 잘못되었습니다: {korean}")


def target_too_long(limit: int) -> TargetTooLong:
    return TargetTooLong(
        f"The request target is longer than {limit} bytes. 요청 주소가 {limit}바이트보다 깁니다.",
        details={"limit_bytes": limit},
    )


def head_too_large(limit: int) -> HeadTooLarge:
    return HeadTooLarge(
        f"The request headers are larger than {limit} bytes. 요청 헤더가 {limit}바이트보다 큽니다.",
        details={"limit_bytes": limit},
    )


def too_many_headers(limit: int) -> HeadTooLarge:
    return HeadTooLarge(
        f"The request has more than {limit} headers. 요청 헤더가 {limit}개보다 많습니다.",
        details={"limit_headers": limit},
    )


def head_too_slow(seconds: float) -> RequestTimeout:
    return RequestTimeout(
        f"The request headers took longer than {seconds:g} seconds. 요청 헤더가 {seconds:g}초 안에 도착하지 않았습니다."
    )


def body_too_slow(seconds: float, bytes_per_second: int) -> RequestTimeout:
    return RequestTimeout(
        f"The request body came too slowly: it must arrive within {seconds:g} seconds and at no less than "
        f"{bytes_per_second} bytes per second. 요청 본문이 너무 느리게 도착했습니다. {seconds:g}초 안에, "
        f"초당 {bytes_per_second}바이트 이상으로 보내야 합니다."
    )


def expectation_failed() -> ExpectationFailed:
    return ExpectationFailed("Only 'Expect: 100-continue' is understood. 'Expect: 100-continue'만 지원합니다.")


def upgrade_refused() -> BadRequest:
    return BadRequest(
        "Protocol upgrades (h2c, websocket) are not served here; set your client to HTTP/1.1. "
        "프로토콜 업그레이드(h2c, 웹소켓)는 지원하지 않습니다. 클라이언트를 HTTP/1.1로 설정하세요."
    )


def app_failed() -> AppFailed:
    return AppFailed(
        "An unexpected error happened; quote the request id when you report it. "
        "예기치 않은 오류가 발생했습니다. 문의할 때 요청 번호를 알려 주세요."
    )


def shutting_down() -> Unavailable:
    return Unavailable(
        "This server is shutting down; send the request again. 서버를 종료하는 중입니다. 다시 요청해 주세요.",
        code="server_shutting_down",
        retry_after=1,
    )


def too_many_connections() -> Unavailable:
    return Unavailable(
        "This server has too many open connections; try again shortly. "
        "서버의 동시 연결이 너무 많습니다. 잠시 후 다시 시도해 주세요.",
        code="too_many_connections",
        retry_after=2,
    )


def status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


def render(refusal: Refusal, default_headers: list[tuple[bytes, bytes]], *, head_only: bool = False) -> bytes:
    """The whole HTTP answer, which ends the connection. `head_only` for the answer to a HEAD request."""
    request_id = "req_" + os.urandom(12).hex()
    body = error_body(refusal, request_id)
    headers = [
        *default_headers,
        *error_headers(refusal, request_id),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    head = b"".join([status_line(refusal.status), *(b"%b: %b\r\n" % pair for pair in headers), b"\r\n"])
    return head if head_only else head + body
