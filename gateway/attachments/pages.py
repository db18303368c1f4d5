"""PDF: the text of every page by PDFium, and by pypdf what stands beside the pages: form fields, comments, properties,
bookmarks, embedded files.

A page without text that shows a picture over most of itself is a scan. It is recognised where the server can; where it cannot,
the whole document is uninspectable, for a stamp on a scan is as binding as a printed line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from gateway.attachments.extracted import Uninspectable
from gateway.attachments.reading import PROPERTIES, Reading, section
from gateway.attachments.sweep import sweep

_PASSWORD = 4
_SECURITY = 5
#: Fewer letters than this beside a picture that fills the page are a page number or a scanner's stamp.
_FEW = 40
_SCAN_DPI = 200
_DEEPEST_TREE = 40


def read_pdf(data: bytes, reading: Reading) -> list[str]:
    """All lines of the document. Raises Uninspectable: encrypted, image_pages, pages, malformed …"""
    lines = _pages(data, reading)
    return lines + _beside(data, reading)


def _pages(data: bytes, reading: Reading) -> list[str]:
    import pypdfium2  # noqa: PLC0415 – a library of 8 MB, for this format only

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as e:
        code = getattr(e, "err_code", None)
        raise Uninspectable("encrypted" if code in {_PASSWORD, _SECURITY} else "malformed") from e
    lines: list[str] = []
    try:
        count = len(document)
        if count > reading.bounds.pages:
            raise Uninspectable("pages")
        scans = letters = 0
        for number in range(count):
            page = document[number]
            text_page = page.get_textpage()
            text = text_page.get_text_range().replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "-")
            found = [line.rstrip() for line in text.split("\n") if line.strip("\x00 \t\f")]
            if sum(len(line) for line in found) < _FEW and _shows_picture(page):
                scans += 1
                seen = reading.recognise(_drawn(page)) if scans <= reading.bounds.ocr_pictures else None
                if seen is None:
                    raise Uninspectable("image_pages" if scans <= reading.bounds.ocr_pictures else "pages")
                found += seen
            text_page.close()
            page.close()
            lines += found
            letters += sum(map(len, found))
            if letters > reading.bounds.chars:
                raise Uninspectable("long")
    except pypdfium2.PdfiumError as e:
        raise Uninspectable("malformed") from e
    finally:
        document.close()
    return [line.replace("\x00", "").replace("\x02", "") for line in lines]


def _shows_picture(page: Any) -> bool:
    """Whether pictures cover more than a third of the page."""
    from pypdfium2 import raw  # noqa: PLC0415 – see _pages

    width, height = page.get_size()
    whole: float = max(1.0, width * height)
    covered: float = 0.0
    for thing in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=5):
        left, bottom, right, top = thing.get_bounds()
        covered += max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(top, height) - max(bottom, 0))
    return bool(covered > whole / 3)


def _drawn(page: Any) -> bytes:
    """The page as a grey picture in PGM, at a size recognition likes."""
    width, height = page.get_size()
    scale = min(_SCAN_DPI / 72, 5000 / max(1.0, width, height))
    bitmap = page.render(scale=scale, grayscale=True)
    stride, columns, rows = bitmap.stride, bitmap.width, bitmap.height
    pixels = bytes(bitmap.buffer)
    grey = b"".join(pixels[row * stride : row * stride + columns] for row in range(rows))
    bitmap.close()
    return b"P5 %d %d 255\n" % (columns, rows) + grey


def _beside(data: bytes, reading: Reading) -> list[str]:
    from pypdf import PdfReader  # noqa: PLC0415 – 0.2 s to import, for this format only
    from pypdf.errors import PdfReadError, PyPdfError  # noqa: PLC0415 – see above

    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        lines = section("양식", _fields(reader))
        lines += section("주석", _notes(reader))
        lines += section("책갈피", _bookmarks(reader.outline, 0))
        lines += section(PROPERTIES, _properties(reader))
        for name, contents in reader.attachments.items():
            for content in contents:
                reading.budget.spend(len(content), len(content))
                lines += reading.inner(content, name)
    except Uninspectable:
        raise
    except MemoryError:
        raise
    except RecursionError as e:
        raise Uninspectable("malformed") from e
    except (PyPdfError, PdfReadError) as e:
        raise Uninspectable("malformed") from e
    # pypdf raises whatever a damaged structure happens to break; a document it cannot walk is one nobody vouches for.
    except Exception as e:
        raise Uninspectable("malformed") from e
    return lines


def _fields(reader: Any) -> Iterator[str]:
    """`name: value` of every form field, and all of an XFA form, which keeps its data in XML of its own."""
    for name, given in (reader.get_fields() or {}).items():
        value = given.get("/V")
        label = given.get("/TU") or name
        values = value if isinstance(value, list) else [value]
        shown = ", ".join(str(one).removeprefix("/") for one in values if one not in (None, ""))
        yield f"{label}: {shown}" if shown else str(label)
        # A default, and the choices of a list, are in the file whether or not somebody picked them.
        for extra in (given.get("/DV"), *(given.get("/_States_") or ())):
            told = extra[-1] if isinstance(extra, list) and extra else extra
            if told and str(told) not in {shown, "/Off", "/Yes"}:
                yield str(told).removeprefix("/")
    for packet in (reader.xfa or {}).values():
        if isinstance(packet, bytes) and packet.strip().startswith(b"<"):
            yield from sweep(packet, every_attribute=False)


def _notes(reader: Any) -> Iterator[str]:
    """What people wrote onto the pages: comments, boxes, and where links lead outside."""
    for page in reader.pages:
        for reference in page.get("/Annots") or ():
            note = reference.get_object()
            for key in ("/T", "/Subj", "/Contents", "/RC"):
                if key in note and note.get("/Subtype") != "/Widget":
                    yield re.sub(r"<[^>]*>", " ", str(note[key])) if key == "/RC" else str(note[key])
            action = note.get("/A")
            target = action.get_object().get("/URI") if action is not None else None
            if target is not None:
                yield str(target)


def _bookmarks(outline: Any, depth: int) -> Iterator[str]:
    for entry in outline if depth < _DEEPEST_TREE else ():
        if isinstance(entry, list):
            yield from _bookmarks(entry, depth + 1)
        else:
            yield str(entry.get("/Title", ""))


def _properties(reader: Any) -> Iterator[str]:
    for key, value in (reader.metadata or {}).items():
        if key not in {"/Producer", "/Creator", "/CreationDate", "/ModDate", "/Trapped"}:
            yield str(value)
    xmp = reader.trailer["/Root"].get("/Metadata")
    if xmp is not None:
        try:
            told = sweep(xmp.get_object().get_data())
        except Uninspectable:
            return
        yield from (line for line in told if re.search(r"[가-힣]|@", line))
