"""DOCX, XLSX and PPTX: every part of the package, in an order a person would read them in.

    _rels, [Content_Types]      only addresses that lead outside
    styles, themes, fonts       nothing a person wrote
    every other XML part        swept whole: body, headers, footers, comments, notes, text boxes, charts, properties, …
    pictures                    recognised where the server can; else named
    embedded files and objects  read in turn, two deep; one that cannot be read makes the whole file uninspectable
    anything else               uninspectable

Nothing is looked up through relationships: a part nobody refers to is still in the file, so it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gateway.attachments.compound import MAGIC as COMPOUND
from gateway.attachments.embedded import read_object
from gateway.attachments.extracted import Uninspectable
from gateway.attachments.reading import PROPERTIES, Reading, section
from gateway.attachments.sheets import Workbook
from gateway.attachments.sweep import Sweep, local, sweep
from gateway.attachments.zipped import Zipped

#: Parts without a word a person wrote.
_SILENT = re.compile(
    r"(\[Content_Types\]\.xml|.*/theme/(theme|_rels/).*|.*/(fontTable|styles|stylesWithEffects|webSettings|tableStyles|"
    r"presProps|viewProps|calcChain|volatileDependencies)\.xml|.*/(styles|colors)\d+\.xml|.*/printerSettings\d*\.bin|"
    r".*\.(odttf|fntdata|ttf|otf)|_xmlsignatures/.*|.*/(vbaProjectSignature.*|vbaData\.xml|attachedToolbars\.bin))",
    re.I,
)
_PICTURE = re.compile(r".*\.(png|jpe?g|gif|bmp|tiff?|webp)", re.I)
#: Drawings of lines, films and sounds: no recogniser takes them.
_UNREADABLE_PICTURE = re.compile(
    r".*\.(emf|wmf|emz|wmz|wdp|hdp|jfif|ico|pict?|mp[34]|m4[av]|wav|wm[av]|avi|mov|glb|svgz)", re.I
)
#: Programs and their settings: named, neither read nor sent.
_LEFT_OUT = re.compile(
    r"__MACOSX/.*|(.*/)?\.DS_Store|.*/(vbaProject\.bin|activeX/.*\.bin|customProperty\d*\.bin)", re.I
)
_NESTED = re.compile(r".*\.(docx|docm|xlsx|xlsm|pptx|pptm|hwpx?|pdf|txt|csv|sldx|dotx|xltx)", re.I)

#: What programs write about a document by themselves: counts, switches, times, names of theirs, prompts of empty templates.
_BY_ITSELF = re.compile(
    r"\d{1,5}(\.\d+)?|true|false|\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-][\d:]+)|Microsoft [\w ]+|LibreOffice[\w./ $-]*|Normal\.dotm?|"
    r"\{[0-9A-Fa-f-]{36}\}|https?://schemas\.[\w./#-]+|/\w+\.XSL|‹#›|Click to edit Master .*|(Second|Third|Fourth|Fifth) level|"
    r"마스터 .{0,12} 편집.*|.{1,3}번?째? 수준"
)
_TEMPLATES = re.compile(
    r"docProps/.*|customXml/.*|ppt/(slideMasters|slideLayouts|notesMasters|handoutMasters)/.*", re.I
)

#: Path → the heading its lines stand under; the first that fits.
_HEADINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), heading)
    for pattern, heading in (
        (r"word/document\.xml", ""),
        (r"ppt/slides/slide(\d+)\.xml", "슬라이드 {0}"),
        (r"ppt/notesSlides/notesSlide(\d+)\.xml", "슬라이드 노트 {0}"),
        (r"word/header\d*\.xml", "머리글"),
        (r"word/footer\d*\.xml", "바닥글"),
        (r"word/footnotes\.xml", "각주"),
        (r"word/endnotes\.xml", "미주"),
        (r".*/(threaded)?comments.*\.xml", "메모"),
        (r".*/charts?/.*\.xml", "차트"),
        (r".*/diagrams/.*\.xml", "다이어그램"),
        (r".*/drawings/.*", "도형"),
        (r".*/slideMasters?/.*\.xml", "슬라이드 마스터"),
        (r".*/slideLayouts?/.*\.xml", "슬라이드 레이아웃"),
        (r".*/pivot.*\.xml", "피벗 데이터"),
        (r"docProps/.*", PROPERTIES),
        (r".*\.rels", "연결"),
        (r"customXml/.*", "사용자 데이터"),
    )
)
#: Parts that are data, not text: what they say stands in attributes.
_DATA = re.compile(
    r"customXml/.*|.*/pivot(Cache|Tables).*|.*/(connections|queryTables?.*|externalLink\d+|slicer.*)\.xml|.*/tags/.*",
    re.I,
)


def kind_of(archive: Zipped) -> str | None:
    """`docx`, `xlsx` or `pptx`; None where the archive is no Office package, `legacy` where it is one of binary parts."""
    names = set(archive.names)
    if "[Content_Types].xml" not in names:
        return None
    if any(name.lower() == "xl/workbook.bin" for name in names):
        return "legacy"
    for kind, folder in (("docx", "word/"), ("xlsx", "xl/"), ("pptx", "ppt/")):
        if any(name.startswith(folder) for name in names):
            return kind
    return None


def read_office(archive: Zipped, kind: str, reading: Reading) -> list[str]:
    """All lines of the package."""
    found: list[tuple[tuple[int, int, str], list[str]]] = []
    said: set[str] = set()
    book = Workbook(reading.bounds) if kind == "xlsx" else None
    for name, data in archive.parts():
        if book is not None and book.takes(name, data):
            continue
        lines = list(_part(name, data, reading))
        heading, order = _heading(name)
        if _repeats(name):
            # Layouts repeat their masters' prompts by the dozen.
            lines = [line for line in lines if line not in said]
            said.update(lines)
        if _TEMPLATES.fullmatch(name):
            lines = [line for line in lines if not _BY_ITSELF.fullmatch(line.strip())]
        if lines:
            found.append((order, section(heading, lines) if heading else lines))
    body = book.lines() if book is not None else []
    return body + [line for _, lines in sorted(found, key=lambda entry: entry[0]) for line in lines]


def _part(name: str, data: bytes, reading: Reading) -> Iterator[str]:
    if _SILENT.fullmatch(name):
        return
    if name.endswith(".rels"):
        yield from _Outside().read(data)
    elif _PICTURE.fullmatch(name):
        if not name.lower().startswith("docprops/thumbnail"):
            yield from reading.picture(data, name)
    elif _UNREADABLE_PICTURE.fullmatch(name) or _LEFT_OUT.fullmatch(name):
        reading.leave(name)
    elif data.startswith(COMPOUND):
        yield from read_object(data, name, reading)
    elif _NESTED.fullmatch(name):
        yield from reading.inner(data, name)
    elif name.lower().endswith(".vml"):
        yield from _vml(data)
    elif name.lower().endswith((".xml", ".svg")) or data.lstrip()[:5] == b"<?xml":
        if len(data) > reading.bounds.xml:
            raise Uninspectable("bomb", name)
        yield from sweep(data, every_attribute=_DATA.fullmatch(name) is not None)
    elif data.strip():
        raise Uninspectable("nested", name)


class _Outside(Sweep):
    """Relationships: only targets outside the package, such as mailto: and file shares."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if local(name) == "Relationship" and attributes.get("TargetMode") == "External":
            self.tell(attributes.get("Target", ""))
        self._path.append(local(name))


def _vml(data: bytes) -> list[str]:
    """Old drawings. Excel writes some that are no XML (`<br>`), so where the sweep fails the tags are cut away."""
    try:
        return sweep(data)
    except Uninspectable as refused:
        if refused.code == "bomb":
            raise
    text = re.sub(rb"<[^<>]*>", b"\n", data).decode("utf-8", "replace")
    return [line.strip() for line in text.split("\n") if line.strip()]


def _heading(name: str) -> tuple[str, tuple[int, int, str]]:
    for position, (pattern, heading) in enumerate(_HEADINGS):
        if match := pattern.fullmatch(name):
            number = match.group(1) if pattern.groups and match.group(1) and match.group(1).isdigit() else ""
            return heading.format(number), (position, int(number or 0), name)
    return name, (len(_HEADINGS), 0, name)


def _repeats(name: str) -> bool:
    return (
        "/slideLayouts/" in name or "/slideMasters/" in name or "/notesMasters/" in name or "/handoutMasters/" in name
    )
