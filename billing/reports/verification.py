"""Is the ledger whole? Every invariant it must keep, and the first row that breaks one.

columns: name, ok, first bad row (table, id, why)

  journals_numbered     journals are numbered from 1 without a gap
  journals_balance      each journal sums to zero in each currency
  accounts_one_currency no account has entries in two currencies
  journals_match        what the budgets carried is what the expense entries and the event of the journal say, in won
  rows_belong           every entry has its journal, every line of a usage its event
  events_booked         every usage event has its hold, resolved, and its journal; every booked hold its one event
  meters_add_up         the lines of an event add up to its amount, in its currency
  tokens_add_up         the token meters of an exact event add up to its tokens
  prices_known          every priced line names a price of the book, and is that price times the quantity to one tick
  conversion            won is the amount times the pinned rate, tax is won times the pinned share, each rounded half to even
  reversals             a reversal exactly negates its journal
  periods               the labels of a journal, of its hold and of its event belong together
  counters_spent        each counter's spent is the sum of its journals
  counters_held         each counter's held is the sum of its unresolved holds
  holds_resolved        nothing sent is unresolved a quarter of an hour after its lease ran out
  seals_whole           the chain has no gap, each link is the hash of its row and of the link before
  sealed_soon           no journal was passed by: none is unsealed while a later one is sealed

With a period (`2026-11`) the checks on rows look at that month; counters and the chain are always whole.

    journals in the order of their numbers, some hundreds at a time, each with all that belongs to it
      ─▶ checked one by one, with the arithmetic that booked them ─▶ what they add up to ─▶ compared with the counters

The sums are made here and not by the database: Python's whole numbers have no end, and both databases then agree by construction.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from billing import tables
from billing.money import PICO_PER_TICK, to_krw_micro, vat_of
from billing.sealing import GENESIS, canonical, link
from billing.store import Row, Statements, Tx, sealed_event
from billing.usage import TOKEN_METERS

CHECKS = (
    "journals_numbered",
    "journals_balance",
    "accounts_one_currency",
    "journals_match",
    "rows_belong",
    "events_booked",
    "meters_add_up",
    "tokens_add_up",
    "prices_known",
    "conversion",
    "reversals",
    "periods",
    "counters_spent",
    "counters_held",
    "holds_resolved",
    "seals_whole",
    "sealed_soon",
)

_BATCH = 500
_LONG_AFTER_US = 900_000_000


@dataclass(frozen=True, slots=True)
class Bad:
    """The first row that breaks a rule."""

    table: str
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    first_bad: Bad | None

    @property
    def ok(self) -> bool:
        return self.first_bad is None


def verify(connection: Connection, now: int, period: str | None = None) -> list[Check]:
    """Run every check on one snapshot. `now` is UTC microseconds; `period` a month or None for everything."""
    with snapshot(connection) as cursor:
        audit = _Audit(Tx(cursor, Statements(postgresql=connection.dialect.name == "postgresql")), period)
        audit.journals()
        audit.loose_rows()
        audit.counters()
        audit.holds(now)
    return [Check(name, audit.found.get(name)) for name in CHECKS]


@contextmanager
def snapshot(connection: Connection) -> Iterator[Any]:
    """A cursor to which the ledger stands still while others go on writing."""
    if not connection.in_transaction():
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        connection.begin()
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor()
    text = getattr(driver, "text_factory", None)
    if text is not None:
        # A text that is no longer UTF-8 is a bad row, to be named; not the end of the inspection.
        driver.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
    try:
        yield cursor
    finally:
        cursor.close()
        if text is not None:
            driver.text_factory = text


def _reader(model: Any) -> Callable[[Sequence[Any]], dict[str, Any]]:
    names = [column.name for column in model.__table__.columns]
    return lambda row: dict(zip(names, row, strict=True))


_journal = _reader(tables.JournalRow)
_entry = _reader(tables.EntryRow)
_event = _reader(tables.UsageEventRow)
_meter = _reader(tables.UsageMeterRow)
_hold = _reader(tables.HoldRow)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A journal and all that belongs to it. `stored` is the same as its seal was computed over."""

    journal: dict[str, Any]
    entries: list[dict[str, Any]]
    event: dict[str, Any] | None
    meters: list[dict[str, Any]]
    hold: dict[str, Any] | None
    stored: list[Any]


