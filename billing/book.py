"""The book: a group of operations decided and written in one transaction.

    group ─▶ lock the union of its counters, in sorted order ─▶ lock its holds
          ─▶ decide each operation in turn on the locked values
          ─▶ write rows, one statement per table ─▶ commit ─▶ answer each operation

One transaction per group keeps hundreds of requests a second durable on one disk; locking the union in one fixed order
is what lets several processes share a PostgreSQL without deadlock. Nothing is answered before the commit. An operation
that fails takes its group down once: the group is then written in halves, so that in the end only the guilty one is refused.

What goes wrong is told apart by whose fault it is. The operation's (a duplicate, a number that does not fit, no such hold):
it is refused. The database's (away, busy, full, read-only, not migrated): LedgerUnavailable, and everything may be offered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
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
    Seen,
    SetQuota,
    Settle,
    Void,
)
from billing.periods import Periods, from_us
from billing.quota import Quota, Refused, Standing, decide, labels
from billing.store import SESSION, Row, Statements, Tx

Key = tuple[str, str]

#: Spent, held, version.
Counted = tuple[int, int, int]

#: How many counters (scope × period) are remembered. Forgetting only costs one more statement.
_REMEMBERED = 20_000

#: Two processes that collide (a deadlock the lock order did not foresee) try again at once, this often.
_COLLISIONS = 5

_LIVE = ("open", "sent")
#: Spelled as a tuple because it is asked of every operation: a union is built anew each time.
_RESOLVING = (Settle, Void)
_DAY_US = 86_400_000_000


class LedgerUnavailable(Exception):
    """The database did not take the operation, which may be offered again.

    Nothing of it is booked, except where `in_doubt`: the connection was lost after COMMIT had been sent.
    """

    def __init__(self, why: str, *, in_doubt: bool = False) -> None:
        super().__init__(why)
        self.in_doubt = in_doubt


class NotReversible(ValueError):
    """The journal does not exist, is itself a reversal, or was reversed before."""


class _Collision(Exception):
    """The database gave this transaction up in favour of another one."""


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
        #: PostgreSQL: counters known to exist, so that there is a row to lock.
        self._existing: set[Key] = set()
        #: SQLite: counters as our last group left them, true as long as no other connection has committed.
        self._remembered: dict[Key, Counted] = {}
        self._foreign: int | None = None
        self._quotas: dict[str, dict[str, Quota]] = {}
        self._newest_quota = 0

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
            cursor = raw.cursor()
            for statement in SESSION[self._engine.dialect.name]:
                cursor.execute(statement)
            return cursor
        return self._connection.cursor()

    def close(self) -> None:
        self._forget()
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None

    def _forget(self) -> None:
        """Read counters and quotas anew before the next decision."""
        self._remembered.clear()
        self._foreign = None

    # -- groups -----------------------------------------------------------------------------------------------------

    def apply(self, group: Sequence[Op]) -> list[Any]:
        """Write the group. Returns one answer per operation: its value, or the exception that refused it.

        Raises LedgerUnavailable when nothing of the group is booked. A group that had to be divided may be booked in part:
        then LedgerUnavailable is the answer of those operations that are not.
        """
        try:
            return self._commit(group)
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 – whatever an operation broke, the others must not pay for it
            if len(group) == 1:
                return [error]
        half = len(group) // 2
        return [*self._part(group[:half]), *self._part(group[half:])]

    def _part(self, group: Sequence[Op]) -> list[Any]:
        try:
            return self.apply(group)
        except LedgerUnavailable as error:
            return [error] * len(group)

    def transact(self, work: Callable[[Tx], Any]) -> Any:
        """Run any other short piece of work in a transaction of its own. Raises LedgerUnavailable, or what the work raises."""
        for _ in range(_COLLISIONS):
            tx = self._begin()
            self._forget()
            try:
                return self._finish(tx, lambda: work(tx))  # noqa: B023 – called before the next round
            except _Collision:
                continue
        raise LedgerUnavailable("collisions")

    def _begin(self, begin: Callable[[Tx], None] = Tx.begin) -> Tx:
        idle = self._connection is not None
        try:
            return self._begun(begin)
        except LedgerUnavailable as error:
            if not (idle and self._postgresql and self._hung_up(error.__cause__)):
                raise
        # A connection that was left alone may have been closed by the server since: that says nothing about the server. Nothing
        # was begun, or nothing but marks, which may be made again.
        return self._begun(begin)

    def _hung_up(self, error: BaseException | None) -> bool:
        """Whether the server closed the connection: without a word, or saying that it stops, or that we were idle."""
        state = getattr(error, "sqlstate", None)
        return state is None or state in ("57P01", "57P02", "57P03", "25P03")

    def _begun(self, begin: Callable[[Tx], None]) -> Tx:
        try:
            tx = Tx(self._cursor(), self._sql)
        except Exception as error:
            # Connecting can fail in the driver's words, in SQLAlchemy's and in the operating system's.
            self.close()
            raise LedgerUnavailable(type(error).__name__) from error
        try:
            begin(tx)
        except BaseException as error:
            self._failed(tx, error)
            raise
        return tx

    def _finish(self, tx: Tx, work: Callable[[], Any]) -> Any:
        try:
            answer = work()
            if not tx.committing:
                tx.commit()
        except BaseException as error:
            self._failed(tx, error)
            raise
        finally:
            tx.close()
        return answer

    def _failed(self, tx: Tx, error: BaseException) -> None:
        """Take back what was not committed. Raises what it means, when that is not the operation's own fault."""
        self._forget()
        self._undo(tx, error)
        if self._collided(error):
            raise _Collision from error
        if self._away(error):
            self.close()  # a broken or busy connection: whether it committed is found out by replaying
            raise LedgerUnavailable(type(error).__name__, in_doubt=tx.committing) from error

    def _undo(self, tx: Tx, error: BaseException) -> None:
        if self._postgresql and isinstance(error, self._errors.Error):
            # A pipeline that failed half-way leaves the client believing in prepared statements the server never saw.
            self.close()
            return
        try:
            tx.roll_back()
        except self._errors.Error:
            self.close()  # the connection is gone, and what was not committed with it

    @property
    def _errors(self) -> Any:
        return self._engine.dialect.loaded_dbapi

    def _collided(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) in ("40001", "40P01")

    def _away(self, error: BaseException) -> bool:
        """Whether the database is at fault and not the operation: then the same operation may succeed later."""
        errors = self._errors
        if not isinstance(error, errors.Error) or isinstance(error, errors.IntegrityError | errors.DataError):
            return False
        if self._postgresql:
            # Raised by our triggers, or by the client before anything was sent.
            ours = error.sqlstate == "P0001" or (error.sqlstate is None and isinstance(error, errors.ProgrammingError))
            return not ours
        return not isinstance(error, errors.ProgrammingError | errors.InterfaceError)

    def _commit(self, group: Sequence[Op]) -> list[Any]:
        for _ in range(_COLLISIONS):
            try:
                return self._try(group)
            except _Collision:
                continue
        raise LedgerUnavailable("collisions")

    def _try(self, group: Sequence[Op]) -> list[Any]:
        originals = self._originals(group)
        keys = _counters_of(group, originals)
        if self._postgresql:
            self._create_counters(keys)
        leaving = [(op.hold_id, op.at) for op in group if isinstance(op, MarkSent)]

        def begin_asking(tx: Tx) -> None:
            tx.begin_asking(
                list(keys),
                leaving,
                [(id_,) for id_ in _holds_of(group)],
                journals=any(isinstance(op, Settle) for op in group),
                commit=len(leaving) == len(group),
            )

        tx = self._begin(begin_asking) if self._postgresql else self._begin()

        def work() -> tuple[list[Any], dict[Key, Counted]]:
            self._look_around(tx)
            page = _Page(tx, self._locked(tx, keys), self._quotas, originals, self._ids)
            return page.answer(group), page.write()

        answers, changed = self._finish(tx, work)
        if any(isinstance(op, SetQuota) for op in group):
            self._forget()
        elif not self._postgresql:
            self._remembered.update(changed)
        return list(answers)

    def _originals(self, group: Sequence[Op]) -> dict[str, dict[str, Any]]:
        """The journals to be reversed. They never change, so they are read before anything is locked: a reversal's counters
        are then known in time to be locked in order with all the others."""
        ids = {op.journal_id for op in group if isinstance(op, Reverse)}
        return dict(self.transact(lambda tx: tx.journals(ids))) if ids else {}

    def _look_around(self, tx: Tx) -> None:
        """Take in what others did since our last group."""
        foreign = tx.foreign_commits()
        if foreign is None or foreign != self._foreign:
            self._remembered.clear()
            self._take_in_quotas(tx)
            self._foreign = foreign
        elif len(self._remembered) > _REMEMBERED:
            self._remembered.clear()

    def _take_in_quotas(self, tx: Tx) -> None:
        if tx.newest_quota() == self._newest_quota:
            return
        for id_, scope, period, amount, hard in tx.quotas_since(self._newest_quota):
            of_scope = self._quotas.setdefault(scope, {})
            if amount is None:
                of_scope.pop(period, None)
            else:
                of_scope[period] = Quota(scope, period, amount, bool(hard))
            self._newest_quota = id_

    def _create_counters(self, keys: set[Key]) -> None:
        """In a transaction of its own: two processes creating the same counters must not wait on each other's locks."""
        missing = keys - self._existing
        if missing:
            rows = [(scope, period, 0, 0, 0) for scope, period in sorted(missing)]
            self.transact(lambda tx: tx.run(tx.sql.create_counters, rows))
            if len(self._existing) > _REMEMBERED:
                self._existing.clear()
            self._existing |= keys

    def _locked(self, tx: Tx, keys: set[Key]) -> dict[Key, Counted]:
        """The counters, nobody else's to change until we commit."""
        if self._postgresql:
            return tx.counters(keys) if keys else {}
        known = self._remembered
        unknown = [key for key in keys if key not in known]
        if unknown:
            known.update(dict.fromkeys(unknown, (0, 0, 0)))
            known.update(tx.counters(unknown))
        return known


