"""`python -m policies evaluate FILE.jsonl`: how well the filters do on labelled text. Exit 0 done, 1 broken, 2 bad arguments."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO
from unicodedata import east_asian_width

from policies import site
from policies.decision import DESTINATIONS
from policies.detectors import DETECTORS
from policies.engine import Scanner
from policies.evaluate import (
    SHIPPED,
    TARGETS,
    BadLine,
    Case,
    Miss,
    Outcome,
    Report,
    Tally,
    as_json,
    in_order,
    judge,
    read,
    score,
)
from policies.pack import PackError, load

_NAMES: Final = {
    "must_block": "막아야 할 것을 막음 · must-block caught",
    "left_in_clear": "그대로 나감 · left in clear",
    "false_block": "정상 글을 막음 · false blocks on clean",
    "any_alarm": "정상 글에 경보 · any alarm on clean",
    "evasions": "우회를 잡음 · evasions caught",
}
_COLUMNS: Final = (
    "종류 kind",
    "표시 labelled",
    "찾음 found",
    "놓침 missed",
    "오탐 false",
    "나감 left",
    "재현율 recall",
)
_HEAD: Final = (*_COLUMNS, "정밀도 precision", "F1")
_WHAT: Final = {"missed": "놓침 missed", "left": "나감 left", "false": "오탐 false", "action": "막지 않음 not blocked"}


def main(argv: Sequence[str] | None = None, out: TextIO | None = None, err: TextIO | None = None) -> int:
    out, err = out or sys.stdout, err or sys.stderr
    try:
        args = _parser().parse_args(argv)
    except SystemExit as e:  # argparse has said what is wrong, or printed the help
        return int(e.code or 0)
    try:
        cases = [case for path in args.files for case in read(path)]
        pack = load(*args.pack)
        looking = (*DETECTORS, *site.detectors(args.detector))
    except (BadLine, PackError, site.DetectorRefused) as e:
        print(e, file=err)
        return 2
    except OSError as e:
        print(f"{e.filename}: 읽을 수 없음 (cannot be read): {e.strerror}", file=err)
        return 2
    if args.split:
        cases = [case for case in cases if case.split == args.split]
    scanner = Scanner(pack.rules, looking)
    judged = judge(scanner, args.destination)
    outcomes = [judged(case) for case in cases]
    report = score(outcomes, args.destination)
    splits = {name: score(chosen, args.destination) for name, chosen in _splits(outcomes)}
    if args.json:
        answer = {"destination": args.destination, "version": scanner.version, **as_json(report)}
        answer["splits"] = {name: as_json(each) for name, each in splits.items()}
        if args.misses or args.show:
            answer["misses"] = [_miss(miss, cases if args.show else ()) for miss in report.misses]
        print(json.dumps(answer, ensure_ascii=False, indent=2), file=out)
    else:
        print(f"{report.cases} 건 cases · → {args.destination} · {scanner.version}", file=out)
        for name, each in {"": report, **splits}.items():
            print("\n" + "\n".join(_summary(name, each)), file=out)
        print("\n" + "\n".join(_aligned(_kinds(report))), file=out)
        if args.misses or args.show:
            print("\n" + "\n".join(_aligned(_missed(report.misses, cases if args.show else ()))), file=out)
    return 1 if args.check and report.failed() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m policies", description="입력 필터 · the input filters")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    summary = "정답이 표시된 파일로 채점 · score labelled files (docs/filters/evaluation.md)"
    command = commands.add_parser("evaluate", help=summary, description=summary)
    command.add_argument(
        "files", nargs="*", type=Path, default=list(SHIPPED), metavar="FILE.jsonl", help="default: the set that ships"
    )
    command.add_argument("--json", action="store_true", help="답을 JSON으로 · answer in JSON")
    command.add_argument(
        "--destination", choices=DESTINATIONS, default="foreign", help="어디로 나가는 글인가 · default: foreign"
    )
    command.add_argument("--split", metavar="NAME", help="이 갈래만 · only cases of this split, e.g. open or held_out")
    command.add_argument(
        "--misses", action="store_true", help="틀린 것의 id와 종류 · what went wrong, without the text"
    )
    command.add_argument("--show", action="store_true", help="틀린 것을 글과 함께 · --misses with the text")
    command.add_argument("--check", action="store_true", help="목표에 못 미치면 1로 끝남 · exit 1 below a target")
    command.add_argument(
        "--pack", action="append", type=Path, default=[], metavar="FOLDER", help="기관의 규칙 · a site's rules"
    )
    command.add_argument(
        "--detector", action="append", default=[], metavar="MODULE:NAME", help="기관의 검출기 · a site's own detector"
    )
    return parser


def _splits(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    """By name, where there is more than one."""
    names = sorted({outcome.case.split for outcome in outcomes} - {""})
    if len(names) > 1:
        for name in names:
            yield name, [outcome for outcome in outcomes if outcome.case.split == name]


def _summary(name: str, report: Report) -> Iterator[str]:
    if name:
        yield f"[{name}] {report.cases} 건 cases"
    rows = []
    for target, sign, least in TARGETS:
        share = getattr(report, target)
        verdict = "" if share.value is None else "미달 missed" if target in report.failed() else "달성 reached"
        rows.append(
            (_NAMES[target], f"{share.part}/{share.whole}", _percent(share.value), f"{sign} {least:.0%}", verdict)
        )
    yield from _aligned(rows)


def _kinds(report: Report) -> Iterator[tuple[str, ...]]:
    yield _HEAD
    for kind in in_order(report.kinds):
        yield _row(kind, report.kinds[kind])
    yield _row("합계 total", report.total)


def _row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.found + tally.missed, tally.found, tally.missed, tally.false, tally.left)
    return (name, *map(str, counts), *map(_percent, (tally.recall, tally.precision, tally.f1)))


def _missed(misses: Sequence[Miss], cases: Sequence[Case]) -> Iterator[tuple[str, ...]]:
    texts = {case.id: case.text for case in cases}
    for miss in misses:
        row = (miss.id, _WHAT[miss.what], miss.kind, f"{miss.start}–{miss.end}", miss.rule)
        yield (*row, repr(_piece(miss, texts[miss.id]))) if texts else row


def _miss(miss: Miss, cases: Sequence[Case]) -> Mapping[str, Any]:
    texts = {case.id: case.text for case in cases}
    record = {name: getattr(miss, name) for name in ("id", "what", "kind", "start", "end", "rule")}
    return record | ({"text": _piece(miss, texts[miss.id])} if texts else {})


def _piece(miss: Miss, text: str) -> str:
    return text[miss.start : miss.end] if miss.end else text[:120]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _aligned(rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns under each other; Hangul takes two places. The first column begins at the left, numbers end at the right."""
    table = list(rows)
    if not table:
        return
    widths = [max(_width(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(cell + space if column == 0 or not _numeric(table, column) else space + cell)
        yield "  ".join(cells).rstrip()


def _numeric(table: Sequence[tuple[str, ...]], column: int) -> bool:
    return table[-1][column][:1].isdigit() or table[-1][column] == "–"


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the answer has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
