"""haechi pledge sign --user E
haechi pledge publish --ko FILE --en FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.shell import Shell, command
from gateway.errors import BadRequest


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    sign_ = command(subparsers, "sign", sign, "종이로 서명한 서약 접수 · book a pledge signed on paper")
    sign_.add_argument("--user", required=True, metavar="EMAIL")
    publish_ = command(subparsers, "publish", publish, "서약 문안 게시 · publish the next version of the text")
    publish_.add_argument("--ko", required=True, type=Path, metavar="FILE", help="한국어 문안 · Korean text, UTF-8")
    publish_.add_argument("--en", required=True, type=Path, metavar="FILE", help="영어 문안 · English text, UTF-8")


def sign(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.directory.ids import rfc3339  # noqa: PLC0415 – see gateway/cli/__init__.py

    version, at = shell.directory.sign_pledge(args.user, by=shell.by)
    signed_at = rfc3339(at, shell.settings.zone)
    shell.answer(
        {"email": args.user.strip().lower(), "version": version, "signed_at": signed_at},
        f"서약 v{version} 접수 {signed_at} · Pledge v{version} is booked",
    )


def publish(shell: Shell, args: argparse.Namespace) -> None:
    version = shell.directory.publish_pledge(_text(args.ko), _text(args.en), by=shell.by)
    shell.answer(
        {"version": version}, f"서약 문안 v{version} 게시: 모두 다시 서명해야 합니다 · Published; all sign again"
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise BadRequest(f"{path} cannot be read as UTF-8 text. / 파일을 읽을 수 없습니다.", code="invalid_file") from e
    if not text:
        raise BadRequest(f"{path} is empty. / 빈 파일입니다.", code="invalid_file")
    return text
