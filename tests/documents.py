"""Documents made by hand, part by part, so that a test can hide a word exactly where it wants to.

Nothing here shares code with what reads them: the containers (ZIP, compound file, HWP records, PDF objects) are written from
their published formats.
"""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pypdf import PdfWriter

# ── ZIP packages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def zipped(parts: Mapping[str, str | bytes], *, stored: Iterable[str] = ()) -> bytes:
    """An archive of these parts in this order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            how = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=how)
    return out.getvalue()


XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_TYPES = XML + '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def w_paragraph(*runs: str) -> str:
    return "<w:p>" + "".join(f'<w:r><w:t xml:space="preserve">{run}</w:t></w:r>' for run in runs) + "</w:p>"


def docx(body: str = "", extra: Mapping[str, str | bytes] | None = None) -> bytes:
    """`body` is inside `w:body`; `extra` are more parts."""
    document = f"{XML}<w:document {_W}><w:body>{body}</w:body></w:document>"
    return zipped({"[Content_Types].xml": _TYPES, "word/document.xml": document, **(extra or {})})


def w_part(root: str, body: str) -> str:
    return f"{XML}<w:{root} {_W}>{body}</w:{root}>"


def xlsx(
    sheets: Mapping[str, str],
    *,
    states: Mapping[str, str] | None = None,
    strings: Iterable[str] = (),
    formats: Iterable[str] = (),
    extra: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """`sheets`: title → what stands inside `worksheet`. `formats`: number formats; style 1 is the first of them."""
    titles = "".join(
        f'<sheet name="{title}" sheetId="{n}" r:id="rId{n}" state="{(states or {}).get(title, "visible")}"/>'
        for n, title in enumerate(sheets, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="t" Target="worksheets/sheet{n}.xml"/>' for n in range(1, len(sheets) + 1)
    )
    codes = list(formats)
    styles = (
        "<styleSheet><numFmts>"
        + "".join(f'<numFmt numFmtId="{200 + n}" formatCode="{code}"/>' for n, code in enumerate(codes))
        + '</numFmts><cellXfs><xf numFmtId="0"/>'
        + "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(len(codes)))
        + '<xf numFmtId="14"/></cellXfs></styleSheet>'
    )
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": _TYPES,
        "xl/workbook.xml": f'{XML}<workbook xmlns:r="r"><sheets>{titles}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f"{XML}<Relationships>{relations}</Relationships>",
        "xl/styles.xml": XML + styles,
        "xl/sharedStrings.xml": f"{XML}<sst>{''.join(f'<si>{s}</si>' for s in strings)}</sst>",
    }
    for n, body in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{n}.xml"] = f"{XML}<worksheet>{body}</worksheet>"
    return zipped({**parts, **(extra or {})})


def rows(*cells: Iterable[str]) -> str:
    """`sheetData` of ready cells."""
    return "<sheetData>" + "".join(f"<row>{''.join(row)}</row>" for row in cells) + "</sheetData>"


def cell(reference: str, value: str, kind: str = "n", style: int = 0, formula: str = "") -> str:
    shown = f"<is><t>{value}</t></is>" if kind == "inlineStr" else f"<v>{value}</v>"
    return f'<c r="{reference}" t="{kind}" s="{style}">{f"<f>{formula}</f>" if formula else ""}{shown}</c>'


def slide(*texts: str) -> str:
    return f'{XML}<p:sld xmlns:p="p" xmlns:a="a"><p:cSld><p:spTree>{"".join(shape(t) for t in texts)}</p:spTree></p:cSld></p:sld>'


def shape(text: str) -> str:
    return f"<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"


def pptx(parts: Mapping[str, str | bytes]) -> bytes:
    return zipped(
        {"[Content_Types].xml": _TYPES, "ppt/presentation.xml": f'{XML}<p:presentation xmlns:p="p"/>', **parts}
    )


def hwpx(sections: Iterable[str], extra: Mapping[str, str | bytes] | None = None) -> bytes:
    """`sections`: what stands inside each `hs:sec`."""
    parts: dict[str, str | bytes] = {
        "mimetype": "application/hwp+zip",
        "version.xml": f"{XML}<hv:HCFVersion xmlns:hv='v'/>",
    }
    for n, body in enumerate(sections):
        parts[f"Contents/section{n}.xml"] = f'{XML}<hs:sec xmlns:hs="s" xmlns:hp="p">{body}</hs:sec>'
    return zipped({**parts, **(extra or {})}, stored=["mimetype"])


def hp_paragraph(text: str) -> str:
    return f"<hp:p><hp:run><hp:t>{text}</hp:t></hp:run></hp:p>"


def hp_control(name: str, text: str) -> str:
    """A control that holds a paragraph, in a paragraph."""
    inner = f"<hp:subList>{hp_paragraph(text)}</hp:subList>"
    return f"<hp:p><hp:run><hp:ctrl><hp:{name}>{inner}</hp:{name}></hp:ctrl></hp:run></hp:p>"


# ── compound files ───────────────────────────────────────────────────────────────────────────────────────────────────────

_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file of version 3 with these streams; a path may have one folder. Small streams go into the mini stream."""
    folders = sorted({path.split("/")[0] for path in streams if "/" in path}, key=_order)
    entries: list[dict[str, int | str]] = [{"name": "Root Entry", "kind": 5, "child": -1, "start": _END, "size": 0}]
    sectors: list[bytes] = []
    fat: list[int] = []
    small = b""
    small_fat: list[int] = []

    def chain(data: bytes) -> int:
        if not data:
            return _END
        first = len(sectors)
        pieces = [data[at : at + 512].ljust(512, b"\x00") for at in range(0, len(data), 512)]
        sectors.extend(pieces)
        fat.extend([*range(first + 1, first + len(pieces)), _END])
        return first

    def add(name: str, kind: int, data: bytes = b"") -> int:
        nonlocal small
        start, size = _END, len(data)
        if kind == 2 and size >= 4096:
            start = chain(data)
        elif kind == 2 and size:
            start = len(small_fat)
            count = (size + 63) // 64
            small_fat.extend([*range(start + 1, start + count), _END])
            small += data.ljust(count * 64, b"\x00")
        entries.append({"name": name, "kind": kind, "child": -1, "right": -1, "start": start, "size": size})
        return len(entries) - 1

    def siblings(numbers: list[int]) -> int:
        for left, right in itertools.pairwise(numbers):
            entries[left]["right"] = right
        return numbers[0] if numbers else -1

    top = {path: data for path, data in streams.items() if "/" not in path}
    numbers = []
    for name in sorted([*top, *folders], key=_order):
        if name in top:
            numbers.append(add(name, 2, top[name]))
            continue
        number = add(name, 1)
        inner = {path.split("/", 1)[1]: data for path, data in streams.items() if path.startswith(f"{name}/")}
        entries[number]["child"] = siblings([add(n, 2, inner[n]) for n in sorted(inner, key=_order)])
        numbers.append(number)
    entries[0]["child"] = siblings(numbers)
    entries[0]["size"] = len(small)
    entries[0]["start"] = chain(small)
    small_start = chain(struct.pack(f"<{len(small_fat)}I", *small_fat).ljust(-(-len(small_fat) // 128) * 512, b"\xff"))
    directory = b"".join(_entry(entry) for entry in entries)
    directory_start = chain(directory.ljust(-(-len(directory) // 512) * 512, b"\x00"))
    count = 1
    while (len(fat) + count) > count * 128:
        count += 1
    places = list(range(len(sectors), len(sectors) + count))
    fat += [_FAT] * count
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(count * 512, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 16
    header += struct.pack("<HHHHH6xIIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, count, directory_start, 0, 4096,
                          small_start, -(-len(small_fat) // 128), _END, 0, *places[:1])  # fmt: skip
    header = header[:76] + struct.pack("<109I", *(places + [_FREE] * (109 - len(places))))
    return header + b"".join(sectors) + table


def _order(name: str) -> tuple[int, str]:
    return len(name), name.upper()


def _entry(entry: Mapping[str, int | str]) -> bytes:
    name = str(entry["name"]).encode("utf-16-le") + b"\x00\x00"
    right, child = (int(entry.get(key, -1)) & 0xFFFFFFFF for key in ("right", "child"))
    head = name.ljust(64, b"\x00") + struct.pack("<HBBIII", len(name), int(entry["kind"]), 1, _FREE, right, child)
    return head + b"\x00" * 36 + struct.pack("<IQ", int(entry["start"]), int(entry["size"]))


# ── HWP 5 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PARA_HEADER, PARA_TEXT, CTRL_HEADER, LIST_HEADER, TABLE, EQUATION = 66, 67, 71, 72, 77, 88


def counted(text: str) -> bytes:
    """How many units, then the text."""
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def record(tag: int, level: int, content: bytes) -> bytes:
    if len(content) >= 0xFFF:
        return struct.pack("<II", tag | level << 10 | 0xFFF << 20, len(content)) + content
    return struct.pack("<I", tag | level << 10 | len(content) << 20) + content


def hwp_paragraph(text: str, level: int = 0) -> bytes:
    """A paragraph's header and text; `\\x02`, `\\x0b` … in the text become controls of eight units."""
    units = b""
    for letter in text:
        code = ord(letter)
        wide = letter.encode("utf-16-le")
        units += wide * 1 if code >= 32 or code in {10, 13, 24, 30, 31} else wide + b"ctrlinfo____" + wide
    units += b"\x0d\x00"
    head = struct.pack("<IIHBBHHHI", len(units) // 2, 0, 0, 0, 0, 1, 0, 1, 0)
    return record(PARA_HEADER, level, head) + record(PARA_TEXT, level + 1, units)


def hwp_control(name: bytes, level: int, content: bytes = b"") -> bytes:
    return record(CTRL_HEADER, level, name[::-1] + content)


def hwp_list(*paragraphs: str, name: bytes, level: int = 1) -> bytes:
    """A control that holds paragraphs: a header, a footnote, a hidden comment, a box."""
    head = record(LIST_HEADER, level + 1, struct.pack("<HHI8x", len(paragraphs), 0, 0))
    return hwp_control(name, level, b"\x00" * 8) + head + b"".join(hwp_paragraph(p, level + 1) for p in paragraphs)


def hwp_table(cells: list[list[str]], level: int = 1) -> bytes:
    made = hwp_control(b"tbl ", level, b"\x00" * 40) + record(TABLE, level + 1, b"\x00" * 22)
    for row, columns in enumerate(cells):
        for column, text in enumerate(columns):
            place = struct.pack("<HHI", 1, 0, 0) + struct.pack(
                "<HHHHIIHHHHHI", column, row, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0
            )
            made += record(LIST_HEADER, level + 1, place) + hwp_paragraph(text, level + 1)
    return made


def hwp(
    sections: Iterable[bytes],
    *,
    flags: int = 1,
    extra: Mapping[str, bytes] | None = None,
    notice: bytes = b"",
) -> bytes:
    """A document of these record streams. Flag 1 compresses, 4 makes a distribution document (배포용)."""

    def packed(raw: bytes) -> bytes:
        machine = zlib.compressobj(9, zlib.DEFLATED, -15)
        return machine.compress(raw) + machine.flush() if flags & 1 else raw

    header = b"HWP Document File".ljust(32, b"\x00") + struct.pack("<II", 0x05010000, flags)
    streams = {"FileHeader": header.ljust(256, b"\x00"), "DocInfo": packed(record(16, 0, struct.pack("<H24x", 1)))}
    for n, raw in enumerate(sections):
        if flags & 4:
            streams[f"ViewText/Section{n}"] = distributed(packed(raw))
            streams[f"BodyText/Section{n}"] = packed(notice)
        else:
            streams[f"BodyText/Section{n}"] = packed(raw)
    return compound({**streams, **(extra or {})})


def distributed(raw: bytes, seed: int = 0x1B2C3D47) -> bytes:
    """A section as a distribution document keeps it: a record that hides the key, then AES-128."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    sha1 = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8".encode("utf-16-le")  # of a password, as the program stores it
    offset = 4 + (seed & 0xF)
    plain = bytearray(b"\xa5" * 256)
    plain[:4] = struct.pack("<I", seed)
    plain[offset : offset + 80] = sha1
    hidden = bytearray(plain)
    mask = _mask(seed)
    for at in range(4, 256):
        hidden[at] ^= mask[at]
    machine = Cipher(algorithms.AES(sha1[:16]), modes.ECB()).encryptor()
    return record(28, 0, bytes(hidden)) + machine.update(raw.ljust(-(-len(raw) // 16) * 16, b"\x00"))


def _mask(seed: int) -> bytes:
    def rand() -> int:
        nonlocal seed
        seed = (seed * 0x343FD + 0x269EC3) % 2**32
        return seed // 65536 % 32768

    made = bytearray()
    while len(made) < 256:
        value = rand() % 256
        made += bytes([value]) * (rand() % 16 + 1)
    return bytes(made[:256])


# ── PDF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pdf(
    *pages: str,
    fields: Mapping[str, str] | None = None,
    comment: str = "",
    title: str = "",
    bookmark: str = "",
    attached: Mapping[str, bytes] | None = None,
    scans: Iterable[int] = (),
    white: bool = False,
    password: str = "",
    owner: str = "",
) -> bytes:
    """A document in Helvetica, so its page texts are ASCII; what stands beside the pages may be anything.

    `scans`: the pages, from 0, that a picture fills.
    """
    from pypdf import PdfWriter
    from pypdf.annotations import Text
    from pypdf.generic import (
        ArrayObject,
        DecodedStreamObject,
        DictionaryObject,
        NameObject,
        NumberObject,
        TextStringObject,
    )

    writer = PdfWriter()
    scanned = set(scans)
    ink = "1 1 1 rg " if white else ""
    for number, text in enumerate(pages):
        page = writer.add_blank_page(600, 800)
        font = DictionaryObject(
            {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
             NameObject("/BaseFont"): NameObject("/Helvetica")}
        )  # fmt: skip
        resources = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
        drawn = f"{ink}BT /F1 12 Tf 50 700 Td ({text}) Tj ET"
        if number in scanned:
            image = DecodedStreamObject()
            image.set_data(b"\xff\x00" * 8)
            image.update(
                {NameObject("/Type"): NameObject("/XObject"), NameObject("/Subtype"): NameObject("/Image"),
                 NameObject("/Width"): NumberObject(4), NameObject("/Height"): NumberObject(4),
                 NameObject("/ColorSpace"): NameObject("/DeviceGray"), NameObject("/BitsPerComponent"): NumberObject(8)}
            )  # fmt: skip
            resources[NameObject("/XObject")] = DictionaryObject({NameObject("/Im1"): writer._add_object(image)})
            drawn = f"q 600 0 0 800 0 0 cm /Im1 Do Q {drawn if text else ''}"
        content = DecodedStreamObject()
        content.set_data(drawn.encode("ascii"))
        page[NameObject("/Resources")] = resources
        page[NameObject("/Contents")] = writer._add_object(content)
        if comment and number == 0:
            writer.add_annotation(0, Text(rect=(50, 550, 200, 650), text=comment))
    if fields:
        made = ArrayObject()
        for name, value in fields.items():
            made.append(
                writer._add_object(
                    DictionaryObject(
                        {
                            NameObject("/FT"): NameObject("/Tx"),
                            NameObject("/T"): TextStringObject(name),
                            NameObject("/V"): TextStringObject(value),
                        }
                    )
                )
            )
        writer._root_object[NameObject("/AcroForm")] = DictionaryObject({NameObject("/Fields"): made})
    if title:
        writer.add_metadata({"/Title": title})
    if bookmark:
        writer.add_outline_item(title=bookmark, page_number=0)
    for name, data in (attached or {}).items():
        writer.add_attachment(name, data)
    if password or owner:
        writer.encrypt(password, owner or None, algorithm="AES-256" if owner else None)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def pdf_bomb(where: str, size: int) -> bytes:
    """A document of a few hundred KB that unpacks to `size` bytes: in the `page`, `twice` packed, or in an `attachment`."""
    from pypdf import PdfWriter
    from pypdf.generic import ArrayObject, NameObject, StreamObject

    packed = zlib.compress(b" " * size, 9)
    names = [NameObject("/FlateDecode")]
    if where == "twice":
        packed, names = zlib.compress(packed, 9), names * 2
    writer = PdfWriter()
    page = writer.add_blank_page(600, 800)
    if where == "attachment":
        writer.add_attachment("a.txt", b"x")
        writer = PdfWriter(clone_from=_written(writer))
        (stream,) = (o for o in writer._objects if isinstance(o, StreamObject) and o.get("/Type") == "/EmbeddedFile")
    else:
        stream = StreamObject()
        page[NameObject("/Contents")] = writer._add_object(stream)
    stream._data = packed
    stream[NameObject("/Filter")] = ArrayObject(names)
    return _written(writer).getvalue()


def _written(writer: PdfWriter) -> io.BytesIO:
    out = io.BytesIO()
    writer.write(out)
    out.seek(0)
    return out


def png(width: int = 4, height: int = 4) -> bytes:
    """A white picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"\xff" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def ole10(name: str, data: bytes) -> bytes:
    """An Ole10Native stream: a file the Packager has wrapped."""
    path = b"C:\\tmp\\" + name.encode("cp949") + b"\x00"
    inner = struct.pack("<H", 2) + name.encode("cp949") + b"\x00" + path + struct.pack("<HH", 0, 3)
    inner += struct.pack("<I", len(path)) + path + struct.pack("<I", len(data)) + data
    return struct.pack("<I", len(inner)) + inner


def ole_of(package: bytes) -> bytes:
    """An object as HWP keeps it: its length, the compound file, and all of it compressed."""
    made = compound({"Package": package})
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(struct.pack("<I", len(made)) + made) + machine.flush()


def summary(title: str) -> bytes:
    """A property set with a title ([MS-OLEPS])."""
    text = title.encode("utf-16-le") + b"\x00\x00"
    value = struct.pack("<II", 0x1F, len(text) // 2) + text
    section = struct.pack("<IIII", 16 + len(value), 1, 2, 16) + value
    return struct.pack("<HHI16xI16sI", 0xFFFE, 0, 0, 1, b"\x00" * 16, 48) + section
