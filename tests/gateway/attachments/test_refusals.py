"""What cannot be vouched for is refused, each with its own reason, and nothing ever crashes instead of answering."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import documents as d
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.attachments import sniff
from gateway.attachments.extract import extract
from gateway.attachments.extracted import FENCE, REASONS, Bounds, Extracted, Uninspectable
from gateway.attachments.extractor import ChildExtractor, Spend

SMALL = Bounds(entries=50, unpacked=8 * 1024 * 1024, xml=4 * 1024 * 1024, chars=10_000, pages=3)


def why(data: bytes, name: str = "file", bounds: Bounds = SMALL) -> str:
    """The reason, or the text where there is none to refuse."""
    try:
        return extract(data, name, bounds, ocr=False).text
    except Uninspectable as refused:
        return refused.code


def nested_workbooks(levels: int) -> bytes:
    made = d.xlsx({"표": d.rows([d.cell("A1", "끝", "inlineStr")])})
    for _ in range(levels):
        made = d.xlsx({"표": d.rows()}, extra={"xl/embeddings/book.xlsx": made})
    return made


def locked_zip() -> bytes:
    """An entry that says it is encrypted."""
    made = bytearray(d.docx(d.w_paragraph("본문")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := made.find(mark, at + 1)) >= 0:
            made[at + offset] |= 1
    return bytes(made)


def lying_zip() -> bytes:
    """A directory that claims ten bytes for an entry of a hundred thousand."""
    made = bytearray(d.zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": "<a>" + "가" * 50_000 + "</a>"}))
    at = made.rfind(b"PK\x01\x02")
    struct.pack_into("<I", made, at + 24, 10)
    return bytes(made)


def many_parts() -> bytes:
    return d.docx("", {f"word/part{n}.xml": "<a/>" for n in range(100)})


def billion_laughs() -> str:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(10))
    return f"<!DOCTYPE x [{entities}]><x>&a9;</x>"


EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'

REFUSED: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "blanks": (b" \n\t\n ", "empty"),
    "a document without words": (d.docx(), "empty"),
    "a title and nothing else": (d.hwp([d.hwp_paragraph("")], extra={"\x05HwpSummaryInformation": d.summary("제목")}), "empty"),
    "a PDF without words": (d.pdf(""), "empty"),
    "bytes of no kind": (bytes(range(256)) * 4, "unknown"),
    "a Windows program": (b"MZ\x90\x00\x03\x00\x00\x00", "unknown"),
    "a Linux program": (b"\x7fELF\x02\x01\x01\x00", "unknown"),
    # archives
    "a ZIP archive": (d.zipped({"a.txt": "가"}), "archive"),
    "an empty ZIP archive": (d.zipped({}), "archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"\x00" * 64, "archive"),
    "RAR": (b"Rar!\x1a\x07\x01\x00" + b"\x00" * 64, "archive"),
    "gzip": (b"\x1f\x8b\x08\x00" + b"\x00" * 64, "archive"),
    "ALZ": (b"ALZ\x01\x0a\x00\x00\x00", "archive"),
    "EGG": (b"EGGA\x00\x01", "archive"),
    "tar": (b"a".ljust(257, b"\x00") + b"ustar\x00" + b"\x00" * 200, "archive"),
    # locked
    "a locked ZIP entry": (locked_zip(), "encrypted"),
    "a locked PDF": (d.pdf("secret", password="s3cret"), "encrypted"),
    "a locked Office file": (d.compound({"EncryptionInfo": b"\x04\x00", "EncryptedPackage": b"\x00" * 5000}), "encrypted"),
    "a rights-managed Office file": (
        d.compound({"\x06DataSpaces/DRMEncryptedDataSpace": b"x", "EncryptedPackage": b"\x00" * 64}), "drm"),
    "HWP with a password": (d.hwp([d.hwp_paragraph("본문")], flags=3), "encrypted"),
    "HWP under DRM": (d.hwp([d.hwp_paragraph("본문")], flags=1 | 1 << 4), "drm"),
    "HWP under a certificate": (d.hwp([d.hwp_paragraph("본문")], flags=1 | 1 << 8), "drm"),
    "HWPX with a password": (
        d.hwpx([d.hp_paragraph("본문")], {"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "encrypted"),
    # old and odd
    "Word 97": (d.compound({"WordDocument": b"\x00" * 5000}), "legacy"),
    "Excel 97": (d.compound({"Workbook": b"\x00" * 5000}), "legacy"),
    "PowerPoint 97": (d.compound({"PowerPoint Document": b"\x00" * 5000}), "legacy"),
    "XLSB": (d.zipped({"[Content_Types].xml": "<Types/>", "xl/workbook.bin": b"\x83\x01"}), "legacy"),
    "HWP 3": (b"HWP Document File V3.00 \x1a\x01\x02\x03\x04\x05", "legacy"),
    "RTF": (b"{\\rtf1\\ansi hello}", "legacy"),
    "a compound file of another program": (d.compound({"Contents": b"\x00" * 64}), "unknown"),
    # bombs
    "a part that unpacks to much": (d.docx("", {"word/a.xml": b"<a>" + b" " * 9_000_000 + b"</a>"}), "bomb"),
    "parts that together do": (d.docx("", {f"word/{n}.xml": b"<a>" + os.urandom(900_000) + b"</a>" for n in range(10)}), "bomb"),
    "too many parts": (many_parts(), "bomb"),
    "a compressed stream of HWP that unpacks to much": (d.hwp([b"\x00" * 9_000_000]), "bomb"),
    "entities": (d.docx("", {"word/header1.xml": billion_laughs()}), "bomb"),
    "an entity from outside": (d.docx("", {"word/header1.xml": EXTERNAL}), "bomb"),
    "embedded, three deep": (nested_workbooks(3), "deep"),
    "too many pages": (d.pdf(*["A page of text that is long enough to count as text."] * 4), "pages"),
    "too much text": ("가나다라 ".encode() * 3000, "long"),
    # damaged
    "a lying directory": (lying_zip(), "malformed"),
    "a ZIP cut short": (d.docx(d.w_paragraph("본문" * 500))[:-40], "malformed"),
    "XML cut short": (d.docx("", {"word/header1.xml": "<a><b>"}), "malformed"),
    "PDF cut short": (b"%PDF-1.7\n1 0 obj\n<<", "malformed"),
    "a compound file cut short": (d.hwp([d.hwp_paragraph("본문" * 5000)], flags=0)[:1500], "malformed"),
    "HWP whose records overrun": (d.hwp([struct.pack("<I", d.PARA_TEXT | 900 << 20) + b"ab"]), "malformed"),
    "a distribution document without its key": (
        d.hwp([d.hwp_paragraph("본문")], flags=1 | 4, extra={"ViewText/Section0": b"\x00" * 600}), "malformed"),
    # what stands inside
    "an archive inside": (d.docx(d.w_paragraph("본문"), {"word/embeddings/oleObject1.bin": d.compound(
        {"\x01Ole10Native": d.ole10("a.zip", d.zipped({"a": "b"}))})}), "nested"),
    "an old document inside": (d.docx(d.w_paragraph("본문"), {"word/embeddings/oleObject1.bin": d.compound(
        {"WordDocument": b"\x00" * 5000})}), "nested"),
    "a locked document inside": (d.docx(d.w_paragraph("본문"), {"word/embeddings/a.docx": d.compound(
        {"EncryptionInfo": b"x", "EncryptedPackage": b"\x00" * 64})}), "nested"),
    "a DRM container inside": (d.docx(d.w_paragraph("본문"), {"word/embeddings/a.xlsx": b"SCDSA002" + b"\x00" * 64}), "nested"),
    "a part of no kind": (d.docx(d.w_paragraph("본문"), {"word/data.bin": b"\x01\x02\x03"}), "nested"),
    "a locked PDF attached": (d.pdf("A page of text.", attached={"a.pdf": d.pdf("x", password="s3cret")}), "nested"),
    "a program attached to mail": (
        (b"From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\n"
        b"MZ\x90\x00\x03\r\n--x--\r\n"), "nested"),
    # pictures, without recognition
    "a picture": (d.png(), "image"),
    "a scan": (d.pdf("", scans=[0]), "image_pages"),
    "a scan with a page number": (d.pdf("- 1 -", scans=[0]), "image_pages"),
    "one scan among pages": (d.pdf("A page of text that is long enough to count as text.", "", scans=[1]), "image_pages"),
    **{f"DRM of {maker} ({mark[:8]!r})": (mark + b"\x00" * 64, "drm") for mark, maker in sniff.DRM},
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert why(data) == reason


def test_a_page_that_fills_with_a_picture_and_has_text_is_read() -> None:
    """A letterhead is a picture behind a page of text, and no scan."""
    assert "A letter with enough words on it" in why(
        d.pdf("A letter with enough words on it to be a letter.", scans=[0])
    )


def test_cells_far_apart_cost_little() -> None:
    """A sheet has 16,384 columns, and a tab for each empty one would make a megabyte of sixty-four rows."""
    made = d.xlsx({"표": d.rows(*[[d.cell(f"A{n}", "1"), d.cell(f"XFD{n}", "끝", "inlineStr")] for n in range(1, 65)])})
    assert why(made).split("\n")[1:] == ["1\t끝"] * 64


def test_two_deep_is_still_read() -> None:
    assert "끝" in why(nested_workbooks(2))


def test_every_reason_can_be_given_and_says_what_to_do_in_both_languages() -> None:
    given_somewhere = {reason for _, reason in REFUSED.values()}
    from_the_process = {"crashed", "memory", "slow"}
    from_the_inspector = {"inspector_failed", "inspector_refused"}
    assert given_somewhere | from_the_process | from_the_inspector == set(REASONS)
    for english, korean in REASONS.values():
        assert english.isascii()
        assert any("가" <= letter <= "힣" for letter in korean)
        assert korean.endswith("시오.")


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def child() -> ChildExtractor:
    return ChildExtractor(Spend(seconds=30, memory=768 * 1024 * 1024), Bounds())


async def test_a_file_is_read_in_a_process_of_its_own(child: ChildExtractor) -> None:
    """The names of everything are given, so that nothing is lost on the way."""
    made = d.docx(d.w_paragraph("본문 대외비"), {"word/media/a.emf": b"\x01"})
    found = await child.extract(made, "보고.pdf")
    assert found == Extracted("docx", "본문 대외비", ("word/media/a.emf",), mismatch=True)


@pytest.mark.parametrize(
    "data",
    [
        d.xlsx({"표": d.rows([d.cell("A1", "본문", "inlineStr")])}),
        d.pptx({"ppt/slides/slide1.xml": d.slide("본문")}),
        d.hwpx([d.hp_paragraph("본문")]),
        d.hwp([d.hwp_paragraph("본문")]),
        d.hwp([d.hwp_paragraph("본문")], flags=5),
        d.pdf("A page of text.", fields={"이름": "본문"}),
        d.pdf("A page of text.", fields={"이름": "본문"}, owner="s3cret"),
        "본문".encode("cp949"),
        "<html><p>본문</p></html>".encode(),
    ],
    ids=["xlsx", "pptx", "hwpx", "hwp", "distributed hwp", "pdf", "pdf under an owner's password", "text", "html"],
)
async def test_every_format_is_read_behind_the_fence(child: ChildExtractor, data: bytes) -> None:
    """What a reader needs (libraries, ciphers, code pages) is within its reach there."""
    assert "본문" in (await child.extract(data, "file")).text


@pytest.mark.parametrize("name", ["a ZIP archive", "entities", "a picture"])
async def test_a_refusal_comes_out_of_it_as_it_went_in(child: ChildExtractor, name: str) -> None:
    data, reason = REFUSED[name]
    if reason == "image":
        child = ChildExtractor(Spend(), Bounds(), ocr=False)
    with pytest.raises(Uninspectable) as refused:
        await child.extract(data, "file")
    assert refused.value.code == reason


async def test_a_file_that_needs_more_memory_than_is_allowed() -> None:
    """100 MB of cells in a process that may have 256 MB of addresses."""
    wide = Bounds(unpacked=2**30, xml=2**30, chars=2**30, ratio=10**9)
    body = "<sheetData>" + f"<row>{d.cell('A1', '가' * 1000, 'inlineStr')}</row>" * 60_000 + "</sheetData>"
    small = ChildExtractor(Spend(seconds=60, memory=256 * 1024 * 1024), wide)
    with pytest.raises(Uninspectable) as refused:
        await small.extract(d.xlsx({"표": body}), "a.xlsx")
    assert refused.value.code == "memory"


@pytest.mark.parametrize("where", ["page", "twice", "attachment"])
async def test_a_pdf_that_unpacks_to_much_ends_with_its_process(where: str) -> None:
    """PDFium gives up with the whole process; that is why it has one of its own, and the next file is read by another."""
    small = ChildExtractor(Spend(seconds=60, memory=384 * 1024 * 1024), Bounds())
    with pytest.raises(Uninspectable) as refused:
        await small.extract(d.pdf_bomb(where, 400 * 1024 * 1024), "a.pdf")
    assert refused.value.code in {"crashed", "memory", "malformed", "bomb"}
    assert (await small.extract(d.pdf("A page of text."), "b.pdf")).kind == "pdf"


async def test_a_file_that_takes_longer_than_is_allowed() -> None:
    """Killed, and the next file is read all the same."""
    hasty = ChildExtractor(Spend(seconds=0.001, at_once=1), Bounds())
    with pytest.raises(Uninspectable) as refused:
        await hasty.extract(b"text", "a.txt")
    assert refused.value.code == "slow"
    with pytest.raises(Uninspectable):
        await hasty.extract(b"text", "a.txt")


def behind_the_fence(program: str, tmp_path: Path) -> str:
    """What a program prints that has raised the fence around itself."""
    whole = f"""
