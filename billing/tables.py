"""The ledger's tables, declared once. `migrations/` creates them; `store.py` is the only other place that knows them.

Money is BIGINT: micro-won (1e-6 KRW) unless a `currency` column says USD, then ticks of 1e-10. Times are UTC microseconds
since 1970. Ids are UUIDv7 text from the caller. JSON is kept as text so that what was hashed can be read back byte for byte.
Billing keeps plain ids of people and departments: no foreign key leads out of the ledger, so nobody's removal can touch it.

Append-only by trigger in both databases: quota, price_book, price, fx_rate, usage_event, usage_meter, journal, entry, seal.
A hold moves forward (open, sent, resolved) until it is resolved and is frozen from then on; what was agreed when it was made
never changes. Only `counter` (a projection that `verify` rebuilds) and `recon_case` (somebody's to-do) change freely.

An index is written with every row, forever. Those on the request path are the ones a request needs; an index that only few
rows are ever looked up by is partial, so that the many do not pay for it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel


def _id() -> str:
    return Field(sa_column=Column(Text, primary_key=True))  # type: ignore[no-any-return]


def _text(default: str | None = None) -> str:
    return Field(default=default, sa_column=Column(Text, nullable=False))  # type: ignore[no-any-return]


def _text_or_none() -> str | None:
    return Field(default=None, sa_column=Column(Text, nullable=True))  # type: ignore[no-any-return]


def _big() -> int:
    return Field(sa_column=Column(BigInteger, nullable=False))  # type: ignore[no-any-return]


def _big_or_none() -> int | None:
    return Field(default=None, sa_column=Column(BigInteger, nullable=True))  # type: ignore[no-any-return]


def _small() -> int:
    return Field(sa_column=Column(Integer, nullable=False))  # type: ignore[no-any-return]


#: Holds somebody must still resolve: few, however large the table. Not told by `state`, so that becoming sent is no change.
_LIVE = text("resolved_at IS NULL")

#: Journals that are not an ordinary request's own: reversals, corrections.
_UNUSUAL = text("kind <> 'usage'")
_REVERSAL = text("reverses IS NOT NULL")
_IDENTIFIED = text("provider_request_id IS NOT NULL")


#: A row's place in its table; SQLite stores rows in this order only under a plain INTEGER primary key.
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


class QuotaRow(SQLModel, table=True):
    """One decision about an allowance; the newest row of (scope, period) is in force. `amount` null lifts the quota."""

    __tablename__ = "quota"
    __table_args__ = (Index("ix_quota_scope", "scope", "period"),)
    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True, autoincrement=True))
    scope: str = _text()
    period: str = _text()
    unit: str = _text()
    amount: int | None = _big_or_none()
    hard: int = _small()
    set_by: str = _text()
    set_at: int = _big()
    reason: str | None = _text_or_none()


class PriceBookRow(SQLModel, table=True):
    """One imported version of the dated price files."""

    __tablename__ = "price_book"
    __table_args__ = (UniqueConstraint("version", name="uq_price_book_version"),)
    id: str = _id()
    version: str = _text()
    status: str = _text()
    imported_from: str = _text()
    sha256: str = _text()
    approved_by: str | None = _text_or_none()
    activated_at: int | None = _big_or_none()
    created_at: int = _big()


class PriceRow(SQLModel, table=True):
    """One dated unit price, 1e-12 of its currency per unit. `valid_to` is never stored: the next `valid_from` ends it."""

    __tablename__ = "price"
    __table_args__ = (Index("ix_price_key", "price_key", "valid_from"),)
    id: str = _id()
    book_id: str = _text()
    provider: str = _text()
    price_key: str = _text()
    meter: str = _text()
    currency: str = _text()
    unit_price_pico: int = _big()
    tier_gt: int | None = _big_or_none()
    tier_ge: int | None = _big_or_none()
    conditions: str = _text()
    valid_from: int = _big()
    source: str = _text()
    confirmed: int = _small()


class FxRateRow(SQLModel, table=True):
    """Won per unit of `base` × 1e6 on a date. A later row for the same date supersedes the earlier one."""

    __tablename__ = "fx_rate"
    __table_args__ = (Index("ix_fx_rate_date", "base", "quote", "effective_date"),)
    id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True, autoincrement=True))
    base: str = _text()
    quote: str = _text()
    rate_e6: int = _big()
    kind: str = _text()
    effective_date: str = _text()
    source: str = _text()
    confirmed: int = _small()
    imported_at: int = _big()
    imported_by: str = _text()


class HoldRow(SQLModel, table=True):
    """Money set aside for one attempt, and everything a restart needs to resolve it. id = `<request id>:<attempt>`."""

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="ck_hold_amount"),
        CheckConstraint("state IN ('open','sent','posted','voided','expired')", name="ck_hold_state"),
        CheckConstraint("(resolved_at IS NULL) = (state IN ('open','sent'))", name="ck_hold_resolved"),
        Index("ix_hold_live", "lease_until", sqlite_where=_LIVE, postgresql_where=_LIVE),
    )
    id: str = _id()
    request_id: str = _text()
    attempt: int = _small()
    state: str = _text()
    outcome: str | None = _text_or_none()
    amount: int = _big()
    currency: str = _text()
    scopes: str = _text()
    day: str = _text()
    month: str = _text()
    year: str = _text()
    principal: str = _text()
    user_id: str = _text()
    department_id: str = _text()
    key_id: str | None = _text_or_none()
    surface: str = _text()
    stream: int = _small()
    purpose: str = _text()
    project: str | None = _text_or_none()
    grade: str = _text()
    destination: str = _text()
    model_requested: str = _text()
    model_resolved: str = _text()
    deployment: str = _text()
    provider: str = _text()
    family: str = _text()
    creditor: str = _text()
    price_key: str = _text()
    price_version: str = _text()
    fx_rate_e6: int = _big()
    fx_provisional: int = _small()
    vat_bp: int = _small()
    vat_treatment: str = _text()
    input_bound: int = _big()
    input_estimate: int = _big()
    output_cap: int = _big()
    lease_owner: str = _text()
    lease_until: int = _big()
    created_at: int = _big()
    sent_at: int | None = _big_or_none()
    checkpoint: str | None = _text_or_none()
    checkpoint_at: int | None = _big_or_none()
    resolved_at: int | None = _big_or_none()


class CounterRow(SQLModel, table=True):
    """What a scope has spent and reserved in a period, micro-won. A projection of journals and open holds."""

    __tablename__ = "counter"
    __table_args__ = (CheckConstraint("held >= 0", name="ck_counter_held"), {"sqlite_with_rowid": False})
    scope: str = Field(sa_column=Column(Text, primary_key=True))
    period: str = Field(sa_column=Column(Text, primary_key=True))
    posted: int = _big()
    held: int = _big()
    version: int = _big()


class UsageEventRow(SQLModel, table=True):
    """One attempt the upstream saw, whatever came of it; id = its hold's. `won` and `vat`: micro-won, null while unknown."""

    __tablename__ = "usage_event"
    __table_args__ = (
        Index("ix_usage_event_month", "service_month", "user_id"),
        Index(
            "ix_usage_event_provider_request",
            "provider",
            "provider_request_id",
            sqlite_where=_IDENTIFIED,
            postgresql_where=_IDENTIFIED,
        ),
    )
    id: str = _id()
    request_id: str = _text()
    attempt: int = _small()
    user_id: str = _text()
    department_id: str = _text()
    key_id: str | None = _text_or_none()
    surface: str = _text()
    stream: int = _small()
    purpose: str = _text()
    project: str | None = _text_or_none()
    grade: str = _text()
    destination: str = _text()
    model_requested: str = _text()
    model_served: str = _text()
    deployment: str = _text()
    provider: str = _text()
    upstream_model: str | None = _text_or_none()
    provider_request_id: str | None = _text_or_none()
    started_at: int = _big()
    ended_at: int = _big()
    service_date: str = _text()
    service_month: str = _text()
    utc_date: str = _text()
    outcome: str = _text()
    http_status: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    quality: str = _text()
    provisional: int = _small()
    reason: str | None = _text_or_none()
    extractor: str = _text()
    raw_usage: str | None = _text_or_none()
    reported_ticks: int | None = _big_or_none()
    price_version: str = _text()
    fx_rate_e6: int = _big()
    currency: str = _text()
    amount_ticks: int | None = _big_or_none()
    won: int | None = _big_or_none()
    vat: int | None = _big_or_none()
    tokens: int = _big()
    hold_amount: int = _big()
    hold_breach: int = _small()
    usage_context: str | None = _text_or_none()


