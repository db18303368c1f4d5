"""POST /api/policies/check: what the filters would say about a text, without sending it anywhere and without a charge.

    {"text" | "messages", "model"?} → {"action", "findings": [{"kind", "part", "start", "end", "score", "action"}], "masked"?}

The composer underlines with it while somebody types, and administrators try rules with it. It is the same reading and the same
decision as for a request: without `model`, as for one that goes abroad. `part` is a JSON pointer into what was given, `""` for
`text`; offsets are code points. `masked` mirrors what was given, where taking out what was found makes it fit to be sent.
Files are replaced by their text.
Nothing is stored: a text that is still being written is nobody's decision yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from gateway.api import chat_request, headers, strict_json
from gateway.api.pages import as_json
from gateway.api.raw import body_too_large
from gateway.enclosures import Enclosures
from gateway.errors import BadRequest, TooManyRequests
from gateway.exchange import World, asker
from gateway.filtering import NOTHING
from gateway.leaving import Path
from gateway.principal import Authenticator
from gateway.settings import Destination, Grade
from gateway.workspace.mask_vault import MaskVaults
from policies.decision import Decision, stricter
from policies.masking import Vault

#: Texts of one person that may be read at the same time; a composer asks again only when it was answered.
_AT_ONCE = 4

_FIELDS = frozenset({"text", "messages", "model"})


def router(
    authenticator: Authenticator,
    world: Callable[[], World],
    enclosures: Enclosures,
    vaults: MaskVaults,
    *,
    clock: Callable[[], int],
) -> APIRouter:
    """The route. `clock` gives UTC microseconds; `vaults` make the placeholders of a conversation that has a name."""
    routes = APIRouter()
    reading: Counter[str] = Counter()

    @routes.post("/api/policies/check")
    async def check(request: Request) -> Response:
        """What the filters would say about a text or a conversation. Nothing is sent and nothing is charged."""
        principal = await authenticator.authenticate_page(request.method, request.headers.raw)
        now = world()
        limits = now.settings.limits
        raw = await _body(request, limits.body_bytes)
        body, model, plain = _understood(raw, now)
        accepts, destination = _place(now, model)
        given = dict(request.headers.raw)
        grade = headers.grade(given)
        conversation = headers.word(given, "x-haechi-conversation")
        if reading[principal.user_id] >= _AT_ONCE:
            raise TooManyRequests(
                f"{_AT_ONCE} texts are being checked already; wait for an answer. 앞의 검사가 끝난 뒤에 다시 요청하십시오.",
                headers={"retry-after": "1"},
            )
        reading[principal.user_id] += 1
        try:
            spelled: Mapping[Path, str] = NOTHING
            if not plain:
                # Files and pictures are read as they are for a request.
                opened = await enclosures.open(principal.user_id, body)
                body, grade = opened.body, stricter(grade, opened.grade)
                spelled = await enclosures.pictures(body)
            screening = await now.filters.screen(asker(principal), body, grade, clock(), spelled)
        finally:
            reading[principal.user_id] -= 1
            if not reading[principal.user_id]:
                del reading[principal.user_id]
        vault = None if conversation is None else Vault(vaults.key(principal.user_id, conversation))
        decision, masked = screening.checked(accepts, destination, vault)
        if plain:
            decision = replace(decision, findings=tuple(replace(found, part="") for found in decision.findings))
        answer = _said(decision)
        if masked is not None:
            messages = masked["messages"]
            answer["masked"] = messages[0]["content"] if plain else messages
        return as_json(answer)

    return routes


async def _body(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise body_too_large(limit)
    return b"".join(parts)


def _understood(raw: bytes, world: World) -> tuple[Mapping[str, Any], str | None, bool]:
    """(the body a request with this would have, the model's name, whether it was a text alone)"""
    limits = world.settings.limits
    given = strict_json.loads(raw, limits.depth)
    unknown = given.keys() - _FIELDS
    if unknown:
        name = strict_json.quotable(min(unknown))
        raise BadRequest(
            f"Unrecognized argument: {name}. Remove it. 알 수 없는 항목입니다: {name}",
            code="unknown_parameter",
            param=name,
        )
    model = given.get("model")
    if model is not None and not isinstance(model, str):
        raise BadRequest("model is the name of a model. model은 모델 이름입니다.", code="invalid_type", param="model")
    text, messages = given.get("text"), given.get("messages")
    if (text is None) == (messages is None) or not isinstance(text, str | None):
        raise BadRequest(
            "Give either text (a string) or messages (a list). text(글) 또는 messages(목록) 중 하나를 보내십시오.",
            code="invalid_value",
            param="text",
        )
    if text is not None:
        return {"messages": [{"role": "user", "content": text}]}, model, True
    asked = orjson.dumps({"model": model or "-", "messages": messages})
    return chat_request.parse(asked, limits).body, model, False


def _place(world: World, model: str | None) -> tuple[Grade, Destination]:
    if model is None:
        return "O", "foreign"
    found = world.catalog.resolve(model)
    return found.grade, found.destination


def _said(decision: Decision) -> dict[str, Any]:
    return {
        "action": decision.action,
        "findings": [
            {
                "kind": f.kind,
                "part": f.part,
                "start": f.start,
                "end": f.end,
                "score": round(f.score, 3),
                "action": f.action,
            }
            for f in decision.findings
        ],
    }
