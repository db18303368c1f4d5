"""haechi rate < usage.jsonl > rated.jsonl
haechi rate --recorded --month YYYY-MM > rated.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from gateway.cli.shell import Shell, options
from gateway.cli.usage import month


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, reads=True)
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="원장에 기록된 한 달의 사용량을 다시 계산 · rate a month of the ledger again; changes nothing",
    )
    parser.add_argument("--month", type=month, metavar="YYYY-MM", help="--recorded의 월 · the month of --recorded")
    parser.epilog = (
        "JSON lines on stdin, JSON lines on stdout, in the same order: needs no ledger and no configuration. With --recorded, "
        "one line for every usage a provider stated in the month, with what was booked for it."
    )


def run(shell: Shell, args: argparse.Namespace) -> int:
    from billing.prices import load  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.rate import rate_lines  # noqa: PLC0415 – see gateway/cli/__init__.py

    if args.recorded != (args.month is not None):
        shell.fail("invalid_arguments", "--recorded and --month go together / --recorded와 --month를 함께 쓰십시오.")
        return 2
    if args.recorded:
        return _recorded(shell, args.month)
    extra = shell.env.get("HAECHI_PRICES")
    rated = rate_lines(sys.stdin, load(None, [Path(extra)] if extra else []))
    for line in rated:
        shell.out.write(line + "\n")
    return 1 if rated.bad else 0


def _recorded(shell: Shell, month: str) -> int:
    """With the prices a server would use now, imported ones included."""
    from billing.rate import rate_again  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.reports.recorded import recorded  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli.price import book_of  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py

    book = book_of(shell)
    trusted = {name for name, provider in shell.settings.providers.items() if provider.trust_reported_cost}
    with reading(shell.engine).connect() as connection:
        for record in recorded(connection, month):
            shell.out.write(json.dumps(rate_again(record, book, trust_reported=record.provider in trusted)) + "\n")
    return 0
