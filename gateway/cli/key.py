"""haechi key create --user E [--expires DATE] [--grade S]
haechi key revoke PREFIX
"""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta

from gateway.cli.shell import Shell, command
from policies.decision import GRADES


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    create_ = command(subparsers, "create", create, "API 키 발급 · make a key, shown once")
    create_.add_argument("--user", required=True, metavar="EMAIL", help="키 주인 · whose key it is")
    create_.add_argument(
        "--expires",
        type=_date,
        metavar="DATE",
        help="마지막 유효일 YYYY-MM-DD (기본 1년) · last day it works; default a year",
    )
    create_.add_argument(
        "--grade", choices=GRADES, help="이 키로 보내는 자료의 최소 등급 · least data grade of what comes with it"
    )
    revoke_ = command(subparsers, "revoke", revoke, "API 키 폐기 · end a key, everywhere within seconds")
    revoke_.add_argument("prefix", metavar="PREFIX", help="키의 앞 12자 · the first 12 characters")


def _date(text: str) -> date | datetime:
    """A day, or an RFC 3339 instant with its offset."""
    try:
        day = date.fromisoformat(text) if len(text) == len("2026-11-23") else None
        at = datetime.fromisoformat(text)
    except ValueError:
        day, at = None, None
    if at is not None and 1970 < at.year < 3000 and (day is not None or at.tzinfo is not None):
        return day or at
    raise argparse.ArgumentTypeError(f"{text!r} is not a date: write YYYY-MM-DD, or 2026-11-23T18:00:00+09:00")


def create(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.directory.ids import rfc3339, to_us  # noqa: PLC0415 – see gateway/cli/__init__.py

    zone = shell.settings.zone
    until: int | None = None
    if isinstance(args.expires, datetime):
        until = to_us(args.expires)
    elif args.expires is not None:
        # A day means all of it, where the organisation is.
        until = to_us(datetime.combine(args.expires + timedelta(days=1), time(), tzinfo=zone))
    made = shell.directory.create_key(args.user, by=shell.by, expires_at=until, grade=args.grade)
    assert made.expires_at is not None
    expires = rfc3339(made.expires_at, zone)
    shell.answer(
        {"key": made.key, "prefix": made.prefix, "expires": expires},
        made.key,
        f"다시 표시되지 않습니다. 만료 {expires} · Shown once; expires then",
    )


def revoke(shell: Shell, args: argparse.Namespace) -> None:
    revoked = shell.directory.revoke_key(args.prefix, by=shell.by)
    shell.answer(
        {"prefix": revoked.prefix, "last4": revoked.last4, "revoked": True},
        f"폐기했습니다: {revoked.prefix}…{revoked.last4} · Revoked",
    )
