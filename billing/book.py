"""The book: a group of operations decided and written in one transaction.

    group ─▶ lock the union of its counters, in sorted order ─▶ lock its holds
          ─▶ decide each operation in turn on the locked values
          ─▶ write rows, one statement per table ─▶ commit ─▶ answer each operation

One transaction per group keeps hundreds of requests a second durable on one disk; locking the union in one fixed order
is what lets several processes share a PostgreSQL without deadlock. Nothing is answered before the commit. An operation
that fails takes its group down once: the group is then written one by one, so only the guilty one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from sqlalchemy import Engine

from billing.holds import (
    Booked,
    Case,
    Checkpoint,
    Hold,
    MarkSent,
    Op,
    Reserve,
    Reverse,
    Settle,
    Void,
)
from billing.ledger import Leg
from billing.periods import KINDS, from_us
from billing.quota import Quota, Refused, Standing, decide, labels
from billing.store import Row, Statements, Tx

Key = tuple[str, str]

#: Scopes × periods whose counters are known to exist. Bounded: forgetting only costs one more statement.
_KNOWN_LIMIT = 200_000


class LedgerUnavailable(Exception):
    """The database did not take the group. Nothing of it is booked; the same operations may be offered again."""


class NotReversible(ValueError):
    """The journal does not exist, is itself a reversal, or was reversed before."""


class Book:
    """One writer's connection. Not for use by two threads at once.

    `ids` makes UUIDv7 text for cases. Everything else is in the operations.
    """

    def __init__(self, engine: Engine, ids: Callable[[], str]) -> None:
        self._engine = engine
        self._ids = ids
        self._postgresql = engine.dialect.name == "postgresql"
        self._sql = Statements(postgresql=self._postgresql)
        self._connection: Any = None
        self._known: set[Key] = set()
        self._quota_version = -1
        self._quotas: dict[str, list[Quota]] = {}

    # -- connection -------------------------------------------------------------------------------------------------

    def _cursor(self) -> Any:
        if self._connection is None:
            raw = self._engine.raw_connection()
            driver = raw.driver_connection
            assert driver is not None
            # We say BEGIN and COMMIT ourselves: a writer on SQLite must take its lock at the start.
            if self._postgresql:
                driver.autocommit = True
            else:
                driver.isolation_level = None
            self._connection = raw
        return self._connection.cursor()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None

    # -- groups -----------------------------------------------------------------------------------------------------

    def apply(self, group: Sequence[Op]) -> list[Any]:
        """Write the group. Returns one answer per operation: its value, or the exception that refused it.

        Raises LedgerUnavailable when the database did not commit; then nothing of the group is booked.
        """
        try:
            return self._commit(group)
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 – whatever an operation broke, the others must not pay for it
            if len(group) == 1:
                return [error]
        return [answer for op in group for answer in self.apply([op])]

    def transact(self, work: Callable[[Tx], Any]) -> Any:
        """Run any other short piece of work in a transaction of its own."""
        cursor = self._begin()
        return self._finish(cursor, lambda: work(Tx(cursor, self._sql)))

    def _begin(self) -> Any:
        try:
            cursor = self._cursor()
            cursor.execute("BEGIN" if self._postgresql else "BEGIN IMMEDIATE")
        except Exception as error:
            # Connecting can fail in the driver's words, in SQLAlchemy's and in the operating system's.
            self.close()
            raise LedgerUnavailable(type(error).__name__) from error
        return cursor

    def _finish(self, cursor: Any, work: Callable[[], Any]) -> Any:
        errors = self._engine.dialect.loaded_dbapi.OperationalError
        try:
            answer = work()
            cursor.execute("COMMIT")
        except errors as error:
            self.close()  # a broken or busy connection: whether it committed is found out by replaying
            raise LedgerUnavailable(type(error).__name__) from error
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.close()
        return answer

    def _commit(self, group: Sequence[Op]) -> list[Any]:
        keys = {key for op in group for key in _keys(op)}
        missing = keys - self._known
        if missing and self._postgresql:
            # In a transaction of its own: two processes creating the same counters must not wait on each other's locks.
            self.transact(lambda tx: tx.run(tx.sql.create_counters, _zeros(missing)))
            self._remember(missing)
        cursor = self._begin()
        answers: list[Any] = self._finish(cursor, lambda: self._decide(Tx(cursor, self._sql), group, keys))
        if missing:
            self._remember(missing)
        return answers

    def _remember(self, keys: set[Key]) -> None:
        if len(self._known) > _KNOWN_LIMIT:
            self._known.clear()
        self._known |= keys

    def _decide(self, tx: Tx, group: Sequence[Op], keys: set[Key]) -> list[Any]:
        version = tx.newest_quota()
        if version != self._quota_version:
            self._quotas = {}
            for quota in tx.quotas():
                self._quotas.setdefault(quota.scope, []).append(quota)
            self._quota_version = version
        if not self._postgresql and not keys <= self._known:
            tx.run(tx.sql.create_counters, _zeros(keys - self._known))
        page = _Page(tx, tx.counters(keys) if keys else {}, self._quotas, self._ids)
        # Answered by the statement itself: only a hold that is still open may leave.
        page.sent = {row[0] for row in tx.run(tx.sql.mark_sent, _leaving(group))}
        page.states = tx.hold_states(_hold_ids(group))
        answers = [page.decide(op) for op in group]
        page.write()
        return answers


def _zeros(keys: set[Key]) -> list[Row]:
    return [(scope, period, 0, 0, 0) for scope, period in sorted(keys)]


def _keys(op: Op) -> list[Key]:
    """Every counter the operation may change."""
    if isinstance(op, Reserve):
        return labels(op.who.scopes, op.who.periods)
    if isinstance(op, Void | Settle):
        return labels(op.hold.who.scopes, op.hold.who.periods)
    return []


def _leaving(group: Sequence[Op]) -> list[Row]:
    return sorted((op.hold_id, op.at) for op in group if isinstance(op, MarkSent))


def _hold_ids(group: Sequence[Op]) -> set[str]:
    ids = {op.hold.id for op in group if isinstance(op, Void | Settle)}
    return ids | {op.instead_of.hold.id for op in group if isinstance(op, Reserve) and op.instead_of is not None}


class _Page:
    """The rows of one group while it is being decided."""

    def __init__(
        self, tx: Tx, counters: dict[Key, tuple[int, int]], quotas: dict[str, list[Quota]], ids: Callable[[], str]
    ) -> None:
        self.tx = tx
        self.states: dict[str, tuple[str, int]] = {}
        self.sent: set[str] = set()
        self._counters = {key: [posted, held] for key, (posted, held) in counters.items()}
        self._before = dict(counters)
        self._quotas = quotas
        self._ids = ids
        self._holds: list[Row] = []
        self._sent: list[Row] = []
        self._checkpoints: dict[str, Row] = {}
        self._resolved: dict[str, Row] = {}
        self._events: list[Row] = []
        self._meters: list[Row] = []
        self._journals: list[Row] = []
        self._entries: list[Row] = []
        self._cases: list[Row] = []
        self._new_quotas: list[Row] = []

    def decide(self, op: Op) -> Any:
        if isinstance(op, Settle):
            return self._settle(op)
        if isinstance(op, Reserve):
            return self._reserve(op)
        if isinstance(op, MarkSent):
            return op.hold_id in self.sent
        if isinstance(op, Checkpoint):
            self._checkpoints[op.hold_id] = (op.hold_id, op.detail, op.at)
            return True
        if isinstance(op, Void):
            return self._void(op)
        if isinstance(op, Reverse):
            return self._reverse(op)
        self._new_quotas.append((op.scope, op.period, "KRW", op.amount, int(op.hard), op.set_by, op.at, op.reason))
        return True

    # -- holds ------------------------------------------------------------------------------------------------------

    def _reserve(self, op: Reserve) -> Hold | Refused:
        who, where = op.who, op.where
        if op.instead_of is not None:
            self.decide(op.instead_of)
        answer = decide(op.ask, self._standings(op))
        if isinstance(answer, Refused):
            return answer
        hold = Hold(
            op.request_id,
            op.attempt,
            who,
            where,
            answer.amount,
            answer.output_cap,
            op.input_bound,
            op.input_estimate,
            op.at,
        )
        self._add(who.scopes, who.periods, posted=0, held=answer.amount)
        self.states[hold.id] = ("open", answer.amount)
        self._holds.append(_hold_row(hold, op.lease_owner, op.lease_until))
        return hold

    def _standings(self, op: Reserve) -> list[Standing]:
        found: list[Standing] = []
        for scope in op.who.scopes:
            for quota in self._quotas.get(scope, ()):
                label = op.who.periods.label(quota.period)
                posted, held = self._counters[scope, label]
                found.append(Standing(quota, label, posted, held))
        return found

    def _void(self, op: Void) -> bool:
        state, amount = self.states.get(op.hold.id, ("", 0))
        if state not in ("open", "sent"):
            return False
        self._resolve(op.hold, "voided", op.outcome, op.at)
        self._add(op.hold.who.scopes, op.hold.who.periods, posted=0, held=-amount)
        return True

    def _resolve(self, hold: Hold, state: str, outcome: str, at: int) -> None:
        self._resolved[hold.id] = (hold.id, state, outcome, at)
        self.states[hold.id] = (state, 0)

    # -- journals ---------------------------------------------------------------------------------------------------

    def _settle(self, op: Settle) -> Booked:
        hold = op.hold
        state, amount = self.states.get(hold.id, ("", 0))
        if state in ("posted", "voided"):
            return Booked("replayed")
        if state == "expired":
            # The sweeper billed an estimate while we were away. Its row stands; a person decides about the difference.
            late = Case("late_usage", hold.id, orjson.dumps({"outcome": op.outcome}).decode(), theirs=op.total)
            self._case(late, op.ended_at)
            return Booked("late")
        if not state:
            raise LookupError(f"no hold {hold.id}")
        breach = op.total > amount
        self._resolve(hold, "expired" if op.outcome == "expired" else "posted", op.outcome, op.ended_at)
        self._add(hold.who.scopes, hold.who.periods, posted=op.total, held=-amount)
        self._events.append(_event_row(op, amount, breach=breach))
        for seq, line in enumerate(op.lines):
            self._meters.append((hold.id, seq, line.model, line.meter, line.quantity, line.price_id, line.amount_ticks))
        who = hold.who
        self._journals.append(
            (
                hold.id,
                "usage",
                hold.id,
                None,
                _scopes(who.scopes),
                who.periods.day,
                who.periods.month,
                who.periods.year,
                who.service_date,
                op.total,
                "gateway",
                None,
                op.ended_at,
            )
        )
        self._entries += _entry_rows(op, op.legs())
        for case in op.cases:
            self._case(case, op.ended_at)
        return Booked("booked", breach)

    def _reverse(self, op: Reverse) -> bool:
        original = self.tx.journal(op.journal_id)
        if original is None:
            raise NotReversible(f"there is no journal {op.journal_id}")
        _, event_id, scopes, _, _, _, won, kind = original
        if kind == "reversal":
            raise NotReversible(f"{op.journal_id} is itself a reversal: book the usage again instead")
        if self.tx.reversal_of(op.journal_id) is not None:
            raise NotReversible(f"{op.journal_id} was reversed before")
        reversal_id = f"reversal:{op.journal_id}"
        names = tuple(orjson.loads(scopes))
        keys = set(labels(names, op.periods))
        self.tx.run(self.tx.sql.create_counters, _zeros(keys))
        for key, (posted, held) in self.tx.counters(keys - self._counters.keys()).items():
            self._counters[key] = [posted, held]
            self._before[key] = (posted, held)
        self._add(names, op.periods, posted=-won, held=0)
        periods = op.periods
        self._journals.append(
            (
                reversal_id,
                "reversal",
                event_id,
                op.journal_id,
                scopes,
                periods.day,
                periods.month,
                periods.year,
                op.service_date,
                -won,
                op.actor,
                op.reason,
                op.at,
            )
        )
        for row in self.tx.entries(op.journal_id):
            _, n, account, currency, amount, *rest = row
            self._entries.append((reversal_id, n, account, currency, -amount, *rest))
        return True

    def _case(self, case: Case, at: int) -> None:
        row = (self._ids(), case.kind, case.subject, case.ours, case.theirs, case.detail, "open", at, None, None)
        self._cases.append(row)

    # -- counters ---------------------------------------------------------------------------------------------------

    def _add(self, scopes: tuple[str, ...], periods: Any, *, posted: int, held: int) -> None:
        counters = self._counters
        for scope in scopes:
            for kind in KINDS:
                counter = counters[scope, periods.label(kind)]
                counter[0] += posted
                counter[1] += held

    def write(self) -> None:
        tx, sql = self.tx, self.tx.sql
        tx.run(sql.insert_holds, self._holds)
        tx.run(sql.checkpoint, list(self._checkpoints.values()))
        tx.run(sql.resolve_holds, list(self._resolved.values()))
        tx.run(sql.insert_events, self._events)
        tx.run(sql.insert_meters, self._meters)
        tx.run(sql.insert_journals, self._journals)
        tx.run(sql.insert_entries, self._entries)
        tx.run(sql.insert_cases, self._cases)
        tx.run(sql.insert_quotas, self._new_quotas)
        changed: list[Row] = []
        for key, (posted, held) in self._counters.items():
            was_posted, was_held = self._before[key]
            if posted != was_posted or held != was_held:
                changed.append((*key, posted - was_posted, held - was_held))
        tx.run(sql.add_to_counters, changed)


# -- rows, in the order of the columns of billing.tables ---------------------------------------------------------------


def _scopes(scopes: tuple[str, ...]) -> str:
    return orjson.dumps(scopes).decode()


def _hold_row(hold: Hold, lease_owner: str, lease_until: int) -> Row:
    who, where = hold.who, hold.where
    return (
        hold.id,
        hold.request_id,
        hold.attempt,
        "open",
        None,
        hold.amount,
        "KRW",
        _scopes(who.scopes),
        who.periods.day,
        who.periods.month,
        who.periods.year,
        who.principal,
        who.user_id,
        who.department_id,
        who.key_id,
        who.surface,
        int(who.stream),
        who.purpose,
        who.project,
        who.grade,
        where.destination,
        who.model_requested,
        where.model,
        where.deployment,
        where.provider,
        where.family,
        where.creditor,
        where.price_key,
        where.price_version,
        where.fx_rate_e6,
        int(where.fx_provisional),
        where.vat_bp,
        where.vat_treatment,
        hold.input_bound,
        hold.input_estimate,
        hold.output_cap,
        lease_owner,
        lease_until,
        hold.created_at,
        None,
        None,
        None,
        None,
    )


def _event_row(op: Settle, hold_amount: int, *, breach: bool) -> Row:
    hold, who, where = op.hold, op.hold.who, op.hold.where
    return (
        hold.id,
        hold.request_id,
        hold.attempt,
        who.user_id,
        who.department_id,
        who.key_id,
        who.surface,
        int(who.stream),
        who.purpose,
        who.project,
        who.grade,
        where.destination,
        who.model_requested,
        where.model,
        where.deployment,
        where.provider,
        op.upstream_model,
        op.provider_request_id,
        op.started_at,
        op.ended_at,
        who.service_date,
        who.service_date[:7],
        from_us(op.started_at).date().isoformat(),
        op.outcome,
        op.http_status,
        op.quality,
        int(op.provisional),
        op.reason,
        op.extractor,
        op.raw_usage,
        op.reported_ticks,
        where.price_version,
        where.fx_rate_e6,
        op.currency,
        op.ticks,
        op.won,
        op.vat if op.won is not None else None,
        op.tokens,
        hold_amount,
        int(breach),
    )


def _entry_rows(op: Settle, legs: tuple[Leg, ...]) -> list[Row]:
    who, where = op.hold.who, op.hold.where
    dimensions = (
        who.department_id,
        who.user_id,
        where.model,
        where.deployment,
        where.provider,
        who.purpose,
        who.project,
        who.grade,
        where.destination,
        None,
    )
    return [(op.hold.id, n, leg.account, leg.currency, leg.amount, *dimensions) for n, leg in enumerate(legs)]
