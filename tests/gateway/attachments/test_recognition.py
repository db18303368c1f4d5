"""Pictures, where the operating system has tesseract with Korean. `make test` installs it; `make run` does without."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import documents as d
import pytest

from gateway.attachments import recognition
from gateway.attachments.extracted import Bounds, Uninspectable
from gateway.attachments.extractor import ChildExtractor, Spend

#: A notice in NanumGothic (SIL Open Font License), drawn by a browser for this test.
NOTICE = (Path(__file__).parents[2] / "samples" / "pictures" / "notice.png").read_bytes()


@pytest.fixture
def child() -> ChildExtractor:
    if recognition.available() is None:
        pytest.fail("tesseract with Korean is missing: run tools/servers.sh", pytrace=False)
    return ChildExtractor(Spend(), Bounds())


def scanned_pdf() -> bytes:
    """A page that is nothing but the notice."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import DecodedStreamObject, NameObject, NumberObject

    width, height, grey = pixels(NOTICE)
    tall = width * 4 // 3  # as the page is, so that nothing is stretched
    grey += b"\xff" * width * (tall - height)
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(d.pdf("", scans=[0]))))
    image = writer.pages[0]["/Resources"]["/XObject"]["/Im1"].get_object()
    assert isinstance(image, DecodedStreamObject)
    image.set_data(grey)
    image.update({NameObject("/Width"): NumberObject(width), NameObject("/Height"): NumberObject(tall)})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """(width, height, grey bytes) of an eight-bit PNG with three or four channels."""
    width, height, depth, colour = *(int.from_bytes(png[at : at + 4]) for at in (16, 20)), png[24], png[25]
    assert depth == 8
    step = {2: 3, 6: 4}[colour]
    raw, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        raw += png[at + 8 : at + 8 + length] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    lines = zlib.decompress(raw)
    stride = width * step
    before = bytearray(stride)
    grey = b""
    for row in range(height):
        kind, line = lines[row * (stride + 1)], bytearray(lines[row * (stride + 1) + 1 : (row + 1) * (stride + 1)])
        for index in range(stride):
            left = line[index - step] if index >= step else 0
            corner = before[index - step] if index >= step else 0
            up = before[index]
            near = min(
                (abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner)
            )[2]
            line[index] = (line[index] + (0, left, up, (left + up) // 2, near)[kind]) & 255
        grey += bytes(line[::step])
        before = line
    return width, height, grey


async def test_a_picture_is_read(child: ChildExtractor) -> None:
    found = await child.extract(NOTICE, "공지.png")
    assert found.kind == "png"
    assert {"대외비", "민원인 홍길동 연락처 010-1234-5678"} <= set(found.text.split("\n"))


async def test_a_scanned_page_is_read(child: ChildExtractor) -> None:
    assert "010-1234-5678" in (await child.extract(scanned_pdf(), "공지.pdf")).text


@pytest.mark.parametrize(
    "document",
    [
        d.docx(d.w_paragraph("본문"), {"word/media/image1.png": NOTICE}),
        d.hwpx([d.hp_paragraph("본문")], {"BinData/image1.png": NOTICE}),
        d.hwp([d.hwp_paragraph("본문")], flags=0, extra={"BinData/BIN0001.png": NOTICE}),
    ],
    ids=["docx", "hwpx", "hwp"],
)
async def test_a_picture_in_a_document_is_read(child: ChildExtractor, document: bytes) -> None:
    found = await child.extract(document, "file")
    assert "대외비" in found.text
    assert found.not_read == ()


async def test_a_picture_without_words_is_empty(child: ChildExtractor) -> None:
    with pytest.raises(Uninspectable) as refused:
        await child.extract(d.png(200, 200), "white.png")
    assert refused.value.code == "empty"


async def test_a_picture_that_is_none_is_refused(child: ChildExtractor) -> None:
    with pytest.raises(Uninspectable) as refused:
        await child.extract(NOTICE[:300], "half.png")
    assert refused.value.code in {"malformed", "empty"}


async def test_recognition_can_be_switched_off() -> None:
    with pytest.raises(Uninspectable) as refused:
        await ChildExtractor(Spend(), Bounds(), ocr=False).extract(NOTICE, "공지.png")
    assert refused.value.code == "image"
