"""The ledger's SQL on the request path: one open transaction and its named statements, the same text on both databases.

Rows go to the database in batches as one statement each. On SQLite a batch is a list of VALUES, on PostgreSQL one JSON
parameter opened with jsonb_to_recordset: measured, that is the cheapest way in for either client, and it lets go of the
interpreter once per statement instead of once per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import BigInteger, Integer, Table
from sqlmodel import SQLModel

from billing import tables

Row = tuple[Any, ...]

#: SQLite compiles one statement per batch size; few sizes keep its statement cache warm, and any number is a sum of few.
_BATCHES = (64, 32, 16, 8, 4, 2, 1)

#: Said once on the writer's own connection.
#: SQLite: a write-ahead log of 16 MB is copied back once instead of four times; what a statement may have to take back is kept
#: in memory instead of written to a temporary file, which was as many writes again as the log itself.
#: PostgreSQL: waiting for another writer's locks is bounded, as SQLite's busy time-out bounds it; and a writer that stands
#: still in the middle of a group (a stopped process, a lost machine) lets go of its counters.
SESSION = {
    "sqlite": ("PRAGMA wal_autocheckpoint = 4000", "PRAGMA temp_store = MEMORY"),
    "postgresql": (
        "SET lock_timeout = '5s'",
        "SET idle_in_transaction_session_timeout = '10s'",
        # Every statement here looks rows up by their key. A plan made while a table was young would read it whole for ever.
        "SET enable_seqscan = off",
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
        "SET jit = off",
    ),
}

_NEWEST_QUOTA = "SELECT coalesce(max(id), 0) FROM quota"
_NEXT_JOURNAL = "SELECT coalesce(max(seq), 0) + 1 FROM journal"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext(?))"

#: No request lives longer. A hold nobody resolved by then is not kept alive any more, so that the sweeper finds it.
HOLD_LIFE_US = 2 * 3_600_000_000


def _table(model: type[SQLModel]) -> Table:
    return model.__table__  # type: ignore[attr-defined,no-any-return]  # SQLModel adds it to table=True classes


class _Batch:
    """A statement over a set of rows named `v`, or one that takes them in as they are, rendered for one database."""

    def __init__(
        self, columns: Sequence[tuple[str, str]], statement: str, *, postgresql: bool, insert: bool = False
    ) -> None:
        """With `insert` the statement ends where the rows begin, or says with `{rows}` where they belong."""
        self.names = [name for name, _ in columns]
        self._postgresql = postgresql
        names = ", ".join(self.names)
        if postgresql:
            typed = ", ".join(f"{name} {kind}" for name, kind in columns)
            # Names of our own columns.
            body = statement.replace("{rows}", f"SELECT {names} FROM v") if insert else statement
            self._text = f"WITH v AS (SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r({typed})) {body}"
        else:
            # A plain list of VALUES costs a third less than the detour through a named set.
            mark = "(" + ", ".join("?" * len(columns)) + ")"
            values = {size: "VALUES " + ", ".join([mark] * size) for size in _BATCHES}
            self._by_size = {
                size: statement.replace("{rows}", rows) if insert else f"WITH v({names}) AS ({rows}) {statement}"
                for size, rows in values.items()
            }

    def send(self, cursor: Any, rows: Sequence[Row]) -> None:
        """PostgreSQL: execute over all rows, and leave the answer to be fetched."""
        cursor.execute(self._text, (orjson.dumps([dict(zip(self.names, row, strict=True)) for row in rows]).decode(),))

    def run(self, cursor: Any, rows: Sequence[Row]) -> list[Row]:
        """Execute over all rows; the rows the statement returns, if any."""
        if self._postgresql:
            self.send(cursor, rows)
            return list(cursor.fetchall()) if cursor.description else []
        found: list[Row] = []
        start, left = 0, len(rows)
        for size in _BATCHES:
            while left >= size:
                cursor.execute(self._by_size[size], list(chain.from_iterable(rows[start : start + size])))
                if cursor.description:
                    found += cursor.fetchall()
                start += size
                left -= size
        return found


def _kind(column: Any) -> str:
    return "bigint" if isinstance(column.type, BigInteger | Integer) else "text"


def sealed_event(row: Row) -> Row:
    """An event's columns as a seal covers them. The last came later than the first seals: an empty one is not there."""
    return row[:-1] if row[-1] is None else row


