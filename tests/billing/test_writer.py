"""The writer's thread: groups form by themselves, money that was spent is booked in the end, and nobody's hold is forgotten.

The databases are broken for real: locked by somebody else, their connections killed, or cut on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from clock import SECOND
from ledgers import WON, Ledger, booking, open_ledger
from msgspec.structs import replace

from billing.book import LedgerUnavailable
from billing.holds import Booked, Checkpoint, Hold, MarkSent, SetQuota, Void
from billing.quota import Ask, Refused
from billing.writer import GROUP, Writer

TEN_WON = Ask(fixed=10 * WON, per_output=0, wanted=0)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Ledger]:
    """Its writer waits a tenth of a second for a lock instead of five, so that these tests do."""
    with open_ledger(sqlite_url) as opened:
        opened.book.close()
        sa.event.listen(opened.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 100"))
        opened.engine.dispose()
        yield opened


@contextlib.asynccontextmanager
async def writing(ledger: Ledger) -> AsyncIterator[Writer]:
    writer = Writer(ledger.book)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop(patience=5)


@contextlib.contextmanager
def locked(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """Somebody else holds the file; until the block ends, or the lock is let go by calling what is given."""
    driver = ledger.engine.raw_connection()
    other = driver.driver_connection
    assert other is not None
    other.execute("BEGIN EXCLUSIVE")
    held = [True]

    def release() -> None:
        if held.pop():
            other.execute("ROLLBACK")
            driver.close()

    yield release
    if held:
        release()


async def until(true: Callable[[], Any]) -> None:
    """Wait for it; the test's own time-out is the bound."""
    while not true():  # noqa: ASYNC110 – what is waited for happens in the database, where nothing sets an event
        await asyncio.sleep(0.01)


# -- groups ------------------------------------------------------------------------------------------------------------


async def test_groups_form_while_the_one_before_is_written(ledger: Ledger) -> None:
    """500 requests at once are a handful of transactions, and each gets its own answer."""
    ledger.quota("organisation", "month", 4000)
    async with writing(ledger) as writer:
        asks = [ledger.request(ask=TEN_WON, user=f"u{n}") for n in range(500)]
        answers = await asyncio.gather(*(writer.submit(ask) for ask in asks))
        assert [type(answer) for answer in answers] == [Hold] * 400 + [Refused] * 100
        assert [answer.request_id for answer in answers[:400]] == [ask.request_id for ask in asks[:400]]
        assert writer.operations == 500
        assert 500 / GROUP <= writer.groups < 50


async def test_a_lone_request_waits_for_nobody(ledger: Ledger) -> None:
    async with writing(ledger) as writer:
        for n in range(3):
            assert isinstance(await writer.submit(ledger.request()), Hold)
            assert (writer.groups, writer.operations) == (n + 1, n + 1)


async def test_a_poisoned_operation_fails_alone(ledger: Ledger) -> None:
    async with writing(ledger) as writer:
        known = ledger.request(ask=TEN_WON)
        await writer.submit(known)
        ghost = booking(Hold("ghost", 1, known.who, known.where, 0, 0, 0, 0, 1))
        good = [writer.submit(ledger.request(ask=TEN_WON)) for _ in range(20)]
        bad = [writer.submit(known), writer.submit(ghost), writer.submit(ledger.request(ask=Ask(2**63, 0, 0)))]
        good += [writer.submit(ledger.request(ask=TEN_WON)) for _ in range(20)]
        assert all(isinstance(answer, Hold) for answer in await asyncio.gather(*good))
        refused = await asyncio.gather(*bad, return_exceptions=True)
        assert all(isinstance(error, Exception) and not isinstance(error, LedgerUnavailable) for error in refused)
        assert writer.healthy
        assert ledger.counter("organisation", "2026-11") == (0, 41 * 10 * WON)


async def test_a_poisoned_request_does_not_take_what_the_attempt_before_cost_with_it(ledger: Ledger) -> None:
    first = ledger.sent()
    async with writing(ledger) as writer:
        broken = ledger.request(ask=Ask(2**63, 0, 0), instead_of=booking(first), attempt=2)
        with pytest.raises(Exception, match=r"."):
            await writer.submit(broken)
        await until(lambda: ledger.states() == {first.id: "posted"})


