"""What comes out of a file, and every reason why nothing does.

Uninspectable(code)   the answer to a file nobody can vouch for; REASONS says what the person is told
Extracted             its text, and what was in it beside text and is not sent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: What guards the reading process where the kernel has it; see fence.py.
FENCE: Final = frozenset({"landlock", "seccomp"})

#: Reason → (English, Korean): what it is and what to do. One sentence or two, without the file's own words.
REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "archive": (
        "An archive is not read: unpack it and upload the files in it one by one.",
        "압축 파일은 읽지 않습니다. 압축을 풀어 안의 파일을 하나씩 올리십시오.",
    ),
    "bomb": (
        "The file unpacks to far more than a document holds. Save it anew from its program and try again.",
        "파일을 풀면 문서라고 보기 어려울 만큼 커집니다. 원래 프로그램에서 새로 저장해 올리십시오.",
    ),
    "crashed": (
        "Reading the file failed. Save it anew from its program, or as another format, and try again.",
        "파일을 읽다가 실패했습니다. 원래 프로그램에서 새로 저장하거나 다른 형식으로 저장해 올리십시오.",
    ),
    "deep": (
        "A document stands in a document in a document: save the inner ones as files of their own and upload those.",
        "문서 안의 문서 안에 또 문서가 있습니다. 안의 문서를 따로 저장해 올리십시오.",
    ),
    "drm": (
        "The file is locked by document security (DRM). Have it unlocked where you work, then upload it again.",
        "문서보안(DRM)으로 잠긴 파일입니다. 사내 절차로 보안을 해제한 뒤 다시 올리십시오.",
    ),
    "empty": (
        "No text was found in the file. Upload one with text, or type what you need.",
        "파일에서 글자를 찾지 못했습니다. 글자가 있는 파일을 올리거나 내용을 직접 입력하십시오.",
    ),
    "encrypted": (
        "The file has a password. Remove the password and upload it again.",
        "암호가 걸린 파일입니다. 암호를 해제한 뒤 다시 올리십시오.",
    ),
    "image": (
        "A picture cannot be read here, because this server has no text recognition. Type the text you need.",
        "이 서버에는 글자 인식(OCR)이 없어 그림을 읽을 수 없습니다. 필요한 내용을 직접 입력하십시오.",
    ),
    "image_pages": (
        "The document has pages that are pictures, and they cannot be read here. Upload a version with text.",
        "그림으로만 된 쪽이 있어 읽을 수 없습니다. 글자가 들어 있는 문서를 올리십시오.",
    ),
    "inspector_failed": (
        "The site's document inspection did not answer properly, so the file was not taken. Try again later.",
        "기관의 문서 검사 서버가 제대로 응답하지 않아 파일을 받지 않았습니다. 잠시 후 다시 시도하십시오.",
    ),
    "inspector_refused": (
        "The site's document inspection refused the file. Ask the people who run it.",
        "기관의 문서 검사에서 거부된 파일입니다. 담당 부서에 문의하십시오.",
    ),
    "legacy": (
        "An old binary format is not read. Save it as DOCX, XLSX, PPTX, HWPX or PDF and upload that.",
        "옛 파일 형식은 읽지 않습니다. DOCX, XLSX, PPTX, HWPX 또는 PDF로 저장해 올리십시오.",
    ),
    "long": (
        "The file has more text than one request can carry. Split it and upload the parts you need.",
        "글자가 너무 많습니다. 필요한 부분만 나누어 올리십시오.",
    ),
    "malformed": (
        "The file is damaged, or not what it says it is. Save it anew from its program and try again.",
        "파일이 손상되었거나 형식이 맞지 않습니다. 원래 프로그램에서 새로 저장해 올리십시오.",
    ),
    "memory": (
        "Reading the file takes more memory than is allowed. Split it, or save it as another format.",
        "파일을 읽는 데 메모리가 너무 많이 필요합니다. 나누거나 다른 형식으로 저장해 올리십시오.",
    ),
    "nested": (
        "Something in the document cannot be read: an embedded file, a locked part, an unknown object. Remove it and try again.",
        "문서에 읽을 수 없는 것이 들어 있습니다(삽입된 파일, 잠긴 부분, 알 수 없는 개체). 빼고 다시 올리십시오.",
    ),
    "pages": (
        "The document has too many pages. Split it and upload the parts you need.",
        "쪽수가 너무 많습니다. 필요한 부분만 나누어 올리십시오.",
    ),
    "slow": (
        "Reading the file takes longer than is allowed. Split it, or save it as another format.",
        "파일을 읽는 데 시간이 너무 오래 걸립니다. 나누거나 다른 형식으로 저장해 올리십시오.",
    ),
    "unknown": (
        "This kind of file is not known here. Upload PDF, DOCX, XLSX, PPTX, HWP, HWPX, or plain text.",
        "알 수 없는 형식의 파일입니다. PDF, DOCX, XLSX, PPTX, HWP, HWPX 또는 텍스트 파일을 올리십시오.",
    ),
}


class Uninspectable(Exception):
    """Nobody can vouch for this file. `code` is a key of REASONS; `part` names the place inside it, if that is known."""

    def __init__(self, code: str, part: str = "") -> None:
        assert code in REASONS, code
        super().__init__(code)
        self.code = code
        self.part = part

    @property
    def message(self) -> str:
        """English, then Korean."""
        return " ".join(REASONS[self.code])


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file.

    `kind` is what its bytes say it is (`pdf`, `xlsx`, `text`, …); `mismatch` whether its name says something else; `not_read`
    names what stands in it beside text: pictures without recognition, macros. None of that is ever sent.
    """

    kind: str
    text: str = ""
    not_read: tuple[str, ...] = ()
    mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one file may cost. Sizes are bytes after unpacking, over everything nested in it."""

    entries: int = 5_000
    unpacked: int = 64 * 1024 * 1024
    ratio: int = 250
    xml: int = 48 * 1024 * 1024
    chars: int = 2_000_000
    pages: int = 1_000
    depth: int = 2
    ocr_pictures: int = 20
    ocr_seconds: int = 20
