"""Is the ledger whole? Every invariant it must keep, and the first row that breaks one.

columns: name, ok, first bad row (table, id, why)

  journals_balance      each journal sums to zero in each currency
  accounts_one_currency no account has entries in two currencies
  journals_match        what the budgets carried is what the entries of the journal say, in won
  events_booked         every usage event has its hold, resolved, and its journal; every booked hold its one event
  meters_add_up         the lines of an event add up to its amount, in its currency
  tokens_add_up         the token meters of an exact event add up to its tokens
  prices_known          every priced line names a price of the book, and is that price times the quantity to one tick
  conversion            won is the amount times the pinned rate, rounded half to even
  reversals             a reversal exactly negates its journal
  counters_spent        each counter's spent is the sum of its journals
  counters_held         each counter's held is the sum of its unresolved holds
  holds_resolved        nothing sent is unresolved a quarter of an hour after its lease ran out
  periods               the labels of a journal and of its event belong together
  seals_whole           the chain has no gap, each link is the hash of its row and of the link before
  sealed_soon           nothing is older than a minute and unsealed while the newest seal is younger

With a period (`2026-11`) the checks on rows look at that month; counters and the chain are always whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from billing.sealing import GENESIS, canonical, link
from billing.store import Statements, Tx
from billing.usage import TOKEN_METERS

_BATCH = 500
_MINUTE_US = 60_000_000


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
    """Run every check. `now` is UTC microseconds; `period` a month or None for everything."""
    month = "%" if period is None else f"{period}%"
    return [
        *(Check(name, _first(connection, query, month, now)) for name, query in _QUERIES.items()),
        *(Check(name, check(connection, now)) for name, check in _WALKS.items()),
    ]


def _first(connection: Connection, query: str, month: str, now: int) -> Bad | None:
    if connection.dialect.name == "postgresql":
        query = query.replace("json_each(j.scopes)", "json_array_elements_text(j.scopes::json)")
        query = query.replace("json_each(h.scopes)", "json_array_elements_text(h.scopes::json)")
    row = connection.execute(text(query + " LIMIT 1"), {"month": month, "now": now}).first()
    return None if row is None else Bad(str(row[0]), str(row[1]), str(row[2]))


_TOKENS = ", ".join(f"'{meter}'" for meter in TOKEN_METERS)

_IN_MONTH = "IN (SELECT id FROM journal WHERE month LIKE :month)"

_QUERIES: dict[str, str] = {
    "journals_balance": f"""
        SELECT 'journal', journal_id, 'sums to ' || sum(amount) || ' in ' || currency FROM entry
        WHERE journal_id {_IN_MONTH} GROUP BY journal_id, currency HAVING sum(amount) <> 0""",
    "accounts_one_currency": """
        SELECT 'entry', account, 'has entries in ' || count(DISTINCT currency) || ' currencies' FROM entry
        GROUP BY account HAVING count(DISTINCT currency) > 1""",
    "journals_match": """
        SELECT 'journal', j.id,
               'the budgets carried ' || j.won || ' but the expense entries say ' || coalesce(sum(e.amount), 0)
        FROM journal j LEFT JOIN entry e
        ON e.journal_id = j.id AND e.currency = 'KRW' AND e.account LIKE 'expense:%'
        WHERE j.month LIKE :month AND j.kind IN ('usage', 'reversal')
        GROUP BY j.id, j.won HAVING j.won <> coalesce(sum(e.amount), 0)""",
    "events_booked": """
        SELECT t, id, why FROM (
          SELECT 'usage_event' AS t, u.id AS id, 'has no resolved hold' AS why FROM usage_event u
          LEFT JOIN hold h ON h.id = u.id AND h.state IN ('posted', 'expired')
          WHERE u.service_month LIKE :month AND h.id IS NULL
          UNION ALL
          SELECT 'usage_event', u.id, 'has no journal' FROM usage_event u LEFT JOIN journal j ON j.id = u.id
          WHERE u.service_month LIKE :month AND j.id IS NULL
          UNION ALL
          SELECT 'hold', h.id, 'is resolved as booked but has no usage event' FROM hold h
          LEFT JOIN usage_event u ON u.id = h.id
          WHERE h.month LIKE :month AND h.state IN ('posted', 'expired') AND u.id IS NULL
          UNION ALL
          SELECT 'journal', j.id, 'has no usage event' FROM journal j LEFT JOIN usage_event u ON u.id = j.event_id
          WHERE j.month LIKE :month AND j.kind = 'usage' AND (u.id IS NULL OR j.event_id <> j.id)
        ) AS broken""",
    "meters_add_up": """
        SELECT 'usage_event', u.id, 'amounts to ' || u.amount_ticks || ' but its lines to ' || coalesce(sum(m.amount_ticks), 0)
        FROM usage_event u LEFT JOIN usage_meter m ON m.event_id = u.id
        WHERE u.service_month LIKE :month AND u.amount_ticks IS NOT NULL
        GROUP BY u.id, u.amount_ticks HAVING u.amount_ticks <> coalesce(sum(m.amount_ticks), 0)""",
    "tokens_add_up": f"""
        SELECT 'usage_event', u.id, 'states ' || u.tokens || ' tokens but its lines have ' || coalesce(sum(m.quantity), 0)
        FROM usage_event u LEFT JOIN usage_meter m ON m.event_id = u.id AND m.meter IN ({_TOKENS})
        WHERE u.service_month LIKE :month AND u.quality = 'exact' AND u.reported_ticks IS NULL
        GROUP BY u.id, u.tokens HAVING u.tokens <> coalesce(sum(m.quantity), 0)""",
    "prices_known": """
        SELECT 'usage_meter', m.event_id || '#' || m.seq,
               CASE WHEN p.id IS NULL THEN 'names no price of the book'
               ELSE m.quantity || ' at ' || p.unit_price_pico || ' pico is not ' || m.amount_ticks END
        FROM usage_meter m JOIN usage_event u ON u.id = m.event_id LEFT JOIN price p ON p.id = m.price_id
        WHERE u.service_month LIKE :month AND m.amount_ticks IS NOT NULL AND m.meter <> 'reported'
        AND (p.id IS NULL OR abs(m.quantity * p.unit_price_pico
             - m.amount_ticks * CASE WHEN u.currency = 'USD' THEN 100 ELSE 1000000 END)
             > CASE WHEN u.currency = 'USD' THEN 100 ELSE 1000000 END)""",
    "conversion": """
        SELECT 'usage_event', u.id, u.amount_ticks || ' at ' || u.fx_rate_e6 || ' is not ' || u.won
        FROM usage_event u WHERE u.service_month LIKE :month AND u.amount_ticks IS NOT NULL AND
        CASE WHEN u.currency = 'KRW' THEN u.won <> u.amount_ticks
        ELSE abs(u.won - CAST(u.amount_ticks AS numeric) * u.fx_rate_e6 / 10000000000) > 0.5000001 END""",
    "reversals": """
        SELECT 'journal', r.id, 'does not negate ' || r.reverses FROM journal r LEFT JOIN journal j ON j.id = r.reverses
        WHERE r.kind = 'reversal' AND r.month LIKE :month AND (j.id IS NULL OR r.won <> -j.won OR EXISTS (
          SELECT 1 FROM entry a LEFT JOIN entry b ON b.journal_id = j.id AND b.n = a.n
          WHERE a.journal_id = r.id AND (b.n IS NULL OR b.account <> a.account OR b.amount <> -a.amount)))""",
    "counters_spent": """
        SELECT 'counter', scope || ' ' || period, 'says ' || said || ' spent, its journals ' || booked FROM (
          SELECT scope, period, sum(said) AS said, sum(booked) AS booked FROM (
            SELECT scope, period, posted AS said, 0 AS booked FROM counter
            UNION ALL SELECT value, j.day, 0, j.won FROM journal j, json_each(j.scopes) AS value
            UNION ALL SELECT value, j.month, 0, j.won FROM journal j, json_each(j.scopes) AS value
            UNION ALL SELECT value, j.year, 0, j.won FROM journal j, json_each(j.scopes) AS value
          ) AS parts GROUP BY scope, period
        ) AS sums WHERE said <> booked""",
    "counters_held": """
        SELECT 'counter', scope || ' ' || period, 'says ' || said || ' reserved, its open holds ' || open FROM (
          SELECT scope, period, sum(said) AS said, sum(open) AS open FROM (
            SELECT scope, period, held AS said, 0 AS open FROM counter
            UNION ALL SELECT value, h.day, 0, h.amount FROM hold h, json_each(h.scopes) AS value
            WHERE h.state IN ('open', 'sent')
            UNION ALL SELECT value, h.month, 0, h.amount FROM hold h, json_each(h.scopes) AS value
            WHERE h.state IN ('open', 'sent')
            UNION ALL SELECT value, h.year, 0, h.amount FROM hold h, json_each(h.scopes) AS value
            WHERE h.state IN ('open', 'sent')
          ) AS parts GROUP BY scope, period
        ) AS sums WHERE said <> open""",
    "holds_resolved": """
        SELECT 'hold', id, 'is still ' || state || ' long after its lease' FROM hold
        WHERE state IN ('open', 'sent') AND lease_until < :now - 900000000""",
    "periods": """
        SELECT 'journal', j.id, j.day || ', ' || j.month || ' and ' || j.service_date || ' do not belong together'
        FROM journal j LEFT JOIN usage_event u ON u.id = j.event_id WHERE j.month LIKE :month AND
        (substr(j.day, 1, 7) <> j.month OR (j.kind = 'usage' AND (u.service_date <> j.service_date OR
         u.service_month <> substr(u.service_date, 1, 7))))""",
}


def _chain_whole(connection: Connection, _now: int) -> Bad | None:
    tx = Tx(connection.connection.cursor(), Statements(postgresql=connection.dialect.name == "postgresql"))
    seq, prev = 0, GENESIS
    for batch in _seals(tx):
        whole = tx.whole_journals([row_id for _, row_id, _, _ in batch])
        for number, row_id, prev_hash, hash_ in batch:
            if number != seq + 1:
                return Bad("seal", f"books {number}", f"follows {seq}: a link is missing")
            if prev_hash != prev:
                return Bad("seal", f"books {number}", "does not continue the link before it")
            if row_id not in whole:
                return Bad("journal", row_id, "was sealed and is gone")
            if link("books", number, prev, canonical(whole[row_id])) != hash_:
                return Bad("journal", row_id, "is not what was sealed")
            seq, prev = number, hash_
    return None


def _seals(tx: Tx) -> Iterator[list[tuple[int, str, str, str]]]:
    after = 0
    while True:
        rows = tx.query(
            "SELECT seq, row_id, prev_hash, hash FROM seal WHERE chain = 'books' AND seq > ? ORDER BY seq LIMIT ?",
            (after, _BATCH),
        )
        if not rows:
            return
        yield [(seq, row_id, prev, hash_) for seq, row_id, prev, hash_ in rows]
        after = rows[-1][0]


def _sealed_soon(connection: Connection, now: int) -> Bad | None:
    row = connection.execute(
        text(
            "SELECT j.id FROM journal j LEFT JOIN seal s ON s.chain = 'books' AND s.row_id = j.id "
            "WHERE s.row_id IS NULL AND j.created_at < :old AND j.created_at < "
            "(SELECT coalesce(max(sealed_at), 0) - 60000000 FROM seal WHERE chain = 'books') ORDER BY j.seq LIMIT 1"
        ),
        {"old": now - _MINUTE_US},
    ).first()
    return None if row is None else Bad("journal", row[0], "was never sealed")


_WALKS: dict[str, Callable[[Connection, int], Bad | None]] = {
    "seals_whole": _chain_whole,
    "sealed_soon": _sealed_soon,
}
