"""The ledger's SQL on the request path: one open transaction and its named statements, the same text on both databases.

Rows go to the database in batches as one statement each. On SQLite a batch is a list of VALUES, on PostgreSQL one JSON
parameter opened with jsonb_to_recordset: measured, that is the cheapest way in for either client, and it lets go of the
interpreter once per statement instead of once per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, Integer, Table
from sqlmodel import SQLModel

from billing import tables
from billing.quota import Quota

Row = tuple[Any, ...]

#: SQLite compiles one statement per batch size; few sizes keep its statement cache warm.
_BATCHES = (64, 16, 4, 1)


def _table(model: type[SQLModel]) -> Table:
    return model.__table__  # type: ignore[attr-defined,no-any-return]  # SQLModel adds it to table=True classes


class _Batch:
    """A statement over a set of rows named `v`, rendered for one database."""

    def __init__(self, columns: Sequence[tuple[str, str]], statement: str, *, postgresql: bool) -> None:
        self.names = [name for name, _ in columns]
        names = ", ".join(self.names)
        if postgresql:
            typed = ", ".join(f"{name} {kind}" for name, kind in columns)
            self._text = f"WITH v AS (SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r({typed})) {statement}"
        else:
            marks = "(" + ", ".join("?" * len(columns)) + ")"
            self._by_size = {
                size: f"WITH v({names}) AS (VALUES {', '.join([marks] * size)}) {statement}" for size in _BATCHES
            }
        self._postgresql = postgresql

    def run(self, cursor: Any, rows: Sequence[Row]) -> list[Row]:
        """Execute over all rows; the rows the statement returns, if any."""
        if self._postgresql:
            payload = orjson.dumps([dict(zip(self.names, row, strict=True)) for row in rows]).decode()
            cursor.execute(self._text, (payload,))
            return list(cursor.fetchall()) if cursor.description else []
        found: list[Row] = []
        start = 0
        while start < len(rows):
            size = next(size for size in _BATCHES if size <= len(rows) - start)
            cursor.execute(self._by_size[size], [value for row in rows[start : start + size] for value in row])
            if cursor.description:
                found += cursor.fetchall()
            start += size
        return found


def _kind(column: Any) -> str:
    return "bigint" if isinstance(column.type, BigInteger | Integer) else "text"


def _names(model: type[SQLModel], alias: str) -> str:
    return ", ".join(f"{alias}.{column.name}" for column in _table(model).columns)


class Statements:
    """Every statement of the request path, rendered once for the database in use."""

    def __init__(self, *, postgresql: bool) -> None:
        self.postgresql = postgresql
        lock = " FOR UPDATE OF {}" if postgresql else ""

        def batch(columns: Sequence[tuple[str, str]], statement: str) -> _Batch:
            return _Batch(columns, statement, postgresql=postgresql)

        def insert(model: type[SQLModel], *, skip: tuple[str, ...] = (), ignore: bool = False) -> _Batch:
            columns = [(c.name, _kind(c)) for c in _table(model).columns if c.name not in skip]
            names = ", ".join(name for name, _ in columns)
            # `WHERE true` keeps SQLite from reading ON CONFLICT as a join condition.
            tail = " WHERE true ON CONFLICT DO NOTHING" if ignore else ""
            return batch(columns, f"INSERT INTO {_table(model).name} ({names}) SELECT {names} FROM v{tail}")  # noqa: S608 – names from our own tables

        key = (("scope", "text"), ("period", "text"))
        self.create_counters = insert(tables.CounterRow, ignore=True)
        self.lock_counters = batch(
            key,
            "SELECT c.scope, c.period, c.posted, c.held FROM v JOIN counter c "
            "ON c.scope = v.scope AND c.period = v.period ORDER BY c.scope, c.period" + lock.format("c"),
        )
        self.add_to_counters = batch(
            (*key, ("posted", "bigint"), ("held", "bigint")),
            "UPDATE counter SET posted = counter.posted + v.posted, held = counter.held + v.held, "
            "version = counter.version + 1 FROM v WHERE counter.scope = v.scope AND counter.period = v.period",
        )
        self.insert_holds = insert(tables.HoldRow)
        self.hold_states = batch(
            (("id", "text"),),
            "SELECT h.id, h.state, h.amount FROM v JOIN hold h ON h.id = v.id ORDER BY h.id" + lock.format("h"),
        )
        self.mark_sent = batch(
            (("id", "text"), ("at", "bigint")),
            "UPDATE hold SET state = 'sent', sent_at = v.at FROM v WHERE hold.id = v.id AND hold.state = 'open' "
            "RETURNING hold.id",
        )
        self.checkpoint = batch(
            (("id", "text"), ("detail", "text"), ("at", "bigint")),
            "UPDATE hold SET checkpoint = v.detail, checkpoint_at = v.at FROM v "
            "WHERE hold.id = v.id AND hold.state = 'sent'",
        )
        self.resolve_holds = batch(
            (("id", "text"), ("state", "text"), ("outcome", "text"), ("at", "bigint")),
            "UPDATE hold SET state = v.state, outcome = v.outcome, resolved_at = v.at FROM v WHERE hold.id = v.id",
        )
        self.insert_events = insert(tables.UsageEventRow)
        self.insert_meters = insert(tables.UsageMeterRow)
        self.insert_journals = insert(tables.JournalRow, skip=("seq",))
        self.insert_entries = insert(tables.EntryRow)
        self.insert_cases = insert(tables.ReconCaseRow, ignore=True)
        self.insert_quotas = insert(tables.QuotaRow, skip=("id",))
        self.journals = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.JournalRow, 'j')} FROM v JOIN journal j ON j.id = v.id",
        )
        self.entries = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.EntryRow, 'e')} FROM v JOIN entry e ON e.journal_id = v.id ORDER BY e.journal_id, e.n",
        )
        self.events = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.UsageEventRow, 'u')} FROM v JOIN usage_event u ON u.id = v.id",
        )
        self.meters = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.UsageMeterRow, 'm')} FROM v JOIN usage_meter m ON m.event_id = v.id "
            "ORDER BY m.event_id, m.seq",
        )
        self.insert_seals = insert(tables.SealRow)
        self.insert_price_books = insert(tables.PriceBookRow)
        self.insert_prices = insert(tables.PriceRow, ignore=True)
        self.insert_fx_rates = insert(tables.FxRateRow, skip=("id",))


class Tx:
    """One open transaction. Every method is one statement per batch; nothing here decides anything."""

    def __init__(self, cursor: Any, statements: Statements) -> None:
        self._cursor = cursor
        self.sql = statements

    def run(self, batch: _Batch, rows: Sequence[Row]) -> list[Row]:
        return batch.run(self._cursor, rows) if rows else []

    def query(self, text: str, values: Sequence[Any] = ()) -> list[Row]:
        """A single statement written with `?` marks."""
        self._cursor.execute(text.replace("?", "%s") if self.sql.postgresql else text, tuple(values))
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def newest_quota(self) -> int:
        return int(self.query("SELECT coalesce(max(id), 0) FROM quota")[0][0])

    def quotas(self) -> list[Quota]:
        """The quotas in force: the newest row of each (scope, period) unless it lifts the quota."""
        rows = self.query(
            "SELECT scope, period, amount, hard FROM quota WHERE amount IS NOT NULL AND id IN "
            "(SELECT max(id) FROM quota GROUP BY scope, period)"
        )
        return [Quota(scope, period, amount, bool(hard)) for scope, period, amount, hard in rows]

    def counters(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Lock the counters in sorted order: (scope, period) → (posted, held). Missing ones are absent."""
        rows = self.run(self.sql.lock_counters, sorted(keys))
        return {(scope, period): (posted, held) for scope, period, posted, held in rows}

    def hold_states(self, ids: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Lock the holds: id → (state, amount)."""
        return {
            id_: (state, amount) for id_, state, amount in self.run(self.sql.hold_states, [(i,) for i in sorted(ids)])
        }

    def journal(self, journal_id: str) -> Row | None:
        rows = self.query(
            "SELECT id, event_id, scopes, day, month, year, won, kind FROM journal WHERE id = ?", (journal_id,)
        )
        return rows[0] if rows else None

    def entries(self, journal_id: str) -> list[Row]:
        """Every column of the journal's legs, in order."""
        names = ", ".join(c.name for c in _table(tables.EntryRow).columns)
        return self.query(f"SELECT {names} FROM entry WHERE journal_id = ? ORDER BY n", (journal_id,))  # noqa: S608 – names from our own table

    def reversal_of(self, journal_id: str) -> str | None:
        rows = self.query("SELECT id FROM journal WHERE reverses = ?", (journal_id,))
        return str(rows[0][0]) if rows else None

    # -- holds nobody watches any more ------------------------------------------------------------------------------

    def renew_leases(self, owner: str, until: int) -> None:
        self.query("UPDATE hold SET lease_until = ? WHERE lease_owner = ? AND state IN ('open','sent')", (until, owner))

    def lapsed_holds(self, now: int, *, all_of: str | None, limit: int) -> list[dict[str, Any]]:
        """Unresolved holds whose lease ran out; with `all_of`, every one that is not this owner's, lapsed or not."""
        names = [column.name for column in _table(tables.HoldRow).columns]
        where = "lease_owner <> ?" if all_of is not None else "lease_until < ?"
        rows = self.query(
            f"SELECT {', '.join(names)} FROM hold WHERE state IN ('open','sent') AND {where} LIMIT {limit:d}",  # noqa: S608 – names from our own table, a number
            (all_of if all_of is not None else now,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- seals ------------------------------------------------------------------------------------------------------

    def lock_chain(self, chain: str) -> None:
        """Only one sealer at a time; SQLite has one writer anyway."""
        if self.sql.postgresql:
            self.query("SELECT pg_advisory_xact_lock(hashtext(?))", (f"haechi:{chain}",))

    def chain_head(self, chain: str) -> tuple[int, str, str] | None:
        """(seq, hash, row id) of the newest seal."""
        rows = self.query("SELECT seq, hash, row_id FROM seal WHERE chain = ? ORDER BY seq DESC LIMIT 1", (chain,))
        return rows[0] if rows else None

    def unsealed_journals(self, after: int, limit: int) -> list[tuple[int, str]]:
        """(seq, id) of journals past `after` that no seal names, oldest first."""
        return self.query(
            "SELECT j.seq, j.id FROM journal j LEFT JOIN seal s ON s.chain = 'books' AND s.row_id = j.id "
            "WHERE j.seq > ? AND s.row_id IS NULL ORDER BY j.seq LIMIT ?",
            (after, limit),
        )

    def journal_seq(self, journal_id: str) -> int:
        rows = self.query("SELECT seq FROM journal WHERE id = ?", (journal_id,))
        return int(rows[0][0]) if rows else 0

    def whole_journals(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """id → [journal, entries, event, meters], every column as stored: what a seal is computed over."""
        wanted = [(id_,) for id_ in ids]
        whole: dict[str, list[Any]] = {row[1]: [row, [], None, []] for row in self.run(self.sql.journals, wanted)}
        for row in self.run(self.sql.entries, wanted):
            whole[row[0]][1].append(row)
        for row in self.run(self.sql.events, wanted):
            whole[row[0]][2] = row
        for row in self.run(self.sql.meters, wanted):
            whole[row[0]][3].append(row)
        return whole

    # -- prices and rates -------------------------------------------------------------------------------------------

    def price_identities(self) -> dict[tuple[str, str, int, int, str, int], tuple[str, int]]:
        """(key, meter, tier above, tier from, conditions, valid from) → (price id, unit price) of every stored price."""
        rows = self.query(
            "SELECT price_key, meter, coalesce(tier_gt, -1), coalesce(tier_ge, -1), conditions, valid_from, "
            "id, unit_price_pico FROM price"
        )
        return {(key, meter, gt, ge, when, since): (id_, pico) for key, meter, gt, ge, when, since, id_, pico in rows}

    def has_price_book(self, version: str) -> bool:
        return bool(self.query("SELECT 1 FROM price_book WHERE version = ?", (version,)))

    def fx_rows(self) -> list[Row]:
        """(base, quote, rate × 1e6, kind, date, source, confirmed) in the order they became known."""
        return self.query(
            "SELECT base, quote, rate_e6, kind, effective_date, source, confirmed FROM fx_rate ORDER BY id"
        )

    def newest_fx(self) -> int:
        return int(self.query("SELECT coalesce(max(id), 0) FROM fx_rate")[0][0])