@lru_cache(maxsize=8192)
def _keys(scopes: tuple[str, ...], periods: Periods) -> tuple[Key, ...]:
    return tuple(labels(scopes, periods))


@lru_cache(maxsize=8192)
def _written(scopes: tuple[str, ...]) -> str:
    return orjson.dumps(scopes).decode()


@lru_cache(maxsize=64)
def _utc_date(day: int) -> str:
    return from_us(day * _DAY_US).date().isoformat()


def _counters_of(group: Sequence[Op], originals: dict[str, dict[str, Any]]) -> set[Key]:
    """Every counter the group may change."""
    keys: set[Key] = set()
    seen: set[tuple[tuple[str, ...], Periods]] = set()
    for op in group:
        if isinstance(op, Reserve):
            seen.add((op.who.scopes, op.who.periods))
            if op.instead_of is not None:
                who = op.instead_of.hold.who
                seen.add((who.scopes, who.periods))
        elif isinstance(op, _RESOLVING):
            who = op.hold.who
            seen.add((who.scopes, who.periods))
        elif isinstance(op, Reverse) and op.journal_id in originals:
            seen.add((_scopes_of(originals[op.journal_id]), op.periods))
    for scopes, periods in seen:
        keys.update(_keys(scopes, periods))
    return keys


def _scopes_of(journal: dict[str, Any]) -> tuple[str, ...]:
    return tuple(orjson.loads(journal["scopes"]))


