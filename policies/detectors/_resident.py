"""Numbers of residents and foreigners share a shape: YYMMDD, G (sex and century), six more."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import date
from operator import mul
from typing import Final

from policies.candidates import Number
from policies.page import REACH, Page

#: What is read as thirteen digits. The odd ones are a date written with marks, and digits put apart to hide them.
SHAPES: Final = (
    (13,), (6, 7), (2, 2, 2, 7), (6, 1, 6), (8, 7), (4, 2, 2, 7), (6, 3, 4), (3, 3, 7), (3, 3, 3, 4),
    (6, 3, 2, 2), (6, 2, 5), (6, 4, 3), (4, 4, 5), (5, 8), (7, 6), (2, 4, 7), (4, 2, 7), (2, 2, 2, 3, 4),
    (2, 2, 2, 1, 6), (3, 3, 3, 3, 1), (4, 4, 4, 1), (6, 5, 2), (6, 6, 1),
)  # fmt: skip
#: Written like a resident number: a date in two digits each, or six, then seven.
USUAL: Final = frozenset({(6, 7), (2, 2, 2, 7), (6, 1, 6), (8, 7), (4, 2, 2, 7)})

#: 앞 6자리 and 뒤 7자리 are no digits of the number.
_FILLED: Final = re.compile(
    r"(?:[_-]?1(?=[\"']? ?[=:]))?[^0-9\n]{0,24}+(?:6 ?자리[^0-9\n]{0,12}+)?\n?+[^0-9\n]{0,8}+(?P<front>[0-9]{6})"
    r"(?:[^0-9]|7(?![0-9])){1,20}+(?:2[\"']? ?[=:][^0-9\n]{0,3}+)?(?P<back>[0-9]{7})(?![0-9])"
)
#: The same with the label at the end: 앞이 … 뒤가 … 주민번호요.
_FILLED_BEFORE: Final = re.compile(
    r"(?<![0-9])(?P<front>[0-9]{6})(?:[^0-9]|7(?![0-9])){1,20}+(?P<back>[0-9]{7})(?![0-9])(?:[^0-9\n,]{0,8}|\"[^0-9\n]{0,14})\Z"
)
#: How far left of a label that comes late its number may begin.
_BACK: Final = 56
_DATED: Final = re.compile(r"[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{7}")
_CENTURY: Final = {
    "9": 1800,
    "0": 1800,
    "1": 1900,
    "2": 1900,
    "5": 1900,
    "6": 1900,
    "3": 2000,
    "4": 2000,
    "7": 2000,
    "8": 2000,
}
_WEIGHTS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
#: What twelve zeros come to as bytes, which are quicker to count with than digits are to read.
_ZEROS: Final = ord("0") * sum(_WEIGHTS)


def thirteen(number: Number) -> str | None:
    """The thirteen digits; a birth year in four digits is cut to two when it agrees with the century that G names."""
    digits = number.digits
    if len(digits) == 13:
        return digits if _DATED.fullmatch(digits) is not None else None
    if len(digits) == 15:
        century = _CENTURY.get(digits[8])
        if century is None or int(digits[:2]) * 100 != century:
            return None
        digits = digits[2:]
    return digits if len(digits) == 13 and _DATED.fullmatch(digits) is not None else None


def born(digits: str, today: date) -> date | None:
    """The birthday in thirteen digits; None where there is no such day or it has not come yet."""
    try:
        birthday = date(_CENTURY[digits[6]] + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None
    return birthday if birthday <= today else None


def weighted(digits: str) -> int:
    total: int = sum(map(mul, digits.encode(), _WEIGHTS))
    return (total - _ZEROS) % 11


def dated(page: Page) -> list[tuple[Number, str]]:
    """Every number on the page that could be one, with its thirteen digits."""
    return page.once("resident", _dated)


def _dated(page: Page) -> list[tuple[Number, str]]:
    found = []
    for number in page.numbers(SHAPES):
        digits = thirteen(number)
        if digits is not None:
            found.append((number, digits))
    return found


def filled(page: Page, role: str, found: Iterable[int]) -> Iterator[tuple[int, int, str]]:
    """(start, end, thirteen digits) beside labels of a role: six digits, whatever a form or a record puts between, seven more.

    Labels in front of the numbers that begin at `found` are done already.
    """
    starts = sorted(found)
    for word in page.labels(role):
        index = bisect_left(starts, word.end)
        if index < len(starts) and starts[index] - word.end <= REACH:
            continue
        value = _FILLED.match(page.text, word.end)
        if value is None:
            value = _FILLED_BEFORE.search(page.text, max(0, word.start - _BACK), word.start)
        if value is None:
            continue
        digits = value["front"] + value["back"]
        if _DATED.fullmatch(digits) is not None and born(digits, page.today) is not None:
            yield value.start("front"), value.end("back"), digits


def company(digits: str) -> bool:
    """Whether the check digit is that of a company's registration: the published rule, ×1 ×2 in turn."""
    values = list(map(int, digits))
    return (sum(values[:12:2]) + 2 * sum(values[1:12:2]) + values[12]) % 10 == 0


def article(digits: str) -> bool:
    """A Korean article number (EAN-13 from 880) with a right check digit."""
    if not digits.startswith("880"):
        return False
    total = sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits[:12]))
    return (10 - total % 10) % 10 == int(digits[12])


def base(page: Page, number: Number, *, sound: bool, label: bool) -> float:
    """How much the writing alone says. `sound`: the check digit is right.

    Six-hyphen-seven with a real birthday is written by nobody but for this. Thirteen digits in a row are only believed with a
    check digit or a label, and odd groups likewise; two columns of six and seven digits are common, and a table's rows go on.
    """
    last = -number.shape[-1]
    usual = number.shape in USUAL
    gap = number.raw[last - 3 : last]
    if usual and "-" in gap:
        return 0.8
    if label:
        return 0.5
    if number.solid:
        return 0.5 if sound and not article(number.digits) else 0.0
    if page.neighbours(number):
        return 0.2 if usual and "\n" not in number.raw else 0.0
    if usual and "\n" not in number.raw:
        return 0.8 if gap[-1] in "/_~ " else 0.5
    return 0.5 if sound else 0.0
