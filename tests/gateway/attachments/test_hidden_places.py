"""Every place of every format in which a word can stand is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import documents as d
import pytest

from gateway.attachments.extract import extract
from gateway.attachments.extracted import Bounds, Extracted, Uninspectable

MARK = "대외비 홍길동 850312-2345678"
SAMPLES = Path(__file__).parents[2] / "samples" / "hwp"


def read(data: bytes, name: str = "file", *, ocr: bool = False) -> Extracted:
    return extract(data, name, Bounds(), ocr=ocr)


DRAWING = (
    '<w:drawing xmlns:wp="wp"><wp:inline><wp:docPr id="1" name="Picture 1" descr="{mark}"/></wp:inline></w:drawing>'
)
TEXT_BOX = (
    '<w:p><w:r><mc:AlternateContent xmlns:mc="m"><mc:Choice><wps:txbx xmlns:wps="wps"><w:txbxContent>{inner}'
    "</w:txbxContent></wps:txbx></mc:Choice><mc:Fallback><w:pict><w:txbxContent>{inner}</w:txbxContent></w:pict>"
    "</mc:Fallback></mc:AlternateContent></w:r></w:p>"
)

DOCX: Mapping[str, bytes] = {
    "body": d.docx(d.w_paragraph(MARK)),
    "a number over several runs": d.docx(d.w_paragraph("대외비 홍", "길동 8503", "12-23", "45678")),
    "a non-breaking hyphen": d.docx(
        "<w:p><w:r><w:t>대외비 홍길동 850312</w:t></w:r><w:r><w:noBreakHyphen/><w:t>2345678</w:t></w:r></w:p>"
    ),
    "table cell": d.docx(f"<w:tbl><w:tr><w:tc>{d.w_paragraph(MARK)}</w:tc></w:tr></w:tbl>"),
    "nested table": d.docx(
        "<w:tbl><w:tr><w:tc><w:tbl><w:tr><w:tc>" + d.w_paragraph(MARK) + "</w:tc></w:tr></w:tbl></w:tc></w:tr></w:tbl>"
    ),
    "hidden run": d.docx(f"<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>{MARK}</w:t></w:r></w:p>"),
    "deleted text": d.docx(f"<w:p><w:del><w:r><w:delText>{MARK}</w:delText></w:r></w:del></w:p>"),
    "text box": d.docx(TEXT_BOX.format(inner=d.w_paragraph(MARK))),
    "text box of older programs only": d.docx(
        '<w:p><w:r><mc:AlternateContent xmlns:mc="m"><mc:Choice/><mc:Fallback>'
        + d.w_paragraph(MARK)
        + "</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    ),
    "picture description": d.docx(f"<w:p><w:r>{DRAWING.format(mark=MARK)}</w:r></w:p>"),
    "field code": d.docx(f'<w:p><w:r><w:instrText>DOCVARIABLE "{MARK}"</w:instrText></w:r></w:p>'.replace('"', "'")),
    "header": d.docx(extra={"word/header1.xml": d.w_part("hdr", d.w_paragraph(MARK))}),
    "footer": d.docx(extra={"word/footer2.xml": d.w_part("ftr", d.w_paragraph(MARK))}),
    "comment": d.docx(
        extra={"word/comments.xml": d.w_part("comments", f"<w:comment>{d.w_paragraph(MARK)}</w:comment>")}
    ),
    "comment's author": d.docx(
        d.w_paragraph("본문"),
        {
            "word/comments.xml": d.w_part(
                "comments", f'<w:comment w:author="{MARK}">{d.w_paragraph("내용")}</w:comment>'
            )
        },
    ),
    "footnote": d.docx(extra={"word/footnotes.xml": d.w_part("footnotes", d.w_paragraph(MARK))}),
    "endnote": d.docx(extra={"word/endnotes.xml": d.w_part("endnotes", d.w_paragraph(MARK))}),
    "building block": d.docx(extra={"word/glossary/document.xml": d.w_part("document", d.w_paragraph(MARK))}),
    "document variable": d.docx(
        d.w_paragraph("본문"), {"word/settings.xml": d.w_part("settings", f'<w:docVar w:name="v" w:val="{MARK}"/>')}
    ),
    "custom data": d.docx(d.w_paragraph("본문"), {"customXml/item1.xml": f'<root note="{MARK}"/>'}),
    "title": d.docx(d.w_paragraph("본문"), {"docProps/core.xml": f'<c xmlns:dc="dc"><dc:title>{MARK}</dc:title></c>'}),
    "custom property": d.docx(
        d.w_paragraph("본문"), {"docProps/custom.xml": f"<Properties><property><v>{MARK}</v></property></Properties>"}
    ),
    "link outside": d.docx(
        d.w_paragraph("본문"),
        {
            "word/_rels/document.xml.rels": "<Relationships>"
            f'<Relationship Id="r" TargetMode="External" Target="mailto:{MARK}"/></Relationships>'
        },
    ),
    "chart": d.docx(
        d.w_paragraph("본문"), {"word/charts/chart1.xml": f'<c:chart xmlns:c="c"><c:v>{MARK}</c:v></c:chart>'}
    ),
    "diagram": d.docx(
        d.w_paragraph("본문"), {"word/diagrams/data1.xml": f'<d xmlns:a="a"><a:p><a:t>{MARK}</a:t></a:p></d>'}
    ),
    "old drawing that is no XML": d.docx(
        d.w_paragraph("본문"), {"word/vmlDrawing1.vml": f"<xml><br><textbox>{MARK}</textbox></xml>"}
    ),
    "a part nobody refers to": d.docx(d.w_paragraph("본문"), {"word/forgotten.xml": f"<x><y>{MARK}</y></x>"}),
    "embedded workbook": d.docx(
        d.w_paragraph("본문"),
        {"word/embeddings/sheet1.xlsx": d.xlsx({"표": d.rows([d.cell("A1", MARK, "inlineStr")])})},
    ),
    "embedded object with a package": d.docx(
        d.w_paragraph("본문"),
        {"word/embeddings/oleObject1.bin": d.compound({"Package": d.docx(d.w_paragraph(MARK))})},
    ),
    "embedded file": d.docx(
        d.w_paragraph("본문"),
        {"word/embeddings/oleObject1.bin": d.compound({"\x01Ole10Native": d.ole10("memo.txt", MARK.encode())})},
    ),
}

XLSX: Mapping[str, bytes] = {
    "cell": d.xlsx({"표": d.rows([d.cell("A1", MARK, "inlineStr")])}),
    "shared string": d.xlsx({"표": d.rows([d.cell("A1", "0", "s")])}, strings=[f"<t>{MARK}</t>"]),
    "rich string": d.xlsx(
        {"표": d.rows([d.cell("A1", "0", "s")])},
        strings=["<r><t>대외비 홍길동 850</t></r><r><t>312-2345678</t></r>"],
    ),
    "string of no cell": d.xlsx({"표": d.rows([d.cell("A1", "1")])}, strings=[f"<t>{MARK}</t>"]),
    "hidden sheet": d.xlsx(
        {"표": d.rows(), "숨김": d.rows([d.cell("A1", MARK, "inlineStr")])}, states={"숨김": "veryHidden"}
    ),
    "hidden row": d.xlsx({"표": f'<sheetData><row hidden="1">{d.cell("A1", MARK, "inlineStr")}</row></sheetData>'}),
    "result of a formula": d.xlsx({"표": d.rows([d.cell("A1", MARK, "str", formula="B1")])}),
    "text in a formula": d.xlsx({"표": d.rows([d.cell("A1", "1", formula=f"IF(B1=&quot;{MARK}&quot;,1,0)")])}),
    "title of a sheet": d.xlsx({MARK: d.rows([d.cell("A1", "1")])}),
    "page header": d.xlsx(
        {
            "표": d.rows([d.cell("A1", "1")])
            + f'<headerFooter><oddHeader>&amp;C&amp;"굴림,보통"{MARK}</oddHeader></headerFooter>'
        }
    ),
    "hint of a validation": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")]) + f'<dataValidations><dataValidation prompt="{MARK}"/></dataValidations>'}
    ),
    "choices of a validation": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")]) + f"<dataValidation><formula1>{MARK}</formula1></dataValidation>"}
    ),
    "comment": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={"xl/comments1.xml": f"<comments><comment><text><t>{MARK}</t></text></comment></comments>"},
    ),
    "text box": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={"xl/drawings/drawing1.xml": f'<x xmlns:a="a"><a:p><a:r><a:t>{MARK}</a:t></a:r></a:p></x>'},
    ),
    "defined name": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={"xl/externalLinks/externalLink1.xml": f'<l><definedName name="{MARK}"/></l>'},
    ),
    "what a pivot table remembers": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={"xl/pivotCache/pivotCacheRecords1.xml": f'<records><r><s v="{MARK}"/></r></records>'},
    ),
    "connection": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={
            "xl/connections.xml": f'<connections><connection><dbPr connection="{MARK}"/></connection></connections>'
        },
    ),
    "column of a table": d.xlsx(
        {"표": d.rows([d.cell("A1", "1")])},
        extra={"xl/tables/table1.xml": f'<table><tableColumns><tableColumn name="{MARK}"/></tableColumns></table>'},
    ),
}

PPTX: Mapping[str, bytes] = {
    "slide": d.pptx({"ppt/slides/slide1.xml": d.slide(MARK)}),
    "runs": d.pptx(
        {
            "ppt/slides/slide1.xml": d.slide("본문").replace(
                "<a:r><a:t>본문</a:t></a:r>", "<a:r><a:t>대외비 홍길동 8503</a:t></a:r><a:r><a:t>12-2345678</a:t></a:r>"
            )
        }
    ),
    "hidden slide": d.pptx({"ppt/slides/slide1.xml": d.slide(MARK).replace("<p:sld ", '<p:sld show="0" ')}),
    "group": d.pptx(
        {"ppt/slides/slide1.xml": d.slide().replace("<p:spTree>", f"<p:spTree><p:grpSp>{d.shape(MARK)}</p:grpSp>")}
    ),
    "table": d.pptx(
        {
            "ppt/slides/slide1.xml": d.slide().replace(
                "<p:spTree>",
                f"<p:spTree><a:tbl><a:tr><a:tc><a:txBody><a:p><a:r><a:t>{MARK}</a:t></a:r></a:p></a:txBody></a:tc></a:tr></a:tbl>",
            )
        }
    ),
    "notes": d.pptx({"ppt/slides/slide1.xml": d.slide("본문"), "ppt/notesSlides/notesSlide1.xml": d.slide(MARK)}),
    "master": d.pptx({"ppt/slides/slide1.xml": d.slide("본문"), "ppt/slideMasters/slideMaster1.xml": d.slide(MARK)}),
    "comment": d.pptx(
        {
            "ppt/slides/slide1.xml": d.slide("본문"),
            "ppt/comments/comment1.xml": f'<p xmlns:p="p"><p:text>{MARK}</p:text></p>',
        }
    ),
    "tag": d.pptx(
        {"ppt/slides/slide1.xml": d.slide("본문"), "ppt/tags/tag1.xml": f'<x xmlns:p="p"><p:tag val="{MARK}"/></x>'}
    ),
    "properties": d.pptx(
        {
            "ppt/slides/slide1.xml": d.slide("본문"),
            "docProps/app.xml": f"<Properties><Company>{MARK}</Company></Properties>",
        }
    ),
}

HWPX: Mapping[str, bytes] = {
    "body": d.hwpx([d.hp_paragraph(MARK)]),
    "second section": d.hwpx([d.hp_paragraph("본문"), d.hp_paragraph(MARK)]),
    "table": d.hwpx(
        [f"<hp:tbl><hp:tr><hp:tc><hp:subList>{d.hp_paragraph(MARK)}</hp:subList></hp:tc></hp:tr></hp:tbl>"]
    ),
    "header": d.hwpx([d.hp_control("header", MARK)]),
    "hidden comment": d.hwpx([d.hp_control("hiddenComment", MARK)]),
    "colour change inside a word": d.hwpx(
        ["<hp:p><hp:run><hp:t>대외비 홍길동 8503<hp:markpenBegin/>12-234<hp:markpenEnd/>5678</hp:t></hp:run></hp:p>"]
    ),
    "master page": d.hwpx(
        [d.hp_paragraph("본문")], {"Contents/masterpage0.xml": f"<m xmlns:hp='p'>{d.hp_paragraph(MARK)}</m>"}
    ),
    "title": d.hwpx(
        [d.hp_paragraph("본문")], {"Contents/content.hpf": f"<o:p xmlns:o='o'><o:title>{MARK}</o:title></o:p>"}
    ),
    "preview that was not renewed": d.hwpx([d.hp_paragraph("본문")], {"Preview/PrvText.txt": f"<본문><{MARK}>"}),
    "embedded document": d.hwpx([d.hp_paragraph("본문")], {"BinData/doc1.docx": d.docx(d.w_paragraph(MARK))}),
}

HWP: Mapping[str, bytes] = {
    "body": d.hwp([d.hwp_paragraph(MARK)]),
    "uncompressed": d.hwp([d.hwp_paragraph(MARK)], flags=0),
    "second section": d.hwp([d.hwp_paragraph("본문"), d.hwp_paragraph(MARK)]),
    "beside a control": d.hwp([d.hwp_paragraph(f"\x02\x0b{MARK}\x15")]),
    "table": d.hwp([d.hwp_paragraph("\x0b") + d.hwp_table([["머리", "칸"], ["가", MARK]])]),
    "header": d.hwp([d.hwp_paragraph("본문\x10") + d.hwp_list(MARK, name=b"head")]),
    "footer": d.hwp([d.hwp_paragraph("본문\x10") + d.hwp_list(MARK, name=b"foot")]),
    "footnote": d.hwp([d.hwp_paragraph("본문\x11") + d.hwp_list(MARK, name=b"fn  ")]),
    "hidden comment": d.hwp([d.hwp_paragraph("본문\x0f") + d.hwp_list(MARK, name=b"tcmt")]),
    "text box": d.hwp([d.hwp_paragraph("본문\x0b") + d.hwp_list(MARK, name=b"gso ")]),
    "link": d.hwp([d.hwp_paragraph("본문\x03") + d.hwp_control(b"%hlk", 1, b"\x00" * 5 + d.counted(MARK))]),
    "equation": d.hwp([d.hwp_paragraph("본문") + d.record(d.EQUATION, 2, b"\x00" * 4 + d.counted(MARK))]),
    "long paragraph": d.hwp([d.hwp_paragraph("가" * 5000 + MARK)]),
    "distribution document": d.hwp([d.hwp_paragraph(MARK)], flags=5, notice=d.hwp_paragraph("배포용 문서입니다")),
    "title": d.hwp([d.hwp_paragraph("본문")], extra={"\x05HwpSummaryInformation": d.summary(MARK)}),
    "preview that was not renewed": d.hwp(
        [d.hwp_paragraph("본문")], extra={"PrvText": f"본문\r\n{MARK}".encode("utf-16-le")}
    ),
    "embedded document": d.hwp(
        [d.hwp_paragraph("본문")], extra={"BinData/BIN0001.OLE": d.ole_of(d.docx(d.w_paragraph(MARK)))}
    ),
}

PDF: Mapping[str, bytes] = {
    "form field": d.pdf("A form with one field of text on this page.", fields={"성명": MARK}),
    "comment": d.pdf("A page with a comment on it.", comment=MARK),
    "title": d.pdf("A page of text that says nothing.", title=MARK),
    "bookmark": d.pdf("A page of text that says nothing.", bookmark=MARK),
    "embedded file": d.pdf("A page of text that says nothing.", attached={"memo.txt": MARK.encode()}),
    "embedded document": d.pdf("A page of text.", attached={"memo.docx": d.docx(d.w_paragraph(MARK))}),
}

MAIL = (
    "From: kim@example.com\r\nTo: lee@example.com\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    "Subject: {subject}\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n--x\r\nContent-Type: application/octet-stream\r\n"
    'Content-Disposition: attachment; filename="a.txt"\r\n\r\n{attached}\r\n--x--\r\n'
)
PLAIN: Mapping[str, bytes] = {
    "UTF-8": MARK.encode(),
    "UTF-8 with its mark": MARK.encode("utf-8-sig"),
    "CP949": f"{MARK} 똠방각하".encode("cp949"),
    "UTF-16 with its mark": MARK.encode("utf-16"),
    "UTF-16 without": ("plain words first\n" + MARK).encode("utf-16-le"),
    "CSV": f"성명,비고\n홍길동,{MARK}\n".encode(),
    "JSON, escaped": b'{"a": "' + MARK.encode("unicode_escape") + b'"}',
    "HTML text": f"<!DOCTYPE html><p>{MARK}</p>".encode(),
    "HTML in references": ("<html><p>" + "".join(f"&#{ord(c)};" for c in MARK) + "</p></html>").encode(),
    "HTML comment": f"<html><!-- {MARK} --><p>a</p></html>".encode(),
    "HTML description": f'<html><img alt="{MARK}"></html>'.encode(),
    "HTML in CP949": f"<html><p>{MARK}</p></html>".encode("cp949"),
    "XML": f"<?xml version='1.0'?><a b='{MARK}'/>".encode(),
    "mail subject": MAIL.format(subject=MARK, body="본문", attached="a").encode(),
    "mail body": MAIL.format(subject="s", body=MARK, attached="a").encode(),
    "mail attachment": MAIL.format(subject="s", body="b", attached=MARK).encode(),
}

CASES = [
    (f"{kind}: {place}", kind, data)
    for kind, places in {"docx": DOCX, "xlsx": XLSX, "pptx": PPTX, "hwpx": HWPX, "hwp": HWP, "pdf": PDF}.items()
    for place, data in places.items()
]


@pytest.mark.parametrize(("kind", "data"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_word_is_found_wherever_it_stands(kind: str, data: bytes) -> None:
    """One line holds the whole mark: a detector sees it as it would see it on a page."""
    found = read(data)
    assert found.kind == kind
    assert any(MARK in line for line in found.text.split("\n")), found.text


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_text_is_read_in_whatever_it_is_written(data: bytes) -> None:
    assert MARK in read(data).text


def test_white_text_on_a_page_is_read() -> None:
    """Nobody sees it, and every model would."""
    assert "850312-2345678" in read(d.pdf("Hong Gildong 850312-2345678", white=True)).text


def test_what_is_said_twice_for_older_programs_is_read_once() -> None:
    assert read(DOCX["text box"]).text.count(MARK) == 1


def test_two_entries_of_one_name_are_both_read() -> None:
    """Programs differ in which of the two they show."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", d.w_part("document", d.w_paragraph(MARK)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("word/document.xml", d.w_part("document", d.w_paragraph("본문")))
    text = read(out.getvalue()).text
    assert MARK in text
    assert "본문" in text


# ── cells and rows ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("8503122345678", "8503122345678"),
        ("8.503122345678E12", "8503122345678"),
        ("8.503122345678E+12", "8503122345678"),
        ("0.1", "0.1"),
        ("1E-7", "0.0000001"),
        ("110201234567", "110201234567"),
        ("99999999999999999999", "99999999999999999999"),
    ],
)
def test_numbers_are_read_as_they_are_stored(stored: str, shown: str) -> None:
    """A number of thirteen digits written with an exponent is a 주민등록번호 nobody finds."""
    assert read(d.xlsx({"표": d.rows([d.cell("A1", "값", "inlineStr"), d.cell("B1", stored)])})).text.endswith(
        f"값\t{shown}"
    )