class _Page:
    """The rows of one group while it is being decided."""

    def __init__(
        self,
        tx: Tx,
        counters: dict[Key, Counted],
        quotas: dict[str, dict[str, Quota]],
        originals: dict[str, dict[str, Any]],
        ids: Callable[[], str],
    ) -> None:
        self._tx = tx
        self._before = counters
        self._counters: dict[Key, list[int]] = {}
        self._quotas = quotas
        self._originals = originals
        self._reversed: dict[str, tuple[str, int]] = {}
        self._ids = ids
        self._states: dict[str, tuple[str, int, int]] = {}
        self._sent: set[str] = set()
        self._holds: list[Row] = []
        self._checkpoints: dict[str, Row] = {}
        self._resolved: dict[str, Row] = {}
        self._events: list[Row] = []
        self._meters: list[Row] = []
        self._journals: list[tuple[Row, list[Row]]] = []
        self._cases: list[Row] = []
        self._new_quotas: list[Row] = []

    def answer(self, group: Sequence[Op]) -> list[Any]:
        tx = self._tx
        # Answered by the statement itself: only a hold that is still open may leave.
        leaving = [(op.hold_id, op.at) for op in group if isinstance(op, MarkSent)]
        if leaving:
            self._sent = tx.mark_sent(leaving)
        ids = _holds_of(group)
        if ids:
            self._states = tx.hold_states(ids)
        if self._originals:
            self._reversed = tx.reversals_of(self._originals)
        return [self._decide(op) for op in group]

    def _decide(self, op: Op) -> Any:
        if isinstance(op, Settle):
            return self._settle(op)
        if isinstance(op, Reserve):
            return self._reserve(op)
        if isinstance(op, MarkSent):
            return op.hold_id in self._sent
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
        who = op.who
        if op.instead_of is not None:
            self._decide(op.instead_of)
        answer = decide(op.ask, self._standings(who.scopes, who.periods))
        if isinstance(answer, Refused):
            return answer
        hold = Hold(
            op.request_id,
            op.attempt,
            who,
            op.where,
            answer.amount,
            answer.output_cap,
            op.input_bound,
            op.input_estimate,
            op.at,
        )
        self._add(_keys(who.scopes, who.periods), 0, answer.amount)
        self._states[hold.id] = ("open", answer.amount, op.lease_until)
        self._holds.append(_hold_row(hold, op.lease_owner, op.lease_until))
        return hold

    def _standings(self, scopes: Iterable[str], periods: Periods) -> list[Standing]:
        found: list[Standing] = []
        counters, before, quotas = self._counters, self._before, self._quotas
        for scope in scopes:
            if scope not in quotas:
                continue
            for quota in quotas[scope].values():
                label = periods.label(quota.period)
                key = (scope, label)
                counter = counters.get(key) or before[key]
                found.append(Standing(quota, label, counter[0], counter[1]))
        return found

    def _void(self, op: Void) -> bool:
        hold = op.hold
        state, amount, lease = self._states.get(hold.id, _NO_HOLD)
        if state not in _LIVE or _moved(op.seen, state, lease):
            return False
        self._resolve(hold.id, "voided", op.outcome, op.at)
        self._add(_keys(hold.who.scopes, hold.who.periods), 0, -amount)
        return True

    def _resolve(self, hold_id: str, state: str, outcome: str, at: int) -> None:
        self._resolved[hold_id] = (hold_id, state, outcome, at)
        self._states[hold_id] = (state, 0, 0)

    # -- journals ---------------------------------------------------------------------------------------------------

    def _settle(self, op: Settle) -> Booked:
        hold, outcome = op.hold, op.outcome
        id_, who = hold.id, hold.who
        state, amount, lease = self._states.get(id_, _NO_HOLD)
        if state not in _LIVE:
            return self._settled_before(op, state)
        if _moved(op.seen, state, lease):
            return Booked("alive")
        total = op.total
        breach = total > amount
        self._resolve(id_, "expired" if outcome == "expired" else "posted", outcome, op.ended_at)
        self._add(_keys(who.scopes, who.periods), total, -amount)
        self._events.append(_event_row(op, amount, breach=breach))
        for seq, line in enumerate(op.lines):
            self._meters.append((id_, seq, line.model, line.meter, line.quantity, line.price_id, line.amount_ticks))
        day, month, year = who.periods
        journal = (
            id_,
            "usage",
            id_,
            None,
            _written(who.scopes),
            day,
            month,
            year,
            who.service_date,
            total,
            "gateway",
            None,
            op.ended_at,
        )
        self._journals.append((journal, _entry_rows(op)))
        for case in op.cases:
            self._case(case, op.ended_at)
        return _BREACH if breach else _BOOKED

    def _settled_before(self, op: Settle, state: str) -> Booked:
        if not state:
            raise LookupError(f"no hold {op.hold.id}")
        if state == "posted" or op.outcome == "expired":
            return Booked("replayed")
        # It was given up while its owner was away: billed by an estimate, or given back. That row stands; the usage the owner
        # brings now is kept in a case, and a person decides about the difference.
        booked = self._tx.journals([op.hold.id]).get(op.hold.id)
        detail = {
            "outcome": op.outcome,
            "quality": op.quality,
            "currency": op.currency,
            "ticks": op.ticks,
            "tokens": op.tokens,
            "raw_usage": op.raw_usage,
        }
        late = Case(
            "late_usage",
            op.hold.id,
            orjson.dumps(detail).decode(),
            ours=booked["won"] if booked is not None else 0,
            theirs=op.total,
        )
        self._case(late, op.ended_at)
        return Booked("late")

    def _reverse(self, op: Reverse) -> bool | NotReversible:
        original = self._originals.get(op.journal_id)
        if original is None:
            return NotReversible(f"there is no journal {op.journal_id}")
        if original["kind"] == "reversal":
            return NotReversible(f"{op.journal_id} is itself a reversal: book the usage again instead")
        by = self._reversed.get(op.journal_id)
        if by is not None:
            return by == (op.actor, op.at) or NotReversible(f"{op.journal_id} was reversed before")
        self._reversed[op.journal_id] = (op.actor, op.at)
        won = original["won"]
        self._add(_keys(_scopes_of(original), op.periods), -won, 0)
        day, month, year = op.periods
        journal = (
            f"reversal:{op.journal_id}",
            "reversal",
            original["event_id"],
            op.journal_id,
            original["scopes"],
            day,
            month,
            year,
            op.service_date,
            -won,
            op.actor,
            op.reason,
            op.at,
        )
        entries = [
            (account, currency, -amount, *rest)
            for _, _, account, currency, amount, *rest in self._tx.entries(original["seq"])
        ]
        self._journals.append((journal, entries))
        return True

    def _case(self, case: Case, at: int) -> None:
        row = (self._ids(), case.kind, case.subject, case.ours, case.theirs, case.detail, "open", at, None, None)
        self._cases.append(row)

    # -- counters ---------------------------------------------------------------------------------------------------

    def _add(self, keys: Iterable[Key], posted: int, held: int) -> None:
        counters = self._counters
        for key in keys:
            counter = counters.get(key)
            if counter is None:
                counter = counters[key] = list(self._before[key])
            counter[0] += posted
            counter[1] += held

    def write(self) -> dict[Key, Counted]:
        """Write every row; returns the counters that changed, as they are now."""
        tx = self._tx
        # The one number a row needs from the database; everything after it is written without waiting for answers.
        first = tx.next_journal() if self._journals else 0
        with tx.unanswered():
            return self._write(tx, first)

    def _write(self, tx: Tx, first: int) -> dict[Key, Counted]:
        sql = tx.sql
        tx.run(sql.insert_holds, self._holds)
        tx.run(sql.checkpoint, list(self._checkpoints.values()))
        tx.run(sql.resolve_holds, list(self._resolved.values()))
        tx.run(sql.insert_events, self._events)
        tx.run(sql.insert_meters, self._meters)
        tx.run(sql.insert_cases, self._cases)
        tx.add_quotas(self._new_quotas)
        if self._journals:
            tx.run(sql.insert_journals, [(seq, *journal) for seq, (journal, _) in enumerate(self._journals, first)])
            tx.run(
                sql.insert_entries,
                [
                    (seq, n, *entry)
                    for seq, (_, entries) in enumerate(self._journals, first)
                    for n, entry in enumerate(entries)
                ],
            )
        before = self._before
        changed: dict[Key, Counted] = {}
        for key, (posted, held, version) in self._counters.items():
            was = before[key]
            if posted != was[0] or held != was[1]:
                changed[key] = (posted, held, version + 1)
        tx.run(sql.put_counters, [(*key, *counted) for key, counted in changed.items()])
        if not tx.committing:
            tx.commit()
        return changed


