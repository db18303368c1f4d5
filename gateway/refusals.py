"""The refusals of the exchange in words: what happened, what to do, whom it cost. English first, Korean after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from billing.money import format_krw
from billing.periods import Calendar
from billing.quota import Refused
from gateway.catalog import Model
from gateway.errors import (
    BadRequest,
    QuotaExhausted,
    Refusal,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.principal import Principal
from gateway.providers.base import Failure, ProviderError

NO_LEDGER = (
    "The ledger cannot take new work just now; nothing was sent and nothing was charged. Try again shortly. "
    "장부에 기록할 수 없어 요청을 보내지 않았고 과금도 없습니다. 잠시 후 다시 시도하십시오."
)

_SCOPES = {"organisation": ("organisation", "기관"), "department": ("department", "부서"), "user": ("personal", "개인")}
_PERIODS = {"day": ("daily", "일"), "month": ("monthly", "월"), "year": ("yearly", "연")}


def model_unavailable(model: Model) -> Refusal:
    reason = model.reason
    english, korean = (
        (reason.en, reason.ko) if reason is not None else ("It has no place to run.", "실행할 곳이 없습니다.")
    )
    return Unavailable(
        f"{model.title.en} is not available. {english} {model.title.ko}: 지금 사용할 수 없습니다. {korean}",
        code="model_unavailable",
        retry_after=None,
    )


def lacks(model: str, missing: Iterable[str]) -> Refusal:
    names = ", ".join(sorted(missing))
    return BadRequest(
        f"Model '{model}' cannot do this: {names}. Choose a model whose capabilities list it (GET /v1/models). "
        f"'{model}' 모델은 {names} 기능이 없습니다. 다른 모델을 고르십시오.",
        code="unsupported_capability",
        param="model",
    )


def cap_too_large(model: Model) -> Refusal:
    return BadRequest(
        f"max_tokens is larger than the whole window of '{model.name}' ({model.context} tokens). Ask for less. "
        f"max_tokens가 '{model.name}'의 전체 창({model.context} 토큰)보다 큽니다. 줄이십시오.",
        code="invalid_value",
        param="max_tokens",
    )


def exhausted(refused: Refused, principal: Principal, calendar: Calendar, at: int, alternatives: list[str]) -> Refusal:
    """The narrowest budget, with its numbers only where the caller answers for it."""
    standing = refused.standing
    quota = standing.quota
    kind = quota.scope.partition(":")[0]
    english, korean = _SCOPES.get(kind, (kind, kind))
    period_en, period_ko = _PERIODS[quota.period]
    own = principal.answers_for(quota.scope)
    resets_at = calendar.resets_at(quota.period, at)
    details: dict[str, Any] = {
        "scope": kind,
        "period": quota.period,
        "limit_krw": format_krw(quota.amount) if own else None,
        "used_krw": format_krw(standing.posted) if own else None,
        "held_krw": format_krw(standing.held) if own else None,
        "resets_at": resets_at.isoformat(),
        "alternatives": alternatives,
        "request_url": None,
    }
    day = resets_at.strftime("%Y-%m-%d %H:%M")
    return QuotaExhausted(
        f"The {period_en} {english} budget cannot carry this request; nothing was sent and nothing was charged. "
        f"It resets at {day}. Use a free model, ask for less, or ask your administrator for more. "
        f"{period_ko} {korean} 예산이 부족하여 요청을 보내지 않았고 과금도 없습니다. {day}에 초기화됩니다. "
        "무료 모델을 쓰거나 요청을 줄이거나 관리자에게 증액을 요청하십시오.",
        details=details,
    )


def upstream(error: ProviderError) -> Refusal:
    """A provider's failure in our own words; its text may quote the prompt or our key."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = error.retry_after
    if error.retry_after_ms is not None:
        headers["retry-after-ms"] = error.retry_after_ms
    if error.failure is Failure.RATE_LIMITED:
        return UpstreamRefused(
            "The provider is limiting requests just now. Wait and try again, or use another model. "
            "공급자가 요청을 제한하고 있습니다. 잠시 후 다시 시도하거나 다른 모델을 쓰십시오.",
            status=429,
            code="upstream_rate_limited",
            headers=headers,
        )
    if error.failure is Failure.TIMEOUT:
        return UpstreamTimeout(
            "The provider did not answer in time. Try again or use another model. "
            "공급자가 제때 응답하지 않았습니다. 다시 시도하거나 다른 모델을 쓰십시오."
        )
    if error.failure is Failure.REFUSED and error.status not in (401, 402, 403):
        return UpstreamRefused(
            "The provider does not accept this request for this model. Check the parameters and the length. "
            "공급자가 이 요청을 받아들이지 않았습니다. 매개변수와 길이를 확인하십시오.",
            status=400,
            code="upstream_rejected_request",
        )
    return UpstreamFailed(
        "The provider failed. Try again or use another model. "
        "공급자 측 오류입니다. 다시 시도하거나 다른 모델을 쓰십시오.",
        headers=headers,
    )


def shutting_down() -> Refusal:
    return Unavailable(
        "The gateway is being restarted; what was delivered is billed. Send the rest again. "
        "게이트웨이를 재시작하는 중입니다. 받은 만큼만 과금됩니다. 이어서 다시 요청하십시오.",
        code="server_shutting_down",
    )


def stream_frame(refusal: Refusal, request_id: str) -> bytes:
    """The last frame of a stream that failed; the SDKs raise on any frame with an `error` key."""
    error = {"message": refusal.message, "type": refusal.type, "param": None, "code": refusal.code}
    return b"data: " + orjson.dumps({"error": error, "request_id": request_id}) + b"\n\n"
