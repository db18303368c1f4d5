"""A ledger on a real database, and the operations of ordinary requests written short.

The people, prices and amounts are made up; the book, the prices' arithmetic and the databases are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from clock import MINUTE, SECOND, Clock
from msgspec.structs import replace

from billing.book import Book
from billing.card import Price
from billing.holds import Dimensions, Hold, MarkSent, Op, Outcome, Place, Reserve, Reverse, SetQuota, Settle, Void
from billing.imports import import_book
from billing.periods import Calendar, PeriodKind
from billing.pricing import PriceBook
from billing.quota import Ask
from billing.recovery import resolve
from billing.reports.verification import Bad, verify
from billing.sealing import GENESIS, canonical, seal
from billing.settlement import ask, estimate, settle
from billing.store import Tx
from billing.usage import Usage
from gateway.database import open_engine, reading

#: One won in the ledger's unit.
WON = 1_000_000

SEOUL = Calendar(ZoneInfo("Asia/Seoul"))

LEASE = 30 * SECOND

_SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def _price(key: str, meter: str, pico: int, currency: str = "USD", tier_gt: int | None = None) -> Price:
    provider = key.partition("/")[0]
    id_ = f"{key}#{meter}" + (f">{tier_gt}" if tier_gt else "")
    return Price(id_, provider, key, meter, currency, pico, _SINCE, tier_gt=tier_gt, source="made up", confirmed=True)


#: What the models of these tests cost. Dollar prices in 1e-12 USD a token: 1_000_000 is one dollar a million.
PRICES = PriceBook(
    [
        _price("acme/plain", "input", 1_000_000),
        _price("acme/plain", "output", 4_000_000),
        _price("acme/tiered", "input", 1_250_000),
        _price("acme/tiered", "input", 2_500_000, tier_gt=1000),
        _price("acme/tiered", "output", 10_000_000),
        _price("acme/tiered", "output", 15_000_000, tier_gt=1000),
        # ₩0.0015 and ₩0.006 a token: 1,500 and 6,000 micro-won
        _price("hangang/won", "input", 1_500_000_000, "KRW"),
        _price("hangang/won", "output", 6_000_000_000, "KRW"),
        _price("inside/free", "input", 0, "KRW"),
        _price("inside/free", "output", 0, "KRW"),
    ],
    version="test-1",
)


def card(key: str) -> Any:
    return PRICES.card(key, datetime(2026, 11, 23, tzinfo=UTC))


def who(at: int, *, user: str = "kim", department: str = "water", organisation: str = "organisation") -> Dimensions:
    """A person of a department of a bureau; budgets hang on all of them and on the whole city."""
    return Dimensions(
        principal="key",
        user_id=user,
        department_id=department,
        key_id="k1",
        scopes=tuple(sorted((organisation, f"department:{department}", f"user:{user}"))),
        periods=SEOUL.periods(at),
        service_date=SEOUL.local_date(at).isoformat(),
        surface="chat",
        stream=True,
        purpose="draft",
        project=None,
        grade="O",
        model_requested="plain",
    )


def place(key: str = "acme/plain", *, won_per_dollar: int = 1400, vat_bp: int = 0, model: str | None = None) -> Place:
    provider, _, name = key.partition("/")
    kind = "internal" if provider == "inside" else "payable"
    return Place(
        model=model or name,
        deployment=key,
        provider=provider,
        family=f"{provider}/chat",
        destination="inside" if provider == "inside" else "foreign",
        creditor=f"{kind}:{provider}",
        price_key=key,
        price_version=PRICES.version,
        fx_rate_e6=1_000_000 if card(key).currency == "KRW" else won_per_dollar * 1_000_000,
        fx_provisional=False,
        vat_bp=vat_bp,
        vat_treatment="reverse_charge" if vat_bp else "none",
    )


def ask_for(where: Place, *, input_bound: int = 1000, wanted: int = 1000, choices: int = 1) -> Ask:
    """The proven ceiling of a request, as the gateway asks for it."""
    prices = [(card(where.price_key), where.fx_rate_e6, where.vat_bp)]
    return ask(prices, input_bound=input_bound, wanted=wanted, choices=choices)


def used(input_tokens: int = 800, output_tokens: int = 300) -> Usage:
    """A usage the provider stated."""
    return replace(estimate(input_tokens, output_tokens, ""), extractor="openai_chat/1", quality="exact", reason=None)


def booking(hold: Hold, usage: Usage | None = None, *, at: int | None = None, outcome: Outcome = "completed") -> Settle:
    """What the gateway books for an answer."""
    at = at if at is not None else hold.created_at + SECOND
    counted = estimate(hold.input_estimate, 1, "")
    raw = '{"prompt_tokens":800,"completion_tokens":300}'
    return settle(
        hold,
        usage or used(),
        counted,
        card(hold.where.price_key),
        outcome=outcome,
        started_at=hold.created_at,
        ended_at=at,
        raw_usage=raw,
        http_status=200,
        provider_request_id=f"chatcmpl-{hold.id}",
        upstream_model=hold.where.model,
    )


@dataclass
class Ledger:
    """A book on a database, its clock, and readers of what is in it."""

    engine: sa.Engine
    book: Book
    clock: Clock = field(default_factory=Clock)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def request(
        self,
        *,
        user: str = "kim",
        department: str = "water",
        where: Place | None = None,
        ask: Ask | None = None,
        owner: str = "server-1",
        at: int | None = None,
        instead_of: Void | Settle | None = None,
        request_id: str | None = None,
        attempt: int = 1,
    ) -> Reserve:
        """Somebody asks for a hold."""
        at = self.clock() if at is None else at
        where = where or place()
        return Reserve(
            request_id=request_id or f"request-{next(self.numbers):06d}",
            attempt=attempt,
            who=who(at, user=user, department=department),
            where=where,
            ask=ask or ask_for(where),
            input_bound=1000,
            input_estimate=250,
            at=at,
            lease_owner=owner,
            lease_until=at + LEASE,
            instead_of=instead_of,
        )

    def do(self, *group: Op) -> Any:
        """Apply a group; the answer of a lone operation, or all of them. What the book refused is raised."""
        answers = self.book.apply(group)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers[0] if len(group) == 1 else answers

    def quota(self, scope: str, period: PeriodKind, won: int | None, *, hard: bool = True) -> None:
        self.do(SetQuota(scope, period, None if won is None else won * WON, hard, "finance", self.clock()))

    def held(self, **request: Any) -> Hold:
        answer = self.do(self.request(**request))
        assert isinstance(answer, Hold), answer
        return answer

    def sent(self, **request: Any) -> Hold:
        hold = self.held(**request)
        assert self.do(MarkSent(hold.id, self.clock()))
        return hold

    def booked(self, usage: Usage | None = None, **request: Any) -> Settle:
        """A whole request from hold to booking."""
        hold = self.sent(**request)
        op = booking(hold, usage, at=self.clock())
        assert self.do(op).state == "booked"
        return op

    def reverse(self, journal_id: str, reason: str = "wrong department") -> Reverse:
        at = self.clock()
        return Reverse(journal_id, SEOUL.periods(at), SEOUL.local_date(at).isoformat(), "finance", reason, at)

    def sweep(self) -> list[tuple[Void | Settle, Any]]:
        """Resolve lapsed holds as the server does; what was done and answered."""
        now = self.clock()
        rows = self.book.transact(lambda tx: tx.lapsed_holds(now, all_of=None, limit=500))
        done = []
        for row in rows:
            op = resolve(row, card(row["price_key"]), now)
            done.append((op, self.do(op)))
        return done

    def seal(self) -> int:
        """Seal everything that is committed, as the server does; returns how many journals."""
        return int(self.book.transact(lambda tx: seal_books(tx, self.clock())))

    # -- what is in it ----------------------------------------------------------------------------------------------

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with reading(self.engine).connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def counters(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(scope, period) → (spent, held) micro-won, where either is not 0."""
        rows = self.rows("SELECT scope, period, posted, held FROM counter WHERE posted <> 0 OR held <> 0")
        return {(scope, period): (posted, held) for scope, period, posted, held in rows}

    def counter(self, scope: str, period: str) -> tuple[int, int]:
        return self.counters().get((scope, period), (0, 0))

    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT id, state FROM hold"))

    def cases(self) -> list[tuple[str, str]]:
        rows = self.rows("SELECT kind, subject FROM recon_case ORDER BY opened_at, kind")
        return [(kind, subject) for kind, subject in rows]

    def faults(self, period: str | None = None) -> dict[str, Bad]:
        """The checks of `verify` that fail, and on what."""
        with reading(self.engine).connect() as connection:
            checks = verify(connection, self.clock.now, period)
        return {check.name: check.first_bad for check in checks if check.first_bad is not None}

    def everything(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """Every row that says something: what a replay must leave as it is. (A counter nobody ever added to says nothing.)"""
        tables = (
            "counter WHERE version > 0",
            "hold",
            "journal",
            "entry",
            "usage_event",
            "usage_meter",
            "recon_case",
            "quota",
            "seal",
        )
        return {table: sorted(self.rows(f"SELECT * FROM {table}"), key=repr) for table in tables}


def seal_books(tx: Tx, now: int, *, but: Collection[str] = ()) -> int:
    """Seal the journals that are not sealed yet, `but` these."""
    tx.lock_chain("books")
    head = tx.chain_head("books")
    found = [id_ for _, id_ in tx.unsealed_journals(0, 10_000) if id_ not in but]
    whole = tx.whole_journals(found)
    links = seal("books", (0, GENESIS) if head is None else head[:2], [(id_, canonical(whole[id_])) for id_ in found])
    tx.run(tx.sql.insert_seals, [(s.chain, s.seq, s.row_id, s.prev_hash, s.hash, now) for s in links])
    return len(found)


@contextmanager
def open_ledger(url: str, *, prefix: str = "case", clock: Clock | None = None) -> Iterator[Ledger]:
    """A book on the migrated database at `url`, which knows the prices above."""
    engine = open_engine(url)
    numbers = count(1)
    ids: Callable[[], str] = lambda: f"{prefix}-{next(numbers):06d}"  # noqa: E731 – a name with a type
    ledger = Ledger(engine, Book(engine, ids), clock or Clock())
    ledger.book.transact(lambda tx: import_book(tx, PRICES, origin="test", ids=ids, at=ledger.clock(), by="test"))
    try:
        yield ledger
    finally:
        ledger.book.close()
        engine.dispose()


__all__ = [
    "LEASE",
    "MINUTE",
    "PRICES",
    "SEOUL",
    "WON",
    "Ledger",
    "ask_for",
    "booking",
    "card",
    "open_ledger",
    "place",
    "seal_books",
    "used",
    "who",
]
