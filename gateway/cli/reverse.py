"""haechi reverse REQUEST --reason TEXT"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, options


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run)
    parser.add_argument(
        "journal", metavar="ID", help="요청 번호[:시도] · request id, with :attempt if there were several"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="사유 · why; kept in the ledger")


def run(shell: Shell, args: argparse.Namespace) -> int:
    """Negate one booking by another one; nothing is edited. The budgets get the money back in the period open now."""
    from billing.book import NotReversible  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.holds import Reverse  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py

    journal = args.journal if ":" in args.journal else f"{args.journal}:1"
    now = now_us()
    periods = ledger.calendar(shell).periods(now)
    op = Reverse(journal, periods, periods.day, shell.by.name, args.reason, now)
    try:
        ledger.apply(shell, op)
    except NotReversible as error:
        return shell.fail("not_reversible", f"{error} / 취소할 수 없습니다.")
    ledger.audit(shell, "journal.reverse", f"journal:{journal}", {"reason": args.reason})
    shell.answer({"journal": journal, "reversal": f"reversal:{journal}"}, f"취소 기록: reversal:{journal} · reversed")
    return 0
