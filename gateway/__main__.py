"""`haechi` and `python -m gateway`: reads the command line and hands over to the one command that was asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from gateway.cli import GROUPS, shell


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """The exit code: 0 done, 1 refused or broken, 2 bad arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
    except SystemExit as e:  # argparse has said what is wrong, or printed the help
        return int(e.code or 0)
    code = shell.run(shell.Shell(args, os.environ if env is None else env, sys.stdout, sys.stderr))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        shell.nobody_reads(sys.stdout)
    return code


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """All commands by name; the words of the asked one only."""
    parser = argparse.ArgumentParser(prog="haechi", description="해치 · a multi-model LLM gateway with a ledger")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for group in GROUPS:
        added = groups.add_parser(group.name, help=group.help, description=group.help)
        if group.name == asked:
            importlib.import_module(group.module).configure(added)
    return parser


if __name__ == "__main__":
    sys.exit(main())
