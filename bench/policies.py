"""`python -m bench.policies`: what reading a text costs the filters, by size, and what the worst texts cost.

    python -m bench.policies                 the table: Korean office text, code, forms, tables, findings, adversarial texts
    python -m bench.policies --by-detector   where the time of 2 KB and of 100 KB goes

Every text is read by a scanner that remembers nothing, and every text of 2 KB is different from every other. Sizes are
UTF-8 bytes.
The figure is the median of the rounds; the limits (0.2 ms for 2 KB, 60 ms for 100 KB) decide the exit status.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import cycle
from statistics import median

from bench.machine import HERE
from policies.detectors import DETECTORS
from policies.engine import Scanner
from policies.normalise import normalise
from policies.page import Page

KB = 1024
LIMITS = {2 * KB: 0.2, 20 * KB: 12.0, 100 * KB: 60.0}
TODAY = date(2026, 11, 24)

WORDS = (HERE / "words/korean.txt").read_text().split()
ENDINGS = ("합니다.", "하였습니다.", "할 예정입니다.", "하고자 합니다.", "해 주시기 바랍니다.", "되었습니다.")
#: After a vowel and after a final consonant.
PARTICLES = (
    ("를", "을"),
    ("가", "이"),
    ("는", "은"),
    ("의", "의"),
    ("에", "에"),
    ("와", "과"),
    ("로", "으로"),
    ("", ""),
    ("", ""),
)


def office(draw: random.Random, size: int) -> str:
    """A draft such as offices write: headings, sentences, dates, amounts, a public telephone number. Nothing to be found."""
    lines: list[str] = []
    length = 0
    while length < size:
        kind = draw.random()
        if kind < 0.12:
            line = f"{draw.randint(1, 9)}. {' '.join(draw.sample(WORDS, 3))}"
        elif kind < 0.2:
            day = f"2026. {draw.randint(1, 12)}. {draw.randint(1, 28)}.({draw.choice('월화수목금')})"
            line = f"○ 일시: {day} {draw.randint(9, 17)}:00"
        elif kind < 0.26:
            amount = f"{draw.randint(1, 900)},{draw.randint(0, 999):03d}천원"
            line = f"- 소요 예산: {amount} (전년 대비 {draw.randint(1, 30)}.{draw.randint(0, 9)}% 증가)"
        elif kind < 0.3:
            line = f"※ 문의: {draw.choice(WORDS)}과 ☎ 02-2133-{draw.randint(1000, 9999)}"
        else:
            body = " ".join(inflected(draw.choice(WORDS), draw) for _ in range(draw.randint(8, 18)))
            line = f"{body} {draw.choice(WORDS)}{draw.choice(ENDINGS)}"
        lines.append(line)
        length += len(line.encode()) + 1
    return cut("\n".join(lines), size)


def inflected(word: str, draw: random.Random) -> str:
    closed = "가" <= word[-1] <= "힣" and (ord(word[-1]) - ord("가")) % 28 != 0
    return word + draw.choice(PARTICLES)[closed]


def cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def lines_of(line: Callable[[random.Random, int], str], head: str = "") -> Callable[[random.Random, int], str]:
    """A text of such lines (made from the draw and the number of the line) below a head."""

    def make(draw: random.Random, size: int) -> str:
        lines = [head] if head else []
        length = len(head.encode())
        while length < size:
            lines.append(line(draw, len(lines)))
            length += len(lines[-1].encode()) + 1
        return cut("\n".join(lines), size)

    return make


def person(draw: random.Random) -> str:
    return draw.choice("김이박최정강조윤장임") + draw.choice("서지민도하예수현") + draw.choice("준우은윤아연호진")


def mobile(draw: random.Random) -> str:
    return f"010-{draw.randint(2000, 9999)}-{draw.randint(1000, 9999)}"


def resident(draw: random.Random) -> str:
    return f"{draw.randint(60, 99)}0{draw.randint(1, 9)}{draw.randint(10, 28)}-{draw.randint(1, 2)}{draw.randrange(10**6):06d}"


def code_line(draw: random.Random, number: int) -> str:
    name = draw.choice(("total", "rows", "budget", "path", "config", "result", "index", "payload"))
    other = draw.choice(("load", "parse", "count", "merge", "render", "check"))
    return draw.choice(
        (
            f"def {other}_{name}({name}: dict[str, int], limit: int = {draw.randint(1, 500)}) -> list[str]:",
            f"    {name} = [{other}(item) for item in {name}s if item.size > {draw.randint(1, 99)}]",
            f'    if {name}.get("{other}", 0) != {draw.randint(0, 9)}.{draw.randint(0, 9)}:',
            f"        return {other}({name}[{draw.randint(0, 9)}:{draw.randint(10, 99)}])",
            f"    # {inflected(draw.choice(WORDS), draw)} {draw.choice(WORDS)} 확인",
            f"SELECT {name}, COUNT(*) FROM {other}_log WHERE year = {draw.randint(2019, 2026)} GROUP BY {name};",
            "",
        )
    )


def form_line(draw: random.Random, number: int) -> str:
    return draw.choice(
        (
            "성명:                    (서명 또는 인)",
            "신청인 주소:",
            "연락처:                  전자우편:",
            f"□ {draw.choice(WORDS)}  □ {draw.choice(WORDS)}  □ 기타(                )",
            f"{draw.randint(1, 9)}. {draw.choice(WORDS)} {draw.choice(WORDS)} 사유:",
            f"{draw.choice(WORDS)} 기간: 2026.  .  . ~ 2026.  .  .",
            f"※ {inflected(draw.choice(WORDS), draw)} {draw.choice(WORDS)}을 첨부하여 제출하시기 바랍니다.",
            "위와 같이 신청합니다.      2026년   월   일",
        )
    )


def table_line(draw: random.Random, number: int) -> str:
    return (
        f"| {number} | {draw.choice(WORDS)} | {draw.randint(1, 999)},{draw.randint(0, 999):03d} | "
        f"{draw.randint(1, 99)}.{draw.randint(0, 9)}% | 2026. {draw.randint(1, 12)}. | {draw.choice(WORDS)} |"
    )


def finding_line(draw: random.Random, number: int) -> str:
    """A case as an office notes it: now and then a sentence, else somebody's particulars."""
    name = person(draw)
    return draw.choice(
        (
            f"신청인 {name} ({mobile(draw)}) {draw.choice(WORDS)} 관련 문의",
            f"주민등록번호 {resident(draw)}, 성명 {name}",
            f"{name} 님 환급계좌 농협 302-{draw.randint(1000, 9999)}-{draw.randint(1000, 9999)}-{draw.randint(10, 99)}",
            f"전자우편 user{draw.randint(1, 9999)}@example.net, 연락처 {mobile(draw)}",
            f"주소: 서울특별시 중구 세종대로 {draw.randint(1, 200)}, {draw.randint(101, 120)}동 {draw.randint(101, 2500)}호",
            f"생년월일 19{draw.randint(50, 99)}. {draw.randint(1, 12)}. {draw.randint(1, 28)}. {name} 주무관 확인",
            f"{inflected(draw.choice(WORDS), draw)} {inflected(draw.choice(WORDS), draw)} {draw.choice(WORDS)} 예정입니다.",
        )
    )


