"""Hard budgets over a month of a city's use: does the ledger ever overspend, and how much of a budget can really be used?

    python -m bench.simulate                      6,318 people × 60 calls, every way to make a hold
    python -m bench.simulate --people 400         the same shapes, smaller: seconds

The calls are `bench.workload`'s; everything that decides about money is the product's own code: the price book, the ceiling,
the clamp, the hold, the settlement and the ledger's transactions on SQLite with its migrations and triggers. Only the clock is
simulated: calls overlap as they would, a hold lives as long as its call runs, and a refused caller may wait for one to end.
Every unit's monthly hard budget is 90 % of what it would have spent, so every unit runs out.

    overspend       micro-won posted beyond a cap: must be 0
    spendable       posted at the end ÷ cap, over all and of the worst unit; beside it an oracle's, that knows each call's cost
                    beforehand and admits whatever fits
    step            of a unit: its dearest call, by what it costs or by what must be held for it at the least. An oracle leaves
                    less than its dearest call unspent, and nobody can promise more
    target          99 % of the budget, or all but one step where a step is more than 1 % of it; `short` counts the units below
    refused wrong   refusals whose actual cost fitted in what was neither spent nor held, as a share of all calls
    shortened       answers that the budget cut (the model wanted to say more than it could still pay for)

Ways to bound the input: `bytes`, one token a byte, which holds for every tokeniser; `exact`, a tokeniser that counts as the
provider does; `both`, bytes first and counting only what was refused, as the gateway does where it ships the tokeniser.
Same arguments, same numbers, on any machine.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, text

from bench.workload import CITY, MODELS, SEOUL, Call, City, city, month
from billing import settlement
from billing.book import Book
from billing.card import Price, RateCard
from billing.holds import Dimensions, Hold, Place, Reserve, SetQuota, Settle
from billing.money import scaled
from billing.periods import Calendar
from billing.pricing import PriceBook
from billing.quota import Ask, Refused, Standing
from billing.reports.verification import verify
from billing.usage import Usage
from gateway.database import migrate, open_engine

YEAR, MONTH = 2026, 11
#: Won per dollar × 1e6, the round rate of a new installation.
RATE_E6 = 1_400_000_000
#: Tokens a chat template may add to each message; the gateway's own allowance.
PER_MESSAGE = 8
#: A model cannot say more than this whatever the caller allows.
MODEL_MOST = 32_768
BUDGET_PERCENT = 90
#: Of a budget no more than this may be left over at the end, or one step where that is more.
LEFT_OVER = 0.01
#: Operations due within this much simulated time are written as one group, in order. Shorter than any call runs, so that no
#: group could contain both ends of one call.
GROUP_US = 500_000


@dataclass(frozen=True, slots=True)
class Variant:
    """How holds are made: what bounds the input, the default output cap, and how long a refused caller waits."""

    bound: str
    output_cap: int
    wait_s: float

    @property
    def most_wrong(self) -> float:
        """The share of calls that may be refused although their cost would have fitted."""
        return 0.007 if self.bound == "bytes" else 0.001

    def input_bound(self, call: Call, *, counted: bool) -> int:
        exact = self.bound == "exact" or (self.bound == "both" and counted)
        return (call.input_tokens if exact else call.input_bytes) + PER_MESSAGE * call.messages


@dataclass(slots=True)
class Outcome:
    """What one variant came to."""

    calls: int = 0
    answered: int = 0
    refused: int = 0
    refused_wrong: int = 0
    waited: int = 0
    waited_well: int = 0
    shortened: int = 0
    breaches: int = 0
    overspend: int = 0
    held_at_end: int = 0
    broken: list[str] = field(default_factory=list)
    spendable: dict[str, float] = field(default_factory=dict)
    #: Of each unit: what an oracle would have spent of its budget, and what share of it one step is.
    oracle: dict[str, float] = field(default_factory=dict)
    step: dict[str, float] = field(default_factory=dict)
    most_wrong: float = 0
    seconds: float = 0

    @property
    def wrong_share(self) -> float:
        return self.refused_wrong / self.calls

    @property
    def units(self) -> dict[str, float]:
        return {scope: share for scope, share in self.spendable.items() if scope.startswith(UNIT)}

    @property
    def fine(self) -> list[str]:
        """The units whose budget takes so many steps that 99 % of it is asked for."""
        return [scope for scope in self.units if self.step[scope] <= LEFT_OVER]

    @property
    def low(self) -> list[str]:
        """The units that could not spend 99 % of their budget, whatever can be asked of it."""
        return [scope for scope, share in self.units.items() if share < 1 - LEFT_OVER]

    @property
    def short(self) -> list[str]:
        """The units that could not spend what can be asked of their budget."""
        return [scope for scope, share in self.units.items() if share < 1 - max(LEFT_OVER, self.step[scope])]


def price_book() -> PriceBook:
    """The workload's list prices as a book of the product's own kind."""
    prices = []
    since = datetime(2025, 1, 1, tzinfo=UTC)
    for model, (_, *given) in MODELS.items():
        units = zip(("input", "cache_read", "output", "request"), given, (6, 6, 6, 0), strict=True)
        for meter, price, power in units:
            pico = scaled(price, 12) // 10**power
            if meter != "request" or pico:
                prices.append(Price(f"{model}:{meter}", "bench", f"bench/{model}", meter, "USD", pico, since))
    return PriceBook(prices, version="bench")


class Rater:
    """What a call costs when its answer is cut at `cap` tokens."""

    def __init__(self) -> None:
        book = price_book()
        at = datetime(YEAR, MONTH, 1, tzinfo=UTC)
        self.cards: dict[str, RateCard] = {model: book.card(f"bench/{model}", at) for model in MODELS}
        self._fees = {model for model, (*_, fee) in MODELS.items() if fee != "0"}

    def usage(self, call: Call, cap: int) -> Usage:
        meters = {"input": call.input_tokens - call.cached_tokens, "cache_read": call.cached_tokens}
        meters["output"] = min(call.output, cap)
        if call.model in self._fees:
            meters["request"] = 1
        return Usage(meters, "simulated/1", prompt_tokens=call.input_tokens)

    def cost(self, call: Call, cap: int) -> int:
        """Micro-won, as settlement books it."""
        ticks = self.cards[call.model].charge(self.usage(call, cap)).ticks
        assert ticks is not None
        return settlement.to_krw_micro(ticks, RATE_E6)


def demand(calls: Sequence[Call], where: City, rater: Rater, cap: int) -> dict[str, int]:
    """What every scope would have spent without a budget, micro-won."""
    spent: dict[str, int] = defaultdict(int)
    for call in calls:
        cost = rater.cost(call, cap)
        for scope in _scopes(call, where)[:-1]:  # people have no budget of their own here
            spent[scope] += cost
    return dict(spent)


def oracle(calls: Sequence[Call], caps: dict[str, int], rater: Rater, cap: int) -> dict[str, float]:
    """Spendable of each unit if every call's cost were known beforehand and whatever fits were admitted, in order."""
    posted: dict[str, int] = defaultdict(int)
    for call in calls:
        scope, cost = _unit(call), rater.cost(call, cap)
        if posted[scope] + cost <= caps[scope]:
            posted[scope] += cost
    return {scope: spent / caps[scope] for scope, spent in posted.items() if caps[scope]}


