"""Bytes of a text file → text: UTF-8, UTF-16 and UTF-32 with or without their mark, CP949.

Strict throughout. What is none of them, or holds control characters that no text has, is not a text file.
"""

from __future__ import annotations

import codecs
import re

from gateway.attachments.extracted import Uninspectable

_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes) -> str:
    """The text, with line feeds for line ends. Raises Uninspectable("unknown")."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _checked(data, name)
    for name in _guesses(data):
        try:
            return _checked(data, name)
        except Uninspectable:
            continue
    raise Uninspectable("unknown")


def _guesses(data: bytes) -> list[str]:
    # Half the bytes of western UTF-16 are zero, and few of Korean UTF-16 without a mark are; no other text has a zero at all.
    if b"\x00" in data[:4096]:
        head = data[:4096]
        return ["utf-16-le"] if head[1::2].count(0) >= head[::2].count(0) else ["utf-16-be"]
    return ["utf-8", "cp949"]


def _checked(data: bytes, name: str) -> str:
    try:
        text = data.decode(name)
    except UnicodeDecodeError as e:
        raise Uninspectable("unknown") from e
    if _CONTROL.search(text):
        raise Uninspectable("unknown")
    return text.replace("\r\n", "\n").replace("\r", "\n")