@pytest.mark.parametrize(
    ("code", "stored", "shown"),
    [
        ("000000-0000000", "8503122345678", "850312-2345678"),
        (r"000000\-0000000", "103154234567", "010315-4234567"),
        ("000&quot;-&quot;00&quot;-&quot;00000", "1208147521", "120-81-47521"),
        ("yyyy-mm-dd", "31118", "1985-03-12"),
        ("yyyy&quot;년&quot; m&quot;월&quot;", "31118", "1985-03-12"),
        ("#,##0", "8503122345678", "8503122345678"),
        ("0.00", "12", "12"),
        ("0.00", "12.5", "12.5"),
        ("0%", "0.5", "0.5"),
        ("0", "12", "12"),
        ("00000", "123", "00123"),
        ("00000", "-123", "-123"),
        ("000-0000", "12345678", "12345678"),
        ("0.00E+00", "8503122345678", "8503122345678"),
        ("General", "12", "12"),
    ],
)
def test_a_format_that_only_fills_in_zeros_is_applied_and_no_other(code: str, stored: str, shown: str) -> None:
    """The leading zero of somebody born in 2001 is in the format, not in the number."""
    made = d.xlsx({"표": d.rows([d.cell("A1", "값", "inlineStr"), d.cell("B1", stored, style=1)])}, formats=[code])
    assert read(made).text.endswith(f"값\t{shown}")


