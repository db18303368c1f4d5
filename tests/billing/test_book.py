"""The book under pressure: groups, several writers, broken assumptions. Never beyond a budget, never twice, nobody forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from clock import DAY, HOUR, SECOND
from ledgers import LEASE, SEOUL, WON, Ledger, ask_for, booking, card, open_ledger, place, used
from msgspec.structs import replace

from billing.book import LedgerUnavailable, NotReversible
from billing.holds import Booked, Case, Checkpoint, Hold, MarkSent, Op, Reserve, Reverse, Seen, SetQuota, Settle, Void
from billing.quota import Ask, Refused
from billing.recovery import hold_from, resolve
from gateway.database import open_engine

MONTH = "2026-11"


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


@contextmanager
def several(url: str, number: int) -> Iterator[list[Ledger]]:
    """Processes, as far as the database can tell: each with connections of its own."""
    with ExitStack() as stack:
        ledgers = [stack.enter_context(open_ledger(url, prefix=f"case-{n}")) for n in range(number)]
        for n, one in enumerate(ledgers):
            one.numbers = iter(range(n + 1, 10**9, number))
        yield ledgers


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """Run the deeds in threads that start together; their results, or what they raised."""
    start = threading.Barrier(len(deeds))

    def run(deed: Callable[[], Any]) -> Any:
        start.wait()
        return deed()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return [future.result() for future in [pool.submit(run, deed) for deed in deeds]]


#: A request that can cost ₩10 at most and cannot be shortened.
TEN_WON = Ask(fixed=10 * WON, per_output=0, wanted=0)


# -- budgets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 7, 200], ids=["one by one", "in sevens", "all in one group"])
def test_two_hundred_at_once_against_a_budget_for_fifty(ledger: Ledger, group: int) -> None:
    """₩500 at ₩10 each: exactly the first fifty are admitted, however they are grouped."""
    ledger.quota("department:water", "month", 500)
    requests = [ledger.request(ask=TEN_WON) for _ in range(200)]
    answers = [answer for n in range(0, 200, group) for answer in ledger.book.apply(requests[n : n + group])]
    assert [isinstance(answer, Hold) for answer in answers] == [True] * 50 + [False] * 150
    refused = answers[50]
    assert isinstance(refused, Refused)
    assert (refused.standing.quota.scope, refused.standing.held, refused.needed) == (
        "department:water",
        500 * WON,
        10 * WON,
    )
    assert refused.would_fit, "what is held now may come back"
    assert ledger.counter("department:water", MONTH) == (0, 500 * WON)


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_admit_exactly_what_fits(database_url: str, processes: int) -> None:
    with several(database_url, processes) as ledgers:
        ledgers[0].quota("organisation", "day", 500)
        share = 240 // processes

        def ask_often(one: Ledger) -> int:
            groups = [[one.request(ask=TEN_WON, user=f"u{k}") for k in range(8)] for _ in range(share // 8)]
            return sum(isinstance(answer, Hold) for group in groups for answer in one.book.apply(group))

        admitted = at_once(*(lambda one=one: ask_often(one) for one in ledgers))  # type: ignore[misc]
        assert sum(admitted) == 50
        assert ledgers[0].counter("organisation", "2026-11-23") == (0, 500 * WON)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_hammer_the_same_budgets(database_url: str, processes: int) -> None:
    """Hundreds of groups of everything there is, on the same few counters, in every order: nobody sees a deadlock, no budget
    is exceeded, and at the end the counters are what the journals and holds say. On SQLite the second is the command line."""
    with several(database_url, processes) as ledgers:
        first = ledgers[0]
        first.quota("organisation", "month", 400)
        first.quota("department:water", "day", 150)
        first.quota("user:kim", "year", 90)
        seen = at_once(*(lambda n=n, one=one: _hammer(one, Random(n), rounds=150) for n, one in enumerate(ledgers)))  # type: ignore[misc]
        assert sum(count["admitted"] for count in seen) > 50
        assert sum(count["refused"] for count in seen) > 50
        assert sum(count["reversed"] for count in seen) > 0
        counters = first.counters()
        assert counters["organisation", MONTH][0] <= 400 * WON
        assert counters["department:water", "2026-11-23"][0] <= 150 * WON
        assert counters["user:kim", "2026"][0] <= 90 * WON
        assert all(held == 0 for _, held in counters.values())
        first.seal()
        assert first.faults() == {}


def _hammer(one: Ledger, random: Random, *, rounds: int) -> dict[str, int]:
    seen = {"admitted": 0, "refused": 0, "reversed": 0}
    journals: list[str] = []
    for _ in range(rounds):
        asks = [
            one.request(user=random.choice(("kim", "lee", "park")), department=random.choice(("water", "roads")))
            for _ in range(random.randint(1, 8))
        ]
        random.shuffle(asks)
        holds = [answer for answer in _answers(one, asks) if isinstance(answer, Hold)]
        seen["admitted"] += len(holds)
        seen["refused"] += len(asks) - len(holds)
        _answers(one, [MarkSent(hold.id, one.clock()) for hold in holds])
        ends: list[Op] = []
        for hold in holds:
            fate = random.random()
            if fate < 0.7:
                ends.append(booking(hold, used(random.randint(1, 1000), random.randint(1, hold.output_cap))))
                journals.append(hold.id)
            elif fate < 0.85:
                ends.append(Void(hold, "failed", one.clock()))
            else:
                ends.append(
                    replace(
                        one.request(),
                        request_id=hold.request_id,
                        attempt=2,
                        instead_of=Void(hold, "failed", one.clock()),
                    )
                )
        if journals and random.random() < 0.3:
            ends.append(one.reverse(journals.pop(random.randrange(len(journals)))))
        random.shuffle(ends)
        # A reversal may meet its journal in the same group: then it is too early by a moment, and is offered again.
        answers = _answers(one, ends)
        early = [op for op, answer in zip(ends, answers, strict=True) if isinstance(answer, NotReversible)]
        answers += _answers(one, early)
        seen["reversed"] += sum(isinstance(op, Reverse) for op in ends)
        again = [answer for answer in answers if isinstance(answer, Hold)]
        _answers(one, [Void(hold, "failed", one.clock()) for hold in again])
    return seen


def _answers(one: Ledger, group: list[Op] | list[Reserve] | list[MarkSent] | list[Void]) -> list[Any]:
    answers = one.book.apply(group) if group else []
    broken = [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, NotReversible)]
    assert broken == []
    return answers


# -- a group and its members -------------------------------------------------------------------------------------------


def test_a_poisoned_operation_fails_alone(ledger: Ledger) -> None:
    """A request id used twice, an amount no column holds, a settlement without a hold: each is refused, its neighbours stand."""
    twice = ledger.request(ask=TEN_WON)
    ledger.do(twice)
    ghost = booking(Hold("ghost", 1, twice.who, twice.where, 10 * WON, 0, 0, 0, ledger.clock()))
    huge = ledger.request(ask=Ask(fixed=2**63, per_output=0, wanted=0))
    group = [ledger.request(ask=TEN_WON), twice, ledger.request(ask=TEN_WON), ghost, huge, ledger.request(ask=TEN_WON)]
    answers = ledger.book.apply(group)
    assert [type(answer) is Hold for answer in answers] == [True, False, True, False, False, True]
    assert all(isinstance(answers[n], Exception) for n in (1, 3, 4))
    assert not any(isinstance(answer, LedgerUnavailable) for answer in answers)
    assert ledger.counter("organisation", MONTH) == (0, 40 * WON)
    assert len(ledger.states()) == 4


def test_what_was_taken_back_is_not_remembered(ledger: Ledger) -> None:
    """The counters a failed group had in hand are read anew: the next decision is made on what is committed."""
    ledger.quota("organisation", "day", 30)
    taken = ledger.request(ask=TEN_WON)
    ledger.do(taken)
    for _ in range(3):
        answers = ledger.book.apply([ledger.request(ask=Ask(2**63, 0, 0), user="park")])
        assert not isinstance(answers[0], Hold)
    answers = ledger.book.apply(
        [ledger.request(ask=TEN_WON), taken, ledger.request(ask=TEN_WON), ledger.request(ask=TEN_WON)]
    )
    assert [type(answer) for answer in answers[::2]] == [Hold, Hold]
    assert isinstance(answers[3], Refused)
    assert ledger.counter("organisation", "2026-11-23") == (0, 30 * WON)


def test_an_empty_group_is_no_work(ledger: Ledger) -> None:
    assert ledger.book.apply([]) == []


def test_a_decision_sees_what_another_connection_committed_just_before(database_url: str) -> None:
    """Both remember counters; neither may decide on a memory that somebody else has made untrue."""
    with several(database_url, 2) as (server, command):
        server.quota("organisation", "month", 30)
        holds = [server.held(ask=TEN_WON), command.held(ask=TEN_WON), server.held(ask=TEN_WON)]
        assert isinstance(command.do(command.request(ask=TEN_WON)), Refused)
        command.do(Void(holds[0], "failed", command.clock()))
        assert isinstance(server.do(server.request(ask=TEN_WON)), Hold)
        assert isinstance(command.do(command.request(ask=TEN_WON)), Refused)


def test_a_quota_holds_from_the_next_request_on_every_process(database_url: str) -> None:
    with several(database_url, 2) as (server, command):
        assert isinstance(server.do(server.request(ask=TEN_WON)), Hold)
        command.quota("organisation", "month", 15)
        assert isinstance(server.do(server.request(ask=TEN_WON)), Refused)
        command.quota("organisation", "month", None)
        assert isinstance(server.do(server.request(ask=TEN_WON)), Hold)
        command.quota("organisation", "month", 0, hard=False)
        assert isinstance(server.do(server.request(ask=TEN_WON)), Hold)


def test_quotas_set_by_two_processes_at_once_are_all_in_force(database_url: str) -> None:
    """A number that was drawn early and committed late must not be passed over."""
    with several(database_url, 3) as (server, one, other):
        users = [f"u{n}" for n in range(40)]

        def forbid(ledger: Ledger, whose: list[str]) -> None:
            for user in whose:
                server_sees = SetQuota(f"user:{user}", "month", 0, True, "finance", ledger.clock())
                assert ledger.do(server_sees) is True

        def look() -> None:
            for _ in range(40):
                server.do(server.request(user="nobody"))

        at_once(lambda: forbid(one, users[::2]), lambda: forbid(other, users[1::2]), look)
        answers = server.do(*(server.request(user=user, ask=TEN_WON) for user in users))
        assert all(isinstance(answer, Refused) for answer in answers)


# -- a hold resolves once ----------------------------------------------------------------------------------------------


def test_a_fallback_is_decided_with_what_the_attempt_before_gives_back(ledger: Ledger) -> None:
    """₩15 for a request of ₩10: the second attempt fits because the first is released in the same transaction."""
    ledger.quota("organisation", "day", 15)
    first = ledger.sent(ask=TEN_WON)
    second = ledger.request(ask=TEN_WON, instead_of=Void(first, "failed", ledger.clock()), attempt=2)
    assert isinstance(ledger.do(second), Hold)
    assert ledger.states()[first.id] == "voided"
    assert ledger.counter("organisation", "2026-11-23") == (0, 10 * WON)


def test_a_fallback_that_is_refused_has_released_the_attempt_before_all_the_same(ledger: Ledger) -> None:
    first = ledger.sent(where=place("acme/plain"))
    ledger.quota("organisation", "day", 0)
    answer = ledger.do(ledger.request(instead_of=booking(first), attempt=2))
    assert isinstance(answer, Refused)
    assert ledger.states() == {first.id: "posted"}
    assert ledger.counter("organisation", "2026-11-23") == (2_800_000, 0), "800 × $1 + 300 × $4 a million, at ₩1,400"


@pytest.mark.parametrize(
    ("now", "seen", "voided", "settled"),
    [
        ("open", "open", True, None),
        ("sent", "open", False, None),  # it left in between: giving the money back would lose the bill
        ("open, renewed", "open", False, None),
        ("sent", "sent", None, "booked"),
        ("sent, renewed", "sent", None, "alive"),
        ("posted", "sent", None, "replayed"),
        ("voided", "open", False, None),
        ("expired", "sent", None, "replayed"),
    ],
)
def test_whoever_does_not_own_a_hold_resolves_it_only_as_it_was_seen(
    ledger: Ledger, now: str, seen: str, voided: bool | None, settled: str | None
) -> None:
    hold = ledger.held() if seen == "open" else ledger.sent()
    row = ledger.book.transact(lambda tx: tx.live_hold(hold.id))
    ledger.clock.advance(LEASE + SECOND)
    op = resolve(row, card("acme/plain"), ledger.clock())
    if now == "sent" and seen == "open":
        ledger.do(MarkSent(hold.id, ledger.clock()))
    elif now.endswith("renewed"):
        ledger.book.transact(lambda tx: tx.renew_leases("server-1", ledger.clock() + LEASE))
    elif now == "posted":
        ledger.do(booking(hold))
    elif now == "voided":
        ledger.do(Void(hold, "failed", ledger.clock()))
    elif now == "expired":
        ledger.do(op)
    before = ledger.everything()
    answer = ledger.do(op)
    assert answer is voided if settled is None else answer.state == settled
    assert (ledger.everything() == before) == (voided is False or settled in ("alive", "replayed"))
    assert isinstance(op, Settle | Void)
    assert op.seen == Seen("open" if seen == "open" else "sent", row["lease_until"])


def test_two_sweepers_with_the_same_list_book_each_hold_once(database_url: str) -> None:
    with several(database_url, 2) as (one, other):
        for _ in range(30):
            one.sent()
            one.held()
        one.clock.advance(LEASE + SECOND)
        now = one.clock()
        rows = one.book.transact(lambda tx: tx.lapsed_holds(now, all_of=None, limit=500))
        ops = [resolve(row, card(row["price_key"]), now) for row in rows]

        def sweep(ledger: Ledger) -> list[Any]:
            return [answer for op in ops for answer in ledger.book.apply([op])]

        answers = at_once(lambda: sweep(one), lambda: sweep(other))
        did = [
            answer is True or (isinstance(answer, Booked) and answer.state == "booked") for answer in chain(*answers)
        ]
        assert sum(did) == 60
        assert sorted(set(one.states().values())) == ["expired", "voided"]
        assert [kind for kind, _ in one.cases()] == ["crash_unknown"] * 30
        one.seal()
        assert one.faults() == {}


def test_a_settlement_of_a_hold_that_was_given_up_becomes_a_case_with_all_it_knows(ledger: Ledger) -> None:
    """250 tokens were booked as an estimate, ₩0.35; the owner comes back with 800 and 300, ₩2.80."""
    hold = ledger.sent()
    ledger.clock.advance(LEASE + SECOND)
    ledger.sweep()
    late = booking(hold)
    assert ledger.do(late) == Booked("late")
    assert ledger.do(late) == Booked("late"), "again: still one case"
    ((detail, ours, theirs),) = ledger.rows("SELECT detail, ours, theirs FROM recon_case WHERE kind = 'late_usage'")
    assert (ours, theirs) == (350_000, 2_800_000)
    assert '"quality":"exact"' in detail
    assert '"tokens":1100' in detail
    assert "prompt_tokens" in detail
    assert ledger.counter("user:kim", MONTH) == (350_000, 0)


def test_the_money_of_a_settlement_after_a_void_is_never_just_dropped(ledger: Ledger) -> None:
    hold = ledger.sent()
    ledger.do(Void(hold, "failed", ledger.clock()))
    assert ledger.do(booking(hold)) == Booked("late")
    assert ledger.cases() == [("late_usage", hold.id)]


def test_a_breach_is_booked_in_full_and_said(ledger: Ledger) -> None:
    """1,000 tokens in at $1 and 1,000 out at $4 a million were held for; 3,000 out come: $0.013 at ₩1,400 is ₩18.20."""
    hold = ledger.sent()
    op = booking(hold, used(1000, 3000))
    assert (op.quality, op.total) == ("exact", 18_200_000)
    assert ledger.do(op) == Booked("booked", breach=True)
    assert ledger.rows("SELECT hold_breach, hold_amount FROM usage_event") == [(1, 7_000_002)]
    assert ledger.counter("user:kim", MONTH) == (18_200_000, 0)


def test_a_checkpoint_that_comes_late_does_not_undo_a_newer_one(ledger: Ledger) -> None:
    hold = ledger.sent()
    early, late = ledger.clock(), ledger.clock()
    ledger.do(Checkpoint(hold.id, '{"output_tokens":512}', late))
    ledger.do(Checkpoint(hold.id, '{"output_tokens":256}', early))
    assert ledger.rows("SELECT checkpoint FROM hold") == [('{"output_tokens":512}',)]
    ledger.do(booking(hold))
    ledger.do(Checkpoint(hold.id, '{"output_tokens":9}', ledger.clock()))
    assert ledger.rows("SELECT checkpoint FROM hold") == [('{"output_tokens":512}',)], "resolved is resolved"


def test_a_hold_nobody_resolves_is_not_kept_alive_for_ever(ledger: Ledger) -> None:
    """A task that came to grief leaves its hold behind; its living process renews it, but no longer than any request lasts."""
    lost = ledger.held()
    ledger.clock.advance(2 * HOUR)
    young = ledger.held()
    until = ledger.clock() + LEASE
    ledger.book.transact(lambda tx: tx.renew_leases("server-1", until))
    assert [op.hold.id for op, _ in ledger.sweep()] == [lost.id]
    ledger.clock.advance(LEASE + SECOND)
    assert [op.hold.id for op, _ in ledger.sweep()] == [young.id]


def test_a_restart_takes_up_what_is_not_its_own_lapsed_or_not(ledger: Ledger) -> None:
    mine, dead = ledger.held(owner="server-2"), ledger.held(owner="server-1")
    rows = ledger.book.transact(lambda tx: tx.lapsed_holds(ledger.clock(), all_of="server-2", limit=10))
    assert [hold_from(row).id for row in rows] == [dead.id]
    assert mine.id in ledger.states()


# -- reversals ---------------------------------------------------------------------------------------------------------


def test_a_reversal_negates_each_leg_in_the_periods_open_now(ledger: Ledger) -> None:
    """₩2.80 and 10 % tax used in November, taken back in December: November stands as it was."""
    op = ledger.booked(where=place(vat_bp=1000))
    ledger.clock.advance(10 * DAY)
    assert ledger.do(ledger.reverse(op.hold.id)) is True
    legs = ledger.rows("SELECT n, account, currency, amount FROM entry WHERE journal_seq = 1 ORDER BY n")
    back = ledger.rows("SELECT n, account, currency, amount FROM entry WHERE journal_seq = 2 ORDER BY n")
    assert back == [(n, account, currency, -amount) for n, account, currency, amount in legs]
    assert ledger.counter("organisation", MONTH) == (3_080_000, 0)
    assert ledger.counter("organisation", "2026-12") == (-3_080_000, 0)
    assert ledger.counter("organisation", "2026") == (0, 0)


def test_a_reversal_offered_again_is_the_same_reversal(ledger: Ledger) -> None:
    """Its answer was lost; the same deed of the same person at the same instant is no second one."""
    op = ledger.booked()
    once = ledger.reverse(op.hold.id)
    assert ledger.do(once) is True
    before = ledger.everything()
    assert ledger.do(once) is True
    assert ledger.everything() == before
    for other, why in (
        (ledger.reverse(op.hold.id), "was reversed before"),
        (replace(once, journal_id=f"reversal:{op.hold.id}"), "is itself a reversal"),
        (replace(once, journal_id="nowhere"), "there is no journal nowhere"),
    ):
        (answer,) = ledger.book.apply([other])
        assert isinstance(answer, NotReversible)
        assert why in str(answer)


def test_two_people_reverse_the_same_at_once_and_one_of_them_does(database_url: str) -> None:
    """Also over midnight, when their reversals touch different counters and meet only at the journal itself."""
    with several(database_url, 2) as (one, other):
        journals = [one.booked().hold.id for _ in range(20)]
        other.clock.advance(DAY)

        def reverse_all(ledger: Ledger, order: list[str]) -> list[Any]:
            return [answer for id_ in order for answer in ledger.book.apply([ledger.reverse(id_)])]

        answers = at_once(lambda: reverse_all(one, journals), lambda: reverse_all(other, journals))
        assert sum(answer is True for answer in chain(*answers)) == 20
        assert all(answer is True or isinstance(answer, NotReversible) for answer in chain(*answers))
        one.seal()
        assert one.faults() == {}


# -- what others wrote -------------------------------------------------------------------------------------------------


def test_what_a_provider_calls_itself_cannot_break_a_booking(ledger: Ledger) -> None:
    """NUL and halves of characters are nothing a database keeps; the amount is booked and the rest is marked."""
    hold = ledger.sent()
    odd = replace(
        booking(hold),
        upstream_model="gpt\0-5",
        provider_request_id="req\udc80",
        reason="끊김\0",
        cases=(Case("odd", "a", "{}"),),
    )
    assert ledger.do(odd).state == "booked"
    ((model, request, reason),) = ledger.rows("SELECT upstream_model, provider_request_id, reason FROM usage_event")
    assert (model, request, reason) == ("gpt\u2400-5", "req?", "끊김\u2400")


# -- no statement of the path reads a whole table ----------------------------------------------------------------------

BIG = ("hold", "journal", "usage_event", "usage_meter", "entry", "seal", "counter")


def _a_day_at_work(ledger: Ledger) -> None:
    """Everything the request path, the sweeper and the sealer say to the database."""
    holds = ledger.do(*(ledger.request(user=f"u{n}") for n in range(9)))
    ledger.do(*(MarkSent(hold.id, ledger.clock()) for hold in holds))
    ledger.do(Checkpoint(holds[0].id, '{"output_tokens":5}', ledger.clock()))
    ledger.do(booking(holds[0]), Void(holds[1], "failed", ledger.clock()))
    ledger.do(ledger.request(instead_of=booking(holds[2]), attempt=2))
    ledger.do(ledger.reverse(holds[0].id))
    ledger.do(booking(holds[0]))
    ledger.book.transact(lambda tx: tx.renew_leases("server-1", ledger.clock() + LEASE))
    ledger.book.transact(lambda tx: tx.lapsed_holds(ledger.clock(), all_of="server-9", limit=500))
    ledger.clock.advance(LEASE + SECOND)
    ledger.sweep()
    ledger.seal()


def test_sqlite_plans_no_scan_of_a_table_that_grows(sqlite_url: str) -> None:
    with open_ledger(sqlite_url) as ledger:
        _a_day_at_work(ledger)
        said: list[str] = []
        assert ledger.book._connection is not None
        ledger.book._connection.driver_connection.set_trace_callback(said.append)
        _a_day_at_work(ledger)
        ledger.book._connection.driver_connection.set_trace_callback(None)
        statements = {text for text in said if text.split(None, 1)[0] in ("SELECT", "INSERT", "UPDATE", "WITH")}
        assert len(statements) > 20
        scans = set()
        with ledger.engine.connect() as connection:
            for text in statements:
                for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text.replace('%', '%%')}"):
                    if step.startswith("SCAN ") and step.split()[1] in (*BIG, "h", "j", "c", "e", "u", "m", "s"):
                        scans.add((step, text[:120]))
        allowed = {scan for scan in scans if "ix_hold_live" in scan[0]}
        assert scans - allowed == set()


def test_postgresql_reads_no_table_that_grows_from_end_to_end(postgresql_url: str) -> None:
    with open_ledger(postgresql_url) as ledger:
        for _ in range(12):
            holds = ledger.do(*(ledger.request(user=f"u{n}") for n in range(100)))
            ledger.do(*(MarkSent(hold.id, ledger.clock()) for hold in holds))
            ledger.do(*(booking(hold) for hold in holds))
        ledger.seal()
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        ledger.book.close()  # a new connection makes new plans
        before = _sequential_scans(ledger)
        _a_day_at_work(ledger)
        ledger.book.transact(lambda tx: tx.query("SELECT pg_stat_force_next_flush()"))
        assert _sequential_scans(ledger) == before
        ledger.book.transact(lambda tx: tx.query("SELECT max(purpose) FROM hold, pg_stat_force_next_flush()"))
        assert _sequential_scans(ledger) != before, "so that nothing found means something"


def _sequential_scans(ledger: Ledger) -> dict[str, int]:
    engine = open_engine(ledger.engine.url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT relname, seq_scan FROM pg_stat_user_tables"))
        found = {name: scans for name, scans in rows if name in BIG}
    engine.dispose()
    return found


def test_the_calendar_of_these_tests(ledger: Ledger) -> None:
    """So that the labels above mean what they say."""
    assert SEOUL.periods(ledger.clock()) == ("2026-11-23", "2026-11", "2026")
    assert (
        ask_for(place()).ceiling(1000) == 7_000_002
    )  # 1,000 × $1 + 1,000 × $4 a million at ₩1,400, and 2 for rounding
