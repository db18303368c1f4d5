"""haechi user add --email E --department C --role R [--role R …] [--name N] [--signed]
haechi user password --user E
"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, command
from gateway.directory.records import ROLES


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    add_ = command(subparsers, "add", add, "사용자 추가 · add a person")
    add_.add_argument("--email", required=True, help="전자우편 주소 · e-mail address")
    add_.add_argument("--department", required=True, metavar="CODE", help="소속 부서 코드 · code of their department")
    add_.add_argument("--role", required=True, action="append", choices=ROLES, help="역할 · may be given several times")
    add_.add_argument("--name", help="이름 · their name")
    add_.add_argument("--signed", action="store_true", help="종이 서약 접수 · the pledge was signed on paper")
    password_ = command(subparsers, "password", password, "새 비밀번호 발급 · give out a new password, shown once")
    password_.add_argument("--user", required=True, metavar="EMAIL")


def add(shell: Shell, args: argparse.Namespace) -> None:
    roles = sorted(set(args.role))
    added = shell.directory.add_user(
        args.email, args.department, roles, by=shell.by, name=args.name, signed=args.signed
    )
    shell.answer(
        {
            "id": added.id,
            "email": added.email,
            "name": added.name,
            "department": args.department,
            "roles": roles,
            "signed": args.signed,
        },
        f"사용자를 추가했습니다: {added.email} ({args.department}, {', '.join(roles)}) · User added",
    )


def password(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.directory import passwords  # noqa: PLC0415 – see gateway/cli/__init__.py

    given = passwords.generate()
    shell.directory.set_password_hash(args.user, passwords.hash_password(given), by=shell.by)
    shell.answer(
        {"email": args.user.strip().lower(), "password": given},
        f"새 비밀번호 (다시 표시되지 않음) · New password, shown once: {given}",
    )
