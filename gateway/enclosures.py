"""Files in a request, replaced by the text that was read from them, and pictures, read but left as they are.

    {"type": "file", "file": {"file_id": "file-…"}}       one's own upload, from POST /api/files
    {"type": "file", "file": {"file_data": "data:…"}}     inline, read here and kept nowhere
                       │
                       ▼
    {"type": "text", "text": "[첨부 파일: 이름]\\n…"}        what is scanned, and what is sent

The bytes of a document never leave: what nobody read could not be vouched for. In the newest turn a file that cannot be read
refuses the request, with the reason; in an earlier one it is left out, for nobody can take it back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import urllib.parse
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import BadRequest, Refusal, Unavailable
from gateway.leaving import Path, at, leaving, pointer, replaced
from gateway.settings import Grade
from gateway.workspace.files import ExtractedFile, Files, FileUninspectable
from policies.decision import stricter

_GONE: Final = "[[더 이상 읽을 수 없는 첨부 파일]]"

#: Texts of inline files are remembered, for a client sends them again with every turn: so many characters of them.
_REMEMBERED: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Opened:
    """A body without files. `grade` is the strictest of the files', `growth` by how many bytes of text it became longer."""

    body: Mapping[str, Any]
    grade: Grade = "O"
    growth: int = 0


class Enclosures:
    """One per process."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._kept = 0

    async def open(self, owner: str, body: Mapping[str, Any]) -> Opened:
        """Every file of a body as text. Raises NotFound, FileUninspectable, TooLarge, BadRequest, Unavailable."""
        values: dict[Path, Any] = {}
        grades: list[Grade] = []
        for opaque in leaving(body).opaque:
            if opaque.what != "file":
                continue
            try:
                found = await self._read(owner, at(body, opaque.path)["file"], opaque.path)
            except Unavailable:
                raise
            except Refusal:
                if opaque.newest:
                    raise
                text = _GONE
            else:
                grades.append(found.grade)
                text = f"[첨부 파일: {found.name}]\n{found.text}"
            values[opaque.path] = {"type": "text", "text": text}
        growth = sum(len(part["text"].encode("utf-8", "surrogatepass")) for part in values.values())
        return Opened(replaced(body, values), stricter(*grades), growth)

    async def pictures(self, body: Mapping[str, Any]) -> dict[Path, str]:
        """The text in a body's pictures: path of the part → text. One that cannot be read, or holds none, is left out."""
        found: dict[Path, str] = {}
        for opaque in leaving(body).opaque:
            if opaque.what == "image":
                url = at(body, opaque.path)["image_url"].get("url")
                try:
                    found[opaque.path] = await self._text("picture", _bytes(url, opaque.path))
                except FileUninspectable:
                    continue
        return found

    async def _read(self, owner: str, file: Mapping[str, Any], path: Path) -> ExtractedFile:
        file_id, data = file.get("file_id"), file.get("file_data")
        if isinstance(file_id, str) and data is None:
            return await self._files.text_of(file_id, owner)
        if not isinstance(data, str):
            raise _bad(path)
        name = file.get("filename")
        name = name if isinstance(name, str) and name else "file"
        return ExtractedFile("", name, "", "O", await self._text(name, _bytes(data, path)))

    async def _text(self, name: str, content: bytes) -> str:
        key = hashlib.blake2b(content, digest_size=16).digest()
        text = self._known.get(key)
        if text is None:
            text = await self._files.read(name, content)
            self._remember(key, text)
        else:
            self._known.move_to_end(key)
        return text

    def _remember(self, key: bytes, text: str) -> None:
        self._known[key] = text
        self._kept += len(text)
        while self._kept > _REMEMBERED:
            _, dropped = self._known.popitem(last=False)
            self._kept -= len(dropped)


def _bytes(data: str, path: Path) -> bytes:
    """Of a data: URL, or of bare base64."""
    head, comma, rest = data.partition(",")
    if comma and head.lower().startswith("data:") and not head.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(rest)
    try:
        return base64.b64decode(rest if comma and head.lower().startswith("data:") else data, validate=True)
    except (binascii.Error, ValueError):
        raise _bad(path) from None


def _bad(path: Path) -> BadRequest:
    return BadRequest(
        "A file part has either the file_id of an upload (POST /api/files) or file_data, a data: URL in base64. "
        "file 항목에는 올린 파일의 file_id 또는 base64 data: URL인 file_data가 있어야 합니다.",
        code="invalid_file",
        param=pointer(path),
    )