import sys
from gateway.attachments.fence import raise_fence
standing = raise_fence(512 * 1024 * 1024, 10)
{program}
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", whole, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    return ran.stdout.strip() or ran.stderr[-300:]


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("import socket; socket.socket()", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("open(sys.argv[1] + '/secrets.json').read()", "PermissionError"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open(f'/proc/{__import__(\"os\").getppid()}/environ').read()", "PermissionError"),
        ("open(sys.argv[1] + '/new', 'w')", "PermissionError"),
        ("bytearray(1024 ** 3)", "MemoryError"),
    ],
)
def test_what_a_reader_that_was_taken_over_could_not_do(attempt: str, refusal: str, tmp_path: Path) -> None:
    """Reads keys, speaks to the network, writes a file. The kernel says no."""
    (tmp_path / "secrets.json").write_text("{}")
    program = f"try:\n    {attempt}\n    print('done')\nexcept Exception as e:\n    print(type(e).__name__)"
    standing = behind_the_fence("print(*sorted(standing))", tmp_path).split()
    if refusal == "PermissionError" and "open(" in attempt and "landlock" not in standing:
        assert "seccomp" in standing  # an old kernel: files are guarded by what runs where, not by the kernel
        return
    assert behind_the_fence(program, tmp_path) == refusal


