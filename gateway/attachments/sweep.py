"""Every word of an XML part, in reading order: paragraphs as lines, table rows as lines with tabs between the cells.

Word processors split one number over several runs, so the text of a paragraph is joined without anything between. Element
names are compared without their prefix: `w:p`, `a:p` and `hp:p` are all paragraphs, which is why one sweep reads DOCX, PPTX,
HWPX and the drawings in XLSX. A document type definition is refused before it can declare an entity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from gateway.attachments.extracted import Uninspectable

_PARAGRAPH: Final = frozenset({"p", "h"})
_ROW: Final = frozenset({"tr", "table-row"})
_CELL: Final = frozenset({"tc", "table-cell"})
_BREAK: Final = frozenset({"br", "cr", "lineBreak", "line-break"})
_SPACE: Final = frozenset({"nbSpace", "fwSpace", "s"})
_HYPHEN: Final = frozenset({"noBreakHyphen", "hyphen"})
#: Blank text counts only in these; elsewhere it is how the file was indented.
_EXACT: Final = frozenset({"t", "delText", "span", "a"})

#: Attributes people write into, whatever element carries them.
_SPOKEN: Final = frozenset(
    {"descr", "title", "alt", "author", "tooltip", "prompt", "promptTitle", "error", "errorTitle", "display"}
)
#: Elements whose attributes are text throughout.
_TELLING: Final = frozenset(
    {"docVar", "alias", "tag", "cmAuthor", "connection", "dbPr", "webPr", "textPr", "tableColumn"}
)
#: Elements that name typefaces and styles, in Hangul as a rule, and never say anything.
_MUTE: Final = frozenset(
    {"rFonts", "latin", "ea", "cs", "sym", "font", "substFont", "style", "lsdException", "fontRef", "AppliedFont"}
)
#: Elements whose text is a measure, a place or a reference: numbers by the dozen, and no words unless somebody put them there.
_MEASURES: Final = frozenset(
    {"posOffset", "align", "col", "colOff", "row", "rowOff", "pctWidth", "pctHeight", "pctPosHOffset", "pctPosVOffset"}
    | {"f", "formatCode", "Anchor"}
)
_HUMAN = re.compile(r"[ᄀ-ᇿ㄰-㆏가-힣一-鿿]|\S@\S")


def local(name: str) -> str:
    """`w:p` → `p`"""
    return name.rpartition(":")[2]


class Sweep:
    """Reads one part. `lines` is what it says; subclasses look at elements of their own first."""

    def __init__(self, *, every_attribute: bool = False) -> None:
        self._every = every_attribute
        self._blocks: list[list[str]] = [[]]
        self._rows: list[list[str]] = []
        self._paragraphs: list[list[str]] = []
        self._path: list[str] = []
        self._loose: list[str] = []
        self._told: set[str] = set()
        self._choices: list[list[str] | None] = []

    @property
    def lines(self) -> list[str]:
        return self._blocks[0]

    def read(self, data: bytes) -> list[str]:
        """The lines of the part. Raises Uninspectable: malformed, or a bomb where it declares entities."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.data
        parser.StartDoctypeDeclHandler = _no_doctype
        try:
            parser.Parse(data, True)  # noqa: FBT003 – expat takes no names
        except expat.ExpatError as e:
            raise Uninspectable("malformed") from e
        except (ValueError, LookupError) as e:  # an encoding nobody knows
            raise Uninspectable("malformed") from e
        self._flush()
        return self.lines

    # ── what the parser tells ────────────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._flush()
        tag = local(name)
        if tag in _PARAGRAPH:
            self._paragraphs.append([])
        elif tag in _ROW:
            self._rows.append([])
        elif tag in _CELL or tag == "AlternateContent":
            self._blocks.append([])
            if tag == "AlternateContent":
                self._choices.append(None)
        elif tag == "Fallback" and self._choices:
            # What was said in the Choice is said again in the Fallback, for older programs.
            self._choices[-1] = list(self._blocks[-1])
            self._blocks.append([])
        elif self._paragraphs:
            if tag in _BREAK:
                self._paragraphs[-1].append("\n")
            elif tag in {"tab", "ptab"} and self._path[-1] != "tabs":
                self._paragraphs[-1].append("\t")
            elif tag in _SPACE:
                self._paragraphs[-1].append(" ")
            elif tag in _HYPHEN:
                self._paragraphs[-1].append("-")
        if attributes and tag not in _MUTE:
            self._spoken(tag, attributes)
        self._path.append(tag)

    def end(self, name: str) -> None:
        self._flush()
        tag = self._path.pop()
        if tag in _PARAGRAPH:
            self.emit("".join(self._paragraphs.pop()))
        elif tag in _CELL:
            cell = " ".join(line.strip() for line in self._blocks.pop() if line.strip())
            if self._rows:
                self._rows[-1].append(cell.replace("\n", " ").replace("\t", " "))
            else:
                self.emit(cell)
        elif tag in _ROW:
            self.emit("\t".join(self._rows.pop()))
        elif tag == "Fallback" and self._choices and self._choices[-1] is not None:
            said = set(self._choices[-1])
            again = self._blocks.pop()
            self._blocks[-1] += [line for line in again if line not in said]
        elif tag == "AlternateContent":
            self._choices.pop()
            whole = self._blocks.pop()
            self._blocks[-1] += whole

    def data(self, text: str) -> None:
        if not self._paragraphs:
            self._loose.append(text)
        elif self._path[-1] in _MEASURES and not _HUMAN.search(text):
            return
        elif text.strip() or self._path[-1] in _EXACT:
            self._paragraphs[-1].append(text)

    # ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    def emit(self, line: str) -> None:
        """One finished line (or several: a paragraph may hold breaks)."""
        if line.strip():
            self._blocks[-1].append(line.rstrip())

    def tell(self, line: str) -> None:
        """A line that matters once, such as a picture's description."""
        if line.strip() and line not in self._told:
            self._told.add(line)
            self._blocks[-1].append(line.strip())

    def _spoken(self, tag: str, attributes: Mapping[str, str]) -> None:
        everything = self._every or tag in _TELLING
        for name, value in attributes.items():
            if name.startswith("xmlns") or not value:
                continue
            if local(name) in _SPOKEN or everything or _HUMAN.search(value):
                self.tell(value)

    def _flush(self) -> None:
        if self._loose:
            text = "".join(self._loose).strip()
            self._loose.clear()
            if self._path and self._path[-1] in _MEASURES and not _HUMAN.search(text):
                return
            self.emit(text)


def _no_doctype(*_: object) -> None:
    raise Uninspectable("bomb")


def sweep(data: bytes, *, every_attribute: bool = False) -> list[str]:
    """The lines of one part."""
    return Sweep(every_attribute=every_attribute).read(data)
