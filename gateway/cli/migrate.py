"""haechi migrate"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, options


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, founds=True)


def run(shell: Shell, _: argparse.Namespace) -> None:
    from gateway.database import migrate  # noqa: PLC0415 – see gateway/cli/__init__.py

    revision = migrate(shell.engine)
    shell.answer({"revision": revision}, f"데이터베이스 버전 {revision} · The database is at revision {revision}")