def test_a_gateway_without_files_pays_nothing() -> None:
    """No reader's library is imported and no process started by importing the whole app."""
    program = "import sys, gateway.app; print(sorted({'pypdf', 'pypdfium2', 'pypdfium2_raw', 'aiohttp.web'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────────────────────────────

MAGICS = sorted(
    {mark for mark, _ in sniff._MAGIC} | {b"%PDF-1.7\n", b"<?xml", b"<html>", b"From: a\r\nMIME-Version: 1\r\n\r\n"}
)
WHOLE = [
    d.docx(
        d.w_paragraph("본문"), {"word/embeddings/oleObject1.bin": d.compound({"\x01Ole10Native": d.ole10("a", b"b")})}
    ),
    d.xlsx({"표": d.rows([d.cell("A1", "1", style=1)])}, formats=["yyyy"]),
    d.hwp([d.hwp_paragraph("본문") + d.hwp_table([["가", "나"]])]),
    d.hwp([d.hwp_paragraph("본문")], flags=5),
    d.hwp([d.hwp_paragraph("본문")], flags=0, extra={"\x05HwpSummaryInformation": d.summary("제목")}),
    d.hwpx([d.hp_paragraph("본문")]),
    d.pdf("Some text on a page.", fields={"a": "b"}, comment="c", bookmark="d", attached={"e": b"f"}),
]


