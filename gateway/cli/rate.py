"""haechi rate < usage.jsonl > rated.jsonl"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.shell import Shell, options


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run)
    parser.epilog = (
        "JSON lines on stdin, JSON lines on stdout, in the same order. Needs no ledger and no configuration."
    )


def run(shell: Shell, _: argparse.Namespace) -> int:
    from billing.prices import load  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.rate import rate_lines  # noqa: PLC0415 – see gateway/cli/__init__.py

    extra = shell.env.get("HAECHI_PRICES")
    rated = rate_lines(sys.stdin, load(None, [Path(extra)] if extra else []))
    for line in rated:
        shell.out.write(line + "\n")
    return 1 if rated.bad else 0
