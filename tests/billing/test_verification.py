"""`verify` finds what is wrong and names it: each check has rows that break it, and nothing else, on both databases.

The ledger is healthy; each fault is made in a transaction that is rolled back. Where a check other than the chain's is tried,
the chain is computed anew over the fault: even a forger who can do that is found by the sums.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
import sqlalchemy as sa
from clock import DAY, HOUR, MINUTE, SECOND
from ledgers import LEASE, SEOUL, Ledger, booking, card, open_ledger, place, seal_books, used
from msgspec.structs import replace
from sqlalchemy import Connection

from billing import tables
from billing.holds import MarkSent, Void
from billing.reports.verification import CHECKS, Bad, verify
from billing.settlement import settle
from billing.store import Statements, Tx
from gateway.database import open_engine

KINDS = ("sqlite", "postgresql")


def fill(ledger: Ledger) -> None:
    """One of every kind of booking, in this order: journals 1 to 9."""
    ledger.quota("organisation", "year", 1_000_000)
    for name, key, vat_bp in (("plain", "acme/plain", 0), ("taxed", "acme/plain", 1000), ("won", "hangang/won", 0)):
        ledger.booked(request_id=name, where=place(key, vat_bp=vat_bp))
    ledger.booked(request_id="free", where=place("inside/free"))
    reported = ledger.sent(request_id="reported")
    usage = replace(used(), reported_ticks=30_000_000)  # $0.003, where our sum is $0.002
    ledger.do(
        settle(
            reported,
            usage,
            usage,
            card("acme/plain"),
            outcome="completed",
            started_at=reported.created_at,
            ended_at=ledger.clock(),
            trust_reported=True,
        )
    )
    absurd = ledger.sent(request_id="absurd")
    ledger.do(booking(absurd, used(10**9, 10**9)))
    ledger.sent(request_id="lost")
    ledger.do(Void(ledger.held(request_id="void"), "failed", ledger.clock()))
    ledger.clock.advance(LEASE + SECOND)
    ledger.sweep()
    ledger.clock.advance(10 * DAY)
    ledger.do(ledger.reverse("taxed:1"))
    ledger.booked(request_id="last")
    ledger.sent(request_id="live")
    ledger.seal()
    assert ledger.faults() == {}


@dataclass(frozen=True)
class Healthy:
    engine: sa.Engine
    now: int

    @contextmanager
    def changed(self, *statements: str, reseal: bool = True) -> Iterator[Connection]:
        """The ledger with its guards taken down and these statements run, until the end of the block."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            _unguarded(connection)
            for statement in statements:
                changed = connection.exec_driver_sql(statement)
                assert changed.rowcount != 0, statement
            if reseal:
                connection.exec_driver_sql("DELETE FROM seal")
                seal_again(connection, self.now)
            yield connection
            transaction.rollback()

    def faults(self, *statements: str, reseal: bool = True, period: str | None = None) -> dict[str, Bad]:
        with self.changed(*statements, reseal=reseal) as connection:
            return faults(connection, self.now, period)


def faults(connection: Connection, now: int, period: str | None = None) -> dict[str, Bad]:
    return {check.name: check.first_bad for check in verify(connection, now, period) if check.first_bad is not None}


def seal_again(connection: Connection, now: int, but: Sequence[str] = ()) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    seal_books(Tx(driver.cursor(), Statements(postgresql=connection.dialect.name == "postgresql")), now, but=but)