def _sums() -> defaultdict[str, defaultdict[str, int]]:
    """Period label → scope → micro-won."""
    return defaultdict(lambda: defaultdict(int))


class _Audit:
    """One inspection: what was found, and the sums made on the way."""

    def __init__(self, tx: Tx, period: str | None) -> None:
        self.found: dict[str, Bad] = {}
        self._tx = tx
        self._period = period
        self._prices = {id_: (pico, currency) for id_, pico, currency in tx.query(_PRICES)}
        self._currencies: dict[str, str] = {}
        self._spent = _sums()
        self._link = (0, GENESIS)
        self._unsealed: str | None = None

    def bad(self, check: str, table: str, id_: object, why: str) -> None:
        self.found.setdefault(check, Bad(table, str(id_), why))

    # -- one journal after the other --------------------------------------------------------------------------------

    def journals(self) -> None:
        number, after = 0, -(2**63)
        while rows := self._tx.journals_after(after, _BATCH):
            after = rows[-1][0]
            seals = {row[0]: row for row in self._tx.run(self._tx.sql.seals, [(row[1],) for row in rows])}
            for whole in self._whole(rows):
                journal = whole.journal
                id_ = journal["id"]
                if journal["seq"] != number + 1:
                    self.bad("journals_numbered", "journal", id_, f"is number {journal['seq']} and follows {number}")
                number = journal["seq"]
                self._count(journal)
                self._sealed(whole, seals.get(id_))
                if self._period is None or journal["month"] == self._period:
                    self._inspect(whole)

    def _whole(self, rows: Sequence[Row]) -> Iterator[_Whole]:
        tx, sql = self._tx, self._tx.sql
        ids = [(row[1],) for row in rows]
        entries: defaultdict[int, list[Row]] = defaultdict(list)
        for row in tx.run(sql.entries, [(row[0],) for row in rows]):
            entries[row[0]].append(row)
        events = {row[0]: row for row in tx.run(sql.events, ids)}
        meters: defaultdict[str, list[Row]] = defaultdict(list)
        for row in tx.run(sql.meters, ids):
            meters[row[0]].append(row)
        holds = {row[0]: row for row in tx.run(sql.holds, ids)}
        for row in rows:
            seq, id_ = row[:2]
            event, hold = events.get(id_), holds.get(id_)
            yield _Whole(
                _journal(row),
                [_entry(entry) for entry in entries[seq]],
                None if event is None else _event(event),
                [_meter(meter) for meter in meters[id_]],
                None if hold is None else _hold(hold),
                [row, entries[seq], None if event is None else sealed_event(event), meters[id_]],
            )

    def _inspect(self, whole: _Whole) -> None:
        for name, check in _ROW_CHECKS.items():
            try:
                check(self, whole)
            except (TypeError, ValueError, KeyError, ArithmeticError) as error:
                self.bad(name, "journal", whole.journal["id"], f"cannot be computed: {error}")

    def _balances(self, whole: _Whole) -> None:
        sums: defaultdict[str, int] = defaultdict(int)
        for entry in whole.entries:
            sums[entry["currency"]] += entry["amount"]
        for currency, total in sums.items():
            if total:
                self.bad("journals_balance", "journal", whole.journal["id"], f"sums to {total} in {currency}")

    def _one_currency(self, whole: _Whole) -> None:
        for entry in whole.entries:
            account, currency = entry["account"], entry["currency"]
            known = self._currencies.setdefault(account, currency)
            if known != currency:
                place = f"{whole.journal['id']}#{entry['n']}"
                self.bad(
                    "accounts_one_currency", "entry", place, f"{account} is in {currency} here, in {known} elsewhere"
                )

    def _matches(self, whole: _Whole) -> None:
        journal, event = whole.journal, whole.event
        expense = sum(
            entry["amount"]
            for entry in whole.entries
            if entry["currency"] == "KRW" and entry["account"].startswith("expense:")
        )
        if journal["won"] != expense:
            why = f"the budgets carried {journal['won']} but the expense entries say {expense}"
            self.bad("journals_match", "journal", journal["id"], why)
        if event is not None and journal["won"] != (event["won"] or 0) + (event["vat"] or 0):
            why = f"the budgets carried {journal['won']} but the event says {event['won']} and {event['vat']} tax"
            self.bad("journals_match", "journal", journal["id"], why)

    def _booked(self, whole: _Whole) -> None:
        journal, event, hold = whole.journal, whole.event, whole.hold
        if journal["kind"] != "usage":
            return
        if event is None or journal["event_id"] != journal["id"]:
            self.bad("events_booked", "journal", journal["id"], "has no usage event of its own")
        elif hold is None or hold["state"] not in ("posted", "expired") or hold["outcome"] != event["outcome"]:
            self.bad("events_booked", "usage_event", event["id"], "has no hold that was resolved as it was booked")
        elif hold["amount"] != event["hold_amount"]:
            why = f"says {event['hold_amount']} was held, its hold {hold['amount']}"
            self.bad("events_booked", "usage_event", event["id"], why)
        elif bool(event["hold_breach"]) != (journal["won"] > hold["amount"]):
            self.bad("events_booked", "usage_event", event["id"], "is wrong about whether its hold covered it")

    def _meters(self, whole: _Whole) -> None:
        event = whole.event
        if event is None:
            return
        lines = [meter["amount_ticks"] for meter in whole.meters]
        if event["amount_ticks"] is None:
            if lines:
                self.bad("meters_add_up", "usage_event", event["id"], "has no amount but priced lines")
        elif sum(lines) != event["amount_ticks"]:
            why = f"amounts to {event['amount_ticks']} but its lines to {sum(lines)}"
            self.bad("meters_add_up", "usage_event", event["id"], why)

    def _tokens(self, whole: _Whole) -> None:
        event = whole.event
        if event is None or event["quality"] != "exact" or event["reported_ticks"] is not None:
            return  # a charge the provider reported may stand alone, without quantities
        tokens = sum(meter["quantity"] for meter in whole.meters if meter["meter"] in TOKEN_METERS)
        if tokens != event["tokens"]:
            why = f"states {event['tokens']} tokens but its lines have {tokens}"
            self.bad("tokens_add_up", "usage_event", event["id"], why)

    def _priced(self, whole: _Whole) -> None:
        event = whole.event
        for meter in whole.meters if event is not None else ():
            ticks = meter["amount_ticks"]
            if ticks is None or meter["meter"] == "reported":
                continue
            place = f"{meter['event_id']}#{meter['seq']}"
            pico, currency = self._prices.get(meter["price_id"], (None, None))
            if pico is None or currency != event["currency"]:  # type: ignore[index]  # no meters without an event
                self.bad("prices_known", "usage_meter", place, f"names no price of the book: {meter['price_id']}")
                continue
            tick = PICO_PER_TICK[currency]
            if abs(meter["quantity"] * pico - ticks * tick) >= tick:
                why = f"{meter['quantity']} at {pico} pico is not {ticks}"
                self.bad("prices_known", "usage_meter", place, why)

    def _converted(self, whole: _Whole) -> None:
        event, hold = whole.event, whole.hold
        if event is None:
            return
        ticks, won, vat = event["amount_ticks"], event["won"], event["vat"]
        if ticks is None or won is None or vat is None:
            if (ticks, won, vat) != (None, None, None):
                self.bad("conversion", "usage_event", event["id"], "has an amount in one currency only")
            return
        due = ticks if event["currency"] == "KRW" else to_krw_micro(ticks, event["fx_rate_e6"])
        if won != due:
            self.bad("conversion", "usage_event", event["id"], f"{ticks} at {event['fx_rate_e6']} is {due}, not {won}")
        elif hold is not None and vat != vat_of(won, hold["vat_bp"]):
            self.bad("conversion", "usage_event", event["id"], f"{vat} is not the tax on {won}")

    def _reversed(self, whole: _Whole) -> None:
        journal = whole.journal
        if journal["kind"] != "reversal":
            return
        rows = self._tx.run(self._tx.sql.journals, [(journal["reverses"],)])
        original = next(self._whole(rows)) if rows else None
        if original is None:
            self.bad("reversals", "journal", journal["id"], f"reverses {journal['reverses']}, which is not there")
        elif (
            journal["won"] != -original.journal["won"]
            or journal["scopes"] != original.journal["scopes"]
            or journal["event_id"] != original.journal["event_id"]
            or [_negated(entry) for entry in whole.entries] != [_plain(entry) for entry in original.entries]
        ):
            self.bad("reversals", "journal", journal["id"], f"does not negate {journal['reverses']}")

    def _labelled(self, whole: _Whole) -> None:
        journal, event, hold = whole.journal, whole.event, whole.hold
        day, month, year = journal["day"], journal["month"], journal["year"]
        if day[:7] != month or int(month[:4]) - int(year) not in (0, 1):
            self.bad("periods", "journal", journal["id"], f"{day}, {month} and {year} do not belong together")
        if event is not None and journal["service_date"] != event["service_date"]:
            why = f"was used on {event['service_date']} and booked as of {journal['service_date']}"
            self.bad("periods", "usage_event", event["id"], why)
        if event is not None and event["service_date"][:7] != event["service_month"]:
            why = f"{event['service_date']} is not in {event['service_month']}"
            self.bad("periods", "usage_event", event["id"], why)
        if hold is not None and any(hold[name] != journal[name] for name in ("scopes", "day", "month", "year")):
            self.bad("periods", "journal", journal["id"], "counts in other budgets or periods than its hold did")

    # -- the chain --------------------------------------------------------------------------------------------------

    def _sealed(self, whole: _Whole, seal: Row | None) -> None:
        id_ = whole.journal["id"]
        if seal is None:
            self._unsealed = self._unsealed or id_
            return
        _, number, prev_hash, hash_ = seal
        last, last_hash = self._link
        if number != last + 1:
            self.bad("seals_whole", "seal", f"books {number}", f"follows {last}: a link is missing")
        elif prev_hash != last_hash:
            self.bad("seals_whole", "seal", f"books {number}", "does not continue the link before it")
        elif not _is_link(number, prev_hash, whole.stored, hash_):
            self.bad("seals_whole", "journal", id_, "is not what was sealed")
        elif self._unsealed is not None:
            self.bad("sealed_soon", "journal", self._unsealed, f"is not sealed, but {id_} after it is")
        self._link = (number, hash_)
        self._unsealed = None

    # -- what the journals add up to --------------------------------------------------------------------------------

    def _count(self, journal: dict[str, Any]) -> None:
        try:
            for scope in orjson.loads(journal["scopes"]):
                for label in (journal["day"], journal["month"], journal["year"]):
                    self._spent[label][sys.intern(scope)] += journal["won"]
        except (TypeError, ValueError) as error:
            self.bad("counters_spent", "journal", journal["id"], f"cannot be counted: {error}")

    def counters(self) -> None:
        spent, reserved = self._spent, _sums()
        for scopes, *labels, amount in self._tx.query(_RESERVED):
            for scope in orjson.loads(scopes):
                for label in labels:
                    reserved[label][scope] += amount
        place = ("", "")
        while rows := self._tx.query(_COUNTERS, (*place, _BATCH)):
            for scope, label, posted, held in rows:
                place = (scope, label)
                self._agree("counters_spent", place, posted, spent[label].pop(scope, 0), "its journals")
                self._agree("counters_held", place, held, reserved[label].pop(scope, 0), "its unresolved holds")
        for check, sums, what in (
            ("counters_spent", spent, "its journals"),
            ("counters_held", reserved, "its unresolved holds"),
        ):
            for label, of_label in sums.items():
                for scope, true in of_label.items():
                    self._agree(check, (scope, label), 0, true, what)

    def _agree(self, check: str, place: tuple[str, str], said: int, true: int, what: str) -> None:
        if said != true:
            self.bad(check, "counter", " ".join(place), f"says {said}, {what} {true}")

    # -- what no journal leads to -----------------------------------------------------------------------------------

    def loose_rows(self) -> None:
        for check, query in _LOOSE:
            for table, id_, why in self._tx.query(query):
                self.bad(check, table, id_, why)

    def holds(self, now: int) -> None:
        for id_, state in self._tx.query(_FORGOTTEN, (now - _LONG_AFTER_US,)):
            self.bad("holds_resolved", "hold", id_, f"is still {state} long after its lease")


