"""haechi backup FOLDER"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from gateway.cli.shell import Shell, options

#: What belongs to a running server and to nobody else.
_NOT_COPIED = ("serve.lock", "*.db", "*.db-wal", "*.db-shm", "*.db-journal")


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, reads=True)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="새 폴더 · a folder that is not there yet")


def run(shell: Shell, args: argparse.Namespace) -> int:
    """The ledger as it is at one moment, and the data folder beside it: secrets, imported prices. Serving goes on meanwhile.

    The folder is complete once it has its name; what was begun and not finished ends in `.partial`.
    """
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.database import copy_sqlite, sqlite_file  # noqa: PLC0415 – see gateway/cli/__init__.py

    settings = shell.settings
    target = args.folder.absolute()
    partial = target.with_name(target.name + ".partial")
    if target.exists() or partial.exists():
        return shell.fail("folder_exists", f"{target}: name a folder that is not there yet / 없는 폴더를 지정하십시오.")
    if target.is_relative_to(settings.data):
        return shell.fail(
            "inside_data", f"{target}: a copy inside the data folder is lost with it / 데이터 폴더 밖에 두십시오."
        )
    file = sqlite_file(settings.database_url.get_secret_value())
    if file is not None:
        shell.engine.connect().close()  # says what is wrong with it, or that there is none
    partial.mkdir(mode=0o700, parents=True)
    try:
        if file is not None:
            copy_sqlite(file, partial / "ledger.db")
        # After the ledger: a price it names must be among the files.
        shutil.copytree(settings.data, partial, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    ledger.audit(shell, "backup", f"folder:{target}", {"ledger": file is not None})
    lines = [f"{target}: 백업했습니다 · copied"]
    if file is None:
        lines.append(
            "PostgreSQL 원장은 들어 있지 않습니다. pg_dump로 따로 받으십시오(docs/backup.md) · "
            "without the PostgreSQL ledger: take that with pg_dump (docs/backup.md)"
        )
    lines.append(
        "이 폴더에는 모든 비밀값과 기록이 있습니다. 암호화하여 보관하십시오 · it holds every secret and record: encrypt it"
    )
    shell.answer({"folder": str(target), "ledger": file is not None}, *lines)
    return 0
