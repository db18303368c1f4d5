"""Files over a real socket, on both databases: uploaded as scripts and pages do, read in a process, seen by their owner alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import documents as d
import httpx
import pytest
from flows.conftest import Founder
from flows.harness import LEE, Gateway, Town

MARK = "민원인 홍길동 850312-2345678"
BOOK = d.xlsx({"명단": d.rows([d.cell("A1", MARK, "inlineStr")])})
MEBIBYTE = 1024 * 1024


class Office:
    """A town whose gateway takes files of up to 2 MB."""

    def __init__(self, town: Town) -> None:
        self.town = town
        town.settings["attachments"] = {"max_mb": 2, "files_per_person": 20}
        town.write_config()
        self.gateway: Gateway = town.gateway()
        self.lee = town.new_key(LEE)

    def upload(self, data: bytes, name: str = "명단.xlsx", *, key: str | None = None, **fields: str) -> httpx.Response:
        return self.ask("POST", "/api/files", key=key, files={"file": (name, data)}, data=fields)

    def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.town.key}"}
        return self.gateway.client.request(method, path, headers=headers, **more)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, found: Founder) -> Iterator[Office]:
    return Office(found(request.param))  # type: ignore[return-value]


def error(answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()["error"]
    return told


def test_a_file_is_uploaded_shown_listed_and_deleted(office: Office) -> None:
    answer = office.upload(BOOK, grade="s")
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["name"], shown["kind"], shown["grade"], shown["bytes"]) == ("명단.xlsx", "xlsx", "S", len(BOOK))
    assert shown["mismatch"] is False
    assert shown["not_read"] == []
    assert office.ask("GET", f"/api/files/{shown['id']}").json() == shown
    assert office.ask("GET", "/api/files").json()["files"][0] == shown
    assert MARK in office.ask("GET", f"/api/files/{shown['id']}?text=true").json()["text"]
    assert office.ask("DELETE", f"/api/files/{shown['id']}").status_code == 204
    gone = office.ask("GET", f"/api/files/{shown['id']}")
    assert (gone.status_code, error(gone)["code"]) == (404, "file_not_found")


def test_somebody_else_cannot_see_name_or_delete_it(office: Office) -> None:
    file_id = office.upload(BOOK).json()["id"]
    for method, path in (("GET", file_id), ("GET", f"{file_id}?text=true"), ("DELETE", file_id)):
        answer = office.ask(method, f"/api/files/{path}", key=office.lee)
        assert (answer.status_code, error(answer)["code"]) == (404, "file_not_found")
        assert "명단" not in answer.text
    assert office.ask("GET", "/api/files", key=office.lee).json() == {"files": []}
    assert office.ask("GET", f"/api/files/{file_id}").status_code == 200


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (d.zipped({"a.txt": "b"}), "a.zip", "archive"),
        (d.pdf("secret", password="s3cret"), "a.pdf", "encrypted"),
        (b"SCDSA002" + b"\x00" * 100, "a.docx", "drm"),
        (b"", "a.txt", "empty"),
        (d.docx("", {"word/a.xml": b"<a>" + b" " * 70_000_000 + b"</a>"}), "a.docx", "bomb"),
    ],
    ids=["archive", "password", "DRM", "empty", "bomb"],
)
def test_what_cannot_be_vouched_for_is_refused_and_not_kept(
    office: Office, data: bytes, name: str, reason: str
) -> None:
    before = office.ask("GET", "/api/files").json()
    answer = office.upload(data, name)
    assert (answer.status_code, error(answer)["code"]) == (400, "file_uninspectable")
    assert error(answer)["haechi"]["reason"] == reason
    assert any("가" <= letter <= "힣" for letter in error(answer)["message"])
    assert office.ask("GET", "/api/files").json() == before


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"json": {"file": "a"}}, 400, "invalid_multipart"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "invalid_multipart"),
        ({"data": {"grade": "S"}, "files": {"other": ("a.txt", b"a")}}, 400, "unknown_field"),
        ({"files": [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]}, 400, "missing_file"),
        ({"data": {"grade": "X"}, "files": {"file": ("a.txt", b"a")}}, 400, "invalid_value"),
        ({"files": {"file": ("a.txt", b"a" * (2 * MEBIBYTE + 1))}}, 413, "request_too_large"),
        ({"files": {"file": ("a.txt", b"a" * (3 * MEBIBYTE))}}, 413, None),
    ],
    ids=["JSON", "no end", "another field", "two files", "another grade", "too large", "far too large"],
)  # fmt: skip
def test_what_is_no_upload_is_told_so(office: Office, sent: dict[str, Any], status: int, code: str | None) -> None:
    headers = {"authorization": f"Bearer {office.town.key}", **sent.pop("headers", {})}
    with httpx.Client(base_url=office.gateway.base_url, timeout=30) as client:
        answer = client.post("/api/files", headers=headers, **sent)
    assert answer.status_code == status, answer.text
    assert code in (None, error(answer)["code"])


def test_other_routes_keep_their_own_limit(office: Office) -> None:
    """The larger body is for this one path."""
    body = json.dumps({"version": 1, "pad": "a" * (11 * MEBIBYTE)}).encode()
    with httpx.Client(base_url=office.gateway.base_url, timeout=30) as client:
        answer = client.post("/api/me/pledge", content=body, headers={"authorization": f"Bearer {office.town.key}"})
    assert answer.status_code == 413


def test_nobody_uploads_without_a_credential(office: Office) -> None:
    """Nor with a cookie that was made up."""
    without = office.gateway.client.post("/api/files", files={"file": ("a.txt", b"a")})
    assert without.status_code == 401
    ridden = office.gateway.client.post(
        "/api/files", files={"file": ("a.txt", b"a")}, headers={"cookie": "__Host-haechi=nonsense"}
    )
    assert ridden.status_code in {401, 403}


def test_ordinary_requests_go_on_while_files_are_read(office: Office) -> None:
    """Four at once are read; the gateway answers others meanwhile, and every answer is its own."""
    from concurrent.futures import ThreadPoolExecutor

    def upload(n: int) -> str:
        answer = office.upload(d.docx(d.w_paragraph(f"문서 {n}")), f"{n}.docx")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(4) as pool:
        uploading = [pool.submit(upload, n) for n in range(4)]
        answers = [office.gateway.chat("안녕하세요").status for _ in range(5)]
        ids = [done.result() for done in uploading]
    assert answers == [200] * 5
    texts = [office.ask("GET", f"/api/files/{file_id}?text=true").json()["text"] for file_id in ids]
    assert texts == [f"문서 {n}" for n in range(4)]
    for file_id in ids:
        office.ask("DELETE", f"/api/files/{file_id}")


def test_nothing_of_a_file_is_left_in_the_clear(office: Office) -> None:
    """Not in the log, and not in the database."""
    office.upload(d.docx(d.w_paragraph("카나리아 본문 7Q2W")), "카나리아-이름.docx")
    office.upload(b"SCDSA002", "카나리아-거부.docx")
    printed = b"".join(file.read_bytes() for file in office.town.folder.glob("gateway-*"))
    rows = repr(office.town.rows("SELECT * FROM stored_file")).encode()
    files = b"".join(f.read_bytes() for f in (office.town.folder / "database").rglob("*") if f.is_file())
    for canary in ("카나리아", "7Q2W"):
        assert canary.encode() not in printed + rows + files
