"""haechi department add --code C --name N [--parent C]"""

from __future__ import annotations

import argparse

from gateway.cli.shell import Shell, command


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    add_ = command(subparsers, "add", add, "부서 추가 · add a department")
    add_.add_argument("--code", required=True, help="부서 코드 · its code, unique for ever")
    add_.add_argument("--name", required=True, help="이름 · its name")
    add_.add_argument("--parent", help="상위 부서 코드 · code of the department it belongs to")


def add(shell: Shell, args: argparse.Namespace) -> None:
    added = shell.directory.add_department(args.code, args.name, by=shell.by, parent=args.parent)
    shell.answer(
        {"id": added.id, "code": added.code, "name": added.name, "parent": args.parent},
        f"부서를 추가했습니다: {added.code} {added.name} · Department added",
    )