async def test_other_work_runs_between_groups_and_its_error_is_its_callers(ledger: Ledger) -> None:
    async with writing(ledger) as writer:
        assert await writer.transact(lambda tx: tx.query("SELECT 7")) == [(7,)]
        with pytest.raises(ZeroDivisionError):
            await writer.transact(lambda tx: 1 // len(tx.query("SELECT 1 WHERE 1 = 0")))
        assert isinstance(await writer.submit(ledger.request()), Hold)


# -- the database is away ----------------------------------------------------------------------------------------------


async def test_while_the_file_is_locked_new_work_is_refused_and_bookings_wait(sqlite_ledger: Ledger) -> None:
    ledger = sqlite_ledger
    answered, left, unsent = ledger.sent(), ledger.sent(), ledger.held()
    ledger.book.close()
    async with writing(ledger) as writer:
        with locked(ledger) as release:
            settled, voided = writer.submit(booking(answered)), writer.submit(Void(left, "failed", ledger.clock()))
            for new in (
                ledger.request(),
                MarkSent(unsent.id, ledger.clock()),
                SetQuota("organisation", "month", 1, True, "finance", ledger.clock()),
            ):
                with pytest.raises(LedgerUnavailable):
                    await writer.submit(new)
            with pytest.raises(LedgerUnavailable):
                await writer.transact(lambda tx: tx.newest_quota())
            assert await writer.submit(Checkpoint(answered.id, "{}", ledger.clock())) is False
            assert not writer.healthy
            assert not settled.done()
            assert not voided.done()
            release()
        assert await settled == Booked("booked")
        assert await voided is True
        await until(lambda: ledger.states()[unsent.id] == "voided")  # whoever was told no does not send
        assert writer.healthy
        assert isinstance(await writer.submit(ledger.request()), Hold)
    assert ledger.rows("SELECT count(*) FROM quota") == [(0,)]


async def test_a_backlog_keeps_no_new_request_waiting(sqlite_ledger: Ledger) -> None:
    """More bookings wait than a group takes; a request that comes then is told at once all the same."""
    ledger = sqlite_ledger
    holds = [ledger.sent() for _ in range(2 * GROUP + 10)]
    ledger.book.close()
    async with writing(ledger) as writer:
        with locked(ledger):
            bookings = [writer.submit(booking(hold)) for hold in holds]
            await until(lambda: not writer.healthy)
            with pytest.raises(LedgerUnavailable):
                await writer.submit(ledger.request())
            assert not any(future.done() for future in bookings)
        assert await asyncio.gather(*bookings) == [Booked("booked")] * len(holds)


async def test_what_a_failed_attempt_cost_is_booked_though_the_next_one_was_refused(sqlite_ledger: Ledger) -> None:
    """The fallback's request carries the booking of the attempt before; the one fails at once, the other is tried again."""
    ledger = sqlite_ledger
    first = ledger.sent()
    ledger.book.close()
    async with writing(ledger) as writer:
        with locked(ledger), pytest.raises(LedgerUnavailable):
            await writer.submit(ledger.request(instead_of=booking(first), attempt=2))
        await until(lambda: ledger.states() == {first.id: "posted"})
    assert ledger.counter("organisation", "2026-11") == (2_800_000, 0)


async def test_a_killed_connection_costs_nobody_an_answer(postgresql_url: str) -> None:
    """Between two groups: the next one simply connects again."""
    with open_ledger(postgresql_url) as ledger:
        async with writing(ledger) as writer:
            first = await writer.submit(ledger.request())
            for _ in range(3):
                _kill_others(postgresql_url)
                assert isinstance(await writer.submit(ledger.request()), Hold)
            _kill_others(postgresql_url)
            assert await writer.submit(MarkSent(first.id, ledger.clock())) is True
            _kill_others(postgresql_url)
            assert await writer.submit(booking(first)) == Booked("booked")


def _kill_others(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )


async def test_connections_killed_under_load_lose_and_double_nothing(postgresql_url: str) -> None:
    """Somebody kills the writer's connection again and again, wherever it happens to be. Every booking arrives, once; every
    hold that was not granted is given back."""
    with open_ledger(postgresql_url) as ledger, open_ledger(postgresql_url, prefix="reader") as reader:
        done = threading.Event()

        def kill() -> None:
            while not done.wait(0.08):
                _kill_others(postgresql_url)

        async with writing(ledger) as writer:
            killer = threading.Thread(target=kill)
            killer.start()
            try:
                ends = await asyncio.gather(*(_one_request(ledger, writer, n) for n in range(400)))
            finally:
                done.set()
                killer.join()
            booked = {id_ for id_ in ends if id_ is not None}
            assert len(booked) > 50
            await until(lambda: not {"open", "sent"} & set(reader.states().values()))
        assert {id_ for id_, state in reader.states().items() if state == "posted"} == booked
        assert set(reader.states().values()) <= {"posted", "voided"}
        assert all(held == 0 for _, held in reader.counters().values())
        reader.clock.now = ledger.clock.now
        reader.seal()
        assert reader.faults() == {}


async def _one_request(ledger: Ledger, writer: Writer, number: int) -> str | None:
    """As the gateway does it; the hold's id once it is booked."""
    await asyncio.sleep(number / 200)
    try:
        hold = await writer.submit(ledger.request(user=f"u{number % 7}"))
        if not await writer.submit(MarkSent(hold.id, ledger.clock())):
            return None
    except LedgerUnavailable:
        return None
    answer = await writer.submit(booking(hold))
    assert answer.state in ("booked", "replayed")
    return str(hold.id)


# -- a commit whose answer is lost -------------------------------------------------------------------------------------


class Wire:
    """A wire to a PostgreSQL server that can be cut at the worst moment: the COMMIT arrives, its answer does not."""

    def __init__(self, url: str) -> None:
        self._to = sa.make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = self._to.set(port=self._listener.getsockname()[1]).render_as_string(hide_password=False)
        self._commits_left = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at_commit(self, number: int) -> None:
        """1 is the next one."""
        self._commits_left = number

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._to.host or "", self._to.port or 0))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := client.recv(65536):
                if b"COMMIT" in said and self._commits_left:
                    self._commits_left -= 1
                    if self._commits_left:
                        server.sendall(said)
                        continue
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    server.sendall(said)
                    break
                server.sendall(said)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)  # it reads to the end before it notices that nobody is there

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := server.recv(65536):
                client.sendall(said)
        client.close()


