"""Is the evidence whole? What `haechi verify` asks of it, and the first record that answers no.

columns: name, ok, first bad row (table, id, why)

  evidence_numbered    decisions are numbered from 1 without a gap, and every item has its decision
  evidence_follows     no decision is weaker than the strictest of what it rests on
  evidence_whole       the chain has no gap, each link is the hash of its record and of the link before
  evidence_sealed      no decision was passed by: none is unsealed while a later one is sealed
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from billing.reports.verification import Bad, Check, snapshot
from billing.sealing import GENESIS, canonical, link
from billing.store import Row, Statements, Tx
from gateway.evidence.store import CHAIN, whole
from gateway.evidence.tables import evidence, evidence_item
from policies.decision import ACTIONS

CHECKS = ("evidence_numbered", "evidence_follows", "evidence_whole", "evidence_sealed")

_BATCH = 500

_COLUMN = {column.name: n for n, column in enumerate(evidence.columns)}
_ITEM_COLUMN = {column.name: n for n, column in enumerate(evidence_item.columns)}

_SEALS = "SELECT row_id, seq, prev_hash, hash FROM seal WHERE chain = ? AND row_id IN ({marks})"

_GONE = """
    SELECT s.row_id FROM seal s LEFT JOIN evidence e ON e.id = s.row_id
    WHERE s.chain = ? AND e.id IS NULL ORDER BY s.seq LIMIT 1"""

_LOOSE = """
    SELECT i.evidence_id FROM evidence_item i LEFT JOIN evidence e ON e.id = i.evidence_id
    WHERE e.id IS NULL ORDER BY i.evidence_id LIMIT 1"""


def verify(connection: Connection, period: str | None = None) -> list[Check]:
    """Run every check on one snapshot. With a `period` (a month) what decisions say is looked at for that month only; numbers
    and the chain are always whole."""
    with snapshot(connection) as cursor:
        audit = _Audit(Tx(cursor, Statements(postgresql=connection.dialect.name == "postgresql")), period)
        audit.decisions()
        audit.loose()
    return [Check(name, audit.found.get(name)) for name in CHECKS]


class _Audit:
    """One inspection: what was found, and where it stands in the chain."""

    def __init__(self, tx: Tx, period: str | None) -> None:
        self.found: dict[str, Bad] = {}
        self._tx = tx
        self._period = period
        self._link = (0, GENESIS)
        self._unsealed: str | None = None

    def bad(self, check: str, table: str, id_: object, why: str) -> None:
        self.found.setdefault(check, Bad(table, str(id_), why))

    def decisions(self) -> None:
        number, after = 0, -(2**63)
        while rows := whole(self._tx, after, _BATCH):
            after = rows[-1][0][0]
            seals = self._seals([row[1] for row, _ in rows])
            for row, parts in rows:
                if row[0] != number + 1:
                    self.bad("evidence_numbered", "evidence", row[1], f"is number {row[0]} and follows {number}")
                number = row[0]
                self._sealed(row, parts, seals.get(row[1]))
                if self._period is None or row[_COLUMN["month"]] == self._period:
                    self._follows(row, parts)

    def _seals(self, ids: list[str]) -> dict[str, Row]:
        # One mark per id.
        found = self._tx.query(_SEALS.replace("{marks}", ", ".join("?" * len(ids))), (CHAIN, *ids))
        return {row[0]: row for row in found}

    def _follows(self, row: list[Any], parts: list[list[Any]]) -> None:
        action = row[_COLUMN["action"]]
        said = [part[_ITEM_COLUMN["action"]] for part in parts]
        if unknown := [a for a in (action, *said) if a not in ACTIONS]:
            self.bad("evidence_follows", "evidence", row[1], f"says {unknown[0]!r}, which is no action")
        elif any(ACTIONS.index(a) > ACTIONS.index(action) for a in said):
            strictest = max(said, key=ACTIONS.index)
            self.bad("evidence_follows", "evidence", row[1], f"says {action} and rests on {strictest}")

    def _sealed(self, row: list[Any], parts: list[list[Any]], seal: Row | None) -> None:
        id_ = row[1]
        if seal is None:
            self._unsealed = self._unsealed or id_
            return
        _, number, prev_hash, hash_ = seal
        last, last_hash = self._link
        if number != last + 1:
            self.bad("evidence_whole", "seal", f"{CHAIN} {number}", f"follows {last}: a link is missing")
        elif prev_hash != last_hash:
            self.bad("evidence_whole", "seal", f"{CHAIN} {number}", "does not continue the link before it")
        elif not _is_link(number, prev_hash, [row, parts], hash_):
            self.bad("evidence_whole", "evidence", id_, "is not what was sealed")
        if self._unsealed is not None:
            self.bad("evidence_sealed", "evidence", self._unsealed, f"is not sealed, but {id_} after it is")
        self._link = (number, hash_)
        self._unsealed = None

    def loose(self) -> None:
        for (id_,) in self._tx.query(_GONE, (CHAIN,)):
            self.bad("evidence_whole", "evidence", id_, "was sealed and is gone")
        for (id_,) in self._tx.query(_LOOSE):
            self.bad("evidence_numbered", "evidence_item", id_, "belongs to no decision")


def _is_link(number: int, prev_hash: str, stored: list[Any], hash_: str) -> bool:
    try:
        return link(CHAIN, number, prev_hash, canonical(stored)) == hash_
    except TypeError:
        return False  # something that cannot be written as JSON was never sealed
