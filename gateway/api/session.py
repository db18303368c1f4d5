"""Signing in and out over HTTP.

POST   /api/session {"email", "password"}                 → cookie __Host-haechi, {"csrf", "expires"}
POST   /api/session {"email", "password", "token": true}  → {"token", "expires"}: a bearer, for scripts
GET    /api/session   (cookie)                            → {"csrf", "expires"}, for a page that was reloaded
DELETE /api/session   (cookie + x-haechi-csrf, or bearer) → 204
"""

import asyncio
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.audit import Actor
from gateway.directory import passwords
from gateway.directory.ids import rfc3339
from gateway.directory.records import SessionKind
from gateway.directory.sessions import Sessions, Throttle
from gateway.errors import BadRequest, NotAllowed, Unauthenticated, Unavailable
from gateway.principal import COOKIE, Authenticator, cookie_token, credential

#: At once. Each check takes 19 MiB and 20 ms of a core; a flood of sign-ins may not take the machine.
CHECKS = 2
#: Waiting for their turn; more are told to come back.
WAITING = 50

_NO_STORE = {"cache-control": "no-store"}


class SignIn(BaseModel):
    """What is asked of somebody who signs in."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=254)
    password: str = Field(max_length=passwords.LONGEST, repr=False)
    token: bool = False


def router(
    authenticator: Authenticator,
    sessions: Sessions,
    throttle: Throttle,
    zone: ZoneInfo,
    frame_ancestors: tuple[str, ...] = (),
) -> APIRouter:
    """The routes. `frame_ancestors`: portals of other sites that embed the pages; without any the cookie stays same-site."""
    routes = APIRouter()
    checks = asyncio.Semaphore(CHECKS)
    waiting = 0

    @routes.post("/api/session")
    async def sign_in(request: Request, body: SignIn) -> Response:
        """Open a session. The answer to a wrong password is the answer to an unknown account."""
        nonlocal waiting
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise NotAllowed("Sign in from our own page. / 로그인 화면에서 로그인하십시오.", code="csrf_failed")
        origin = _origin(request)
        throttle.admit(body.email, origin)
        if waiting >= WAITING:
            raise Unavailable("Too many people are signing in; try again. / 잠시 후 다시 시도하십시오.", retry_after=2)
        kind: SessionKind = "bearer" if body.token else "cookie"
        waiting += 1
        try:
            async with checks:
                opened = await asyncio.to_thread(sessions.open, body.email, body.password, kind, origin=origin)
        finally:
            waiting -= 1
        throttle.clear(body.email, origin)
        expires = rfc3339(opened.expires_at, zone)
        if opened.csrf is None:
            return JSONResponse({"token": opened.token, "expires": expires}, headers=_NO_STORE)
        response = JSONResponse({"csrf": opened.csrf, "expires": expires}, headers=_NO_STORE)
        response.headers.append("set-cookie", _cookie(opened.token, frame_ancestors))
        return response

    @routes.get("/api/session")
    async def resume(request: Request) -> Response:
        """The CSRF value once more. A page of another site cannot read this answer."""
        principal = await authenticator.authenticate_page("GET", request.headers.raw)
        token = cookie_token(request.headers.raw)
        if principal.via != "session" or token is None:
            raise BadRequest("Only a cookie has a CSRF value. / 쿠키 세션이 아닙니다.", code="no_session")
        opened = await asyncio.to_thread(sessions.resume, token)
        if opened is None:
            raise Unauthenticated("The session has ended: sign in again. / 다시 로그인하십시오.", code="session_ended")
        return JSONResponse({"csrf": opened.csrf, "expires": rfc3339(opened.expires_at, zone)}, headers=_NO_STORE)

    @routes.delete("/api/session", status_code=204)
    async def sign_out(request: Request) -> Response:
        """End the session this request came with."""
        headers = request.headers.raw
        principal = await authenticator.authenticate_page("DELETE", headers)
        token = cookie_token(headers) if principal.via == "session" else credential(headers)
        if principal.via == "api_key" or token is None:
            raise BadRequest("An API key has no session; revoke it instead. / 세션이 아닙니다.", code="no_session")
        await asyncio.to_thread(sessions.end, token, by=Actor(principal.email, _origin(request)))
        authenticator.invalidate()
        response = Response(status_code=204, headers=_NO_STORE)
        if principal.via == "session":
            response.headers.append("set-cookie", _cookie("", frame_ancestors, max_age=0))
        return response

    return routes


def _cookie(token: str, frame_ancestors: tuple[str, ...], max_age: int | None = None) -> str:
    """`__Host-`: Secure, for this host and every path, so no other host of the domain can set or read it."""
    # In a frame of another site a same-site cookie is never sent; Partitioned keeps it to that one portal.
    site = "SameSite=None; Partitioned" if frame_ancestors else "SameSite=Lax"
    lifetime = "" if max_age is None else f"; Max-Age={max_age}"
    return f"{COOKIE.decode()}={token}; Path=/; Secure; HttpOnly; {site}{lifetime}"


def _origin(request: Request) -> str:
    """The address the server has already settled on, trusted proxies included."""
    return request.client.host if request.client is not None else "unknown"
