"""A request under an `Idempotency-Key`, around whatever answers an ordinary one.

claim ─▶ answered before: the same answer, with `x-haechi-replayed: true` and the first request's id and cost
      └▶ ours: answer it ─▶ keep · close
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.types import Send

from gateway.api import headers
from gateway.api.raw import json_headers, send_json
from gateway.exchange import Completed, Submission

if TYPE_CHECKING:
    from gateway.api.surface import Gate
    from gateway.principal import Principal

#: Answers a submission; what it returns was not sent yet, None was a stream.
Answer = Callable[[Submission], Awaitable[Completed | None]]

_MARK = (b"x-haechi-replayed", b"true")


async def once(  # noqa: PLR0917 – who asks what, as it came, and the way back
    gate: Gate,
    principal: Principal,
    submission: Submission,
    given: Mapping[bytes, bytes],
    raw: bytes,
    send: Send,
    answer: Answer,
) -> None:
    """Answer it, unless it was answered before."""
    # The same words with another grade or for another purpose are another request.
    asked = [raw, submission.grade.encode(), submission.purpose.encode(), (submission.project or "").encode()]
    if submission.conversation is not None:
        asked.append(submission.conversation.encode())
    key = given[b"idempotency-key"]
    claim = await gate.repeats.claim(principal.user_id, submission.surface, key, asked, submission.request_id)
    if claim.answer is not None:
        extra = (*headers.told(claim.answer.receipt), _MARK)
        await send_json(send, 200, claim.answer.body, json_headers(claim.request_id, extra))
        return
    try:
        done = await answer(replace(submission, request_id=claim.request_id))
    except Exception:
        await gate.repeats.close(claim)
        raise
    except BaseException:
        gate.repeats.abandon(claim)
        raise
    await gate.repeats.keep(claim, done)
    if done is not None:
        await send_json(send, 200, done.body, json_headers(claim.request_id, headers.told(done.receipt)))