#: What offices send besides prose, in short texts that differ from one another; nothing to be found in them.
SHORT: dict[str, Callable[[random.Random, int], str]] = {
    "code": lines_of(code_line),
    "forms": lines_of(form_line),
    "tables": lines_of(
        table_line, "| 연번 | 사업명 | 예산(천원) | 집행률 | 기간 | 비고 |\n| --- | --- | --- | --- | --- | --- |"
    ),
}


def repeated(unit: str) -> Callable[[random.Random, int], str]:
    return lambda draw, size: cut(unit * (size // len(unit.encode()) + 1), size)


def table(columns: int, digits: int, separator: str = ",") -> Callable[[random.Random, int], str]:
    def make(draw: random.Random, size: int) -> str:
        lines: list[str] = []
        length = 0
        while length < size:
            line = separator.join(f"{draw.randrange(10**digits):0{digits}d}" for _ in range(columns))
            lines.append(line)
            length += len(line) + 1
        return cut("\n".join(lines), size)

    return make


def alphabet(letters: str) -> Callable[[random.Random, int], str]:
    return lambda draw, size: cut("".join(draw.choices(letters, k=size)), size)


#: What somebody might send to stop us, and what offices send without meaning to.
ADVERSARIAL: dict[str, Callable[[random.Random, int], str]] = {
    "findings of all kinds": lines_of(finding_line),
    "CSV of names and phones": lines_of(lambda draw, number: f"{person(draw)},{mobile(draw)}", "성명,연락처"),
    "CSV of 13-digit numbers": table(8, 13),
    "CSV of 10-digit numbers": table(8, 10),
    "CSV of 11-digit numbers from 010": lambda draw, size: cut(
        "\n".join(f"{i},010{draw.randrange(20000000, 99999999)}" for i in range(size // 15)), size
    ),
    "CSV of 6- and 7-digit numbers": table(8, 7),
    "numbers with spaces": table(12, 4, " "),
    "resident numbers with a label": lambda draw, size: cut(
        "".join(f"주민번호 {draw.randint(60, 99)}0{draw.randint(1, 9)}1{draw.randint(0, 9)}-1{draw.randrange(10**6):06d}\n"
                for _ in range(size // 28)), size
    ),
    "one run of digits": alphabet("0123456789"),
    "digits and hyphens": alphabet("0123456789-"),
    "digits one by one": repeated("1 2 "),
    "separators": repeated("- . /"),
    "line ends": repeated("\n"),
    "one long line of commas": repeated("1,"),
    "labels only": repeated("주민등록번호 계좌번호 "),
    "banks only": repeated("농협"),
    "births only": repeated("생년월일 "),
    "passports only": repeated("여권"),
    "labels and digits": repeated("계좌 1-2 여권 A1 "),
    "near plates": repeated("12가345 "),
    "near addresses of machines": repeated("1.2.3."),
    "colons": repeated("a:b::"),
    "zero-width between digits": repeated("1\u200b"),
    "full-width digits": repeated("０１２３４５６７８９ "),
    "decomposed Hangul": repeated("\u1100\u1161\u11a8"),
    "numerals in words": repeated("공일공 다시 일이삼사 "),
    "look-alikes": repeated("O1l-2S4 "),
    "at signs": repeated("a@"),
    "at in words": repeated("a (at) b [.] "),
    "entities": repeated("&#48;"),
    "percent signs": repeated("%30"),
    "escapes": repeated("\\u0030"),
    "base64 tokens": repeated("OTAwMTAxLTEyMzQ1Njc4 "),
    "one base64 picture": alphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
    "hexadecimal": alphabet("0123456789abcdef"),
    "dates": repeated("1985.03.12 "),
    "table of pipes": repeated("|1|2|3|4|\n"),
    "quotes and commas": repeated('"1,2",3,\n'),
    "open brackets": repeated("(["),
    "one letter": repeated("가"),
    "ASCII words": repeated("the quick brown fox "),
}  # fmt: skip


def timed(scanner: Scanner, texts: Iterator[str], rounds: int) -> float:
    """Median milliseconds of one scan."""
    taken = []
    for _ in range(rounds):
        text = next(texts)
        begun = time.thread_time_ns()
        scanner.scan(text)
        taken.append((time.thread_time_ns() - begun) / 1e6)
    return median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.policies", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--by-detector", action="store_true")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    scanner = Scanner(today=lambda: TODAY, remembers=0)
    warm = [office(draw, 2 * KB) for _ in range(20)]
    for text in warm:
        scanner.scan(text)
    if options.by_detector:
        return _by_detector(scanner, draw)
    print(f"{len(DETECTORS)} detectors, {scanner.version}\n\n| text | KB | ms | limit |\n| --- | --- | --- | --- |")
    late = 0
    for size, limit in LIMITS.items():
        rounds = max(5, options.rounds * 2 * KB // size)
        late += _row(
            "Korean office text", size, timed(scanner, iter([office(draw, size) for _ in range(rounds)]), rounds), limit
        )
    for name, make in SHORT.items():
        texts = iter([make(draw, 2 * KB) for _ in range(options.rounds)])
        late += _row(name, 2 * KB, timed(scanner, texts, options.rounds), LIMITS[2 * KB])
    for name, make in ADVERSARIAL.items():
        text = make(draw, 100 * KB)
        late += _row(name, 100 * KB, timed(scanner, cycle([text]), 5), LIMITS[100 * KB])
    print(f"\n{late} over the limit")
    return 1 if late else 0


def _row(name: str, size: int, taken: float, limit: float) -> bool:
    print(f"| {name} | {size // KB} | {taken:.3f} | {limit:g}{' ✗' if taken > limit else ''} |", flush=True)
    return taken > limit


def _by_detector(scanner: Scanner, draw: random.Random) -> int:
    for size in (2 * KB, 100 * KB):
        views = [normalise(office(draw, size)) for _ in range(max(5, 400 * KB // size))]
        pages = [Page(view, scanner._lexicon, scanner._shapes, scanner.rules, TODAY) for view in views]
        print(f"\n{size // KB} KB, µs")
        for name, step in (
            ("normalise", lambda page: normalise(page.original)),
            ("words", lambda page: page.has("")),
            ("numbers", lambda page: page.chains),
            *((detector.name, lambda page, d=detector: list(d.detect(page))) for detector in scanner.detectors),
        ):
            taken = []
            for page in pages:
                begun = time.thread_time_ns()
                step(page)
                taken.append((time.thread_time_ns() - begun) / 1e3)
            print(f"{name:16} {median(taken):10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
