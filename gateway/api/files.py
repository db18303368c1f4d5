"""Files for requests to refer to. Each belongs to whoever uploaded it; to everybody else it does not exist.

    POST   /api/files  multipart: file, grade? (O | S | C)   → 201 {"id", "name", "kind", "bytes", "chars", "grade", "created_at",
                                                                    "expires_at", "not_read": [...], "mismatch"}
    GET    /api/files                                        → {"files": [the same, newest first]}
    GET    /api/files/{id}                                   → the same; with ?text=true also "text": all that would be sent
    DELETE /api/files/{id}                                   → 204

A file that cannot be vouched for is refused with 400 `file_uninspectable` and the reason in `error.haechi`; nothing is kept.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from gateway.api import multipart
from gateway.api.pages import as_json
from gateway.directory.ids import rfc3339
from gateway.errors import BadRequest, ClientGone, Unavailable
from gateway.principal import Authenticator
from gateway.settings import GRADES, Attachments, Grade
from gateway.workspace.files import Files, StoredFile, too_large

#: Boundaries, headers and the few small fields around a file.
AROUND = 64 * 1024
#: Bodies in memory at once, and how many of them may be one person's; more are told to come back.
UPLOADS = 8
UPLOADS_EACH = 4


def body_limit(attachments: Attachments) -> int:
    """How large a body the upload route takes."""
    return attachments.max_bytes + AROUND


def router(authenticator: Authenticator, files: Files, attachments: Attachments, zone: ZoneInfo) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    uploading: Counter[str] = Counter()

    @routes.post("/api/files", status_code=201)
    async def upload(request: Request) -> Response:
        """Read a file and keep its text for thirty days, or say why it cannot be taken."""
        principal = await authenticator.authenticate_page("POST", request.headers.raw)
        if uploading[principal.user_id] >= UPLOADS_EACH or uploading.total() >= UPLOADS:
            raise Unavailable(
                "Too many files are being uploaded; try again. 파일이 한꺼번에 많이 올라오고 있습니다. 잠시 후 다시 시도하십시오."
            )
        uploading[principal.user_id] += 1
        try:
            name, content, grade = _form(request.headers.get("content-type", ""), await _body(request, attachments))
            stored = await files.upload(principal.user_id, name, content, grade)
        finally:
            uploading[principal.user_id] -= 1
            if not uploading[principal.user_id]:
                del uploading[principal.user_id]
        return as_json(_shown(stored, zone), 201)

    @routes.get("/api/files")
    async def listed(request: Request) -> Response:
        """One's own files, the newest first."""
        principal = await authenticator.authenticate_page("GET", request.headers.raw)
        return as_json({"files": [_shown(stored, zone) for stored in await files.listed(principal.user_id)]})

    @routes.get("/api/files/{file_id}")
    async def one(request: Request, file_id: str) -> Response:
        """What is known of one file, and on request what would be sent of it."""
        principal = await authenticator.authenticate_page("GET", request.headers.raw)
        shown = _shown(await files.get(file_id, principal.user_id), zone)
        if request.query_params.get("text") == "true":
            shown["text"] = (await files.text_of(file_id, principal.user_id)).text
        return as_json(shown)

    @routes.delete("/api/files/{file_id}", status_code=204)
    async def delete(request: Request, file_id: str) -> Response:
        """Forget a file at once."""
        principal = await authenticator.authenticate_page("DELETE", request.headers.raw)
        await files.delete(file_id, principal.user_id)
        return Response(status_code=204, headers={"cache-control": "no-store"})

    return routes


async def _body(request: Request, attachments: Attachments) -> bytes:
    """The whole body. The server has refused a longer one; whoever is served without it is refused here."""
    most = body_limit(attachments)
    received: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise too_large(attachments.max_mb)
            received.append(chunk)
    except ClientDisconnect as e:
        raise ClientGone from e
    return b"".join(received)


def _form(content_type: str, body: bytes) -> tuple[str, bytes, Grade]:
    """(name, bytes, declared grade) of the form."""
    fields = multipart.parts(content_type, body)
    unknown = sorted({field.name for field in fields} - {"file", "grade", "purpose"})
    if unknown:
        raise BadRequest(
            f"Unknown field {unknown[0][:64]!r}: send `file`, and `grade` if you like. 알 수 없는 항목이 있습니다.",
            code="unknown_field",
        )
    given = [field for field in fields if field.name == "file" and field.filename is not None]
    if len(given) != 1:
        raise BadRequest(
            "Send exactly one file, in a field named `file`. `file` 항목에 파일 하나를 담아 보내십시오.",
            code="missing_file",
            param="file",
        )
    grades = [field.content.decode("utf-8", "replace").strip().upper() for field in fields if field.name == "grade"]
    grade = grades[-1] if grades else "O"
    if grade not in GRADES:
        raise BadRequest("grade is O, S or C. grade는 O, S, C 중 하나입니다.", code="invalid_value", param="grade")
    return given[0].filename or "", given[0].content, grade


def _shown(stored: StoredFile, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "id": stored.id,
        "name": stored.name,
        "kind": stored.kind,
        "bytes": stored.bytes,
        "chars": stored.chars,
        "grade": stored.grade,
        "created_at": rfc3339(stored.created_at, zone),
        "expires_at": rfc3339(stored.expires_at, zone),
        "not_read": list(stored.not_read),
        "mismatch": stored.mismatch,
    }
