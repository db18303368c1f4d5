"""`haechi …`: every command by name, each group in a file of its own.

To add one: a file with `configure(parser)` and a row here. The file is imported only when its command is asked for, so that
`haechi key create` does not wait for what `haechi serve` needs.
"""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """One first word of the command line: what it is for, and the module that knows its words."""

    name: str
    help: str
    module: str


GROUPS: tuple[Group, ...] = (
    Group("serve", "서버 시작 · run the gateway", "gateway.cli.serve"),
    Group("migrate", "데이터베이스 준비 · bring the database to this version", "gateway.cli.migrate"),
    Group("backup", "백업 · copy a running installation", "gateway.cli.backup"),
    Group("department", "부서 · departments", "gateway.cli.department"),
    Group("user", "사용자 · people", "gateway.cli.user"),
    Group("pledge", "서약 · pledges", "gateway.cli.pledge"),
    Group("key", "API 키 · API keys", "gateway.cli.key"),
    Group("quota", "한도 · what may be spent", "gateway.cli.quota"),
    Group("usage", "사용량 · who used how much in a month", "gateway.cli.usage"),
    Group("policies", "입력 필터 · what filters stopped, exceptions, reports", "gateway.cli.policies"),
    Group("verify", "장부 검증 · is the ledger whole", "gateway.cli.verify"),
    Group("reverse", "기록 취소 · negate one booking", "gateway.cli.reverse"),
    Group("models", "모델 점검 · does every model answer", "gateway.cli.models"),
    Group("price", "가격 · dated prices", "gateway.cli.price"),
    Group("fx", "환율 · exchange rates", "gateway.cli.fx"),
    Group("rate", "요금 계산 · price recorded usage, JSON lines in and out", "gateway.cli.rate"),
)