class UsageMeterRow(SQLModel, table=True):
    """One disjoint quantity of an event and what it cost in the price's currency."""

    __tablename__ = "usage_meter"
    __table_args__ = ({"sqlite_with_rowid": False},)
    event_id: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int = Field(sa_column=Column(Integer, primary_key=True))
    model: str = _text()
    meter: str = _text()
    quantity: int = _big()
    price_id: str | None = _text_or_none()
    amount_ticks: int | None = _big_or_none()


class JournalRow(SQLModel, table=True):
    """A balanced set of entries. `scopes` are the budgets it counts against, in `day`, `month` and `year`.

    `seq` numbers journals in the order they were committed, without a gap: what belongs to a journal is stored in that order,
    and the sealer follows it. The id is what makes booking idempotent: a usage journal has its hold's id, a reversal
    `reversal:<journal>`. What is asked of a month's usage is asked of its events, which have that index.
    """

    __tablename__ = "journal"
    __table_args__ = (
        UniqueConstraint("id", name="uq_journal_id"),
        Index("uq_journal_reverses", "reverses", unique=True, sqlite_where=_REVERSAL, postgresql_where=_REVERSAL),
        Index("ix_journal_unusual", "month", sqlite_where=_UNUSUAL, postgresql_where=_UNUSUAL),
    )
    seq: int = Field(sa_column=Column(_SEQUENCE, primary_key=True, autoincrement=False))
    id: str = _text()
    kind: str = _text()
    event_id: str | None = _text_or_none()
    reverses: str | None = _text_or_none()
    scopes: str = _text()
    day: str = _text()
    month: str = _text()
    year: str = _text()
    service_date: str = _text()
    won: int = _big()
    actor: str = _text()
    reason: str | None = _text_or_none()
    created_at: int = _big()


