"""Files and pictures in a request: what arrives is the text that was read, what is found in it counts, and bytes stay here."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from documents import docx, w_paragraph
from flows.inside import Inside, opened
from flows.test_filters import CHAT, PHONE, PRICES, RRN, Wire, configuration, said, text_part

from gateway import tokens
from gateway.providers.scripted_server import ScriptedServer, serve


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Wire, ScriptedServer]]:
    made = Wire()
    async with serve(made) as server:
        yield made, server


@pytest.fixture
def seen(upstream: tuple[Wire, ScriptedServer]) -> Wire:
    return upstream[0]


@pytest.fixture
async def inside(
    request: pytest.FixtureRequest, upstream: tuple[Wire, ScriptedServer], tmp_path: Path, migrated_sqlite: Path
) -> AsyncIterator[Inside]:
    given = {**configuration(upstream[1].base_url), "attachments": getattr(request, "param", {})}
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


DOCUMENT = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def document(text: str) -> bytes:
    return docx(w_paragraph(text))


def inline(content: bytes, name: str = "보고서.docx") -> dict[str, Any]:
    data = f"data:{DOCUMENT};base64,{base64.b64encode(content).decode()}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}


async def uploaded(inside: Inside, content: bytes, grade: str = "O") -> dict[str, Any]:
    answer = await inside.client.post(
        "/api/files", files={"file": ("보고서.docx", content, DOCUMENT)}, data={"grade": grade}
    )
    assert answer.status_code in {200, 201}, answer.text
    return {"type": "file", "file": {"file_id": answer.json()["id"]}}


async def part(inside: Inside, how: str, content: bytes) -> dict[str, Any]:
    return inline(content) if how == "inline" else await uploaded(inside, content)


HOW = pytest.mark.parametrize("how", ["inline", "uploaded"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@HOW
@STREAM
@pytest.mark.parametrize("model", ["foreign", "inside"])
async def test_a_documents_text_arrives_and_its_bytes_do_not(
    inside: Inside, seen: Wire, how: str, stream: bool, model: str
) -> None:
    given = await part(inside, how, document("회의는 오후 두 시에 시작합니다"))
    messages = said(("user", [text_part("요약해 줘"), given]))
    answer = await inside.post(CHAT, model=model, messages=messages, stream=stream)
    assert answer.status_code == 200, answer.text
    first, second = seen.bodies[0]["messages"][0]["content"]
    assert first == text_part("요약해 줘")
    assert second["type"] == "text"
    assert "보고서.docx" in second["text"]
    assert "회의는 오후 두 시에 시작합니다" in second["text"]
    assert not any(b"file_data" in raw or b"file_id" in raw for raw in seen.raw)


@HOW
async def test_what_stands_in_a_document_is_found(inside: Inside, seen: Wire, how: str) -> None:
    blocked = await part(inside, how, document(f"주민등록번호 {RRN}"))
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", [text_part("요약"), blocked])))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "policy_blocked")
    assert answer.json()["error"]["haechi"]["findings"][0]["part"] == "/messages/0/content/1/text"
    assert seen.bodies == []
    masked = await part(inside, how, document(f"연락처 {PHONE}"))
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", [text_part("요약"), masked])))
    assert (answer.status_code, answer.headers["x-haechi-policy"]) == (200, "masked")
    assert not seen.saw(PHONE)


async def test_a_files_grade_is_the_requests(inside: Inside, seen: Wire) -> None:
    given = await uploaded(inside, document("검토 의견"), grade="S")
    messages = said(("user", [text_part("요약"), given]))
    assert (await inside.post(CHAT, model="foreign", messages=messages)).status_code == 400
    assert (await inside.post(CHAT, model="careful", messages=messages)).status_code == 200
    assert seen.models == ["at-inside"]


async def test_a_file_nobody_can_read_is_refused_new_and_left_out_old(inside: Inside, seen: Wire) -> None:
    broken = inline(b"PK\x03\x04 not really a document")
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", [text_part("요약"), broken])))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "file_uninspectable")
    gone = {"type": "file", "file": {"file_id": "file-long-gone"}}
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", [gone])))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    messages = said(("user", [text_part("전에"), broken, gone]), ("assistant", "네"), ("user", "이어서"))
    answer = await inside.post(CHAT, model="foreign", messages=messages)
    assert answer.status_code == 200, answer.text
    assert [content["type"] for content in seen.bodies[0]["messages"][0]["content"]] == ["text"] * 3


@pytest.mark.parametrize("file", [{}, {"file_data": 5}, {"file_data": "not base64!"}, {"filename": "a"}])
async def test_a_part_without_a_file(inside: Inside, seen: Wire, file: dict[str, Any]) -> None:
    answer = await inside.post(CHAT, model="foreign", messages=said(("user", [{"type": "file", "file": file}])))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "/messages/0/content/0")
    assert seen.bodies == []


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────────


#: A notice that says 대외비, with a name and a telephone number on it.
NOTICE = (Path(__file__).parents[1] / "samples" / "pictures" / "notice.png").read_bytes()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(NOTICE).decode()}"}}


# Whether pictures are read here, the model, what is found in one, and whether it leaves.
@pytest.mark.parametrize(
    ("inside", "model", "kinds", "leaves"),
    [
        ({"ocr": True}, "foreign", {"CLASSMARK", "PHONE"}, False),
        ({"ocr": True}, "inside", {"CLASSMARK"}, False),
        ({"ocr": False}, "foreign", {"UNREADABLE"}, False),
        ({"ocr": False}, "inside", set(), True),
    ],
    indirect=["inside"],
)
async def test_a_picture_is_read_where_that_is_switched_on_and_stays_inside_where_not(
    *, inside: Inside, seen: Wire, model: str, kinds: set[str], leaves: bool
) -> None:
    messages = said(("user", [text_part("무엇인가요"), PICTURE]))
    answer = await inside.post(CHAT, model=model, messages=messages)
    assert (answer.status_code == 200, len(seen.bodies)) == (leaves, int(leaves)), answer.text
    if not leaves:
        found = answer.json()["error"]["haechi"]["findings"]
        assert kinds <= {finding["kind"] for finding in found}
        assert {finding["part"] for finding in found} == {"/messages/0/content/1"}
        assert "010-1234-5678" not in answer.text


async def test_a_picture_of_an_earlier_turn_is_left_out(inside: Inside, seen: Wire) -> None:
    messages = said(("user", [text_part("무엇인가요"), PICTURE]), ("assistant", "공지"), ("user", "고마워요"))
    answer = await inside.post(CHAT, model="foreign", messages=messages)
    assert answer.status_code == 200, answer.text
    assert b"image_url" not in seen.raw[0]


# ── a tokeniser's numbers ───────────────────────────────────────────────────────────────────────────────────────────────


def numbers(text: str) -> list[int]:
    import tiktoken

    tokens.count("", "cl100k_base")  # finds the vocabulary where it lies; tiktoken alone would fetch it
    return tiktoken.get_encoding("cl100k_base").encode_ordinary(text)


# What is asked as numbers, of a model whose tokeniser is known and of one whose is not, and whether it leaves.
@pytest.mark.parametrize(
    ("text", "model", "leaves"),
    [
        ("보고서 목차", "counted", True),
        (f"주민번호 {RRN}", "counted", False),
        (f"연락처 {PHONE}", "counted", False),
        ("보고서 목차", "foreign", False),
        (f"주민번호 {RRN}", "inside", True),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
async def test_tokens_are_read_where_their_vocabulary_is_known(
    *, inside: Inside, seen: Wire, text: str, model: str, leaves: bool, nested: bool
) -> None:
    given = [numbers(text), numbers("둘째")] if nested else numbers(text)
    answer = await inside.post("/v1/embeddings", model=model, input=given)
    assert bool(seen.bodies) == leaves, answer.text
    if leaves:
        assert json.loads(seen.raw[0])["input"] == given
    else:
        assert answer.json()["error"]["haechi"]["findings"][0]["part"] == "/input"


async def test_a_number_no_vocabulary_has_stays_inside(inside: Inside, seen: Wire) -> None:
    answer = await inside.post("/v1/embeddings", model="counted", input=[10**9])
    assert (answer.status_code, seen.bodies) == (400, [])
