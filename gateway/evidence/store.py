"""The evidence's SQL: adding and sealing in the ledger writer's transactions, reading for reports. Whoever opened it commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, select

from billing.sealing import GENESIS, canonical, seal
from billing.store import Tx
from gateway.evidence.records import Evidence
from gateway.evidence.tables import evidence, evidence_item

CHAIN = "evidence"

_COLUMNS = tuple(column.name for column in evidence.columns)
_ITEM_COLUMNS = tuple(column.name for column in evidence_item.columns)

#: Rows of one INSERT: as many parameters as every SQLite takes.
_ROWS = 30

_HEAD = f"SELECT {', '.join(_COLUMNS)} FROM evidence"  # noqa: S608 – names of our own columns
_ITEMS = (
    f"SELECT {', '.join(_ITEM_COLUMNS)} FROM evidence_item "  # noqa: S608 – names of our own columns
    "WHERE evidence_id IN ({marks}) ORDER BY evidence_id, n"
)
_AFTER = f"{_HEAD} WHERE seq > ? ORDER BY seq LIMIT ?"
_NEXT = "SELECT coalesce(max(seq), 0) + 1 FROM evidence"
_SEQ = "SELECT seq FROM evidence WHERE id = ?"


def add(tx: Tx, records: Sequence[Evidence]) -> None:
    """Number and write records. Numbers follow the commits: whoever has seen one has seen all before it."""
    tx.lock(CHAIN)
    first = int(tx.query(_NEXT)[0][0])
    rows: list[Any] = []
    parts: list[Any] = []
    for seq, record in enumerate(records, first):
        plain = {name: getattr(record, name) for name in _COLUMNS if name != "seq"}
        rows.append([seq, *plain.values()])
        parts += [
            [record.id, n, i.kind, i.rule, i.band, i.action, int(i.newest), i.count, orjson.dumps(i.digests).decode()]
            for n, i in enumerate(record.items)
        ]
    _insert(tx, "evidence", _COLUMNS, rows)
    _insert(tx, "evidence_item", _ITEM_COLUMNS, parts)


def _insert(tx: Tx, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    mark = f"({', '.join('?' * len(columns))})"
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        marks = ", ".join([mark] * len(some))
        # Names of our own table and columns, and one mark per value.
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks}"  # noqa: S608 – no value is in it
        tx.query(statement, [value for row in some for value in row])


def seal_some(tx: Tx, now: int, limit: int) -> int:
    """Chain what is committed and not sealed yet, at most so many; returns how many."""
    tx.lock_chain(f"seal:{CHAIN}")
    head = tx.chain_head(CHAIN)
    after = 0
    if head is not None:
        sealed = tx.query(_SEQ, (head[2],))
        if not sealed:
            return 0  # somebody removed the newest sealed record; `verify` says so, and nothing is sealed over the gap
        after = int(sealed[0][0])
    found = whole(tx, after, limit)
    links = seal(
        CHAIN, (0, GENESIS) if head is None else head[:2], [(row[1], canonical([row, parts])) for row, parts in found]
    )
    tx.run(tx.sql.insert_seals, [(s.chain, s.seq, s.row_id, s.prev_hash, s.hash, now) for s in links])
    return len(found)


def whole(tx: Tx, after: int, limit: int) -> list[tuple[list[Any], list[list[Any]]]]:
    """(record, its items) past a number, in order, every column as stored: what a seal is computed over."""
    rows = [list(row) for row in tx.query(_AFTER, (after, limit))]
    parts: dict[str, list[list[Any]]] = {row[1]: [] for row in rows}
    for start in range(0, len(rows), _ROWS * 10):
        ids = [row[1] for row in rows[start : start + _ROWS * 10]]
        statement = _ITEMS.replace("{marks}", ", ".join("?" * len(ids)))  # one mark per id
        for part in tx.query(statement, ids):
            parts[part[0]].append(list(part))
    return [(row, parts[row[1]]) for row in rows]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_id(connection: Connection, evidence_id: str) -> dict[str, Any] | None:
    """One decision, every column."""
    row = connection.execute(select(evidence).where(evidence.c.id == evidence_id)).one_or_none()
    return dict(row._mapping) if row else None


def items_of(connection: Connection, evidence_ids: Sequence[str]) -> Iterator[Any]:
    """Rows of the items of these decisions."""
    return iter(
        connection.execute(
            select(evidence_item)
            .where(evidence_item.c.evidence_id.in_(list(evidence_ids)))
            .order_by(evidence_item.c.evidence_id, evidence_item.c.n)
        )
    )