def _unguarded(connection: Connection) -> None:
    """As somebody can who owns the database."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        return
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    assert names
    for name in names:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


@pytest.fixture(scope="module", params=KINDS)
def healthy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Healthy]:
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("healthy") / "ledger.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        url = f"sqlite:///{path}"
    else:
        new: Callable[..., str] = request.getfixturevalue("new_postgres_database")
        url = new(template=request.getfixturevalue("migrated_postgres"))
    with open_ledger(url) as ledger:
        fill(ledger)
        now = ledger.clock()
    engine = open_engine(url)
    yield Healthy(engine, now)
    engine.dispose()


def of(journal: str) -> str:
    return f"(SELECT seq FROM journal WHERE id = '{journal}')"


IN = "scope IN ('organisation', 'department:water', 'user:kim') AND period IN ('2026', '2026-11', '2026-11-23')"

ENTRY = (
    "(journal_seq, n, account, currency, amount, department_id, user_id, model, deployment, provider, purpose, grade,"
    " destination)"
)
METER = "(event_id, seq, model, meter, quantity, price_id, amount_ticks)"

# Which check, which row it names, and what was done to the ledger.
FAULTS: list[tuple[str, str, str, tuple[str, ...]]] = [
    (
        "journals_numbered",
        "journal",
        "last:1",
        (
            f"UPDATE entry SET journal_seq = journal_seq + 7 WHERE journal_seq = {of('last:1')}",
            "UPDATE journal SET seq = seq + 7 WHERE id = 'last:1'",
        ),
    ),
    (
        "journals_balance",
        "journal",
        "plain:1",
        (f"UPDATE entry SET amount = amount + 1 WHERE journal_seq = {of('plain:1')} AND account = 'clearing:USD'",),
    ),
    (
        "journals_balance",
        "journal",
        "taxed:1",
        (
            f"UPDATE entry SET amount = amount - 1 WHERE journal_seq = {of('taxed:1')} AND account = 'clearing:KRW'",
            f"UPDATE entry SET amount = amount + 1 WHERE journal_seq = {of('reversal:taxed:1')} AND account = 'clearing:KRW'",
        ),
    ),
    (
        "accounts_one_currency",
        "entry",
        "won:1#1",
        (f"UPDATE entry SET account = 'payable:acme:USD' WHERE journal_seq = {of('won:1')} AND n = 1",),
    ),
    (
        "journals_match",
        "journal",
        "plain:1",
        ("UPDATE journal SET won = won + 1 WHERE id = 'plain:1'", f"UPDATE counter SET posted = posted + 1 WHERE {IN}"),
    ),
    (
        "journals_match",
        "journal",
        "free:1",
        (
            "DELETE FROM usage_meter WHERE event_id = 'free:1'",
            "UPDATE usage_event SET won = 5, amount_ticks = 5, tokens = 0, hold_amount = 0 WHERE id = 'free:1'",
            f"INSERT INTO usage_meter {METER} VALUES ('free:1', 0, 'free', 'reported', 1, 'reported', 5)",
        ),
    ),
    (
        "rows_belong",
        "entry",
        "4711",
        tuple(
            f"INSERT INTO entry {ENTRY} VALUES (4711, {n}, '{account}', 'KRW', {amount}, 'd', 'u', 'm', 'd', 'p', 'x', 'O', 'i')"
            for n, (account, amount) in enumerate((("expense:department:d", 5), ("clearing:KRW", -5)))
        ),
    ),
    (
        "rows_belong",
        "usage_meter",
        "nobody:1",
        (f"INSERT INTO usage_meter {METER} VALUES ('nobody:1', 0, 'm', 'input', 5, NULL, NULL)",),
    ),
    ("events_booked", "usage_event", "plain:1", ("UPDATE hold SET state = 'voided' WHERE id = 'plain:1'",)),
    ("events_booked", "usage_event", "plain:1", ("UPDATE hold SET outcome = 'failed' WHERE id = 'plain:1'",)),
    ("events_booked", "usage_event", "plain:1", ("UPDATE usage_event SET hold_amount = 1 WHERE id = 'plain:1'",)),
    ("events_booked", "usage_event", "plain:1", ("UPDATE usage_event SET hold_breach = 1 WHERE id = 'plain:1'",)),
    ("events_booked", "hold", "void:1", ("UPDATE hold SET state = 'posted' WHERE id = 'void:1'",)),
    ("events_booked", "journal", "plain:1", ("UPDATE journal SET event_id = 'won:1' WHERE id = 'plain:1'",)),
    (
        "meters_add_up",
        "usage_event",
        "reported:1",
        ("UPDATE usage_meter SET amount_ticks = amount_ticks + 1 WHERE meter = 'reported'",),
    ),
    ("tokens_add_up", "usage_event", "plain:1", ("UPDATE usage_event SET tokens = tokens + 1 WHERE id = 'plain:1'",)),
    (
        "prices_known",
        "usage_meter",
        "plain:1#0",
        ("UPDATE usage_meter SET price_id = 'nobody' WHERE event_id = 'plain:1' AND seq = 0",),
    ),
    (
        "prices_known",
        "usage_meter",
        "won:1#1",
        ("UPDATE price SET unit_price_pico = unit_price_pico + 10000 WHERE id = 'hangang/won#output'",),
    ),
    ("prices_known", "usage_meter", "won:1#0", ("UPDATE price SET currency = 'USD' WHERE id = 'hangang/won#input'",)),
    (
        "conversion",
        "usage_event",
        "plain:1",
        ("UPDATE usage_event SET fx_rate_e6 = fx_rate_e6 + 1000000 WHERE id = 'plain:1'",),
    ),
    ("conversion", "usage_event", "taxed:1", ("UPDATE hold SET vat_bp = 999 WHERE id = 'taxed:1'",)),
    (
        "reversals",
        "journal",
        "reversal:taxed:1",
        (f"UPDATE entry SET department_id = 'roads' WHERE journal_seq = {of('reversal:taxed:1')} AND n = 2",),
    ),
    (
        "reversals",
        "journal",
        "reversal:taxed:1",
        (f"DELETE FROM entry WHERE journal_seq = {of('reversal:taxed:1')} AND currency = 'USD'",),
    ),
    (
        "reversals",
        "journal",
        "reversal:taxed:1",
        ("UPDATE journal SET reverses = 'nobody' WHERE reverses = 'taxed:1'",),
    ),
    ("periods", "usage_event", "plain:1", ("UPDATE usage_event SET service_month = '2026-10' WHERE id = 'plain:1'",)),
    ("periods", "usage_event", "plain:1", ("UPDATE usage_event SET service_date = '2026-11-24' WHERE id = 'plain:1'",)),
    ("periods", "journal", "plain:1", ("UPDATE hold SET month = '2026-10' WHERE id = 'plain:1'",)),
    ("periods", "journal", "plain:1", ("UPDATE hold SET scopes = '[]' WHERE id = 'plain:1'",)),
    (
        "counters_spent",
        "counter",
        "user:kim 2026-11",
        ("UPDATE counter SET posted = posted - 1 WHERE scope = 'user:kim' AND period = '2026-11'",),
    ),
    (
        "counters_spent",
        "counter",
        "organisation 2026-11",
        ("DELETE FROM counter WHERE scope = 'organisation' AND period = '2026-11'",),
    ),
    (
        "counters_spent",
        "counter",
        "user:ghost 2026",
        ("INSERT INTO counter (scope, period, posted, held, version) VALUES ('user:ghost', '2026', 5, 0, 1)",),
    ),
    (
        "counters_held",
        "counter",
        "user:kim 2026-12-03",
        ("UPDATE counter SET held = held + 1 WHERE scope = 'user:kim' AND period = '2026-12-03'",),
    ),
    (
        "holds_resolved",
        "hold",
        "live:1",
        ("UPDATE hold SET lease_until = lease_until - 1000000000000 WHERE id = 'live:1'",),
    ),
]


@pytest.mark.parametrize(
    ("check", "table", "id_", "statements"),
    FAULTS,
    ids=[f"{n}-{check}-{id_}" for n, (check, _, id_, _) in enumerate(FAULTS)],
)
def test_a_fault_is_found_by_exactly_the_check_for_it(
    healthy: Healthy, check: str, table: str, id_: str, statements: tuple[str, ...]
) -> None:
    found = healthy.faults(*statements)
    assert {name: (bad.table, bad.id) for name, bad in found.items()} == {check: (table, id_)}
    assert found[check].why


CHAIN_FAULTS: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("a hash", "journal", "won:1", ("UPDATE seal SET hash = prev_hash WHERE seq = 3",)),
    ("a link", "seal", "books 3", (f"UPDATE seal SET prev_hash = '{'0' * 64}' WHERE seq = 3",)),
    ("a missing seal", "seal", "books 4", ("DELETE FROM seal WHERE seq = 3",)),
    ("a seal of something else", "journal", "nobody", ("UPDATE seal SET row_id = 'nobody' WHERE seq = 9",)),
    ("one more line", "journal", "plain:1", (
        f"INSERT INTO usage_meter {METER} VALUES ('plain:1', 9, 'm', 'request', 0, NULL, NULL)",)),
    ("one line less", "journal", "taxed:1", (f"DELETE FROM entry WHERE journal_seq = {of('taxed:1')} AND currency = 'USD'",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "id_", "statements"), [fault[1:] for fault in CHAIN_FAULTS], ids=[f[0] for f in CHAIN_FAULTS]
)
def test_the_chain_finds_what_was_done_to_it(
    healthy: Healthy, table: str, id_: str, statements: tuple[str, ...]
) -> None:
    found = healthy.faults(*statements, reseal=False)["seals_whole"]
    assert (found.table, found.id) == (table, id_)


def test_a_whole_journal_that_disappears_leaves_its_seal(healthy: Healthy) -> None:
    found = healthy.faults(
        f"DELETE FROM entry WHERE journal_seq = {of('last:1')}",
        "DELETE FROM journal WHERE id = 'last:1'",
        "DELETE FROM usage_meter WHERE event_id = 'last:1'",
        "DELETE FROM usage_event WHERE id = 'last:1'",
        "UPDATE counter SET posted = 0 WHERE period = '2026-12-03'",
        reseal=False,
    )
    assert found["seals_whole"] == Bad("journal", "last:1", "was sealed and is gone")


def test_a_journal_put_before_the_first_is_neither_numbered_nor_sealed(healthy: Healthy) -> None:
    found = healthy.faults(
        f"UPDATE entry SET journal_seq = -5 WHERE journal_seq = {of('plain:1')}",
        "UPDATE journal SET seq = -5 WHERE id = 'plain:1'",
    )
    assert {name: bad.id for name, bad in found.items()} == {"journals_numbered": "plain:1", "sealed_soon": "plain:1"}


def test_a_journal_the_sealer_passed_by_is_named(healthy: Healthy) -> None:
    with healthy.changed(reseal=False) as connection:
        connection.exec_driver_sql("DELETE FROM seal")
        seal_again(connection, healthy.now, but=["won:1"])
        found = faults(connection, healthy.now)
        assert {name: (bad.table, bad.id) for name, bad in found.items()} == {"sealed_soon": ("journal", "won:1")}


def test_what_is_not_sealed_yet_is_no_fault(healthy: Healthy) -> None:
    with healthy.changed("DELETE FROM seal WHERE seq > 5", reseal=False) as connection:
        assert faults(connection, healthy.now) == {}


def columns() -> list[tuple[str, str, str]]:
    rows = {
        tables.JournalRow: "id = 'taxed:1'",
        tables.EntryRow: f"journal_seq = {of('taxed:1')} AND n = 2",
        tables.UsageEventRow: "id = 'taxed:1'",
        tables.UsageMeterRow: "event_id = 'taxed:1' AND seq = 1",
    }
    return [
        (str(model.__tablename__), column.name, where)
        for model, where in rows.items()
        for column in model.__table__.columns  # type: ignore[attr-defined]  # SQLModel adds it to tables
    ]


@pytest.mark.parametrize(
    ("table", "column", "where"), columns(), ids=lambda value: str(value) if " " not in str(value) else ""
)
def test_a_change_of_any_column_breaks_the_chain(healthy: Healthy, table: str, column: str, where: str) -> None:
    """One bit of a number or one letter of a text, and what was empty is filled."""
    with healthy.changed(reseal=False) as connection:
        found = sa.inspect(connection).get_columns(table)
        (kind,) = [c["type"] for c in found if c["name"] == column]
        number = isinstance(kind, sa.BigInteger | sa.Integer)
        other = f"coalesce({column}, 0) + 1000" if number else f"coalesce({column}, '') || '!'"
        changed = connection.exec_driver_sql(f"UPDATE {table} SET {column} = {other} WHERE {where}")
        assert changed.rowcount == 1
        bad = faults(connection, healthy.now)["seals_whole"]
        assert bad.id in ("taxed:1", "books 3"), bad


def test_every_check_has_a_fault_that_it_finds() -> None:
    tried = {check for check, *_ in FAULTS} | {"seals_whole", "sealed_soon"}
    assert tried == set(CHECKS)


@pytest.mark.parametrize(
    ("statements", "check"),
    [
        ((f"UPDATE entry SET amount = 9223372036854775807 WHERE journal_seq = {of('plain:1')}",), "journals_balance"),
        (("UPDATE journal SET won = 9223372036854775807 WHERE kind = 'usage'",), "counters_spent"),
        (("UPDATE usage_meter SET quantity = 9223372036854775807 WHERE event_id = 'won:1'",), "prices_known"),
        (("UPDATE usage_event SET amount_ticks = 9223372036854775807 WHERE id = 'plain:1'",), "conversion"),
        (("UPDATE hold SET amount = 9223372036854775807 WHERE state = 'sent'",), "counters_held"),
    ],
)
def test_a_number_at_the_end_of_the_column_is_a_fault_and_no_crash(
    healthy: Healthy, statements: tuple[str, ...], check: str
) -> None:
    assert check in healthy.faults(*statements)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE usage_event SET reason = CAST(x'ff00fe' AS TEXT) WHERE id = 'taxed:1'",
        "UPDATE usage_event SET reason = x'00ff' WHERE id = 'taxed:1'",
        "UPDATE journal SET won = 'a lot' WHERE id = 'taxed:1'",
        "UPDATE journal SET scopes = 'no list' WHERE id = 'taxed:1'",
        f"UPDATE entry SET amount = 1.5 WHERE journal_seq = {of('taxed:1')} AND n = 0",
    ],
)
@pytest.mark.parametrize("healthy", ["sqlite"], indirect=True)
def test_sqlite_stores_anything_anywhere_and_it_is_named_all_the_same(healthy: Healthy, statement: str) -> None:
    found = healthy.faults(statement, reseal=False)
    assert (found["seals_whole"].table, found["seals_whole"].id) == ("journal", "taxed:1")


def test_a_month_is_checked_by_its_own_rows_and_the_whole_chain(healthy: Healthy) -> None:
    fault = "UPDATE usage_event SET tokens = tokens + 1 WHERE id = 'plain:1'"
    assert set(healthy.faults(fault, period="2026-11")) == {"tokens_add_up"}
    assert set(healthy.faults(fault, period="2026-12")) == set()
    assert set(healthy.faults(fault, period="2026-12", reseal=False)) == {"seals_whole"}


def test_a_hold_whose_server_still_renews_it_is_no_fault(healthy: Healthy) -> None:
    with healthy.engine.connect() as connection:
        assert faults(connection, healthy.now + 10 * MINUTE) == {}
        assert set(faults(connection, healthy.now + HOUR)) == {"holds_resolved"}


def test_more_than_one_batch(database_url: str) -> None:
    """Sums and chain go on over the inspection's own pages."""
    with open_ledger(database_url) as ledger:
        for _ in range(6):
            holds = ledger.do(*(ledger.request(user=f"u{n}") for n in range(120)))
            ledger.do(*(MarkSent(hold.id, ledger.clock()) for hold in holds))
            ledger.do(*(booking(hold) for hold in holds))
        assert ledger.seal() == 720
        assert ledger.faults() == {}
        assert SEOUL.periods(ledger.clock()).month == "2026-11"


def test_an_inspection_while_others_write_finds_nothing(database_url: str) -> None:
    """It sees one moment of the ledger, however long it looks."""
    with open_ledger(database_url) as writer, open_ledger(database_url, prefix="other") as auditor:
        done = Event()

        def work() -> None:
            while not done.is_set():
                holds = writer.do(*(writer.request(user=f"u{n}") for n in range(5)))
                writer.do(*(MarkSent(hold.id, writer.clock()) for hold in holds))
                writer.do(*(booking(hold) for hold in holds[1:]), Void(holds[0], "failed", writer.clock()))
                writer.seal()

        thread = Thread(target=work)
        thread.start()
        try:
            for _ in range(25):
                auditor.clock.now = max(auditor.clock.now, writer.clock.now)
                assert auditor.faults() == {}
        finally:
            done.set()
            thread.join()
