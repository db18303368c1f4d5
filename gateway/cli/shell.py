"""What every command has in common: its options, what it opens, how it answers, how it fails.

    exit 0   done
    exit 1   refused, or something is broken: one line on stderr says what and what to do
    exit 2   the arguments make no sense

With `--json` the answer is one JSON document on stdout, and a failure one on stderr: {"error": {"code", "message"}}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

from gateway.errors import BadRequest, Refusal

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.audit import Actor
    from gateway.directory.directory import Directory
    from gateway.settings import Settings

Run: TypeAlias = Callable[["Shell", argparse.Namespace], int | None]
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class NothingThere(Exception):
    """A command was pointed at a folder or a database where no installation is: mostly a wrong HAECHI_DATA."""


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
        if self.args.needs == "something" and not (data / "secrets.json").exists():
            raise NothingThere(f"{data.absolute()}: there is no Haechi here. {_WHERE}")
        return load_settings(config, data, self.env)

    @cached_property
    def engine(self) -> Engine:
        from gateway.database import open_engine, sqlite_file  # noqa: PLC0415 – see gateway/cli/__init__.py

        url = self.settings.database_url.get_secret_value()
        file = sqlite_file(url)
        if self.args.needs != "nothing" and file is not None and not file.exists():
            raise NothingThere(f"{file}: there is no ledger here. {_WHERE}")
        return open_engine(url)

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
        try:
            for line in lines:
                print(line, file=self.out)
            self.out.flush()
        except BrokenPipeError:
            # `haechi … | head` has read what it wanted; the exit code is still the command's own.
            nobody_reads(self.out)

    def fail(self, code: str, message: str) -> int:
        text = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False) if self.json else message
        print(text, file=self.err)
        return 1

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.dispose()


_WHERE = (
    "Give the right folder with HAECHI_DATA or --data (and HAECHI_DATABASE_URL for another database), or make one with "
    "`make run` or `haechi migrate`. / 여기에는 설치가 없습니다. HAECHI_DATA나 --data로 폴더를 알려 주거나 `make run` 또는 "
    "`haechi migrate`로 만드십시오."
)

#: What a command finds before it starts. Only `serve` and `migrate` make a ledger; only what changes something makes secrets.
Needs: TypeAlias = Literal["nothing", "database", "something"]


def command(
    subparsers: Subparsers, name: str, run: Run, summary: str, *, reads: bool = False
) -> argparse.ArgumentParser:
    """A parser for one command, with the options that all have. `reads`: it only looks, and makes nothing where nothing is."""
    return options(subparsers.add_parser(name, help=summary, description=summary), run, reads=reads)


def options(
    parser: argparse.ArgumentParser, run: Run, *, reads: bool = False, founds: bool = False
) -> argparse.ArgumentParser:
    """For a group that is itself a command, such as `migrate`. `founds`: it makes an installation where there is none."""
    needs: Needs = "nothing" if founds else "something" if reads else "database"
    parser.set_defaults(run=run, needs=needs)
    parser.add_argument("--json", action="store_true", help="답을 JSON으로 · answer in JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="설정 파일 · default: HAECHI_CONFIG or config.yaml")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="데이터 폴더 · default: HAECHI_DATA or ./data")
    return parser


def nobody_reads(out: TextIO) -> None:
    """Let what is still written to a closed pipe go nowhere, at the interpreter's end too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def run(shell: Shell) -> int:
    """Run the command and turn what it raises into an exit code. Anything unexpected is a bug and keeps its traceback."""
    try:
        return shell.args.run(shell, shell.args) or 0
    except Refusal as e:
        code = shell.fail(e.code or "refused", e.message)
        return 2 if isinstance(e, BadRequest) and (e.code or "").startswith("invalid_") else code
    except BrokenPipeError:
        nobody_reads(shell.out)  # not everything was said
        return 1
    except Exception as e:
        explained = _explain(e)
        if explained is None:
            raise
        return shell.fail(*explained)
    finally:
        shell.close()


def _explain(error: Exception) -> tuple[str, str] | None:
    """(code, message) of a failure an operator can do something about."""
    if isinstance(error, NothingThere):
        return "nothing_there", str(error)
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