def steps(calls: Sequence[Call], caps: dict[str, int], rater: Rater, variant: Variant) -> dict[str, float]:
    """Of each unit the share of its budget that its dearest call takes, by its cost or by the least hold it can go out with."""
    found: dict[str, int] = defaultdict(int)
    for call in calls:
        ask = asked(call, rater, variant, counted=True)
        found[_unit(call)] = max(found[_unit(call)], rater.cost(call, variant.output_cap), ask.ceiling(ask.least))
    return {scope: step / caps[scope] for scope, step in found.items() if caps[scope]}


def asked(call: Call, rater: Rater, variant: Variant, *, counted: bool) -> Ask:
    """What is asked of the budget for a call; `counted`: after its tokens were counted, where they can be."""
    bound = variant.input_bound(call, counted=counted)
    wanted = min(variant.output_cap, MODEL_MOST)
    return settlement.ask([(rater.cards[call.model], RATE_E6, 0)], input_bound=bound, wanted=wanted, choices=1)


UNIT = "department:u"


def _unit(call: Call) -> str:
    return f"{UNIT}{call.unit:04}"


def _scopes(call: Call, where: City) -> tuple[str, ...]:
    """Sorted, as the ledger locks them: bureau and unit, the organisation, the person."""
    bureau = where.bureau_of[call.unit]
    return (f"department:b{bureau:03}", _unit(call), "organisation", f"user:{call.person:05}")