_NO_HOLD = ("", 0, 0)
_BOOKED = Booked("booked")
_BREACH = Booked("booked", breach=True)


def _holds_of(group: Sequence[Op]) -> list[str]:
    """The holds whose state the group asks for, each once."""
    ids: dict[str, None] = {}
    for op in group:
        if isinstance(op, _RESOLVING):
            ids[op.hold.id] = None
        elif isinstance(op, Reserve) and op.instead_of is not None:
            ids[op.instead_of.hold.id] = None
    return list(ids)


def _moved(seen: Seen | None, state: str, lease_until: int) -> bool:
    """Whether the hold is no longer as somebody who does not own it saw it: sent since, or its lease renewed."""
    return seen is not None and (state != seen.state or lease_until != seen.lease_until)


# -- rows, in the order of the columns of billing.tables ---------------------------------------------------------------


def _storable(text: str | None) -> str | None:
    """What others wrote, as both databases can keep it: no NUL, nothing that is not Unicode."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\u2400")


def _hold_row(hold: Hold, lease_owner: str, lease_until: int) -> Row:
    who, where = hold.who, hold.where
    day, month, year = who.periods
    return (
        hold.id,
        hold.request_id,
        hold.attempt,
        "open",
        None,
        hold.amount,
        "KRW",
        _written(who.scopes),
        day,
        month,
        year,
        who.principal,
        who.user_id,
        who.department_id,
        who.key_id,
        who.surface,
        int(who.stream),
        _storable(who.purpose),
        _storable(who.project),
        who.grade,
        where.destination,
        _storable(who.model_requested),
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
    hold = op.hold
    who, where = hold.who, hold.where
    return (
        hold.id,
        hold.request_id,
        hold.attempt,
        who.user_id,
        who.department_id,
        who.key_id,
        who.surface,
        int(who.stream),
        _storable(who.purpose),
        _storable(who.project),
        who.grade,
        where.destination,
        _storable(who.model_requested),
        where.model,
        where.deployment,
        where.provider,
        _storable(op.upstream_model),
        _storable(op.provider_request_id),
        op.started_at,
        op.ended_at,
        who.service_date,
        who.service_date[:7],
        _utc_date(op.started_at // _DAY_US),
        op.outcome,
        op.http_status,
        op.quality,
        int(op.provisional),
        _storable(op.reason),
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
        op.usage_context,
    )


def _entry_rows(op: Settle) -> list[Row]:
    """Each leg with its dimensions, but for the journal's number and the leg's own."""
    who, where = op.hold.who, op.hold.where
    dimensions = (
        who.department_id,
        who.user_id,
        where.model,
        where.deployment,
        where.provider,
        _storable(who.purpose),
        _storable(who.project),
        who.grade,
        where.destination,
        None,
    )
    return [leg + dimensions for leg in op.legs()]
