"""haechi usage [--month YYYY-MM] [--by department|user|model]"""

from __future__ import annotations

import argparse
import re

from gateway.cli.shell import Shell, options

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, reads=True)
    parser.add_argument(
        "--month",
        type=month,
        metavar="YYYY-MM",
        help="월 (기본: 이번 달) · default: this month, in the organisation's zone",
    )
    parser.add_argument("--by", choices=("department", "user", "model"), default="department", help="기준 · grouping")


def month(text: str) -> str:
    if _MONTH.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a month: write YYYY-MM")


def run(shell: Shell, args: argparse.Namespace) -> None:
    from billing.money import format_krw  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.reports import usage  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py

    asked = args.month or ledger.calendar(shell).periods(now_us()).month
    with reading(shell.engine).connect() as connection:
        found = usage.rows(connection, asked, args.by)
    named = {} if args.by == "model" else ledger.names(shell, args.by, [row.key for row in found])
    rows = [
        {
            "key": named.get(row.key, row.key),
            "requests": row.requests,
            "tokens": row.tokens,
            "krw": format_krw(row.won),
        }
        for row in found
    ]
    total = format_krw(sum(row.won for row in found))
    lines = [f"{r['key']:<32} {r['requests']:>8} {r['tokens']:>12} ₩{r['krw']}" for r in rows]
    head = f"{args.by + ' ' + asked:<32} {'requests':>8} {'tokens':>12} won"
    shell.answer(
        {"month": asked, "rows": rows, "total_krw": total},
        head,
        *lines,
        f"{'합계 · total':<32} {'':>8} {'':>12} ₩{total}",
    )