class EntryRow(SQLModel, table=True):
    """One leg of a journal with the dimensions it is reported by; `journal_seq` is the journal's number.

    Keyed by number and not by id: ids begin with the time of the request, and answers end in another order than they began, so
    that under ids every booking would rewrite a page of its own.
    """

    __tablename__ = "entry"
    __table_args__ = ({"sqlite_with_rowid": False},)
    journal_seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    n: int = Field(sa_column=Column(Integer, primary_key=True))
    account: str = _text()
    currency: str = _text()
    amount: int = _big()
    department_id: str = _text()
    user_id: str = _text()
    model: str = _text()
    deployment: str = _text()
    provider: str = _text()
    purpose: str = _text()
    project: str | None = _text_or_none()
    grade: str = _text()
    destination: str = _text()
    budget_item: str | None = _text_or_none()


class SealRow(SQLModel, table=True):
    """One link of a hash chain: `books` over journals, `audit` over the audit trail, `evidence` over decisions."""

    __tablename__ = "seal"
    __table_args__ = (UniqueConstraint("chain", "row_id", name="uq_seal_row"), {"sqlite_with_rowid": False})
    chain: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    row_id: str = _text()
    prev_hash: str = _text()
    hash: str = _text()
    sealed_at: int = _big()


class ReconCaseRow(SQLModel, table=True):
    """Something a person must look at: an amount that could not be known, or two sources that disagree."""

    __tablename__ = "recon_case"
    __table_args__ = (UniqueConstraint("kind", "subject", name="uq_recon_case_subject"),)
    id: str = _id()
    kind: str = _text()
    subject: str = _text()
    ours: int | None = _big_or_none()
    theirs: int | None = _big_or_none()
    detail: str = _text()
    state: str = _text()
    opened_at: int = _big()
    resolved_at: int | None = _big_or_none()
    resolved_by: str | None = _text_or_none()
