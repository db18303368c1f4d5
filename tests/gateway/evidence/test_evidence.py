"""Decisions are kept before anything leaves, never hold a value, and no byte of them changes unseen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from decisions import decision, item
from ledgers import Ledger, open_ledger

from billing.writer import Writer
from gateway.database import open_engine, reading
from gateway.errors import Unavailable
from gateway.evidence import store
from gateway.evidence.recorder import LedgerEvidence, RememberedEvidence
from gateway.evidence.records import Evidence, Fingerprints, items, worth_keeping
from gateway.evidence.reports.verification import CHECKS, verify
from policies.decision import ALLOW, Decision, Finding

PEPPER = b"p" * 32


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


@pytest.fixture
async def writer(ledger: Ledger) -> AsyncIterator[Writer]:
    started = Writer(ledger.book)
    started.start()
    yield started
    await started.stop()


def keep(ledger: Ledger, *records: Evidence) -> None:
    ledger.book.transact(lambda tx: store.add(tx, records))


def seal(ledger: Ledger, limit: int = 500) -> int:
    return int(ledger.book.transact(lambda tx: store.seal_some(tx, ledger.clock(), limit)))


def faults(ledger: Ledger, period: str | None = None) -> dict[str, tuple[str, str]]:
    """The checks that fail: name → (table, id)."""
    with reading(ledger.engine).connect() as connection:
        checks = verify(connection, period)
    assert tuple(check.name for check in checks) == CHECKS
    return {c.name: (c.first_bad.table, c.first_bad.id) for c in checks if c.first_bad is not None}


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("PHONE", "010-1234-5678", "01012345678", True),
        ("PHONE", "010-1234-5678", "０１０ 1234 5678", True),
        ("PHONE", "010-1234-5678", "010-1234-5679", False),
        ("EMAIL", "Kim@City.kr", "kim@city.kr", True),
        ("EMAIL", "a.b@city.kr", "ab@city.kr", False),
        ("ADDRESS", "세종대로 110", "세종대로110", True),
        ("PERSON", "홍길동", "홍길순", False),
    ],
)
def test_a_value_is_known_again_by_its_hash(kind: str, one: str, other: str, same: bool) -> None:
    prints = Fingerprints(PEPPER)
    assert (prints.of(kind, one) == prints.of(kind, other)) == same
    assert len(prints.of(kind, one)) == 32
    assert prints.of(kind, one) != prints.of("KEYWORD", one)
    assert prints.of(kind, one) != Fingerprints(b"q" * 32).of(kind, one), "worth nothing without the pepper"


def test_findings_that_are_alike_are_one_item() -> None:
    texts = {0: "010-1234-5678", 1: "01012345678", 2: "010-9999-9999", 3: "홍길동", 4: "?"}

    def finding(n: int, kind: str, score: float, action: Any = "mask", newest: bool = True) -> Finding:
        return Finding(kind, "/messages/0/content", n, n + 1, action, score, f"{kind.lower()}.x", newest)

    found = [
        finding(0, "PHONE", 0.9),
        finding(1, "PHONE", 0.8),
        finding(2, "PHONE", 0.9),
        finding(2, "PHONE", 0.6),
        finding(2, "PHONE", 0.9, newest=False),
        finding(3, "PERSON", 0.4, "warn"),
        finding(4, "PERSON", 0.1),
    ]
    prints = Fingerprints(PEPPER)
    kept = items(found, lambda f: texts[f.start], prints)
    assert [(i.kind, i.band, i.action, i.newest, i.count, len(i.digests)) for i in kept] == [
        ("PERSON", "possible", "warn", True, 1, 1),
        ("PHONE", "likely", "mask", True, 1, 1),
        ("PHONE", "sure", "mask", False, 1, 1),
        ("PHONE", "sure", "mask", True, 3, 2),
    ]
    assert not any(text in repr(kept) for text in texts.values() if len(text) > 1)
    many = items([finding(0, "PHONE", 0.9)] * 500, lambda f: "x", prints)
    assert (many[0].count, len(many[0].digests)) == (500, 1)
    numbers = iter(range(500))
    wide = items([finding(0, "PHONE", 0.9)] * 500, lambda f: str(next(numbers)), prints)
    assert (wide[0].count, len(wide[0].digests)) == (500, 64), "all are counted, so many are told apart"


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (ALLOW, False),
        (Decision("allow", "", (Finding("PHONE", "", 0, 1, "allow"),)), True),
        (Decision("warn"), True),
        (Decision("block", "data_grade:classified"), True),
    ],
)
def test_only_a_clean_request_leaves_no_record(verdict: Decision, kept: bool) -> None:
    assert worth_keeping(verdict) == kept


# ── before anything leaves ───────────────────────────────────────────────────────────────────────────────────────────


async def test_whoever_waited_finds_it_committed(ledger: Ledger, writer: Writer, database_url: str) -> None:
    recorder = LedgerEvidence(writer)
    record = decision(item(), item("PHONE", "mask", 3), at=ledger.clock())
    await recorder.record(record)
    other = open_engine(database_url)
    with reading(other).connect() as connection:
        row = store.by_id(connection, record.id)
        assert row is not None
        assert {name: row[name] for name in row if name != "seq"} == {
            name: getattr(record, name) for name in row if name != "seq"
        }
        parts = [(p.kind, p.action, p.count, p.digests) for p in store.items_of(connection, [record.id])]
        assert parts == [("RRN", "block", 1, f'["{"ab" * 16}"]'), ("PHONE", "mask", 3, f'["{"ab" * 16}"]')]
        assert store.by_id(connection, "nobody") is None
    other.dispose()


async def test_a_flood_is_written_in_few_transactions_and_whole(ledger: Ledger, writer: Writer) -> None:
    recorder = LedgerEvidence(writer)
    records = [decision(*([item()] * (n % 4)), at=ledger.clock()) for n in range(450)]
    await asyncio.gather(*(recorder.record(record) for record in records))
    assert ledger.rows("SELECT count(*), min(seq), max(seq) FROM evidence") == [(450, 1, 450)]
    assert ledger.rows("SELECT count(*) FROM evidence_item") == [(sum(n % 4 for n in range(450)),)]
    assert faults(ledger) == {}


async def test_what_the_database_does_not_take_does_not_leave(ledger: Ledger, writer: Writer) -> None:
    recorder = LedgerEvidence(writer)
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE evidence RENAME TO elsewhere"))
    with pytest.raises(Exception, match=r".+") as refused:
        await recorder.record(decision(item(), at=ledger.clock()))
    assert not isinstance(refused.value, AssertionError)
    with pytest.raises(Unavailable) as told:
        await RememberedEvidence(away=True).record(decision(item(), at=ledger.clock()))
    assert told.value.status == 503
    assert "nothing was sent" in told.value.message


async def test_one_bad_record_does_not_take_others_with_it(ledger: Ledger, writer: Writer) -> None:
    recorder = LedgerEvidence(writer)
    good = decision(item(), at=ledger.clock())
    answers = await asyncio.gather(
        recorder.record(good),
        recorder.record(decision(at=ledger.clock(), id=good.id)),
        recorder.record(decision(at=ledger.clock())),
        return_exceptions=True,
    )
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert ledger.rows("SELECT count(*) FROM evidence") == [(2,)]
    assert faults(ledger) == {}


async def test_a_caller_who_leaves_takes_nothing_back(ledger: Ledger, writer: Writer) -> None:
    recorder = LedgerEvidence(writer)
    waiting = asyncio.create_task(recorder.record(decision(item(), at=ledger.clock())))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await recorder.record(decision(item(), at=ledger.clock()))
    assert ledger.rows("SELECT count(*) FROM evidence") == [(2,)]


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_is_sealed_once_and_in_order(ledger: Ledger) -> None:
    keep(ledger, *(decision(item(), item("PHONE", "warn"), at=ledger.clock()) for _ in range(5)))
    assert [seal(ledger, 2), seal(ledger, 2), seal(ledger, 2), seal(ledger, 2)] == [2, 2, 1, 0]
    keep(ledger, decision(at=ledger.clock()))
    assert seal(ledger) == 1
    sealed = ledger.rows("SELECT seq, row_id FROM seal WHERE chain = 'evidence' ORDER BY seq")
    assert sealed == ledger.rows("SELECT seq, id FROM evidence ORDER BY seq")
    assert faults(ledger) == {}


def test_several_servers_write_and_seal_one_chain(database_url: str, ledger: Ledger) -> None:
    """Two that write and two that seal, all at once: no number twice, none left out, every record sealed once."""

    def server(number: int) -> None:
        with open_ledger(database_url, prefix=f"server-{number}") as own:
            for _ in range(25):
                keep(own, *(decision(item(), at=own.clock()) for _ in range(3)))
                seal(own, 5)

    threads = [threading.Thread(target=server, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while seal(ledger):
        pass
    assert ledger.rows("SELECT count(*), min(seq), max(seq) FROM evidence") == [(150, 1, 150)]
    assert ledger.rows("SELECT count(*), max(seq) FROM seal WHERE chain = 'evidence'") == [(150, 150)]
    assert faults(ledger) == {}


def test_the_books_and_the_evidence_are_two_chains(ledger: Ledger) -> None:
    ledger.booked()
    keep(ledger, decision(item(), at=ledger.clock()))
    ledger.seal()
    seal(ledger)
    assert ledger.rows("SELECT chain, seq FROM seal ORDER BY chain") == [("books", 1), ("evidence", 1)]
    assert faults(ledger) == {}
    assert ledger.faults() == {}


def test_what_is_not_sealed_yet_is_no_fault(ledger: Ledger) -> None:
    keep(ledger, decision(item(), at=ledger.clock()))
    assert faults(ledger) == {}


@pytest.mark.parametrize("table", ["evidence", "evidence_item"])
@pytest.mark.parametrize("statement", ["UPDATE {table} SET rule = 'x'", "DELETE FROM {table}"])
def test_both_databases_refuse_to_change_it(ledger: Ledger, table: str, statement: str) -> None:
    keep(ledger, decision(item(), at=ledger.clock()))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.engine.begin() as connection:
        connection.execute(sa.text(statement.format(table=table)))


def tamper(ledger: Ledger, *statements: str) -> None:
    """As somebody who may do anything to the database would: without the triggers."""
    with ledger.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            triggers = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
            for name in triggers.all():
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.execute(sa.text(statement))


_NEW = """
    INSERT INTO evidence SELECT {seq}, 'slipped-in', at, month, stage, request_id, surface, user_id, department_id, key_id, model,
    destination, declared, grade, action, rule, version, seen FROM evidence WHERE seq = 2"""


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE evidence SET action = 'allow', rule = '' WHERE seq = 2"], {"evidence_follows", "evidence_whole"}),
        (["UPDATE evidence SET user_id = 'lee' WHERE seq = 2"], {"evidence_whole"}),
        (["UPDATE evidence SET at = at + 1 WHERE seq = 3"], {"evidence_whole"}),
        (["UPDATE evidence SET action = 'shrug' WHERE seq = 2"], {"evidence_follows", "evidence_whole"}),
        (["UPDATE evidence_item SET count = 7 WHERE n = 1"], {"evidence_whole"}),
        (["UPDATE evidence_item SET digests = '[]'"], {"evidence_whole"}),
        (["DELETE FROM evidence_item WHERE n = 1"], {"evidence_whole"}),
        (["DELETE FROM evidence WHERE seq = 2"], {"evidence_numbered", "evidence_whole"}),
        (["DELETE FROM evidence WHERE seq = 3"], {"evidence_numbered", "evidence_whole"}),
        (["DELETE FROM seal WHERE chain = 'evidence' AND seq = 2"], {"evidence_whole", "evidence_sealed"}),
        (["UPDATE seal SET hash = prev_hash WHERE chain = 'evidence' AND seq = 2"], {"evidence_whole"}),
        (
            ["UPDATE evidence SET seq = seq + 1 WHERE seq = 3", _NEW.format(seq=3)],
            {"evidence_whole", "evidence_sealed"},
        ),
        (
            [
                "DELETE FROM evidence_item",
                "DELETE FROM evidence",
                "DELETE FROM seal WHERE chain = 'evidence' AND seq > 1",
            ],
            {"evidence_whole"},
        ),
    ],
)
def test_whoever_changes_it_is_found_out(ledger: Ledger, statements: list[str], expected: set[str]) -> None:
    """Each row: what somebody does to the database behind the triggers' back, and the checks that name it."""
    keep(ledger, *(decision(item(), item("PHONE", "mask"), at=ledger.clock()) for _ in range(3)))
    seal(ledger)
    assert faults(ledger) == {}
    tamper(ledger, *statements)
    assert set(faults(ledger)) == expected


def test_an_item_of_no_decision_is_found(ledger: Ledger) -> None:
    keep(ledger, decision(item(), at=ledger.clock()))
    tamper(ledger, "UPDATE evidence_item SET evidence_id = 'nobody'")
    assert faults(ledger) == {"evidence_numbered": ("evidence_item", "nobody")}


def test_nothing_is_sealed_over_a_gap(ledger: Ledger) -> None:
    keep(ledger, decision(item(), at=ledger.clock()))
    seal(ledger)
    tamper(ledger, "DELETE FROM evidence_item", "DELETE FROM evidence")
    keep(ledger, decision(item(), at=ledger.clock()))
    assert seal(ledger) == 0
    assert "evidence_whole" in faults(ledger)


def test_a_month_looks_at_what_that_month_says_and_at_the_whole_chain(ledger: Ledger) -> None:
    at = ledger.clock()
    keep(ledger, decision(item(), at=at, action="warn"))
    assert set(faults(ledger)) == {"evidence_follows"}
    assert set(faults(ledger, "1999-01")) == set()
