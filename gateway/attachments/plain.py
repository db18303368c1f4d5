"""Text in all its coats: plain, CSV, Markdown, JSON, XML, HTML, and mail."""

from __future__ import annotations

import email
import email.message
import email.policy
import html
import json
import re

from gateway.attachments.charset import decode
from gateway.attachments.extracted import Uninspectable
from gateway.attachments.reading import Reading
from gateway.attachments.sniff import claimed

_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_COATS = {"csv": "csv", "tsv": "csv", "md": "markdown", "markdown": "markdown"}
_MOST_PARTS = 200


def read_text(data: bytes, name: str) -> tuple[str, list[str]]:
    """(kind, lines). CSV and Markdown are known by their names alone: to the eye they are text."""
    text = decode(data)
    kind = _COATS.get(claimed(name), "text")
    if text.lstrip()[:1] in {"{", "["} and _is_json(text):
        kind = "json"
        # `\\uac00` is how some programs write Hangul. The escape is undone, everything else stays as it is written.
        text = _ESCAPED.sub(_unescape, text)
    return kind, text.split("\n")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _unescape(match: re.Match[str]) -> str:
    units = bytes.fromhex(match[0].replace("\\u", ""))
    shown = units.decode("utf-16-be", "replace")
    # A quote or a line feed would change what the document says.
    return match[0] if any(letter in '"\\' or ord(letter) < 32 for letter in shown) else shown


def read_xml(data: bytes) -> list[str]:
    """As it is written, tags included, with references to characters resolved."""
    return html.unescape(decode(data)).split("\n")


def read_html(data: bytes) -> list[str]:
    """What a page shows and what it hides: text, comments, descriptions, values of fields, addresses of links.

    Cut at its tags and nothing more: the standard library's parser takes quadratic time over comments that never end, and what
    is cut wrongly here is shown rather than lost.
    """
    text = decode(data).replace("<!--", "\n").replace("-->", "\n")
    found: list[str] = []
    style = False
    for index, piece in enumerate(_TAG.split(text)):
        if index % 2 == 0:
            if not style:
                found.append(_BLANK.sub(" ", html.unescape(piece)))
            continue
        name = _TAG_NAME.match(piece)
        tag = name[1].lower() if name else ""
        style = tag == "style"
        if tag in _LINES:
            found.append("\n")
        elif tag in _CELLS:
            found.append("\t")
        for attribute, value in _ATTRIBUTE.findall(piece):
            spoken = html.unescape(value.strip("\"'"))
            if attribute.lower() in _TELLING or spoken.lower().startswith(("mailto:", "tel:")):
                found.append(f" {spoken} ")
    return [line for line in "".join(found).split("\n") if line.strip()]


_TAG = re.compile(r"(<[a-zA-Z/!?][^<>]*>)")
_TAG_NAME = re.compile(r"</?([a-zA-Z][\w:-]{0,40})")
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]{1,40})\s{0,8}=\s{0,8}("[^"]*"|'[^']*'|[^\s"'<>]+)""")
_BLANK = re.compile(r"\s+")
_LINES = frozenset(
    {
        "p",
        "div",
        "br",
        "tr",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "section",
        "article",
        "header",
        "footer",
    }
    | {"title", "option", "pre", "blockquote", "dt", "dd", "body", "head"}
)
_CELLS = frozenset({"td", "th"})
_TELLING = frozenset({"alt", "title", "content", "value", "placeholder", "aria-label", "summary", "data-value"})


def read_mail(data: bytes, reading: Reading) -> list[str]:
    """The headers people read, every text part, and the attachments in turn."""
    # The parser's time grows with parts times depth, so they are counted first.
    if data.lower().count(b"content-type:") > _MOST_PARTS:
        raise Uninspectable("bomb")
    message = email.message_from_bytes(data, policy=email.policy.default)
    lines: list[str] = []
    for name in ("From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Date"):
        for value in message.get_all(name) or ():
            lines.append(f"{name}: {value}")
    for index, part in enumerate(message.walk()):
        if index > _MOST_PARTS:
            raise Uninspectable("bomb")
        if not part.is_multipart():
            lines += _part(part, reading)
    return lines


def _part(part: email.message.Message, reading: Reading) -> list[str]:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    kind = part.get_content_type()
    name = part.get_filename()
    if name is None and kind.startswith("text/"):
        charset = part.get_content_charset()
        try:
            text = content.decode(charset or "utf-8")
        except (LookupError, UnicodeDecodeError):
            text = decode(content)
        return read_html(text.encode()) if kind == "text/html" else text.splitlines()
    if not content.strip():
        return []
    reading.budget.spend(len(content), len(content))
    if kind.startswith("image/"):
        return reading.picture(content, name or "image")
    return reading.inner(content, name or kind)
