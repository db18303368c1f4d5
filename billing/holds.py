"""What is asked of the book, one small value each: reserve, sent, checkpoint, settle, void.

      Reserve ──▶ open ──MarkSent──▶ sent ──Settle──▶ posted
                   │                  └────Settle(outcome=expired)──▶ expired   (we crashed; amount from the checkpoint)
                   └──Void──▶ voided                                            (nothing was sent, or nothing can be billed)

A hold resolves exactly once, and only by its owner while the owner lives: whoever resolves somebody else's hold says how it
was `Seen`, and changes nothing when it moved since. `Settle` books the usage of one attempt the upstream saw: event, meters,
journal and counters in one transaction, idempotent on (request id, attempt). The values are immutable snapshots: no
background task ever looks at a request again to find out whom to bill.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from billing.ledger import Leg, usage_legs
from billing.periods import Periods
from billing.quota import Ask

HoldState = Literal["open", "sent", "posted", "voided", "expired"]
Outcome = Literal["completed", "aborted", "failed", "expired"]
Quality = Literal["exact", "estimated", "suspense"]


class Dimensions(Struct, frozen=True):
    """Who asks, for what, and which budgets carry it. `scopes` are sorted: it is the order counters are locked in."""

    principal: str
    user_id: str
    department_id: str
    key_id: str | None
    scopes: tuple[str, ...]
    periods: Periods
    service_date: str
    surface: str
    stream: bool
    purpose: str
    project: str | None
    grade: str
    model_requested: str


class Place(Struct, frozen=True):
    """Where one attempt goes and at which pinned price, rate and tax it is booked."""

    model: str
    deployment: str
    provider: str
    family: str
    destination: str
    creditor: str
    price_key: str
    price_version: str
    fx_rate_e6: int
    fx_provisional: bool
    vat_bp: int = 0
    vat_treatment: str = "none"


class Hold(Struct, frozen=True):
    """Money set aside for one attempt. `amount` is micro-won; `output_cap` is what the provider is told."""

    request_id: str
    attempt: int
    who: Dimensions
    where: Place
    amount: int
    output_cap: int
    input_bound: int
    input_estimate: int
    created_at: int

    @property
    def id(self) -> str:
        return f"{self.request_id}:{self.attempt}"


class Reserve(Struct, frozen=True):
    """Ask for a hold; `instead_of` is released in the same transaction, so that a fallback never loses its money between.

    Answered with a `Hold`, or with the `Refused` of billing.quota.
    """

    request_id: str
    attempt: int
    who: Dimensions
    where: Place
    ask: Ask
    input_bound: int
    input_estimate: int
    at: int
    lease_owner: str
    lease_until: int
    instead_of: Void | Settle | None = None


class MarkSent(Struct, frozen=True):
    """The request is about to leave. Answered with False when the hold was resolved meanwhile: then it must not leave.

    The very same mark again is a replay and answered as the first was.
    """

    hold_id: str
    at: int


class Checkpoint(Struct, frozen=True):
    """What has been delivered so far, so that a crash can be billed for it. `detail` is JSON without any text of the answer."""

    hold_id: str
    detail: str
    at: int


class Seen(Struct, frozen=True):
    """How a hold stood when somebody who does not own it decided to resolve it."""

    state: HoldState
    lease_until: int


class Void(Struct, frozen=True):
    """Give the whole hold back. Answered with True, or False when it was already resolved, or is not as `seen` any more."""

    hold: Hold
    outcome: Outcome
    at: int
    seen: Seen | None = None


class MeterLine(Struct, frozen=True):
    """One disjoint quantity and its price, as charged."""

    model: str
    meter: str
    quantity: int
    price_id: str | None
    amount_ticks: int | None


class Case(Struct, frozen=True):
    """Something a person must look at. `kind` + `subject` open it once."""

    kind: str
    subject: str
    detail: str
    ours: int | None = None
    theirs: int | None = None


class Settle(Struct, frozen=True):
    """Book one attempt. `won` and `vat` are micro-won; `won` is None when the price is unknown, and then a case must say so.

    `raw_usage` is the vendor's own usage object as JSON; `usage_context` what it was read with beside it, as JSON.
    Answered with `Booked`.
    """

    hold: Hold
    outcome: Outcome
    started_at: int
    ended_at: int
    quality: Quality
    currency: str
    ticks: int | None
    won: int | None
    vat: int
    tokens: int
    lines: tuple[MeterLine, ...]
    extractor: str
    raw_usage: str | None = None
    usage_context: str | None = None
    reason: str | None = None
    reported_ticks: int | None = None
    http_status: int | None = None
    provider_request_id: str | None = None
    upstream_model: str | None = None
    creditor: str | None = None
    provisional: bool = False
    cases: tuple[Case, ...] = ()
    seen: Seen | None = None

    @property
    def total(self) -> int:
        """Micro-won that the budgets carry, tax included."""
        return (self.won or 0) + self.vat

    def legs(self) -> tuple[Leg, ...]:
        where = self.hold.where
        if self.won is None or self.ticks is None:
            return ()
        return usage_legs(
            department_id=self.hold.who.department_id,
            creditor=self.creditor or where.creditor,
            currency=self.currency,
            ticks=self.ticks,
            won=self.won,
            vat=self.vat,
            vat_treatment=where.vat_treatment,
        )


class Reverse(Struct, frozen=True):
    """Negate a journal, once. The budgets get the money back in the periods given: those that are open now.

    Answered with True; the very same reversal again (same actor, same instant) is a replay and True as well.
    """

    journal_id: str
    periods: Periods
    service_date: str
    actor: str
    reason: str
    at: int


class Booked(Struct, frozen=True):
    """`state` says what happened:

    booked     now
    replayed   before; nothing changed
    late       not: the hold had been given up meanwhile, and a case asks somebody to look at the difference
    alive      not: the hold moved since it was `seen`, so whoever owns it will settle it
    """

    state: Literal["booked", "replayed", "late", "alive"]
    breach: bool = False


class SetQuota(Struct, frozen=True):
    """A decision about an allowance, in force from its commit on. `amount` micro-won, None lifts the quota."""

    scope: str
    period: str
    amount: int | None
    hard: bool
    set_by: str
    at: int
    reason: str | None = None


Op = Reserve | MarkSent | Checkpoint | Void | Settle | Reverse | SetQuota
