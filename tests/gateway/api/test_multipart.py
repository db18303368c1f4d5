"""A form with a file is read strictly: what is not as the specification says is refused, and nothing is guessed."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.multipart import FormPart, parts
from gateway.errors import BadRequest

KIND = "multipart/form-data; boundary=xyz"


def form(*made: str, end: str = "--xyz--\r\n") -> bytes:
    return ("".join(f"--xyz\r\n{part}\r\n" for part in made) + end).encode()


FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nbody'


@pytest.mark.parametrize(
    ("head", "name", "filename"),
    [
        ('form-data; name="file"; filename="보고.hwp"', "file", "보고.hwp"),
        ("form-data; name=file; filename=a.txt", "file", "a.txt"),
        ('form-data; name="file"; filename="a \\"b\\".txt"', "file", 'a "b".txt'),
        ('form-data; name="file"; filename="a %22b%22.txt"', "file", 'a "b".txt'),
        ("form-data; name=\"file\"; filename*=UTF-8''%EB%B3%B4%EA%B3%A0.hwp", "file", "보고.hwp"),
        ('form-data; name="file"; filename="x"; filename*=utf-8\'ko\'%EB%B3%B4%EA%B3%A0.hwp', "file", "보고.hwp"),
        ('form-data; name="file"; filename=""', "file", ""),
        ('form-data; name="grade"', "grade", None),
        ('Form-Data; Name="grade"', "grade", None),
    ],
)
def test_a_field_has_a_name_and_a_file_has_two(head: str, name: str, filename: str | None) -> None:
    (found,) = parts(KIND, form(f"Content-Disposition: {head}\r\n\r\nbody"))
    assert found == FormPart(name, filename, b"body")


def test_an_empty_file_is_a_file() -> None:
    (found,) = parts(KIND, form('Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'))
    assert found.content == b""


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", form(FILE)),
        ("multipart/form-data", form(FILE)),
        ("multipart/form-data; boundary=", form(FILE)),
        (f"multipart/form-data; boundary={'x' * 80}", form(FILE)),
        ("multipart/mixed; boundary=xyz", form(FILE)),
        (KIND, b""),
        (KIND, b"--abc--\r\n"),
        (KIND, form(FILE, end="")),
        (KIND, form(FILE)[:-20]),
        (KIND, b"--xyz\r\n"),
        (KIND, b"--xyz junk\r\n" + FILE.encode() + b"\r\n--xyz--"),
        (KIND, form("no colon\r\n\r\nbody")),
        (KIND, form("Content-Disposition: attachment; name=\"file\"\r\n\r\nbody")),
        (KIND, form("Content-Disposition: form-data\r\n\r\nbody")),
        (KIND, form(FILE.replace("Content-Type", "Content-Transfer-Encoding: base64\r\nContent-Type"))),
        (KIND, form("Content-Disposition: form-data; name=\"f\"; filename*=latin-1''a\r\n\r\nbody")),
        (KIND, form("X-Long: " + "a" * 9000 + "\r\n" + FILE)),
        (KIND, form(*[FILE] * 17)),
    ],
)  # fmt: skip
def test_anything_else_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parts(kind, body)
    assert refused.value.code == "invalid_multipart"


def test_what_a_client_library_writes_is_read() -> None:
    """httpx, as the OpenAI SDK uses it: a file with an unusual name and fields around it."""
    content = bytes(range(256)) * 10 + b"\r\n--not-the-boundary\r\n"
    request = httpx.Request(
        "POST", "http://x/", data={"grade": "S"}, files={"file": ('보고 "최종".hwp', content, "application/x-hwp")}
    )
    found = {part.name: part for part in parts(request.headers["content-type"], request.read())}
    assert found["grade"].content == b"S"
    assert found["file"] == FormPart("file", '보고 "최종".hwp', content)


@given(st.binary(max_size=400), st.sampled_from([b"", b"--xyz\r\n", b"\r\n--xyz", b"--xyz\r\n\r\n"]))
def test_random_bodies_are_read_or_refused(body: bytes, before: bytes) -> None:
    try:
        found = parts(KIND, before + body)
    except BadRequest:
        return
    assert all(part.name for part in found)
