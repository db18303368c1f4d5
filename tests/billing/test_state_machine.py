"""Whatever is done to the book, in whatever order and however often: it agrees with a model that is only arithmetic.

The model knows nothing of SQL, groups or locks. It remembers what was granted and booked, adds it up anew each time it is
asked, and decides admissions in fractions. The book runs on the real databases.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clock import DAY, HOUR, MINUTE, SECOND
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledgers import LEASE, SEOUL, WON, Ledger, ask_for, booking, card, open_ledger, place, used

from billing.book import NotReversible
from billing.holds import Checkpoint, Hold, MarkSent, Op, Place, Reserve, Reverse, SetQuota, Settle, Void
from billing.periods import PeriodKind, Periods
from billing.quota import Refused
from billing.recovery import resolve
from billing.store import HOLD_LIFE_US

Key = tuple[str, str]

KINDS: tuple[PeriodKind, ...] = ("day", "month", "year")

SCOPES = ("organisation", "department:water", "department:roads", "user:kim", "user:lee")

PLACES = (
    place("acme/plain"),
    place("acme/plain", vat_bp=1000),
    place("acme/plain", won_per_dollar=1387),
    place("hangang/won"),
    place("inside/free"),
)

#: Micro-won for a token in and a token out at ₩1 per dollar, from the price list: $1 and $4 a million; ₩0.0015 and ₩0.006.
DOLLARS = {"acme/plain": (Fraction(1), Fraction(4))}
WONS = {"hangang/won": (1500, 6000), "inside/free": (0, 0)}


def price_of(where: Place, tokens_in: int, tokens_out: int) -> int:
    """What the budgets carry for a usage: each rounding where the ledger promises it, to the even neighbour."""
    if where.price_key in DOLLARS:
        per_in, per_out = DOLLARS[where.price_key]
        dollars = (per_in * tokens_in + per_out * tokens_out) / 10**6
        ticks = round(dollars * 10**10)
        won = round(Fraction(ticks, 10**10) * Fraction(where.fx_rate_e6, 10**6) * WON)
    else:
        per_in, per_out = map(Fraction, WONS[where.price_key])
        won = round(per_in * tokens_in + per_out * tokens_out)
    return won + round(Fraction(won * where.vat_bp, 10_000))


@dataclass
class Held:
    hold: Hold
    state: str
    lease_until: int
    owner: str
    delivered: int | None = None


@dataclass
class Model:
    quotas: dict[tuple[str, PeriodKind], tuple[int, bool]] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    journals: dict[str, tuple[int, tuple[str, ...], Periods]] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)
    cases: set[tuple[str, str]] = field(default_factory=set)
    #: Counters that stand above a hard quota for a reason: it was lowered, or a usage broke its ceiling.
    excused: set[Key] = field(default_factory=set)

    def counters(self) -> dict[Key, tuple[int, int]]:
        spent: dict[Key, int] = {}
        held: dict[Key, int] = {}
        for won, scopes, periods in self.journals.values():
            for scope in scopes:
                for label in periods:
                    spent[scope, label] = spent.get((scope, label), 0) + won
        for entry in self.holds.values():
            if entry.state in ("open", "sent"):
                for scope in entry.hold.who.scopes:
                    for label in entry.hold.who.periods:
                        held[scope, label] = held.get((scope, label), 0) + entry.hold.amount
        both = {key: (spent.get(key, 0), held.get(key, 0)) for key in spent.keys() | held.keys()}
        return {key: pair for key, pair in both.items() if pair != (0, 0)}

    def cap(self, op: Reserve) -> int | None:
        """The output cap the request may have; None when it is refused."""
        ask = op.ask
        per_token = Fraction(ask.per_output, 10**16) * ask.choices
        if not ask.fixed and not per_token:
            return ask.wanted
        counters = self.counters()
        room: list[Fraction] = []
        for (scope, kind), (amount, hard) in self.quotas.items():
            if hard and scope in op.who.scopes:
                room.append(Fraction(amount - sum(counters.get((scope, op.who.periods.label(kind)), (0, 0)))))
        if not room:
            return ask.wanted
        left = min(room) - ask.fixed
        fits = ask.wanted if not per_token and left >= 0 else int(left // per_token) if left >= 0 else -1
        return min(fits, ask.wanted) if fits >= min(256, ask.wanted) else None

    def live(self, *states: str) -> list[str]:
        return sorted(id_ for id_, held in self.holds.items() if held.state in (states or ("open", "sent")))


class Books(RuleBasedStateMachine):
    """One ledger and its model. Every rule does something to both; every invariant compares them."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.model = Model()
        self.history: list[Op] = []

    # -- moves: an operation, and what the model learns from its answer ----------------------------------------------

    def reserve(self, draw: Callable[[Any], Any], instead_of: Void | Settle | None = None) -> Reserve:
        where = draw(st.sampled_from(PLACES))
        bound = draw(st.integers(0, 2000))
        ask = ask_for(
            where,
            input_bound=bound,
            wanted=draw(st.sampled_from((0, 1, 200, 256, 1000, 4000))),
            choices=draw(st.sampled_from((1, 3))),
        )
        return self.ledger.request(
            user=draw(st.sampled_from(("kim", "lee"))),
            department=draw(st.sampled_from(("water", "roads"))),
            where=where,
            ask=ask,
            owner=draw(st.sampled_from(("server-1", "server-2"))),
            instead_of=instead_of,
        )

    def learn_reserve(self, op: Reserve, answer: Any) -> None:
        if op.instead_of is not None:
            self.learn(op.instead_of, None)
        cap = self.model.cap(op)
        if cap is None:
            assert isinstance(answer, Refused), f"admitted what does not fit: {answer}"
            return
        assert isinstance(answer, Hold), f"refused what fits: {answer}"
        ceiling = op.ask.fixed + -(-cap * op.ask.choices * op.ask.per_output // 10**16)
        assert (answer.output_cap, answer.amount) == (cap, ceiling)
        self.model.holds[answer.id] = Held(answer, "open", op.lease_until, op.lease_owner)

    def settle(self, draw: Callable[[Any], Any], hold_id: str, *, within: bool = True) -> Settle:
        hold = self.model.holds[hold_id].hold
        most_in, most_out = 1000, hold.output_cap
        if within:
            # The ceiling was computed for a bound of its own: stay inside what was held.
            usage = used(draw(st.integers(0, most_in)), draw(st.integers(0, most_out)))
            while price_of(hold.where, usage.meters["input"], usage.meters["output"]) > hold.amount:
                usage = used(usage.meters["input"] // 2, usage.meters["output"] // 2)
        else:
            usage = used(draw(st.integers(most_in, 2 * most_in)), draw(st.integers(most_out, 2 * most_out)))
        return booking(
            hold, usage, at=self.ledger.clock(), outcome=draw(st.sampled_from(("completed", "aborted", "failed")))
        )

    def learn_settle(self, op: Settle, answer: Any) -> None:
        held = self.model.holds[op.hold.id]
        if held.state in ("expired", "voided"):
            self.model.cases.add(("late_usage", op.hold.id))
            assert answer is None or answer.state == "late"
            return
        assert held.state in ("open", "sent")
        assert answer is None or answer.state == "booked"
        quantities = {line.meter: line.quantity for line in op.lines}
        won = price_of(op.hold.where, quantities.get("input", 0), quantities.get("output", 0))
        assert op.total == won
        breach = won > op.hold.amount
        assert answer is None or answer.breach == breach
        if breach:
            self.model.excused |= {(scope, label) for scope in op.hold.who.scopes for label in op.hold.who.periods}
        held.state = "expired" if op.outcome == "expired" else "posted"
        self.model.journals[op.hold.id] = (won, op.hold.who.scopes, op.hold.who.periods)
        self.model.cases |= {(case.kind, case.subject) for case in op.cases}

    def learn(self, op: Op, answer: Any) -> None:
        """`answer` None: the operation was part of another, whose answer says nothing of it."""
        if isinstance(op, Reserve):
            self.learn_reserve(op, answer)
        elif isinstance(op, Settle):
            self.learn_settle(op, answer)
        elif isinstance(op, MarkSent):
            held = self.model.holds[op.hold_id]
            assert answer is (held.state == "open")
            held.state = "sent" if held.state == "open" else held.state
        elif isinstance(op, Void):
            held = self.model.holds[op.hold.id]
            assert answer is None or answer is (held.state in ("open", "sent"))
            held.state = "voided" if held.state in ("open", "sent") else held.state
        elif isinstance(op, Reverse):
            won, scopes, _ = self.model.journals[op.journal_id]
            assert answer is True
            self.model.journals[f"reversal:{op.journal_id}"] = (-won, scopes, op.periods)
            self.model.reversed.add(op.journal_id)
        elif isinstance(op, Checkpoint):
            held = self.model.holds[op.hold_id]
            if held.state == "sent":
                held.delivered = int(op.detail.partition(":")[2].rstrip("}"))

    def perform(self, *group: Op) -> None:
        answers = self.ledger.book.apply(group)
        for op, answer in zip(group, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            self.learn(op, answer)
            self.history.append(op)

    # -- rules ------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self.perform(self.reserve(data.draw))

    @rule(data=st.data())
    def ask_at_once(self, data: st.DataObject) -> None:
        """Several in one group: each is decided on what the ones before it left."""
        self.perform(*(self.reserve(data.draw) for _ in range(data.draw(st.integers(2, 6)))))

    @precondition(lambda self: self.model.live("open"))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        self.perform(MarkSent(data.draw(st.sampled_from(self.model.live("open"))), self.ledger.clock()))

    @precondition(lambda self: self.model.live("sent"))
    @rule(data=st.data(), tokens=st.integers(0, 500))
    def checkpoint(self, data: st.DataObject, tokens: int) -> None:
        hold_id = data.draw(st.sampled_from(self.model.live("sent")))
        self.perform(Checkpoint(hold_id, f'{{"output_tokens":{tokens}}}', self.ledger.clock()))

    @precondition(lambda self: self.model.live("sent"))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.perform(self.settle(data.draw, data.draw(st.sampled_from(self.model.live("sent")))))

    @precondition(lambda self: self.model.live("sent"))
    @rule(data=st.data())
    def answer_beyond_the_ceiling(self, data: st.DataObject) -> None:
        """An assumption broke: it is billed all the same, and said."""
        op = self.settle(data.draw, data.draw(st.sampled_from(self.model.live("sent"))), within=False)
        if op.quality == "exact":
            self.perform(op)

    @precondition(lambda self: self.model.live())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        hold = self.model.holds[data.draw(st.sampled_from(self.model.live()))].hold
        self.perform(Void(hold, "failed", self.ledger.clock()))

    @precondition(lambda self: self.model.live("sent"))
    @rule(data=st.data(), billed=st.booleans())
    def try_elsewhere(self, data: st.DataObject, billed: bool) -> None:
        """A fallback: the attempt before is resolved by the transaction that decides about the next."""
        hold = self.model.holds[data.draw(st.sampled_from(self.model.live("sent")))].hold
        release = self.settle(data.draw, hold.id) if billed else Void(hold, "failed", self.ledger.clock())
        self.perform(self.reserve(data.draw, release))

    @precondition(lambda self: len(self.model.live()) > 1)
    @rule(data=st.data())
    def much_at_once(self, data: st.DataObject) -> None:
        """One group of everything, each hold moved by one operation."""
        group: list[Op] = []
        for hold_id in data.draw(st.lists(st.sampled_from(self.model.live()), min_size=2, unique=True)):
            held = self.model.holds[hold_id]
            if held.state == "open":
                group.append(MarkSent(hold_id, self.ledger.clock()))
            elif data.draw(st.booleans()):
                group.append(self.settle(data.draw, hold_id))
            else:
                group.append(Void(held.hold, "failed", self.ledger.clock()))
            if data.draw(st.booleans()):
                group.append(self.reserve(data.draw))
        self.perform(*group)

    @precondition(lambda self: self.model.journals.keys() - self.model.reversed)
    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        left = sorted(id_ for id_ in self.model.journals if id_ not in self.model.reversed)
        op = self.ledger.reverse(data.draw(st.sampled_from(left)))
        if op.journal_id.startswith("reversal:"):
            self.refuses(op, "is itself a reversal")
        else:
            self.perform(op)

    @precondition(lambda self: self.model.reversed)
    @rule(data=st.data())
    def reverse_again(self, data: st.DataObject) -> None:
        op = self.ledger.reverse(data.draw(st.sampled_from(sorted(self.model.reversed))))
        self.refuses(op, "was reversed before")

    def refuses(self, op: Op, why: str) -> None:
        before = self.ledger.everything()
        (answer,) = self.ledger.book.apply([op])
        assert isinstance(answer, NotReversible)
        assert why in str(answer)
        assert self.ledger.everything() == before

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """An answer got lost and the same is offered again, now or much later: nothing changes."""
        op = self.history[data.draw(st.integers(0, len(self.history) - 1))]
        if isinstance(op, Reserve) and f"{op.request_id}:{op.attempt}" not in self.model.holds:
            return  # it was refused: asking again is asking anew
        before = self.ledger.everything()
        (answer,) = self.ledger.book.apply([op])
        if isinstance(op, Settle):
            assert answer.state in ("replayed", "late")
        elif isinstance(op, Reserve):
            assert isinstance(answer, Exception | Refused)
        elif isinstance(op, MarkSent):
            # The very same mark again: its first answer may have been lost.
            assert answer is (self.model.holds[op.hold_id].state == "sent")
        elif isinstance(op, Void):
            assert answer is False
        assert self.ledger.everything() == before

    @initialize(data=st.data())
    def begin_with_budgets(self, data: st.DataObject) -> None:
        """Budgets for a few requests each: some will not fit, some only shortened."""
        for scope in data.draw(st.lists(st.sampled_from(SCOPES), max_size=3, unique=True)):
            self.set(scope, data.draw(st.sampled_from(KINDS)), data.draw(st.integers(10, 80)), hard=True)

    @rule(
        scope=st.sampled_from(SCOPES),
        kind=st.sampled_from(KINDS),
        won=st.one_of(st.none(), st.integers(0, 60)),
        hard=st.sampled_from((True, True, True, False)),
    )
    def decide_quota(self, scope: str, kind: PeriodKind, won: int | None, hard: bool) -> None:
        self.set(scope, kind, won, hard=hard)

    def set(self, scope: str, kind: PeriodKind, won: int | None, *, hard: bool) -> None:
        amount = None if won is None else won * WON
        assert self.ledger.do(SetQuota(scope, kind, amount, hard, "finance", self.ledger.clock())) is True
        if amount is None:
            self.model.quotas.pop((scope, kind), None)
            return
        self.model.quotas[scope, kind] = (amount, hard)
        for (of, label), pair in self.model.counters().items():
            if of == scope and sum(pair) > amount:
                self.model.excused.add((of, label))

    @rule(
        by=st.one_of(
            st.sampled_from((SECOND, MINUTE, HOUR, DAY, 30 * DAY, 365 * DAY)),
            st.sampled_from(("midnight", "month", "year")),
        )
    )
    def time_passes(self, by: int | str) -> None:
        """Also to the last microseconds of a day, a month and a fiscal year."""
        clock = self.ledger.clock
        if isinstance(by, int):
            clock.advance(by)
        else:
            periods = SEOUL.periods(clock.now)
            label = {"midnight": periods.day, "month": periods.month, "year": periods.year}[by]
            clock.now = SEOUL.span(label)[1] - 3

    @rule(owner=st.sampled_from(("server-1", "server-2")))
    def renew(self, owner: str) -> None:
        until = self.ledger.clock() + LEASE
        self.ledger.book.transact(lambda tx: tx.renew_leases(owner, until))
        for held in self.model.holds.values():
            young = held.hold.created_at > until - HOLD_LIFE_US
            if held.owner == owner and held.state in ("open", "sent") and young:
                held.lease_until = until

    @precondition(lambda self: self.model.live())
    @rule()
    def crash(self) -> None:
        """Every server dies; another one finds the leases lapsed."""
        self.ledger.clock.advance(LEASE + SECOND)
        self.sweep()

    def sweep(self) -> None:
        now = self.ledger.clock()
        rows = self.ledger.book.transact(lambda tx: tx.lapsed_holds(now, all_of=None, limit=500))
        lapsed = {id_ for id_ in self.model.live() if self.model.holds[id_].lease_until < now}
        assert {row["id"] for row in rows} == lapsed
        for row in rows:
            held = self.model.holds[row["id"]]
            op = resolve(row, card(row["price_key"]), now)
            assert isinstance(op, Void) == (held.state == "open")
            if isinstance(op, Settle):
                output = sum(line.quantity for line in op.lines if line.meter == "output")
                assert output == (held.delivered or 0) or op.total == 0
            self.perform(op)

    @precondition(lambda self: self.model.live())
    @rule(data=st.data())
    def declared_dead_too_soon(self, data: st.DataObject) -> None:
        """A sweeper has read a hold as lapsed; before it acts, the owner does. The owner's deed stands alone."""
        hold_id = data.draw(st.sampled_from(self.model.live()))
        held = self.model.holds[hold_id]
        row = self.ledger.book.transact(lambda tx: tx.live_hold(hold_id))
        stale = resolve(row, card(row["price_key"]), self.ledger.clock())
        if held.state == "open":
            self.perform(MarkSent(hold_id, self.ledger.clock()))
        elif data.draw(st.booleans()):
            self.perform(self.settle(data.draw, hold_id))
        else:
            self.ledger.clock.advance(SECOND)
            self.renew(held.owner)
            if held.lease_until == row["lease_until"]:
                return  # too old to be kept alive: the sweeper was right
        before = self.ledger.everything()
        (answer,) = self.ledger.book.apply([stale])
        assert answer is False or answer.state in ("alive", "replayed")
        assert self.ledger.everything() == before

    @precondition(lambda self: self.model.live("expired"))
    @rule(data=st.data())
    def come_too_late(self, data: st.DataObject) -> None:
        """A settlement of a hold that was given up: nothing is booked twice, and somebody is asked to look."""
        hold_id = data.draw(st.sampled_from(self.model.live("expired")))
        before = self.ledger.counters()
        self.perform(self.settle(data.draw, hold_id))
        assert self.ledger.counters() == before

    @rule()
    def seal(self) -> None:
        sealed = len(self.ledger.rows("SELECT row_id FROM seal"))
        assert self.ledger.seal() == len(self.model.journals) - sealed

    # -- what is always true ----------------------------------------------------------------------------------------

    @invariant()
    def every_journal_balances(self) -> None:
        assert (
            self.ledger.rows(
                "SELECT journal_seq, currency FROM entry GROUP BY journal_seq, currency HAVING sum(amount) <> 0"
            )
            == []
        )

    @invariant()
    def counters_are_what_was_booked_and_held(self) -> None:
        assert self.ledger.counters() == self.model.counters()

    @invariant()
    def no_hard_quota_is_exceeded(self) -> None:
        counters = self.model.counters()
        over = {
            (of, label)
            for (scope, kind), (amount, hard) in self.model.quotas.items()
            for (of, label), pair in counters.items()
            if hard and of == scope and len(label) == {"day": 10, "month": 7, "year": 4}[kind] and sum(pair) > amount
        }
        assert over <= self.model.excused
        self.model.excused = {key for key in self.model.excused if key in over or key in self.stale(counters)}

    def stale(self, counters: dict[Key, tuple[int, int]]) -> set[Key]:
        """Counters of a scope without a hard quota now: what was above an older one may be above a newer one too."""
        hard = {(scope, kind) for (scope, kind), (_, is_hard) in self.model.quotas.items() if is_hard}
        kinds = {10: "day", 7: "month", 4: "year"}
        return {key for key in counters if (key[0], kinds[len(key[1])]) not in hard}

    @invariant()
    def holds_are_in_the_states_they_were_moved_to(self) -> None:
        assert self.ledger.states() == {id_: held.state for id_, held in self.model.holds.items()}

    @invariant()
    def every_case_is_open_once(self) -> None:
        assert sorted(self.ledger.cases()) == sorted(self.model.cases)

    def teardown(self) -> None:
        """At the end nothing is left over, and the inspection finds nothing."""
        self.ledger.clock.advance(3 * HOUR)
        self.sweep()
        assert all(held == 0 for _, held in self.ledger.counters().values())
        self.ledger.seal()
        assert self.ledger.faults() == {}


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Call it for the address of another migrated, empty database."""
    if request.param == "postgresql":
        new = request.getfixturevalue("new_postgres_database")
        template = request.getfixturevalue("migrated_postgres")
        yield lambda: new(template=template)
        return
    template = request.getfixturevalue("migrated_sqlite")
    made: list[Path] = []

    def copy() -> str:
        made.append(tmp_path / f"{len(made)}.db")
        shutil.copy(template, made[-1])
        return f"sqlite:///{made[-1]}"

    yield copy


def test_the_book_agrees_with_arithmetic(new_database: Callable[[], str]) -> None:
    with ExitStack() as opened:

        def fresh() -> Books:
            opened.close()
            return Books(opened.enter_context(open_ledger(new_database())))

        run_state_machine_as_test(
            fresh,
            settings=settings(
                max_examples=35,
                stateful_step_count=50,
                deadline=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