def test_a_tables_caption_is_no_cell() -> None:
    """It stands before the table's own record and looks like a cell at a place that does not exist."""
    head = d.record(d.LIST_HEADER, 2, b"\x01\x00\x00\x00" + b"\x00" * 4 + b"\x34\x12" * 8)
    table = d.hwp_table([["성명", "계좌"]])
    control, rest = table[:48], table[48:]
    made = d.hwp([d.hwp_paragraph("\x0b") + control + head + d.hwp_paragraph("표 1", 2) + rest])
    assert read(made).text.split("\n") == ["표 1", "성명\t계좌"]


def test_cells_stand_under_their_columns() -> None:
    """A label at the head of a column counts for the cells below it, so an empty cell may not shift them."""
    head = [d.cell("A1", "성명", "inlineStr"), d.cell("B1", "부서", "inlineStr"), d.cell("C1", "계좌", "inlineStr")]
    row = [d.cell("A2", "홍길동", "inlineStr"), d.cell("C2", "110201234567")]
    assert read(d.xlsx({"표": d.rows(head, row)})).text.split("\n") == [
        "[시트 표]",
        "성명\t부서\t계좌",
        "홍길동\t\t110201234567",
    ]


def test_a_hidden_sheet_says_so() -> None:
    assert "[시트 숨김 (숨김)]" in read(XLSX["hidden sheet"]).text


