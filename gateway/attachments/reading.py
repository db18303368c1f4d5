"""What the readers share: the section headings of an extracted text, and the one who reads what is nested in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.attachments.extracted import Bounds, Uninspectable
from gateway.attachments.zipped import Budget

#: The heading of what a file says about itself; a file that says nothing else is empty.
PROPERTIES = "문서 속성"

#: (bytes, name, depth) → the lines of something nested; raises Uninspectable.
Nested = Callable[[bytes, str, int], list[str]]
#: Bytes of a picture → its lines, or None where this server cannot read pictures.
Recognise = Callable[[bytes], "list[str] | None"]


@dataclass
class Reading:
    """One upload being read: what it may still cost, and what was found in it that is not text."""

    bounds: Bounds
    budget: Budget
    nested: Nested
    recognise: Recognise
    depth: int = 0
    not_read: list[str] = field(default_factory=list)
    _pictures: int = 0

    def inner(self, data: bytes, name: str) -> list[str]:
        """A document inside this one, under its name."""
        if self.depth + 1 > self.bounds.depth:
            raise Uninspectable("deep", name)
        return section(f"삽입된 파일 {name}".strip(), self.nested(data, name, self.depth + 1))

    def picture(self, data: bytes, name: str) -> list[str]:
        """What a picture says. One that cannot be read is named and not sent; its words are nowhere in what is."""
        self._pictures += 1
        found = self.recognise(data) if self._pictures <= self.bounds.ocr_pictures else None
        if found is None:
            self.leave(name)
            return []
        return section(f"그림 {name}", found)

    def leave(self, name: str) -> None:
        """Note something that is not read and not sent."""
        if len(self.not_read) < 50:
            self.not_read.append(name[:200])


def section(heading: str, lines: Iterable[str]) -> list[str]:
    """Lines under a heading; nothing where there are none."""
    found = [line for line in lines if line.strip()]
    return [f"[{heading}]", *found] if found else []


def says_something(lines: Iterable[str]) -> bool:
    """Whether anything but headings and properties is there."""
    about_itself = False
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            about_itself = line == f"[{PROPERTIES}]"
        elif not about_itself and any(letter.isalnum() for letter in line):
            return True
    return False
