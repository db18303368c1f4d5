"""The start page: what the address that `make run` prints leads to.

    GET /   GET /start/app.js   GET /start/style.css

Files of dashboards/start, read once. They hold nothing of anybody: what the page shows it asks for in the visitor's own session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, Request, Response

#: Beside the packages, in a checkout and in an installed wheel.
FOLDER = Path(__file__).resolve().parents[2] / "dashboards" / "start"

_FILES = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/start/app.js", "app.js", "text/javascript; charset=utf-8"),
    ("/start/style.css", "style.css", "text/css; charset=utf-8"),
)


def policy(frame_ancestors: Sequence[str] = ()) -> str:
    """What a page of ours may load and do: nothing from anywhere else, and no script that is not a file."""
    ancestors = " ".join(frame_ancestors) or "'none'"
    return (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        f"frame-ancestors {ancestors}"
    )


def router(frame_ancestors: Sequence[str] = (), folder: Path = FOLDER) -> APIRouter:
    """The routes. Browsers keep the files and ask each time whether they are still the same."""
    routes = APIRouter(include_in_schema=False)
    security = {
        "content-security-policy": policy(frame_ancestors),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }

    def add(path: str, body: bytes, media_type: str) -> None:
        headers = {**security, "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}

        async def file(request: Request) -> Response:
            if request.headers.get("if-none-match") == headers["etag"]:
                return Response(status_code=304, headers=headers)
            return Response(body, headers=headers, media_type=media_type)

        routes.add_api_route(path, file, methods=["GET"])

    for path, name, media_type in _FILES:
        add(path, (folder / name).read_bytes(), media_type)
    return routes
