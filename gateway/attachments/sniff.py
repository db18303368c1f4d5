"""What a file is, by its bytes. A name and a declared type are claims; here they only make a mismatch visible.

A container of document security (DRM) is recognised where its first bytes are public knowledge. Source of the four marks:
the open source client of a Korean network-separation vendor, github.com/hanssak/OpenNetLink, which lets such files pass by
them (`IsDRM` beside src/OpenNetLinkApp/Data/SGDicData/SGUnitData/FileAddManage.cs; SGSoftCampDRM.cs there names the maker
of the first). A container nobody has published is an unknown file, and an unknown file is refused just as well.
"""

from __future__ import annotations

import re

#: First bytes of a DRM container → whose it is taken to be.
DRM: tuple[tuple[bytes, str], ...] = (
    (b"SCDSA00", "SoftCamp"),
    (b"<DOCUMENT SAFER ", "MarkAny"),
    (b"<!-- FasooSecureContainer ", "Fasoo"),
    (b"\x9b DRMONE ", "Fasoo"),
)

#: First bytes → kind. Order matters only where one is the beginning of another.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "cfb"),
    (b"HWP Document File V", "legacy"),  # HWP 3.0
    (b"{\\rtf", "legacy"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"ALZ\x01", "archive"),
    (b"EGGA", "archive"),
    (b"MSCF", "archive"),
    (b"MZ", "program"),
    (b"\x7fELF", "program"),
)

PICTURES = frozenset({"png", "jpeg", "gif", "bmp", "tiff", "webp"})

#: The end of a name → the kinds its bytes may honestly be. Names that are not here claim nothing.
_CLAIMS: dict[str, frozenset[str]] = {
    "pdf": frozenset({"pdf"}),
    "docx": frozenset({"docx"}),
    "docm": frozenset({"docx"}),
    "xlsx": frozenset({"xlsx"}),
    "xlsm": frozenset({"xlsx"}),
    "pptx": frozenset({"pptx"}),
    "pptm": frozenset({"pptx"}),
    "hwp": frozenset({"hwp"}),
    "hwpx": frozenset({"hwpx"}),
    "png": frozenset({"png"}),
    "jpg": frozenset({"jpeg"}),
    "jpeg": frozenset({"jpeg"}),
    "gif": frozenset({"gif"}),
    "bmp": frozenset({"bmp"}),
    "tif": frozenset({"tiff"}),
    "tiff": frozenset({"tiff"}),
    "webp": frozenset({"webp"}),
    "txt": frozenset({"text", "csv", "markdown", "json", "html", "xml", "eml"}),
    "csv": frozenset({"csv", "text"}),
    "tsv": frozenset({"csv", "text"}),
    "md": frozenset({"markdown", "text", "html"}),
    "json": frozenset({"json"}),
    "html": frozenset({"html"}),
    "htm": frozenset({"html"}),
    "xml": frozenset({"xml"}),
    "eml": frozenset({"eml"}),
}

_HTML = re.compile(rb"\s*(<!--.{0,2000}?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.I | re.S)
_XML = re.compile(rb"\s*<\?xml\b")
_MAIL = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*){2,}")
_MAIL_MARK = re.compile(rb"^(mime-version|message-id|received|return-path):", re.I | re.M)


def drm(data: bytes) -> str | None:
    """Whose container these bytes are, where that is publicly known."""
    return next((maker for mark, maker in DRM if data.startswith(mark)), None)


def sniff(data: bytes) -> str:
    """A coarse kind: `zip` and `cfb` are containers that their readers look into, `text` is whatever has no other mark."""
    head = data[:4096]
    # A mark further down is honoured as readers do, unless it is a text that speaks of PDF.
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"%PDF-") or (
        b"%PDF-" in head[:1024] and not _reads_as_text(head)
    ):
        return "pdf"
    for mark, kind in _MAGIC:
        if head.startswith(mark):
            # "BM", "MZ" and "BZh" also begin ordinary words.
            return "text" if len(mark) < 4 and _reads_as_text(head) else kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[257:262] == b"ustar":
        return "archive"
    bare = head.removeprefix(b"\xef\xbb\xbf")
    if _XML.match(bare) and not _HTML.search(bare[:1024]):
        return "xml"
    if _HTML.match(bare) or _XML.match(bare):
        return "html"
    if (lines := _MAIL.match(bare)) and _MAIL_MARK.search(lines[0]):
        return "eml"
    return "text"


def claimed(name: str) -> str:
    """The end of a name, lower case, without the dot; empty where it has none."""
    stem, dot, end = name.rpartition(".")
    return end.lower() if dot and stem else ""


def mismatched(name: str, kind: str) -> bool:
    """Whether the name promises something the bytes are not."""
    promised = _CLAIMS.get(claimed(name))
    return promised is not None and kind not in promised


def _reads_as_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
