"""How FastAPI's routes fail: in the same shape as the hot lane, with a request id, and without saying what a bug was."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.raw import error_body
from gateway.api.surface import Broken
from gateway.directory.ids import uuid7
from gateway.errors import BadRequest, MethodNotAllowed, NotFound, Refusal

log = logging.getLogger("haechi.api")

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def add_refusals(pages: FastAPI) -> None:
    """Every error a route can raise becomes a refusal in the API's own shape."""

    @pages.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
        return _said(error)

    @pages.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = dict(error.errors()[0]) if error.errors() else {}
        # Where and what is wrong; never the value, which may be a password.
        where = ".".join(str(part) for part in first.get("loc", ())[1:])
        told = f"{where or 'body'}: {first.get('msg', 'not as expected')}. 입력 형식이 맞지 않습니다: {where or '본문'}"
        return _said(BadRequest(told, code="invalid_request", param=where or None))

    @pages.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return _said(NotFound(f"There is no {request.url.path[:128]} here. 없는 주소입니다."))
        if error.status_code == 405:
            return _said(MethodNotAllowed("That method is not for this path. 허용되지 않는 방식입니다."))
        return _said(BadRequest(str(error.detail)[:200]))


class CatchBugs:
    """Outermost: whatever a route did not foresee is logged with an id, and the caller gets the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            response = _said(Broken())
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], response.headers["x-request-id"])
            if not started:
                await response(scope, receive, send)


def _said(refusal: Refusal) -> Response:
    request_id = uuid7()
    headers = {**_HEADERS, **refusal.headers, "x-request-id": request_id, "request-id": request_id}
    return Response(error_body(refusal, request_id), refusal.status, headers, "application/json")


def as_json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, dict(_HEADERS), "application/json")
