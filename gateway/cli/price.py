"""haechi price list
haechi price import FILE
haechi price drift [--map FILE]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import Shell, command

if TYPE_CHECKING:
    from datetime import datetime

    from billing.drift import Table
    from billing.pricing import PriceBook


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    command(subparsers, "list", list_, "가격표 · the prices in force now", reads=True)
    import_ = command(subparsers, "import", import_file, "가격 파일 등록 · add a dated price file")
    import_.add_argument("file", type=Path, metavar="FILE", help="YAML")
    drift_ = command(
        subparsers,
        "drift",
        drift,
        "다른 가격표와 비교, 바꾸지 않음 · beside what price libraries say; changes nothing",
        reads=True,
    )
    drift_.add_argument(
        "--map", type=Path, metavar="FILE", help="litellm의 가격표 · default: the one it is installed with"
    )


def list_(shell: Shell, _: argparse.Namespace) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 – see gateway/cli/__init__.py

    from billing.money import decimal_string  # noqa: PLC0415 – see gateway/cli/__init__.py

    book = book_of(shell)
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
        book = book_of(shell)
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
        "실행 중인 서버는 SIGHUP이나 재시작 뒤에 씁니다. · A running server uses them after SIGHUP or a restart.",
    )
    return 0


def drift(shell: Shell, args: argparse.Namespace) -> int:
    """Shown as a file to check against the vendor's page and to import; a price is never taken over by itself."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 – see gateway/cli/__init__.py

    from billing import drift as drifting  # noqa: PLC0415 – see gateway/cli/__init__.py
    from billing.prices import SHIPPED  # noqa: PLC0415 – see gateway/cli/__init__.py

    try:
        now = datetime.now(UTC)
        tables = _tables(args.map, now)
    except (OSError, ValueError) as error:
        return shell.fail(
            "no_price_table", f"no price table to compare with ({error}) / 비교할 가격표를 읽을 수 없습니다."
        )
    found = drifting.differences(book_of(shell), now, tables)
    imported = shell.settings.data / "prices"
    folders = [SHIPPED, *(folder for folder in (imported, shell.settings.prices) if folder and folder.is_dir())]
    proposed = drifting.proposals(found, folders, (now + timedelta(days=1)).date(), now)
    lines = [f"{d.key:<40} {d.meter:<16} {d.ours:>10} → {d.theirs:>10} USD / 1M  ({d.source})" for d in found]
    for provider, text in proposed.items():
        lines += ["", f"# {provider}-{(now + timedelta(days=1)):%Y-%m-%d}.yaml", *text.rstrip().splitlines()]
    lines.append(
        f"차이 {len(found)}건. 바뀐 것은 없습니다. 공급자의 가격표로 확인하고 `haechi price import FILE`로 등록하십시오. · "
        f"{len(found)} differences. Nothing was changed: check them on the vendor's page, then import the file."
    )
    compared = [table.source for table in tables]
    rows = [
        {"key": d.key, "meter": d.meter, "ours": d.ours, "theirs": d.theirs, "source": d.source, "per": 1_000_000}
        for d in found
    ]
    shell.answer({"compared": compared, "differences": rows, "proposed": proposed, "applied": False}, *lines)
    return 0


def _tables(map_file: Path | None, at: datetime) -> list[Table]:
    """litellm's map is read as a file, without importing litellm; genai-prices where somebody has installed it."""
    import importlib.metadata  # noqa: PLC0415 – see gateway/cli/__init__.py
    import importlib.util  # noqa: PLC0415 – see gateway/cli/__init__.py
    import json  # noqa: PLC0415 – see gateway/cli/__init__.py
    from decimal import Decimal  # noqa: PLC0415 – see gateway/cli/__init__.py

    from billing import drift as drifting  # noqa: PLC0415 – see gateway/cli/__init__.py

    source = str(map_file)
    if map_file is None:
        spec = importlib.util.find_spec("litellm")
        if spec is None or spec.origin is None:
            raise OSError("litellm is not installed")
        map_file = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
        source = f"litellm {importlib.metadata.version('litellm')} bundled price map"
    entries = json.loads(map_file.read_text("utf-8"), parse_float=Decimal)
    if not isinstance(entries, dict):
        raise ValueError(f"{map_file.name} is no price map")
    tables: list[Table] = [drifting.LitellmMap(entries, source)]
    if importlib.util.find_spec("genai_prices") is not None:
        version = importlib.metadata.version("genai-prices")
        tables.append(drifting.GenaiPrices(importlib.import_module("genai_prices"), f"genai-prices {version}", at))
    return tables


def book_of(shell: Shell) -> PriceBook:
    """Every price a server would use: what is shipped, what was imported, and what the operator's folder adds."""
    from billing.prices import load  # noqa: PLC0415 – see gateway/cli/__init__.py

    # In the server's order: the version of a book is a digest of its files as they come.
    folders = [shell.settings.prices] if shell.settings.prices is not None else []
    imported = shell.settings.data / "prices"
    return load(None, [*folders, imported] if imported.is_dir() else folders)
