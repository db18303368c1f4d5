"""haechi quota set (--department C | --user E | --organisation) --won N --period day|month|year [--soft]
haechi quota lift (--department C | --user E | --organisation) --period day|month|year
haechi quota list
"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, command

_MICRO = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    set_ = command(
        subparsers, "set", set_quota, "한도 설정 · set what may be spent in a period, from the next request on"
    )
    _scope(set_)
    set_.add_argument("--won", type=_won, required=True, metavar="N", help="원 (0 가능) · won, 0 allowed")
    set_.add_argument("--soft", action="store_true", help="넘어도 막지 않음 · show and warn, do not refuse")
    _scope(command(subparsers, "lift", lift, "한도 해제 · take the quota away"))
    command(subparsers, "list", list_, "한도 목록 · the quotas in force and how they stand", reads=True)


def _scope(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--department", metavar="CODE", help="부서 코드")
    whose.add_argument("--user", metavar="EMAIL", help="사용자 이메일")
    whose.add_argument("--organisation", action="store_true", help="기관 전체")
    parser.add_argument("--period", choices=("day", "month", "year"), required=True, help="기간 · calendar period")


def _won(text: str) -> int:
    plain = text.replace(",", "")
    if plain.isdecimal() and int(plain) * _MICRO < 2**62:
        return int(plain)
    raise argparse.ArgumentTypeError(f"{text!r} is not an amount: whole won, 0 or more")


def _named(shell: Shell, args: argparse.Namespace) -> tuple[str, str]:
    """(scope as the ledger has it, scope as a person says it)."""
    if args.department:
        return f"department:{shell.directory.department(args.department).id}", f"department {args.department}"
    if args.user:
        return f"user:{shell.directory.person(args.user).id}", f"user {args.user}"
    return "organisation", "organisation"


def set_quota(shell: Shell, args: argparse.Namespace) -> None:
    scope, said = _named(shell, args)
    _decide(shell, scope, args.period, args.won * _MICRO, hard=not args.soft)
    kind = "soft" if args.soft else "hard"
    shell.answer(
        {"scope": said, "won": args.won, "period": args.period, "kind": kind},
        f"{said}: ₩{args.won:,} / {args.period} ({kind})",
    )


def lift(shell: Shell, args: argparse.Namespace) -> None:
    scope, said = _named(shell, args)
    _decide(shell, scope, args.period, None, hard=True)
    shell.answer({"scope": said, "period": args.period, "won": None}, f"{said}: 한도 없음 · no quota per {args.period}")


def _decide(shell: Shell, scope: str, period: str, amount: int | None, *, hard: bool) -> None:
    from billing.holds import SetQuota  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py

    op = SetQuota(scope, period, amount, hard, shell.by.name, now_us())
    ledger.apply(shell, op)
    detail = {"period": period, "micro_won": amount, "hard": hard}
    ledger.audit(shell, "quota.set" if amount is not None else "quota.lift", scope, detail)


def list_(shell: Shell, _: argparse.Namespace) -> None:
    from billing.money import format_krw  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.cli import ledger  # noqa: PLC0415 – see gateway/cli/__init__.py

    rows = [
        {
            "scope": ledger.said(shell, standing.quota.scope),
            "period": standing.period,
            "kind": "hard" if standing.quota.hard else "soft",
            "limit_krw": format_krw(standing.quota.amount),
            "used_krw": format_krw(standing.posted),
            "held_krw": format_krw(standing.held),
        }
        for standing in ledger.all_standings(shell)
    ]
    lines = [
        f"{r['scope']:<40} {r['period']:<10} {r['kind']:<5} ₩{r['limit_krw']:>14}  used ₩{r['used_krw']}  held ₩{r['held_krw']}"
        for r in rows
    ]
    shell.answer({"quotas": rows}, *(lines or ["한도가 없습니다 · no quota is set"]))
