"""haechi department add --code C --name N [--parent C] [--grade S]
haechi department grade --code C --grade O|S|C|none
"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, command
from policies.decision import GRADES


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    add_ = command(subparsers, "add", add, "부서 추가 · add a department")
    add_.add_argument("--code", required=True, help="부서 코드 · its code, unique for ever")
    add_.add_argument("--name", required=True, help="이름 · its name")
    add_.add_argument("--parent", help="상위 부서 코드 · code of the department it belongs to")
    add_.add_argument("--grade", choices=GRADES, help="보내는 자료의 기본 등급 · data grade of what its people send")
    grade_ = command(subparsers, "grade", grade, "부서의 기본 데이터 등급 · a department's default data grade")
    grade_.add_argument("--code", required=True, help="부서 코드 · its code")
    grade_.add_argument("--grade", required=True, choices=(*GRADES, "none"), help="none이면 없앰 · none takes it back")


def add(shell: Shell, args: argparse.Namespace) -> None:
    added = shell.directory.add_department(args.code, args.name, by=shell.by, parent=args.parent, grade=args.grade)
    shell.answer(
        {"id": added.id, "code": added.code, "name": added.name, "parent": args.parent},
        f"부서를 추가했습니다: {added.code} {added.name} · Department added",
    )


def grade(shell: Shell, args: argparse.Namespace) -> None:
    given = None if args.grade == "none" else args.grade
    shell.directory.set_department_grade(args.code, given, by=shell.by)
    shell.answer(
        {"code": args.code, "grade": given},
        f"{args.code}의 기본 데이터 등급: {given or '없음'} · Default data grade: {given or 'none'}",
    )
