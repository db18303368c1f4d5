"""haechi fx import FILE"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.shell import Shell, command


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    import_ = command(
        subparsers, "import", import_file, "환율 등록 · add dated rates; a server uses them within seconds"
    )
    import_.add_argument("file", type=Path, metavar="FILE", help="CSV: date,base,quote,rate,kind,source")


def import_file(shell: Shell, args: argparse.Namespace) -> int:
    from billing.imports import ImportRefused, import_rates, read_rates  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py

    try:
        rates = read_rates(args.file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return shell.fail("no_such_file", f"{args.file}: cannot be read ({error}) / 파일을 읽을 수 없습니다.")
    except ImportRefused as error:
        return shell.fail("rates_refused", f"{args.file.name}: {error}")
    added = ledger.transact(shell, lambda tx: import_rates(tx, rates, at=now_us(), by=shell.by.name))
    ledger.audit(shell, "fx.import", f"file:{args.file.name}", {"added": added})
    shell.answer({"added": added}, f"환율 {added}건 등록 · {added} rates added")
    return 0