class Month:
    """One variant's run: a heap of what happens next, and the book that answers."""

    def __init__(self, calls: Sequence[Call], where: City, rater: Rater, variant: Variant, book: Book) -> None:
        self._calls = calls
        self._where = where
        self._rater = rater
        self._variant = variant
        self._book = book
        self._calendar = Calendar(SEOUL)
        #: (when, order, what, hold or None, call's number)
        self._due: list[tuple[int, int, str, Hold | None, int]] = []
        self._order = itertools.count()
        self._waiting: dict[str, list[tuple[int, int]]] = defaultdict(list)  # scope → (number, until)
        self._waited: set[int] = set()
        self._counted: set[int] = set()
        self.outcome = Outcome(calls=len(calls))

    def set_quotas(self, caps: dict[str, int], at: int) -> None:
        quotas = [SetQuota(scope, "month", amount, hard=True, set_by="bench", at=at) for scope, amount in caps.items()]
        self._book.apply(quotas)

    def run(self) -> None:
        for number, call in enumerate(self._calls):
            self._later(call.at, "ask", None, number)
        while self._due:
            group = [heapq.heappop(self._due)]
            until = group[0][0] + GROUP_US
            while self._due and self._due[0][0] < until:
                group.append(heapq.heappop(self._due))
            self._write(group)

    def _later(self, at: int, what: str, hold: Hold | None, number: int) -> None:
        heapq.heappush(self._due, (at, next(self._order), what, hold, number))

    def _write(self, group: list[tuple[int, int, str, Hold | None, int]]) -> None:
        # A caller woken and out of patience in the same group asks once, and that is its last time.
        last = {number for _, _, what, _, number in group if what == "give up" and number in self._waited}
        group = [item for item in group if item[2] == "end" or (item[4] in last) == (item[2] == "give up")]
        ops = [
            self._settle(hold, number, at) if hold else self._reserve(number, at) for at, _, _, hold, number in group
        ]
        answers = self._book.apply(ops)
        for (at, _, what, hold, number), answer in zip(group, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            if hold is not None:
                self.outcome.breaches += answer.breach
                self._wake(hold, at)
            elif isinstance(answer, Refused):
                self._refused(answer, number, at, last=what == "give up")
            else:
                self._granted(answer, number, at)

    def _reserve(self, number: int, at: int) -> Reserve:
        call = self._calls[number]
        counted = number in self._counted
        ask = asked(call, self._rater, self._variant, counted=counted)
        periods = self._calendar.periods(at)
        who = Dimensions(
            principal=f"user:{call.person:05}",
            user_id=f"{call.person:05}",
            department_id=f"u{call.unit:04}",
            key_id=None,
            scopes=_scopes(call, self._where),
            periods=periods,
            service_date=periods.day,
            surface="chat_completions",
            stream=True,
            purpose="chat",
            project=None,
            grade="O",
            model_requested=call.model,
        )
        where = Place(
            model=call.model,
            deployment=f"bench/{call.model}",
            provider="bench",
            family="openai/chat",
            destination="foreign",
            creditor="payable:bench",
            price_key=f"bench/{call.model}",
            price_version="bench",
            fx_rate_e6=RATE_E6,
            fx_provisional=False,
        )
        return Reserve(
            request_id=f"{number:09}",
            attempt=1,
            who=who,
            where=where,
            ask=ask,
            input_bound=self._variant.input_bound(call, counted=counted),
            input_estimate=call.input_tokens,
            at=at,
            lease_owner="bench",
            lease_until=at + 600_000_000,
        )

    def _settle(self, hold: Hold, number: int, at: int) -> Settle:
        call = self._calls[number]
        usage = self._rater.usage(call, hold.output_cap)
        card = self._rater.cards[call.model]
        return settlement.settle(hold, usage, usage, card, outcome="completed", started_at=hold.created_at, ended_at=at)

    def _granted(self, hold: Hold, number: int, at: int) -> None:
        call = self._calls[number]
        self.outcome.answered += 1
        self.outcome.shortened += hold.output_cap < min(call.output, self._variant.output_cap)
        if number in self._waited:
            self.outcome.waited_well += 1
            self._waited.discard(number)
        self._later(at + round(call.seconds * 1e6), "end", hold, number)

    # A refused caller whose request would fit if nothing were held waits: whoever ends in the same scope wakes it.

    def _refused(self, answer: Refused, number: int, at: int, *, last: bool) -> None:
        standing = answer.standing
        if self._variant.bound == "both" and number not in self._counted and not last:
            self._counted.add(number)
            self._later(at, "ask", None, number)
            return
        if answer.would_fit and self._variant.wait_s and not last:
            until = self._calls[number].at + round(self._variant.wait_s * 1e6)
            if number not in self._waited:
                self._waited.add(number)
                self.outcome.waited += 1
                self._later(until, "give up", None, number)
            self._waiting[standing.quota.scope].append((number, until))
            return
        self._waited.discard(number)
        self._count(standing, number)

    def _count(self, standing: Standing, number: int) -> None:
        self.outcome.refused += 1
        fits = self._rater.cost(self._calls[number], self._variant.output_cap) <= standing.available
        self.outcome.refused_wrong += fits

    def _wake(self, ended: Hold, at: int) -> None:
        for scope in ended.who.scopes:
            for number, until in self._waiting.pop(scope, ()):
                if number in self._waited and at < until:
                    self._later(at, "ask", None, number)


def audit(engine: Engine, caps: dict[str, int], outcome: Outcome) -> None:
    """Reads the result back from the database, not from the simulation."""
    label = f"{YEAR}-{MONTH:02}"
    with engine.connect() as connection:
        for scope, posted, held in connection.execute(
            text("SELECT scope, posted, held FROM counter WHERE period = :label"), {"label": label}
        ):
            outcome.held_at_end += held
            if scope in caps:
                outcome.overspend += max(0, posted - caps[scope])
                if caps[scope]:
                    outcome.spendable[scope] = posted / caps[scope]
        # The shipped books know nothing of the workload's price list; everything else must hold.
        checks = verify(connection, Calendar(SEOUL).span(label)[1])
        outcome.broken = [check.name for check in checks if not check.ok and check.name != "prices_known"]


def simulate(people: int, requests: float, seed: int, variants: Sequence[Variant]) -> Iterator[tuple[Variant, Outcome]]:
    """Each variant over the same month, on a fresh ledger."""
    where = city(people, random.Random(seed))
    calls = month(where, requests=requests, year=YEAR, number=MONTH, seed=seed)
    rater = Rater()
    for variant in variants:
        began = time.monotonic()
        caps = {
            scope: spent * BUDGET_PERCENT // 100
            for scope, spent in demand(calls, where, rater, variant.output_cap).items()
        }
        with tempfile.TemporaryDirectory(prefix="haechi-simulate-") as folder:
            engine = open_engine(f"sqlite:///{Path(folder) / 'ledger.db'}")
            event.listen(engine, "connect", _hurry)
            migrate(engine)
            ids = (f"case-{n}" for n in itertools.count())
            book = Book(engine, lambda ids=ids: next(ids))  # type: ignore[misc]
            run = Month(calls, where, rater, variant, book)
            run.set_quotas(caps, calls[0].at)
            run.run()
            book.close()
            audit(engine, caps, run.outcome)
            engine.dispose()
        run.outcome.oracle = oracle(calls, caps, rater, variant.output_cap)
        run.outcome.step = steps(calls, caps, rater, variant)
        run.outcome.most_wrong = variant.most_wrong
        run.outcome.seconds = time.monotonic() - began
        yield variant, run.outcome


def _hurry(connection: Any, _record: object) -> None:
    """A power cut during a simulation costs a simulation: do not wait for the disk."""
    connection.execute("PRAGMA synchronous=OFF")


VARIANTS = (
    Variant("both", 4096, 3),
    Variant("bytes", 4096, 3),
    Variant("exact", 4096, 3),
    Variant("both", 4096, 0),
    Variant("bytes", 4096, 0),
    Variant("both", 2048, 3),
    Variant("bytes", 2048, 3),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description="Hard budgets over a month of use.")
    parser.add_argument("--people", type=int, default=CITY)
    parser.add_argument("--requests", type=float, default=60, help="mean per person and month")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variants", type=int, default=len(VARIANTS), help="only the first so many")
    options = parser.parse_args(argv)
    print(HEAD)
    good = True
    for variant, outcome in simulate(options.people, options.requests, options.seed, VARIANTS[: options.variants]):
        print(row(variant, outcome), flush=True)
        if outcome.broken:
            print(f"the books do not verify: {', '.join(outcome.broken)}", file=sys.stderr)
        good &= acceptable(outcome)
    return 0 if good else 1


HEAD = (
    "| input bound | output cap | wait s | calls | refused | refused wrong | shortened | overspend | "
    "spendable: all · worst unit | an oracle's worst unit | units of ≥ 100 steps · their worst | "
    "below 99 % · of those short of their target | waited · served | s |\n" + "| --- " * 14 + "|"
)


def row(variant: Variant, outcome: Outcome) -> str:
    units, fine = outcome.units.values(), [outcome.units[scope] for scope in outcome.fine]
    finest = f"{len(fine)} of {len(units)} · {min(fine):.2%}" if fine else f"0 of {len(units)} · –"
    return (
        f"| {variant.bound} | {variant.output_cap:,} | {variant.wait_s:g} | {outcome.calls:,} | "
        f"{outcome.refused / outcome.calls:.2%} | {outcome.wrong_share:.3%} | {outcome.shortened / outcome.calls:.2%} | "
        f"{outcome.overspend} | {outcome.spendable['organisation']:.2%} · {min(units):.2%} | "
        f"{min(outcome.oracle.values()):.2%} | {finest} | {len(outcome.low)} · {len(outcome.short)} | "
        f"{outcome.waited} · {outcome.waited_well} | {outcome.seconds:.0f} |"
    )


def sound(outcome: Outcome) -> bool:
    """What holds whatever the variant: no won overspent, no hold left, no ceiling broken, and the books verify."""
    return not (outcome.overspend or outcome.held_at_end or outcome.breaches or outcome.broken)


def acceptable(outcome: Outcome) -> bool:
    """Sound; every unit, and all of them together, spent what is asked of their budgets; and no more calls refused wrongly than
    this way to bound the input may refuse."""
    whole = outcome.spendable["organisation"] >= 1 - LEFT_OVER
    return sound(outcome) and whole and not outcome.short and outcome.wrong_share <= outcome.most_wrong


if __name__ == "__main__":
    sys.exit(main())
