"""Ways in which a value is written so that a plain pattern no longer sees it: the value in, what stands in the text out.

`BREAK` in a result starts a new message of the same conversation.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

#: A private-use character that never occurs in a text; make.py turns it into a message boundary.
BREAK = "\ue000"

HANGUL_DIGITS = "공일이삼사오육칠팔구"
HANJA_DIGITS = "〇一二三四五六七八九"


def digits_to(alphabet: str) -> Callable[[str], str]:
    table = {ord(str(i)): letter for i, letter in enumerate(alphabet)}
    return lambda text: text.translate(table)


def separators_to(separator: str) -> Callable[[str], str]:
    return lambda text: text.replace("-", separator)


def between(insert: str, every: int = 1) -> Callable[[str], str]:
    """`insert` after each `every`-th character."""
    return lambda text: "".join(
        letter + (insert if (i + 1) % every == 0 and i + 1 < len(text) else "") for i, letter in enumerate(text)
    )


def every_other(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(change(letter) if i % 2 else letter for i, letter in enumerate(text))


def broken(text: str) -> str:
    """Into two messages: after the first hyphen, else in the middle."""
    at = text.find("-") + 1 or len(text) // 2
    return text[:at] + BREAK + text[at:]


def look_alikes(text: str) -> str:
    """The first 0 becomes the letter O and the first 1 a lower-case L."""
    return text.replace("0", "O", 1).replace("1", "l", 1)


EVASIONS: dict[str, Callable[[str], str]] = {
    "wide": lambda text: "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) <= 0x7E else c for c in text),
    "widedigits": digits_to("０１２３４５６７８９"),
    "circled": digits_to("⓪①②③④⑤⑥⑦⑧⑨"),
    "superscript": digits_to("⁰¹²³⁴⁵⁶⁷⁸⁹"),
    "bold": digits_to("𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"),
    "arabic": digits_to("٠١٢٣٤٥٦٧٨٩"),
    "devanagari": digits_to("०१२३४५६७८९"),
    "hanja": digits_to(HANJA_DIGITS),
    "hangul": digits_to(HANGUL_DIGITS),
    "hangulmix": every_other(digits_to(HANGUL_DIGITS)),
    "hangulspoken": lambda text: digits_to(HANGUL_DIGITS)(text).replace("-", " 다시 "),
    "zerowidth": between("\u200b"),
    "joiner": between("\u200d", 3),
    "bom": between("\ufeff", 4),
    "softhyphen": between("\u00ad", 2),
    "wordjoiner": between("\u2060", 2),
    "bidi": lambda text: "\u202d" + text + "\u202c",
    "combining": between("\u0301", 3),
    "spaces": lambda text: " ".join(text.replace("-", "")),
    "spaceshyphen": " ".join,
    "wide-space": separators_to("\u3000"),
    "nbsp": separators_to("\u00a0"),
    "endash": separators_to("–"),
    "emdash": separators_to("—"),
    "minus": separators_to("−"),
    "hyphen2010": separators_to("‐"),
    "widedash": separators_to("－"),
    "widetilde": separators_to("～"),
    "middot": separators_to("·"),
    "katakana-dot": separators_to("・"),
    "underscore": separators_to("_"),
    "slash": separators_to("/"),
    "wideslash": separators_to("／"),
    "dot": separators_to("."),
    "widedot": separators_to("．"),
    "doubled": separators_to("--"),
    "spaced-dash": separators_to(" - "),
    "newline": separators_to("\n"),
    "newline-dash": separators_to("-\n"),
    "hyphen-word": separators_to(" 하이픈 "),
    "again-word": separators_to("다시"),
    "look": look_alikes,
    "cyrillic": lambda text: text.replace("0", "О").replace("3", "З"),
    "cyrillic-latin": lambda text: text.replace("a", "а").replace("o", "о").replace("e", "е"),
    "greek": lambda text: text.replace("0", "Ο", 2),
    "at": lambda text: text.replace("@", "(at)"),
    "at-brackets": lambda text: text.replace("@", " [at] ").replace(".com", " [dot] com").replace(".net", " [dot] net"),
    "golbaengi": lambda text: text.replace("@", "골뱅이"),
    "golbaengi-dot": lambda text: text.replace("@", " 골뱅이 ").replace(".", " 닷 "),
    "dot-word": lambda text: text.replace("@", " at ").replace(".", " dot "),
    "bracket-dot": lambda text: text.replace(".", "[.]"),
    "wide-at": lambda text: text.replace("@", "＠").replace(".", "．"),
    "spaced-at": lambda text: text.replace("@", " @ "),
    "break": broken,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "url": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "urlquote": lambda text: quote(text, safe=""),
    "entities": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "hexentities": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
}


def evade(text: str, names: str) -> str:
    """Applies the named ways one after the other, e.g. `widedigits+endash`."""
    for name in names.split("+"):
        text = EVASIONS[name](text)
    return text
