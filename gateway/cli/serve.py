"""haechi serve [--config F] [--port N] [--data D] [--host H]"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, options


def configure(parser: argparse.ArgumentParser) -> None:
    options(parser, run, founds=True)
    parser.add_argument("--port", type=_port, metavar="N", help="포트 · default: HAECHI_PORT or 8080")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="주소 · default: 127.0.0.1")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")


def run(shell: Shell, args: argparse.Namespace) -> int:
    from gateway.serving import run as serve  # noqa: PLC0415 – see gateway/cli/__init__.py

    settings = shell.settings
    if args.port is not None:
        settings = settings.model_copy(update={"port": args.port})
    return serve(settings, args.host)