ROWS = (["성명", "계좌"], ["홍길동", "110-201"])


@pytest.mark.parametrize(
    "data",
    [
        d.docx(
            "<w:tbl>"
            + "".join("<w:tr>" + "".join(f"<w:tc>{d.w_paragraph(c)}</w:tc>" for c in row) + "</w:tr>" for row in ROWS)
            + "</w:tbl>"
        ),
        d.hwp([d.hwp_paragraph("\x0b") + d.hwp_table(list(ROWS))]),
        d.hwpx(
            [
                "<hp:p><hp:run><hp:tbl>"
                + "".join(
                    "<hp:tr>" + "".join(f"<hp:tc>{d.hp_paragraph(c)}</hp:tc>" for c in row) + "</hp:tr>" for row in ROWS
                )
                + "</hp:tbl></hp:run></hp:p>"
            ]
        ),
    ],
    ids=["docx", "hwp", "hwpx"],
)
def test_a_row_is_a_line(data: bytes) -> None:
    assert read(data).text.split("\n") == ["성명\t계좌", "홍길동\t110-201"]


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "data", "kind", "mismatch"),
    [
        ("보고.docx", DOCX["body"], "docx", False),
        ("보고.DOCX", DOCX["body"], "docx", False),
        ("보고.pdf", DOCX["body"], "docx", True),
        ("보고.txt", DOCX["body"], "docx", True),
        ("보고.hwp", HWPX["body"], "hwpx", True),
        ("보고.hwpx", HWP["body"], "hwp", True),
        ("표.csv", PLAIN["CSV"], "csv", False),
        ("메모.md", MARK.encode(), "markdown", False),
        ("메모", MARK.encode(), "text", False),
        ("메모.unknown", MARK.encode(), "text", False),
        ("사진.png", MARK.encode(), "text", True),
        ("설정.json", PLAIN["JSON, escaped"], "json", False),
        ("글.txt", b"BMW and MZ are words, GIF is not", "text", False),
        ("글.txt", b"A PDF begins with %PDF-1.7, as everybody knows.", "text", False),
        ("글.txt", "[2026] 회의록".encode(), "text", False),
        ("글.pdf", b"\n" + d.pdf("A page of text."), "pdf", False),
    ],
)
def test_bytes_say_what_a_file_is_and_its_name_only_whether_it_lied(
    name: str, data: bytes, kind: str, mismatch: bool
) -> None:
    found = read(data, name)
    assert (found.kind, found.mismatch) == (kind, mismatch)