@pytest.fixture
def wire(postgresql_url: str) -> Iterator[Wire]:
    made = Wire(postgresql_url)
    yield made
    made.close()


@contextlib.contextmanager
def over(wire: Wire, postgresql_url: str) -> Iterator[tuple[Ledger, Ledger]]:
    """The ledger over the wire, and a reader that is connected directly."""
    with open_ledger(wire.url) as ledger, open_ledger(postgresql_url, prefix="reader") as reader:
        yield ledger, reader


async def test_a_booking_whose_commit_was_not_answered_is_found_booked(wire: Wire, postgresql_url: str) -> None:
    with over(wire, postgresql_url) as (ledger, reader):
        hold = ledger.sent()
        ledger.book.close()  # a new connection spells its statements out
        async with writing(ledger) as writer:
            wire.cut_at_commit(1)
            assert await writer.submit(booking(hold)) == Booked("replayed")
        assert wire.cuts == 1
        assert reader.rows("SELECT id FROM usage_event") == [(hold.id,)]
        assert reader.counter("organisation", "2026-11") == (2_800_000, 0)


async def test_a_hold_whose_commit_was_not_answered_is_given_back(wire: Wire, postgresql_url: str) -> None:
    """Whoever asked was told no, and nobody else knows of it."""
    with over(wire, postgresql_url) as (ledger, reader):
        ledger.do(ledger.request(request_id="before"))  # its counters exist: the next commit is the hold's own
        ledger.book.close()
        async with writing(ledger) as writer:
            wire.cut_at_commit(1)
            with pytest.raises(LedgerUnavailable):
                await writer.submit(ledger.request(request_id="lost"))
            await until(lambda: reader.states().get("lost:1") == "voided")
        assert wire.cuts == 1
        assert reader.states()["before:1"] == "open"
        assert reader.counter("organisation", "2026-11") == (0, 7_000_002)


async def test_a_reversal_whose_commit_was_not_answered_is_one_reversal(wire: Wire, postgresql_url: str) -> None:
    with over(wire, postgresql_url) as (ledger, reader):
        op = ledger.booked()
        ledger.do(ledger.reverse(ledger.booked().hold.id))
        ledger.book.close()
        async with writing(ledger) as writer:
            wire.cut_at_commit(2)  # the first is that of looking at what is to be reversed
            assert await writer.submit(ledger.reverse(op.hold.id)) is True
        assert wire.cuts == 1
        assert reader.rows("SELECT id FROM journal WHERE reverses = 'request-000001:1'") == [
            ("reversal:request-000001:1",)
        ]
        assert reader.counter("organisation", "2026-11") == (0, 0)


# -- whoever waited is gone --------------------------------------------------------------------------------------------


async def test_a_hold_granted_to_somebody_who_left_is_given_back(ledger: Ledger) -> None:
    async with writing(ledger) as writer:
        waiting = [writer.submit(ledger.request()) for _ in range(3)]
        for future in waiting:
            future.cancel()
        await until(lambda: list(ledger.states().values()) == ["voided"] * 3)
        assert ledger.counters() == {}


