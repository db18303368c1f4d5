"""HWPX (OWPML, KS X 6101): every XML part of the package swept, sections first.

A document with a password or of the distribution kind keeps its parts encrypted and says so in META-INF/manifest.xml.
"""

from __future__ import annotations

import re

from gateway.attachments.compound import MAGIC as COMPOUND
from gateway.attachments.embedded import read_object
from gateway.attachments.extracted import Uninspectable
from gateway.attachments.reading import PROPERTIES, Reading, section
from gateway.attachments.sweep import sweep
from gateway.attachments.zipped import Zipped

_SECTION = re.compile(r"Contents/section(\d+)\.xml", re.I)
_MASTER_PAGE = re.compile(r"Contents/masterpage\d+\.xml", re.I)
_PICTURE = re.compile(r".*\.(png|jpe?g|gif|bmp|tiff?|webp)", re.I)
_UNREADABLE_PICTURE = re.compile(r".*\.(emf|wmf|svg|pcx|wdp|mp[34]|avi|wmv)", re.I)
#: Styles, numbering and settings among them: a header part says how letters look.
_SILENT = re.compile(
    r"(mimetype|version\.xml|settings\.xml|META-INF/.*|Contents/header\.xml|Preview/PrvImage.*|Scripts/.*|.*\.(ttf|hft))",
    re.I,
)


def is_hwpx(archive: Zipped) -> bool:
    """By its `mimetype` entry, or by the parts only such a package has."""
    kind = archive.read("mimetype", limit=200)
    if kind is not None:
        return kind.strip().startswith((b"application/hwp+zip", b"application/haansofthwpx"))
    return any(_SECTION.fullmatch(name) for name in archive.names)


def read_hwpx(archive: Zipped, reading: Reading) -> list[str]:
    """All lines of the package."""
    manifest = archive.read("META-INF/manifest.xml")
    if manifest is not None and b"encryption-data" in manifest:
        raise Uninspectable("encrypted")
    sections: list[tuple[int, list[str]]] = []
    other: list[str] = []
    preview: list[str] = []
    for name, data in archive.parts():
        if match := _SECTION.fullmatch(name):
            sections.append((int(match[1][:6]), _swept(name, data, reading)))
        elif name.lower() == "preview/prvtext.txt":
            preview = data.decode("utf-8", "replace").splitlines()
        elif not _SILENT.fullmatch(name):
            other += _part(name, data, reading)
    if not sections:
        raise Uninspectable("malformed")
    body = [line for _, lines in sorted(sections) for line in lines]
    return body + other + unseen(preview, body)


def _part(name: str, data: bytes, reading: Reading) -> list[str]:
    low = name.lower()
    if _PICTURE.fullmatch(name):
        return reading.picture(data, name)
    if _UNREADABLE_PICTURE.fullmatch(name):
        reading.leave(name)
        return []
    if data.startswith(COMPOUND):
        return read_object(data, name, reading)
    if low.endswith((".xml", ".hpf", ".rdf")):
        heading = PROPERTIES if low.endswith(".hpf") else "바탕쪽" if _MASTER_PAGE.fullmatch(name) else name
        return section(heading, _swept(name, data, reading))
    if low.startswith("bindata/"):
        return reading.inner(data, name)
    if data.strip():
        raise Uninspectable("nested", name)
    return []


def _swept(name: str, data: bytes, reading: Reading) -> list[str]:
    if len(data) > reading.bounds.xml:
        raise Uninspectable("bomb", name)
    return sweep(data)


def unseen(preview: list[str], body: list[str]) -> list[str]:
    """Lines of the preview that the body does not have: somebody changed one and not the other.

    A preview draws table cells as `<a><b>`; those are compared cell by cell.
    """
    said = re.sub(r"\s", "", "".join(body))
    cells = [cell.strip() for line in preview for cell in re.split(r"><|^<|>$", line.strip().strip("\x00"))]
    return section(
        "미리보기", [cell for cell in cells if re.sub(r"\s", "", cell) and re.sub(r"\s", "", cell) not in said]
    )
