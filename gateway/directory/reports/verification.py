"""Is the audit record whole? What `haechi verify` asks of it, and the first row that answers no.

columns: name, ok, first bad row (table, id, why)

  audit_whole     the chain has no gap, each link is the hash of its record and of the link before
  audit_sealed    no record was passed by: none is unsealed while one from long after it is sealed
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from billing.reports.verification import Bad, Check, snapshot
from billing.sealing import GENESIS, canonical, link
from billing.store import Statements, Tx
from gateway.directory.store import AUDIT_CHAIN, AUDIT_COLUMNS, LATE_US

CHECKS = ("audit_whole", "audit_sealed")

_BATCH = 500

# Names of our own columns.
_SEALED = (
    f"SELECT s.seq, s.prev_hash, s.hash, s.row_id, a.id IS NULL, {', '.join(f'a.{c}' for c in AUDIT_COLUMNS)} "  # noqa: S608
    "FROM seal s LEFT JOIN audit a ON a.id = s.row_id WHERE s.chain = ? AND s.seq > ? ORDER BY s.seq LIMIT ?"
)

_PASSED_BY = """
    SELECT a.id FROM audit a LEFT JOIN seal s ON s.chain = ? AND s.row_id = a.id
    WHERE s.row_id IS NULL
      AND a.at < (SELECT max(b.at) FROM audit b JOIN seal t ON t.chain = ? AND t.row_id = b.id) - ?
    ORDER BY a.at, a.id LIMIT 1"""


def verify(connection: Connection) -> list[Check]:
    """Run both checks on one snapshot; the chain is always walked whole."""
    found: dict[str, Bad] = {}
    with snapshot(connection) as cursor:
        tx = Tx(cursor, Statements(postgresql=connection.dialect.name == "postgresql"))
        if (bad := _broken(tx)) is not None:
            found["audit_whole"] = bad
        for (id_,) in tx.query(_PASSED_BY, (AUDIT_CHAIN, AUDIT_CHAIN, LATE_US)):
            found["audit_sealed"] = Bad("audit", str(id_), "is not sealed, but records from long after it are")
    return [Check(name, found.get(name)) for name in CHECKS]


def _broken(tx: Tx) -> Bad | None:
    """The first link that does not hold."""
    last, last_hash, after = 0, GENESIS, -(2**63)
    while rows := tx.query(_SEALED, (AUDIT_CHAIN, after, _BATCH)):
        for number, prev_hash, hash_, row_id, gone, *row in rows:
            if number != last + 1:
                return Bad("seal", f"{AUDIT_CHAIN} {number}", f"follows {last}: a link is missing")
            if prev_hash != last_hash:
                return Bad("seal", f"{AUDIT_CHAIN} {number}", "does not continue the link before it")
            if gone:
                return Bad("audit", str(row_id), "was sealed and is gone")
            if not _is_link(number, prev_hash, row, hash_):
                return Bad("audit", str(row_id), "is not what was sealed")
            last, last_hash = number, hash_
        after = last
    return None


def _is_link(number: int, prev_hash: str, row: list[Any], hash_: str) -> bool:
    try:
        return link(AUDIT_CHAIN, number, prev_hash, canonical(row)) == hash_
    except TypeError:
        return False  # something that cannot be written as JSON was never sealed