async def test_a_request_marked_as_sent_for_somebody_who_left_is_given_back(ledger: Ledger) -> None:
    async with writing(ledger) as writer:
        hold = await writer.submit(ledger.request())
        writer.submit(MarkSent(hold.id, ledger.clock())).cancel()
        await until(lambda: ledger.states() == {hold.id: "voided"})


async def test_a_booking_stands_whoever_waited_for_it(ledger: Ledger) -> None:
    hold = ledger.sent()
    async with writing(ledger) as writer:
        writer.submit(booking(hold)).cancel()
        await until(lambda: ledger.states() == {hold.id: "posted"})
        assert isinstance(await writer.submit(ledger.request()), Hold)


def test_answers_for_a_loop_that_is_gone_harm_nobody(ledger: Ledger) -> None:
    writer = Writer(ledger.book)
    hold = ledger.sent()
    left = ledger.sent()

    async def hand_over_and_leave() -> None:
        writer.submit(booking(hold))
        writer.submit(Void(left, "failed", ledger.clock()))

    asyncio.run(hand_over_and_leave())
    writer.start()

    async def come_back() -> None:
        await until(lambda: sorted(ledger.states().values()) == ["posted", "voided"])
        assert isinstance(await writer.submit(ledger.request()), Hold)
        await writer.stop()

    asyncio.run(come_back())


async def test_somebody_who_waits_for_room_is_woken_by_whatever_makes_room(ledger: Ledger) -> None:
    holds = [ledger.sent() for _ in range(3)]
    journal = ledger.booked().hold.id
    async with writing(ledger) as writer:
        for op in (
            booking(holds[0]),
            Void(holds[1], "failed", ledger.clock()),
            ledger.reverse(journal),
            SetQuota("organisation", "month", 10**12, True, "finance", ledger.clock()),
            ledger.request(instead_of=Void(holds[2], "failed", ledger.clock()), attempt=2),
        ):
            woken = asyncio.create_task(writer.freed(3600))
            await asyncio.sleep(0)
            await writer.submit(op)
            await woken
        await writer.freed(0.01)  # and by nothing after so long


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_stopping_writes_everything_that_was_handed_over(ledger: Ledger) -> None:
    holds = [ledger.sent() for _ in range(GROUP + 20)]
    writer = Writer(ledger.book)
    futures = [writer.submit(booking(hold)) for hold in holds]
    writer.start()
    await writer.stop()
    assert await asyncio.gather(*futures) == [Booked("booked")] * len(holds)
    assert set(ledger.states().values()) == {"posted"}


async def test_stopping_waits_for_a_database_that_comes_back(sqlite_ledger: Ledger) -> None:
    ledger = sqlite_ledger
    hold = ledger.sent()
    ledger.book.close()
    writer = Writer(ledger.book)
    writer.start()
    with locked(ledger) as release:
        waiting = writer.submit(booking(hold))
        await until(lambda: not writer.healthy)
        stopping = asyncio.create_task(writer.stop(patience=60))
        await asyncio.sleep(0.3)
        release()
        await stopping
    assert await waiting == Booked("booked")


async def test_stopping_does_not_wait_for_ever(sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what was not booked; the hold lapses, and the next start bills its checkpoint."""
    ledger = sqlite_ledger
    hold = ledger.sent()
    ledger.book.close()
    writer = Writer(ledger.book)
    writer.start()
    with locked(ledger):
        waiting = writer.submit(booking(hold))
        await writer.stop(patience=0)
        with pytest.raises(LedgerUnavailable):
            await waiting
    assert hold.id.removesuffix(":1") in caplog.text
    ledger.clock.advance(60 * SECOND)
    ledger.sweep()
    assert ledger.states() == {hold.id: "expired"}


def test_a_request_without_a_waiter_is_as_good_as_any(ledger: Ledger) -> None:
    """The writer's own bookings have none; one that cannot be written is only logged."""
    known = ledger.request()
    ledger.do(known)
    ghost = booking(Hold("ghost", 1, known.who, known.where, 0, 0, 0, 0, 1))
    fails_twice = replace(ledger.request(ask=Ask(2**63, 0, 0)), instead_of=ghost)

    async def run() -> None:
        async with writing(ledger) as writer:
            with pytest.raises(Exception, match=r"."):
                await writer.submit(fails_twice)
            assert isinstance(await writer.submit(ledger.request()), Hold)

    asyncio.run(run())