_ROW_CHECKS: dict[str, Callable[[_Audit, _Whole], None]] = {
    "journals_balance": _Audit._balances,
    "accounts_one_currency": _Audit._one_currency,
    "journals_match": _Audit._matches,
    "events_booked": _Audit._booked,
    "meters_add_up": _Audit._meters,
    "tokens_add_up": _Audit._tokens,
    "prices_known": _Audit._priced,
    "conversion": _Audit._converted,
    "reversals": _Audit._reversed,
    "periods": _Audit._labelled,
}


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "journal_seq"}


def _negated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**_plain(entry), "amount": -entry["amount"]}


def _is_link(number: int, prev_hash: str, stored: list[Any], hash_: str) -> bool:
    try:
        return link("books", number, prev_hash, canonical(stored)) == hash_
    except TypeError:
        return False  # something that cannot be written as JSON was never sealed


_PRICES = "SELECT id, unit_price_pico, currency FROM price"

_COUNTERS = """
    SELECT scope, period, posted, held FROM counter WHERE (scope, period) > (?, ?) ORDER BY scope, period LIMIT ?"""

_RESERVED = "SELECT scopes, day, month, year, amount FROM hold WHERE state IN ('open', 'sent')"

_FORGOTTEN = """
    SELECT id, state FROM hold WHERE state IN ('open', 'sent') AND lease_until < ? ORDER BY id LIMIT 1"""

