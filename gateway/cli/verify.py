"""haechi verify [--period YYYY-MM]"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from gateway.cli.shell import Shell, options
from gateway.cli.usage import month


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, reads=True)
    parser.add_argument("--period", type=month, metavar="YYYY-MM", help="이 달의 행만 · rows of this month only")


def run(shell: Shell, args: argparse.Namespace) -> int:
    from billing.reports.verification import verify  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.reports import verification as audit  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.evidence.reports import verification as evidence  # noqa: PLC0415 – see gateway/cli/__init__.py

    with reading(shell.engine).connect() as connection:
        checks = [
            *verify(connection, now_us(), args.period),
            *evidence.verify(connection, args.period),
            *audit.verify(connection),
        ]
    ok = all(check.ok for check in checks)
    rows = [
        {"name": c.name, "ok": c.ok, "first_bad": None if c.first_bad is None else asdict(c.first_bad)} for c in checks
    ]
    lines = [
        f"{'✓' if c.ok else '✗'} {c.name}"
        + ("" if c.first_bad is None else f"   {c.first_bad.table} {c.first_bad.id}: {c.first_bad.why}")
        for c in checks
    ]
    verdict = "장부가 온전합니다 · the ledger is whole" if ok else "장부가 맞지 않습니다 · the ledger does not add up"
    shell.answer({"ok": ok, "checks": rows}, *lines, verdict)
    return 0 if ok else 1
