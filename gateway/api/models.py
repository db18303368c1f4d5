"""GET /v1/models and GET /v1/models/{id}: what this caller may use, each with whether it is available and why not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway.api.raw import json_headers, send_json
from gateway.api.surface import Gate
from gateway.catalog import Model

#: OpenAI's clients want a creation time; ours is the day the catalogue format began.
_CREATED = 1_763_856_000


async def list_models(gate: Gate, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    await gate.authenticate(scope)
    data = [described(model) for model in gate.world().catalog]
    body = orjson.dumps({"object": "list", "data": data})
    await send_json(send, 200, body, json_headers(request_id))


async def get_model(gate: Gate, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    await gate.authenticate(scope)
    model = gate.world().catalog.resolve(scope["path"].removeprefix("/v1/models/"))
    await send_json(send, 200, orjson.dumps(described(model)), json_headers(request_id))


def described(model: Model) -> dict[str, Any]:
    """OpenAI's four fields and what a person needs to choose."""
    return {
        "id": model.name,
        "object": "model",
        "created": _CREATED,
        "owned_by": model.deployments[0].provider,
        "available": model.available,
        "reason": None if model.reason is None else model.reason.model_dump(),
        "title": model.title.model_dump(),
        "use": None if model.use is None else model.use.model_dump(),
        "tasks": list(model.tasks),
        "grade": model.grade,
        "destination": model.destination,
        "capabilities": sorted(model.capabilities),
        "context_window": model.context,
        "max_output": model.max_output,
        "confirmed": asdict(model.confirmed),
    }
