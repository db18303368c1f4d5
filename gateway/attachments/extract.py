"""The whole way from bytes to text, as the child process runs it.

sniff ─▶ pdf │ zip ─▶ office │ hwpx │ archive
             │ cfb ─▶ hwp │ encrypted │ legacy
             │ picture │ text │ json │ html │ xml │ eml
"""

from __future__ import annotations

import functools

from gateway.attachments.compound import Compound
from gateway.attachments.extracted import Bounds, Extracted, Uninspectable
from gateway.attachments.hangul import is_hwp, read_hwp
from gateway.attachments.hangul_xml import is_hwpx, read_hwpx
from gateway.attachments.office import kind_of, read_office
from gateway.attachments.pages import read_pdf
from gateway.attachments.plain import read_html, read_mail, read_text, read_xml
from gateway.attachments.reading import Reading, Recognise, says_something
from gateway.attachments.recognition import recognise
from gateway.attachments.sniff import PICTURES, drm, mismatched, sniff
from gateway.attachments.zipped import Budget, Zipped


def extract(data: bytes, name: str, bounds: Bounds, *, ocr: bool = True) -> Extracted:
    """Everything a file says. Raises Uninspectable; never anything else for want of a better word, see `child`."""
    eyes: Recognise = functools.partial(recognise, seconds=bounds.ocr_seconds) if ocr else _blind
    reading = _reading(bounds, Budget(bounds), eyes, 0)
    kind, lines = _read(data, name, reading)
    # Half a surrogate pair, which some PDF strings hold, is no character and cannot be sent.
    text = "\n".join(lines).replace("\x00", "").encode("utf-8", "replace").decode().strip()
    if len(text) > bounds.chars:
        raise Uninspectable("long")
    if not says_something(lines) and not (kind in _UNMARKED and any(letter.isalnum() for letter in text)):
        raise Uninspectable("empty")
    return Extracted(kind, text, tuple(reading.not_read), mismatched(name, kind))


#: Kinds whose lines are the author's own throughout: a line in brackets is no heading of ours.
_UNMARKED = frozenset({"text", "csv", "markdown", "json", "xml", "html"})


def _blind(_: bytes) -> None:
    return None


def _reading(bounds: Bounds, budget: Budget, eyes: Recognise, depth: int) -> Reading:
    def nested(data: bytes, name: str, depth: int) -> list[str]:
        inner = _reading(bounds, budget, eyes, depth)
        inner.not_read = reading.not_read
        try:
            _, lines = _read(data, name, inner)
        except Uninspectable as refused:
            # Which part is at fault helps more than what exactly is wrong with it, save where the whole file is meant.
            code = refused.code if refused.code in {"bomb", "deep", "slow", "long"} else "nested"
            raise Uninspectable(code, name) from refused
        return lines

    reading = Reading(bounds, budget, nested, eyes, depth)
    return reading


def _read(data: bytes, name: str, reading: Reading) -> tuple[str, list[str]]:
    if not data:
        raise Uninspectable("empty")
    if drm(data) is not None:
        raise Uninspectable("drm")
    coarse = sniff(data)
    if coarse == "pdf":
        return "pdf", read_pdf(data, reading)
    if coarse == "zip":
        return _zip(data, reading)
    if coarse == "cfb":
        return _compound(data, reading)
    if coarse in PICTURES:
        seen = reading.recognise(data)
        if seen is None:
            raise Uninspectable("image")
        return coarse, seen
    if coarse in {"archive", "legacy"}:
        raise Uninspectable(coarse)
    if coarse == "program":
        raise Uninspectable("unknown")
    if coarse == "html":
        return "html", read_html(data)
    if coarse == "xml":
        return "xml", read_xml(data)
    if coarse == "eml":
        return "eml", read_mail(data, reading)
    return read_text(data, name)


def _zip(data: bytes, reading: Reading) -> tuple[str, list[str]]:
    archive = Zipped(data, reading.budget)
    kind = kind_of(archive)
    if kind == "legacy":
        raise Uninspectable("legacy")
    if kind is not None:
        return kind, read_office(archive, kind, reading)
    if is_hwpx(archive):
        return "hwpx", read_hwpx(archive, reading)
    raise Uninspectable("archive")


def _compound(data: bytes, reading: Reading) -> tuple[str, list[str]]:
    compound = Compound(data)
    if is_hwp(compound):
        return "hwp", read_hwp(compound, reading)
    names = set(compound.streams)
    # [MS-OFFCRYPTO] 2.3.1: an encrypted Office package, and the place of a rights-managed one.
    if any(name.startswith("\x06DataSpaces/") and "DRM" in name for name in names):
        raise Uninspectable("drm")
    if "EncryptedPackage" in names or "EncryptionInfo" in names:
        raise Uninspectable("encrypted")
    if names & {"WordDocument", "Workbook", "Book", "PowerPoint Document"}:
        raise Uninspectable("legacy")
    raise Uninspectable("unknown")
