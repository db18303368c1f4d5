"""Every refusal a caller can meet, as one tree.

    Refusal                        status  type                    code
    ├─ BadRequest                   400    invalid_request_error   (given)
    ├─ PolicyBlocked                400    invalid_request_error   policy_blocked
    ├─ Unauthenticated              401    authentication_error    invalid_api_key
    ├─ NotAllowed                   403    permission_error        (given)
    ├─ UnknownModel                 404    invalid_request_error   model_not_found
    ├─ Repeated                     409    idempotency_error       (given)
    ├─ TooLarge                     413    invalid_request_error   request_too_large
    ├─ KeyReused                    422    idempotency_error       idempotency_key_reused   x-should-retry: false
    ├─ QuotaExhausted               429    insufficient_quota      insufficient_quota   x-should-retry: false
    ├─ TooManyRequests              429    rate_limit_error        rate_limit_exceeded  retry-after
    ├─ ClientGone                   499    client_closed_request   client_left
    ├─ UpstreamRefused              4xx    (the provider's kind)   (given)
    ├─ UpstreamFailed               502    upstream_error          upstream_failed
    ├─ UpstreamTimeout              504    upstream_error          upstream_timeout
    └─ Unavailable                  503    service_unavailable     (given)          retry-after

A refusal carries what a person can do about it, in Korean and in English, because both people and programs read it.
It never carries another scope's numbers, a provider's own text, a key, or any part of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """Something the caller is told, with an HTTP status and a machine code.

    `message` is one or two sentences: English first (SDKs log it), Korean after. `param` is the request field at fault.
    `details` becomes `error.haechi`; `headers` are sent as they are.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.param = param
        self.details = details
        self.headers = dict(headers or {})


class BadRequest(Refusal):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class PolicyBlocked(Refusal):
    status = 400
    type = "invalid_request_error"
    code = "policy_blocked"


class Unauthenticated(Refusal):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotAllowed(Refusal):
    status = 403
    type = "permission_error"
    code = "not_allowed"


class UnknownModel(Refusal):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class NotFound(Refusal):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(Refusal):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class TooLarge(Refusal):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class Repeated(Refusal):
    """A request under an `Idempotency-Key` that was seen before, and whose first answer cannot be given again (yet)."""

    status = 409
    type = "idempotency_error"


class KeyReused(Refusal):
    """The `Idempotency-Key` belongs to another request."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"

    def __init__(self, message: str, *, details: Mapping[str, Any]) -> None:
        super().__init__(message, details=details, headers={"x-should-retry": "false"})


class QuotaExhausted(Refusal):
    """A hard budget on the caller's path cannot carry this request. Retrying at once cannot help, and says so."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, *, details: Mapping[str, Any]) -> None:
        super().__init__(message, details=details, headers={"x-should-retry": "false"})


class ClientGone(Refusal):
    """The client left before anything was sent for it. Nobody reads this; it is counted."""

    status = 499
    type = "client_closed_request"
    code = "client_left"

    def __init__(self) -> None:
        super().__init__("The client left. 클라이언트가 연결을 끊었습니다.")


class TooManyRequests(Refusal):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class UpstreamRefused(Refusal):
    """The provider refused the request itself (its 400, 404, 413, 429 …): mapped, never quoted."""

    type = "upstream_error"
    code = "upstream_refused"

    def __init__(self, message: str, *, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, code=code, headers=headers)
        self.status = status
        self.type = {400: "invalid_request_error", 429: "rate_limit_error"}.get(status, "upstream_error")


class UpstreamFailed(Refusal):
    status = 502
    type = "upstream_error"
    code = "upstream_failed"


class UpstreamTimeout(Refusal):
    status = 504
    type = "upstream_error"
    code = "upstream_timeout"


class Unavailable(Refusal):
    """We cannot take work now (draining, no database, model switched off). Short retry-after."""

    status = 503
    type = "service_unavailable"
    code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: int | None = 2) -> None:
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        super().__init__(message, code=code, headers=headers)
