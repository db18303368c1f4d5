"""haechi price list
haechi price import FILE
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import Shell, command

if TYPE_CHECKING:
    from billing.pricing import PriceBook


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    command(subparsers, "list", list_, "가격표 · the prices in force now")
    import_ = command(subparsers, "import", import_file, "가격 파일 등록 · add a dated price file")
    import_.add_argument("file", type=Path, metavar="FILE", help="YAML")


def list_(shell: Shell, _: argparse.Namespace) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 – see gateway/cli/__init__.py

    from billing.money import decimal_string  # noqa: PLC0415 – see gateway/cli/__init__.py

    book = _book(shell, [])
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    for price in book.prices:
        ends = book.valid_to(price)
        if price.valid_from <= now and (ends is None or now < ends):
            rows.append(
                {
                    "key": price.key,
                    "meter": price.meter,
                    "currency": price.currency,
                    "per_million": decimal_string(price.unit_price_pico * 1_000_000, 12),
                    "valid_from": price.valid_from.isoformat(),
                    "confirmed": price.confirmed,
                    "source": price.source,
                }
            )
    lines = [
        f"{r['key']:<40} {r['meter']:<18} {r['currency']} {r['per_million']:>12} / 1M  "
        f"{'확정' if r['confirmed'] else '미확정'}  {r['valid_from'][:10]}"
        for r in rows
    ]
    shell.answer({"version": book.version, "prices": rows}, *lines)


def import_file(shell: Shell, args: argparse.Namespace) -> int:
    """Checked beside everything that is known, stored in the ledger, and kept in the data folder for the server.

    A running server takes it in on its next reload (SIGHUP) or start.
    """
    from billing.imports import ImportRefused, import_book  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.prices import PriceFileError  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us, uuid7  # noqa: PLC0415 – see gateway/cli/__init__.py

    folder = shell.settings.data / "prices"
    target = folder / args.file.name
    if not args.file.is_file():
        return shell.fail("no_such_file", f"{args.file}: no such file / 파일이 없습니다.")
    if target.exists() and target.read_bytes() != args.file.read_bytes():
        return shell.fail(
            "already_imported",
            f"{args.file.name} was imported before with other content. Nothing imported is edited: give the new prices "
            "a file of their own with a later valid_from. / 새 가격은 새 파일로 등록하십시오.",
        )
    folder.mkdir(exist_ok=True)
    existed = target.exists()
    shutil.copyfile(args.file, target)
    try:
        book = _book(shell, [folder])
        added = ledger.transact(
            shell,
            lambda tx: import_book(tx, book, origin=args.file.name, ids=uuid7, at=now_us(), by=shell.by.name),
        )
    except (PriceFileError, ImportRefused) as error:
        if not existed:
            target.unlink()
        return shell.fail("price_file_refused", str(error))
    ledger.audit(shell, "price.import", f"file:{args.file.name}", {"version": book.version, "added": added})
    shell.answer(
        {"file": args.file.name, "version": book.version, "added": added},
        f"{args.file.name}: {added} prices added, version {book.version} · 가격 {added}건 등록",
    )
    return 0


def _book(shell: Shell, extra: list[Path]) -> PriceBook:
    from billing.prices import load  # noqa: PLC0415 – see gateway/cli/__init__.py

    folders = list(extra)
    imported = shell.settings.data / "prices"
    if imported.is_dir() and imported not in folders:
        folders.append(imported)
    if shell.settings.prices is not None:
        folders.append(shell.settings.prices)
    return load(None, folders)