_LOOSE_ENTRY = """
    SELECT 'entry', e.journal_seq, 'belongs to no journal'
    FROM entry e LEFT JOIN journal j ON j.seq = e.journal_seq WHERE j.seq IS NULL ORDER BY e.journal_seq LIMIT 1"""

_LOOSE_METER = """
    SELECT 'usage_meter', m.event_id, 'belongs to no usage event'
    FROM usage_meter m LEFT JOIN usage_event u ON u.id = m.event_id WHERE u.id IS NULL ORDER BY m.event_id LIMIT 1"""

_LOOSE_EVENT = """
    SELECT 'usage_event', u.id, 'has no journal'
    FROM usage_event u LEFT JOIN journal j ON j.id = u.id WHERE j.id IS NULL ORDER BY u.id LIMIT 1"""

_LOOSE_HOLD = """
    SELECT 'hold', h.id, 'is resolved as booked but has no usage event'
    FROM hold h LEFT JOIN usage_event u ON u.id = h.id
    WHERE h.state IN ('posted', 'expired') AND u.id IS NULL ORDER BY h.id LIMIT 1"""

_LOOSE_SEAL = """
    SELECT 'journal', s.row_id, 'was sealed and is gone'
    FROM seal s LEFT JOIN journal j ON j.id = s.row_id
    WHERE s.chain = 'books' AND j.id IS NULL ORDER BY s.seq LIMIT 1"""

_LOOSE = (
    ("rows_belong", _LOOSE_ENTRY),
    ("rows_belong", _LOOSE_METER),
    ("events_booked", _LOOSE_EVENT),
    ("events_booked", _LOOSE_HOLD),
    ("seals_whole", _LOOSE_SEAL),
)
