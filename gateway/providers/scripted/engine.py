"""Whoever answers requests: finds the dialect a path belongs to and lets it speak."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from gateway.providers.scripted.anthropic import Messages
from gateway.providers.scripted.bedrock import Converse
from gateway.providers.scripted.chat import chat_completions
from gateway.providers.scripted.cohere import ChatV2
from gateway.providers.scripted.embeddings import batch_embed_contents, embed_v2, openai_embeddings
from gateway.providers.scripted.gemini import GenerateContent
from gateway.providers.scripted.responses import Responses
from gateway.providers.scripted.script import Dialect, Rejected, Script, Step

#: By the ending of the path.
DIALECTS: Mapping[str, Dialect] = {
    "/chat/completions": chat_completions,
    "/embeddings": openai_embeddings,
    "/responses": Responses(),
    "/messages": Messages(),
    ":rawPredict": Messages(),
    ":streamRawPredict": Messages(),
    ":generateContent": GenerateContent(streams=False),
    ":streamGenerateContent": GenerateContent(streams=True),
    ":batchEmbedContents": batch_embed_contents,
    "/chat": ChatV2(),
    "/embed": embed_v2,
    "/converse": Converse(streams=False),
    "/converse-stream": Converse(streams=True),
}

#: Where a dialect names the model in the path: `/models/NAME:verb`, `/model/NAME/verb`.
_MODEL = re.compile(r"/models?/([^/:]+)[:/]")


class ScriptedEngine:
    """Says what the practice upstream sends. `pace`: seconds between two chunks of a stream. `cut`: how [[cut]] breaks.

    `clock` gives the `created` of an answer and `new_id` the unlikely-to-repeat part of its ids; neither touches the text.
    """

    def __init__(
        self,
        *,
        faults: bool = False,
        pace: float = 0.015,
        cut: Literal["rst", "fin"] = "rst",
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: os.urandom(12).hex(),
        dialects: Mapping[str, Dialect] | None = None,
    ) -> None:
        self.faults = faults
        self.pace = pace
        self.cut = cut
        self.clock = clock
        self.new_id = new_id
        self._dialects = {**DIALECTS, **(dialects or {})}

    def answer(self, path: str, body: bytes) -> Script:
        """Never raises: what a real upstream would refuse is a Script with that status."""
        request: dict[str, Any] = {}
        try:
            speak = next((speak for ending, speak in self._dialects.items() if path.endswith(ending)), None)
            if speak is None:
                raise Rejected("Unknown request URL.", None, status=404, code="unknown_url")
            request = _json_object(body)
            if (model := _MODEL.search(path)) is not None:
                request["model"] = unquote(model[1])
            return speak(self, request)
        except Rejected as refusal:
            return self.refuse(refusal.status, refusal.message, code=refusal.code, param=refusal.param, request=request)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            # Some field deep down, in a message, a tool or a schema, is not of the shape it should have.
            return self.refuse(400, "The request is malformed.", request=request)

    def refuse(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        before: float = 0.0,
        request: Mapping[str, Any],
    ) -> Script:
        kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
        body = orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
        headers = {"content-type": "application/json", "x-request-id": f"req_{self.new_id()}"}
        if status in {429, 503}:
            headers |= {"retry-after": "1", "retry-after-ms": "1000"}
        return Script(
            status,
            headers,
            [Step(body)],
            before=before,
            length=len(body),
            model=str(request.get("model", "")),
            stream=request.get("stream") is True,
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejected("We could not parse the JSON body of your request.", None) from None
    if not isinstance(request, dict):
        raise Rejected("The body must be a JSON object.", None)
    return request