def test_what_programs_write_by_themselves_is_left_out() -> None:
    """Counts, measures and prompts would be tokens that cost money, and long numbers a detector has to wonder about."""
    parts = {
        "docProps/app.xml": "<P><Pages>12</Pages><Application>Microsoft Office Word</Application><Company>시청</Company></P>",
        "docProps/core.xml": "<c><created>2026-11-24T02:00:00Z</created><creator>홍길동</creator></c>",
        "word/header1.xml": d.w_part("hdr", '<p:x xmlns:p="p"><p:posOffset>8503122345678</p:posOffset></p:x>'),
        "__MACOSX/word/._document.xml": b"\x00\x05\x16\x07",
    }
    found = read(d.docx(d.w_paragraph("본문"), parts))
    assert found.text.split("\n") == ["본문", "[문서 속성]", "시청", "[문서 속성]", "홍길동"]
    assert found.not_read == ("__MACOSX/word/._document.xml",)
    empty = d.pptx(
        {"ppt/slideLayouts/slideLayout1.xml": d.slide("마스터 제목 스타일 편집", "둘째 수준", "Second level")}
    )
    with pytest.raises(Uninspectable, match="empty"):
        read(empty)


def test_pictures_in_a_document_are_named_and_not_sent() -> None:
    """Without recognition: the text beside them is all that is sent, so nothing unread leaves."""
    found = read(
        d.docx(d.w_paragraph("본문"), {"word/media/image1.png": d.png(), "word/media/image2.emf": b"\x01\x00\x00\x00"})
    )
    assert found.text == "본문"
    assert found.not_read == ("word/media/image1.png", "word/media/image2.emf")


@pytest.mark.parametrize(("name", "said"), [("table.hwp", "Jakal"), ("hyperlink.hwp", "Example")])
def test_files_that_hancom_office_wrote(name: str, said: str) -> None:
    """Samples from another project, under its licence: see the README beside them."""
    found = read((SAMPLES / name).read_bytes(), name)
    assert found.kind == "hwp"
    assert said in found.text