def _names(model: type[SQLModel], alias: str) -> str:
    return ", ".join(f"{alias}.{column.name}" for column in _table(model).columns)


class Statements:
    """Every statement of the request path, rendered once for the database in use."""

    def __init__(self, *, postgresql: bool) -> None:
        self.postgresql = postgresql

        def in_order(columns: str, alias: str) -> str:
            """Lock rows in one order everywhere, so that two processes never wait for each other. SQLite has one writer."""
            return f" ORDER BY {columns} FOR UPDATE OF {alias}" if postgresql else ""

        def batch(columns: Sequence[tuple[str, str]], statement: str) -> _Batch:
            return _Batch(columns, statement, postgresql=postgresql)

        def insert(model: type[SQLModel], *, skip: tuple[str, ...] = (), conflict: str = "") -> _Batch:
            columns = [(c.name, _kind(c)) for c in _table(model).columns if c.name not in skip]
            names = ", ".join(name for name, _ in columns)
            # Names of our own tables and columns, and one of the conflict clauses below.
            statement = f"INSERT INTO {_table(model).name} ({names}) {{rows}}{conflict}"
            return _Batch(columns, statement, postgresql=postgresql, insert=True)

        ignore = " ON CONFLICT DO NOTHING"
        key = (("scope", "text"), ("period", "text"))
        self.create_counters = insert(tables.CounterRow, conflict=ignore)
        self.lock_counters = batch(
            key,
            "SELECT c.scope, c.period, c.posted, c.held, c.version FROM v JOIN counter c "
            "ON c.scope = v.scope AND c.period = v.period" + in_order("c.scope, c.period", "c"),
        )
        self.put_counters = insert(
            tables.CounterRow,
            conflict=" ON CONFLICT (scope, period) DO UPDATE "
            "SET posted = excluded.posted, held = excluded.held, version = excluded.version",
        )
        self.insert_holds = insert(tables.HoldRow)
        self.hold_states = batch(
            (("id", "text"),),
            "SELECT h.id, h.state, h.amount, h.lease_until FROM v JOIN hold h ON h.id = v.id" + in_order("h.id", "h"),
        )
        self.mark_sent = batch(
            (("id", "text"), ("at", "bigint")),
            # The very same mark again is a replay: its first answer was lost with the connection.
            "UPDATE hold SET state = 'sent', sent_at = v.at FROM v WHERE hold.id = v.id "
            "AND (hold.state = 'open' OR hold.state = 'sent' AND hold.sent_at = v.at) RETURNING hold.id",
        )
        self.checkpoint = batch(
            (("id", "text"), ("detail", "text"), ("at", "bigint")),
            "UPDATE hold SET checkpoint = v.detail, checkpoint_at = v.at FROM v "
            "WHERE hold.id = v.id AND hold.state = 'sent' AND coalesce(hold.checkpoint_at, 0) < v.at",
        )
        self.resolve_holds = batch(
            (("id", "text"), ("state", "text"), ("outcome", "text"), ("at", "bigint")),
            "UPDATE hold SET state = v.state, outcome = v.outcome, resolved_at = v.at FROM v WHERE hold.id = v.id",
        )
        self.insert_events = insert(tables.UsageEventRow)
        self.insert_meters = insert(tables.UsageMeterRow)
        self.insert_journals = insert(tables.JournalRow)
        self.insert_entries = insert(tables.EntryRow)
        self.insert_cases = insert(tables.ReconCaseRow, conflict=ignore)
        self.insert_quotas = insert(tables.QuotaRow, skip=("id",))
        self.journals = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.JournalRow, 'j')} FROM v JOIN journal j ON j.id = v.id",
        )
        # Names of our own columns.
        self.journals_after = (
            f"SELECT {_names(tables.JournalRow, 'j')} FROM journal j WHERE j.seq > ? ORDER BY j.seq LIMIT ?"
        )
        self.reversals = batch(
            (("id", "text"),),
            "SELECT j.reverses, j.actor, j.created_at FROM v JOIN journal j "
            "ON j.reverses = v.id AND j.reverses IS NOT NULL",
        )
        self.entries = batch(
            (("seq", "bigint"),),
            f"SELECT {_names(tables.EntryRow, 'e')} FROM v JOIN entry e ON e.journal_seq = v.seq "
            "ORDER BY e.journal_seq, e.n",
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
        self.holds = batch(
            (("id", "text"),),
            f"SELECT {_names(tables.HoldRow, 'h')} FROM v JOIN hold h ON h.id = v.id",
        )
        self.seals = batch(
            (("id", "text"),),
            "SELECT s.row_id, s.seq, s.prev_hash, s.hash FROM v JOIN seal s ON s.chain = 'books' AND s.row_id = v.id",
        )
        self.insert_seals = insert(tables.SealRow)
        self.insert_price_books = insert(tables.PriceBookRow)
        self.insert_prices = insert(tables.PriceRow)
        self.insert_fx_rates = insert(tables.FxRateRow, skip=("id",))


class Tx:
    """One open transaction. Every method is one statement per batch; nothing here decides anything."""

    def __init__(self, cursor: Any, statements: Statements) -> None:
        self._cursor = cursor
        self.sql = statements
        #: PostgreSQL: answers that were asked for ahead, by what they answer.
        self._ahead: dict[str, list[Row]] = {}
        #: COMMIT has been sent: whether it was carried out is not known before it is answered.
        self.committing = False

    def begin(self) -> None:
        # A writer on SQLite must take its lock at the start.
        self._cursor.execute("BEGIN" if self.sql.postgresql else "BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        self._cursor.close()

    def mark_sent(self, leaving: Sequence[Row]) -> set[str]:
        """(hold id, at) → the ids of those that were still open, and may leave."""
        rows = self._ahead.pop("sent", None)
        return {row[0] for row in (self.run(self.sql.mark_sent, leaving) if rows is None else rows)}

    def run(self, batch: _Batch, rows: Sequence[Row]) -> list[Row]:
        return batch.run(self._cursor, rows) if rows else []

    def begin_asking(
        self,
        keys: Sequence[Row],
        leaving: Sequence[Row],
        holds: Sequence[Row],
        *,
        journals: bool,
        commit: bool,
    ) -> None:
        """PostgreSQL: begin, and ask what a group will want to know in the same round trip, in the order locks are taken
        everywhere: counters, holds, the number of the next journal. The methods below then answer from it. With `commit`
        that was all there is to do."""
        connection = self._cursor.connection
        asked: dict[str, Any] = {}
        with connection.pipeline():
            self._cursor.execute("BEGIN")
            for name, batch, rows in (
                ("counters", self.sql.lock_counters, keys),
                ("sent", self.sql.mark_sent, leaving),
                ("holds", self.sql.hold_states, holds),
            ):
                if rows:
                    asked[name] = connection.cursor()
                    batch.send(asked[name], rows)
            asked["quota"] = connection.cursor()
            asked["quota"].execute(_NEWEST_QUOTA)
            if journals:
                self._cursor.execute(_LOCK.replace("?", "%s"), ("haechi:journal",))
                asked["journal"] = connection.cursor()
                asked["journal"].execute(_NEXT_JOURNAL)
            if commit:
                self.commit()
        for name, cursor in asked.items():
            self._ahead[name] = cursor.fetchall()
            cursor.close()

    def commit(self) -> None:
        """Within `unanswered` it goes with the statements before it, and is not carried out when one of them fails."""
        self.committing = True
        self._cursor.execute("COMMIT")

    def unanswered(self) -> AbstractContextManager[Any]:
        """Statements in this block are sent without waiting for each one's answer; the first failure is raised at its end.

        On PostgreSQL that is one round trip for all of them. SQLite answers within the call.
        """
        return self._cursor.connection.pipeline() if self.sql.postgresql else nullcontext()

    def query(self, text: str, values: Sequence[Any] = ()) -> list[Row]:
        """A single statement written with `?` marks."""
        self._cursor.execute(text.replace("?", "%s") if self.sql.postgresql else text, tuple(values))
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def lock(self, name: str) -> None:
        """Hold this name until the end of the transaction. Rows whose numbers must follow their commits are numbered under it;
        SQLite has one writer anyway."""
        if self.sql.postgresql:
            self.query(_LOCK, (f"haechi:{name}",))

    def foreign_commits(self) -> int | None:
        """SQLite: a number that changes when another connection has committed. PostgreSQL has none, and answers None."""
        return None if self.sql.postgresql else int(self.query("PRAGMA data_version")[0][0])

    def newest_quota(self) -> int:
        return int((self._ahead.pop("quota", None) or self.query(_NEWEST_QUOTA))[0][0])

    def quotas_since(self, newest: int) -> list[Row]:
        """(id, scope, period, amount, hard) of every decision after that one, in the order they were taken."""
        return self.query("SELECT id, scope, period, amount, hard FROM quota WHERE id > ? ORDER BY id", (newest,))

    def counters(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Lock the counters: (scope, period) → (posted, held, version). Missing ones are absent."""
        rows = self._ahead.pop("counters", None)
        if rows is None:
            rows = self.run(self.sql.lock_counters, list(keys))
        return {(scope, period): (posted, held, version) for scope, period, posted, held, version in rows}

    def hold_states(self, ids: Iterable[str]) -> dict[str, tuple[str, int, int]]:
        """Lock the holds: id → (state, amount, lease until)."""
        rows = self._ahead.pop("holds", None)
        if rows is None:
            rows = self.run(self.sql.hold_states, [(id_,) for id_ in ids])
        return {id_: (state, amount, lease) for id_, state, amount, lease in rows}

    def outcomes(self, ids: Iterable[str]) -> list[tuple[str, int | None]]:
        """(outcome, micro-won with tax) of what was booked for these holds; None where the amount is not known."""
        names = [column.name for column in _table(tables.UsageEventRow).columns]
        outcome, won, vat = names.index("outcome"), names.index("won"), names.index("vat")
        rows = self.run(self.sql.events, [(id_,) for id_ in ids])
        return [(row[outcome], None if row[won] is None else row[won] + (row[vat] or 0)) for row in rows]

    def next_journal(self) -> int:
        """The next journal's number, nobody else's to take until we commit."""
        rows = self._ahead.pop("journal", None)
        if rows is None:
            self.lock("journal")
            rows = self.query(_NEXT_JOURNAL)
        return int(rows[0][0])

    def add_quotas(self, rows: Sequence[Row]) -> None:
        """Numbered in the order they are committed: whoever has seen a number has seen all before it."""
        if rows:
            self.lock("quota")
            self.run(self.sql.insert_quotas, rows)

    def add_rates(self, rows: Sequence[Row]) -> None:
        """Numbered as quotas are."""
        if rows:
            self.lock("fx_rate")
            self.run(self.sql.insert_fx_rates, rows)

    def journals(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """id → column → value. Journals never change, so nothing is locked."""
        names = [column.name for column in _table(tables.JournalRow).columns]
        rows = self.run(self.sql.journals, [(id_,) for id_ in ids])
        return {row["id"]: row for row in (dict(zip(names, values, strict=True)) for values in rows)}

    def reversals_of(self, ids: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Reversed journal's id → (actor, instant) of its reversal."""
        rows = self.run(self.sql.reversals, [(id_,) for id_ in ids])
        return {reversed_: (actor, at) for reversed_, actor, at in rows}

    def entries(self, seq: int) -> list[Row]:
        """Every column of the legs of the journal with this number, in order."""
        return self.run(self.sql.entries, [(seq,)])

    # -- holds nobody watches any more ------------------------------------------------------------------------------

    def renew_leases(self, owner: str, until: int) -> None:
        """Keep this owner's live holds from lapsing; not those older than any request, whose task must have come to grief."""
        self.query(
            "UPDATE hold SET lease_until = ? WHERE resolved_at IS NULL AND lease_until >= 0 AND lease_owner = ? "
            "AND created_at > ?",
            (until, owner, until - HOLD_LIFE_US),
        )

    def lapsed_holds(self, now: int, *, all_of: str | None, limit: int) -> list[dict[str, Any]]:
        """Unresolved holds whose lease ran out; with `all_of`, every one that is not this owner's, lapsed or not."""
        if all_of is not None:
            return self._rows(
                "SELECT * FROM hold WHERE resolved_at IS NULL AND lease_until >= 0 AND lease_owner <> ? "
                "ORDER BY lease_until LIMIT ?",
                (all_of, limit),
            )
        return self._rows(
            "SELECT * FROM hold WHERE resolved_at IS NULL AND lease_until < ? ORDER BY lease_until LIMIT ?",
            (now, limit),
        )

    def live_hold(self, hold_id: str) -> dict[str, Any] | None:
        """The hold, if it exists and is not resolved."""
        rows = self._rows("SELECT * FROM hold WHERE id = ? AND resolved_at IS NULL", (hold_id,))
        return rows[0] if rows else None

    def _rows(self, text: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        rows = self.query(text, values)
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- seals ------------------------------------------------------------------------------------------------------

    def lock_chain(self, chain: str) -> None:
        """Only one sealer at a time."""
        self.lock(chain)

    def chain_head(self, chain: str) -> tuple[int, str, str] | None:
        """(seq, hash, row id) of the newest seal."""
        rows = self.query("SELECT seq, hash, row_id FROM seal WHERE chain = ? ORDER BY seq DESC LIMIT 1", (chain,))
        return rows[0] if rows else None

    def unsealed_journals(self, after: int, limit: int) -> list[tuple[int, str]]:
        """(seq, id) of journals past `after` that no seal names, oldest first.

        Journals are numbered in the order they are committed (under a lock where there are several writers), so that what
        follows the newest sealed one is all there is to do.
        """
        return self.query(
            "SELECT seq, id FROM journal WHERE seq > ? AND seq > coalesce((SELECT j.seq FROM journal j WHERE j.id = "
            "(SELECT row_id FROM seal WHERE chain = 'books' ORDER BY seal.seq DESC LIMIT 1)), 0) ORDER BY seq LIMIT ?",
            (after, limit),
        )

    def journals_after(self, after: int, limit: int) -> list[Row]:
        """Whole rows of the journals past that number, in order."""
        return self.query(self.sql.journals_after, (after, limit))

    def journal_seq(self, journal_id: str) -> int:
        rows = self.query("SELECT seq FROM journal WHERE id = ?", (journal_id,))
        return int(rows[0][0]) if rows else 0

    def whole_journals(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """id → [journal, entries, event, meters], every column as stored: what a seal is computed over."""
        wanted = [(id_,) for id_ in ids]
        by_seq: dict[int, list[Any]] = {row[0]: [row, [], None, []] for row in self.run(self.sql.journals, wanted)}
        for row in self.run(self.sql.entries, [(seq,) for seq in by_seq]) if by_seq else ():
            by_seq[row[0]][1].append(row)
        whole = {parts[0][1]: parts for parts in by_seq.values()}
        for row in self.run(self.sql.events, wanted):
            whole[row[0]][2] = sealed_event(row)
        for row in self.run(self.sql.meters, wanted):
            whole[row[0]][3].append(row)
        return whole

    # -- prices and rates -------------------------------------------------------------------------------------------

    def price_identities(self) -> dict[tuple[str, str, int, int, str, int], tuple[str, int, str]]:
        """(key, meter, tier above, tier from, conditions, valid from) → (price id, unit price, currency) of every price."""
        rows = self.query(
            "SELECT price_key, meter, coalesce(tier_gt, -1), coalesce(tier_ge, -1), conditions, valid_from, "
            "id, unit_price_pico, currency FROM price"
        )
        return {tuple(row[:6]): tuple(row[6:]) for row in rows}

    def has_price_book(self, version: str) -> bool:
        return bool(self.query("SELECT 1 FROM price_book WHERE version = ?", (version,)))

    def fx_rows(self) -> list[Row]:
        """(base, quote, rate × 1e6, kind, date, source, confirmed) in the order they became known."""
        return self.query(
            "SELECT base, quote, rate_e6, kind, effective_date, source, confirmed FROM fx_rate ORDER BY id"
        )

    def newest_fx(self) -> int:
        return int(self.query("SELECT coalesce(max(id), 0) FROM fx_rate")[0][0])