def answers(data: bytes) -> None:
    """A text or a reason: whatever else an exception is, the process would report it as crashed."""
    answer = why(data)
    assert answer in REASONS or answer.strip()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MAGICS), st.binary(max_size=3000))
def test_random_bytes_behind_every_mark_get_an_answer(mark: bytes, rest: bytes) -> None:
    answers(mark + rest)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(WHOLE), st.data())
def test_a_document_with_changed_bytes_gets_an_answer(whole: bytes, data: st.DataObject) -> None:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 12))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3)) == 0
    answers(bytes(changed[: data.draw(st.integers(1, len(changed)))] if cut else changed))


ENDLESS: Mapping[str, bytes] = {
    "comments of a page that never end": b"<html>" + b"<!--" * 500_000,
    "tags of a page that never end": b"<html>" + b"<a b=" * 400_000,
    "end tags that never end": b"<html>" + b"</a" * 600_000,
    "declarations that never end": b"<html>" + b"<![CDATA[" * 200_000,
    "one long tag": b"<html><a " + b"b" * 2_000_000 + b">",
    "quotes of a page that never end": b"<html><a " + b"b='" * 600_000 + b">",
    "references that never end": b"<html>" + b"&#" * 900_000,
    "elements in elements": d.docx("<w:p>" * 300_000 + "</w:p>" * 300_000),
    "alternatives in alternatives": d.docx(
        "<m:AlternateContent xmlns:m='m'><m:Choice>" * 20_000 + "</m:Choice></m:AlternateContent>" * 20_000
    ),
    "brackets": b"[" * 2_000_000,
    "backslashes": b"[" + b"\\u" * 600_000,
    "parts of a mail": b"From: a\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    + b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 20_000,
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_over_soon(data: bytes) -> None:
    """Megabytes made to be slow: linear time means an answer long before the test's own time limit."""
    answers(data)


def test_a_changed_archive_never_answers_with_unchecked_bytes() -> None:
    """Each entry carries a checksum; one whose bytes were changed is refused as a whole."""
    document = d.w_part("document", d.w_paragraph("본문"))
    parts = {"[Content_Types].xml": "<Types/>", "word/document.xml": document}
    made = bytearray(d.zipped(parts, stored=["word/document.xml"]))
    at = made.find("본문".encode())
    made[at : at + 3] = "가".encode()
    assert why(bytes(made)) == "malformed"


def test_the_child_speaks_even_where_its_order_is_the_last_thing_it_reads() -> None:
    order = {"name": "a", "memory": 2**29, "cpu_seconds": 5, "bounds": {}, "ocr": False}
    ran = subprocess.run(
        [sys.executable, "-I", "-m", "gateway.attachments.child"],
        input=json.dumps(order).encode() + b"\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert json.loads(ran.stdout)["refused"] == "empty"


async def test_a_kernel_without_the_whole_fence_is_told_of_once(
    child: ChildExtractor, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """What the log says is what stands here, and two files say it no more often than one."""
    for _ in range(2):
        await child.extract(b"text", "a.txt")
    standing = set(behind_the_fence("print(*sorted(standing))", tmp_path).split())
    told = [record.getMessage() for record in caplog.records if "are read without" in record.getMessage()]
    assert len(told) == (0 if standing == FENCE else 1)
