"""What somebody did is chained soon after, whichever process wrote it, and whoever changes it afterwards is found out."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from clock import HOUR, MINUTE
from ledgers import Ledger, open_ledger

from gateway.audit import Actor, Record
from gateway.database import reading
from gateway.directory import store
from gateway.directory.reports.verification import CHECKS, verify

BY = Actor("kim@city.example", "10.1.2.3")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


def write(ledger: Ledger, *ids: str, at: int | None = None) -> None:
    """Audit records as the directory writes them: on a connection of its own, beside the ledger's."""
    with ledger.engine.begin() as connection:
        for id_ in ids:
            when = ledger.clock() if at is None else at
            store.append_audit(
                connection, Record(id_, when, BY, "key.revoke", f"key:{id_}", {"old": "열림", "new": None})
            )


def seal(ledger: Ledger, limit: int = 500, *, all_of_it: bool = False) -> int:
    return int(ledger.book.transact(lambda tx: store.seal_audit(tx, ledger.clock(), limit, all_of_it=all_of_it)))


def faults(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """The checks that fail: name → (table, id)."""
    with reading(ledger.engine).connect() as connection:
        checks = verify(connection)
    assert tuple(check.name for check in checks) == CHECKS
    return {c.name: (c.first_bad.table, c.first_bad.id) for c in checks if c.first_bad is not None}


def sealed(ledger: Ledger) -> list[tuple[int, str]]:
    return [tuple(row) for row in ledger.rows("SELECT seq, row_id FROM seal WHERE chain = 'audit' ORDER BY seq")]


def test_everything_is_sealed_once(ledger: Ledger) -> None:
    write(ledger, "a", "b", "c")
    assert [seal(ledger, 2), seal(ledger, 2), seal(ledger, 2)] == [2, 1, 0]
    ledger.clock.advance(MINUTE)
    write(ledger, "d")
    assert seal(ledger) == 1
    assert sealed(ledger) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert faults(ledger) == {}


def test_a_record_that_is_seen_late_is_sealed_all_the_same(ledger: Ledger) -> None:
    """Another process had waited for the database, or its clock is behind: by minutes at once, by hours at the next start."""
    write(ledger, "a")
    seal(ledger)
    write(ledger, "late", at=ledger.clock() - 5 * MINUTE)
    assert seal(ledger) == 1
    write(ledger, "much-later", at=ledger.clock() - 5 * HOUR)
    assert seal(ledger) == 0
    assert faults(ledger) == {"audit_sealed": ("audit", "much-later")}
    assert seal(ledger, all_of_it=True) == 1
    assert faults(ledger) == {}


def test_several_servers_seal_one_chain(database_url: str, ledger: Ledger) -> None:
    def server(number: int) -> None:
        with open_ledger(database_url, prefix=f"server-{number}") as own:
            for n in range(20):
                write(own, f"{number}-{n}-a", f"{number}-{n}-b")
                seal(own, 3)

    threads = [threading.Thread(target=server, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while seal(ledger):
        pass
    assert len({row_id for _, row_id in sealed(ledger)}) == 80
    assert [seq for seq, _ in sealed(ledger)] == list(range(1, 81))
    assert faults(ledger) == {}


def test_what_is_not_sealed_yet_is_no_fault(ledger: Ledger) -> None:
    write(ledger, "a")
    assert faults(ledger) == {}
    seal(ledger)
    write(ledger, "b")
    assert faults(ledger) == {}


def tamper(ledger: Ledger, statement: str) -> None:
    """As somebody who may do anything to the database would: without the triggers."""
    with ledger.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            triggers = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
            for name in triggers.all():
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit SET actor = 'lee@city.example' WHERE id = 'b'", {"audit_whole": ("audit", "b")}),
        ("UPDATE audit SET detail = '{}' WHERE id = 'c'", {"audit_whole": ("audit", "c")}),
        ("UPDATE audit SET at = at + 1 WHERE id = 'a'", {"audit_whole": ("audit", "a")}),
        ("UPDATE audit SET origin = 'cli' WHERE id = 'c'", {"audit_whole": ("audit", "c")}),
        ("DELETE FROM audit WHERE id = 'b'", {"audit_whole": ("audit", "b")}),
        ("DELETE FROM audit", {"audit_whole": ("audit", "a")}),
        ("DELETE FROM seal WHERE chain = 'audit' AND seq = 2", {"audit_whole": ("seal", "audit 3")}),
        ("UPDATE seal SET hash = prev_hash WHERE chain = 'audit' AND seq = 2", {"audit_whole": ("audit", "b")}),
    ],
)
def test_whoever_changes_it_is_found_out(ledger: Ledger, statement: str, expected: dict[str, tuple[str, str]]) -> None:
    """Each row: what somebody does to the database behind the triggers' back, and what is named."""
    write(ledger, "a", "b", "c")
    seal(ledger)
    assert faults(ledger) == {}
    tamper(ledger, statement)
    assert faults(ledger) == expected


def test_nothing_is_sealed_over_a_gap(ledger: Ledger) -> None:
    write(ledger, "a", "b")
    seal(ledger)
    tamper(ledger, "DELETE FROM audit WHERE id = 'b'")
    write(ledger, "c")
    assert (seal(ledger), seal(ledger, all_of_it=True)) == (0, 0)
    assert faults(ledger) == {"audit_whole": ("audit", "b")}
