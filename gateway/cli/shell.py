"""What every command has in common: its options, what it opens, how it answers, how it fails.

    exit 0   done
    exit 1   refused, or something is broken: one line on stderr says what and what to do
    exit 2   the arguments make no sense

With `--json` the answer is one JSON document on stdout, and a failure one on stderr: {"error": {"code", "message"}}.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from gateway.errors import BadRequest, Refusal

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.audit import Actor
    from gateway.directory.directory import Directory
    from gateway.settings import Settings

Run: TypeAlias = Callable[["Shell", argparse.Namespace], int | None]
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Shell:
    """One command in progress. Settings and database are opened when a command first asks for them."""

    def __init__(self, args: argparse.Namespace, env: Mapping[str, str], out: TextIO, err: TextIO) -> None:
        self.args = args
        self.env = env
        self.json = bool(getattr(args, "json", False))
        self.out = out
        self.err = err

    @cached_property
    def settings(self) -> Settings:
        from gateway.settings import load_settings, locate  # noqa: PLC0415 – see gateway/cli/__init__.py

        config, data = locate(self.env, getattr(self.args, "config", None), getattr(self.args, "data", None))
        return load_settings(config, data, self.env)

    @cached_property
    def engine(self) -> Engine:
        from gateway.database import open_engine  # noqa: PLC0415 – see gateway/cli/__init__.py

        return open_engine(self.settings.database_url.get_secret_value())

    @cached_property
    def directory(self) -> Directory:
        from gateway.directory.directory import Directory  # noqa: PLC0415 – see gateway/cli/__init__.py
        from gateway.directory.ids import now_us, uuid7  # noqa: PLC0415 – see gateway/cli/__init__.py

        return Directory(self.engine, self.settings.secrets.pepper.get_secret_value(), now_us, uuid7)

    @property
    def by(self) -> Actor:
        """Who is typing, for the audit record."""
        from gateway.audit import operator  # noqa: PLC0415 – see gateway/cli/__init__.py

        return operator()

    def answer(self, value: Mapping[str, Any], *lines: str) -> None:
        """The value with --json, the lines (Korean · English) without."""
        if self.json:
            lines = (json.dumps(value, ensure_ascii=False),)
        for line in lines:
            print(line, file=self.out)

    def fail(self, code: str, message: str) -> int:
        text = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False) if self.json else message
        print(text, file=self.err)
        return 1

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.dispose()


def command(subparsers: Subparsers, name: str, run: Run, summary: str) -> argparse.ArgumentParser:
    """A parser for one command, with the options that all have."""
    return options(subparsers.add_parser(name, help=summary, description=summary), run)


def options(parser: argparse.ArgumentParser, run: Run) -> argparse.ArgumentParser:
    """For a group that is itself a command, such as `migrate`."""
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="답을 JSON으로 · answer in JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="설정 파일 · default: HAECHI_CONFIG or config.yaml")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="데이터 폴더 · default: HAECHI_DATA or ./data")
    return parser


def run(shell: Shell) -> int:
    """Run the command and turn what it raises into an exit code. Anything unexpected is a bug and keeps its traceback."""
    try:
        return shell.args.run(shell, shell.args) or 0
    except Refusal as e:
        code = shell.fail(e.code or "refused", e.message)
        return 2 if isinstance(e, BadRequest) and (e.code or "").startswith("invalid_") else code
    except Exception as e:
        explained = _explain(e)
        if explained is None:
            raise
        return shell.fail(*explained)
    finally:
        shell.close()


def _explain(error: Exception) -> tuple[str, str] | None:
    """(code, message) of a failure an operator can do something about."""
    if "gateway.settings" in sys.modules:
        from gateway.settings import ConfigError  # noqa: PLC0415 – only where it can have been raised

        if isinstance(error, ConfigError):
            return "config_refused", str(error)
    if "billing.imports" in sys.modules:
        from billing.imports import ImportRefused  # noqa: PLC0415 – only where it can have been raised
        from billing.prices import PriceFileError  # noqa: PLC0415 – only where it can have been raised

        if isinstance(error, PriceFileError):
            return "price_file_refused", str(error)
        if isinstance(error, ImportRefused):
            return "import_refused", str(error)
    if "gateway.database" in sys.modules:
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 – only where it can have been raised

        from gateway.database import DatabaseError  # noqa: PLC0415 – only where it can have been raised

        if isinstance(error, DatabaseError):
            return "database_refused", str(error)
        if isinstance(error, DBAPIError):
            told = str(error.orig).strip().splitlines()
            reason = told[0] if told else type(error).__name__
            if "no such table" in reason or "does not exist" in reason:
                return "not_migrated", f"{reason}: run `haechi migrate` first / 먼저 `haechi migrate`를 실행하십시오."
            return "database_unavailable", f"The database did not answer: {reason} / 데이터베이스에 연결할 수 없습니다."
    return None
