"""The chain: each link is computed from its row and from the link before it, so that no row can change unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import Ledger, booking, open_ledger

from billing.holds import MarkSent
from billing.sealing import GENESIS, canonical, link, seal
from billing.store import sealed_event


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


def test_a_link_is_written_out() -> None:
    row = canonical(["r:1", None, 5, "한글"])
    assert row == '["r:1",null,5,"한글"]'.encode()
    expected = hashlib.sha256(b"books\n1\n" + b"0" * 64 + b"\n" + row).hexdigest()
    assert link("books", 1, GENESIS, row) == expected


def test_links_follow_each_other() -> None:
    rows = [(f"r{n}", f'["r{n}"]'.encode()) for n in range(3)]
    first, second, third = seal("books", (0, GENESIS), rows)
    assert [(s.seq, s.row_id) for s in (first, second, third)] == [(1, "r0"), (2, "r1"), (3, "r2")]
    assert (first.prev_hash, second.prev_hash, third.prev_hash) == (GENESIS, first.hash, second.hash)
    (again,) = seal("books", (2, second.hash), rows[2:])
    assert again == third, "a chain may be continued at any time"
    assert next(seal("audit", (0, GENESIS), rows)).hash != first.hash, "chains do not lend each other links"


values = st.one_of(
    st.none(), st.integers(-(2**62), 2**62), st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
)
rows = st.lists(st.lists(values, max_size=5), min_size=2, max_size=6)


@given(rows, st.data())
def test_one_changed_value_changes_every_link_from_there_on(table: list[list[object]], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(table) - 1))
    changed = [list(row) for row in table]
    changed[where] = [*changed[where], "more"]
    before = [s.hash for s in seal("c", (0, GENESIS), [(str(n), canonical(row)) for n, row in enumerate(table)])]
    after = [s.hash for s in seal("c", (0, GENESIS), [(str(n), canonical(row)) for n, row in enumerate(changed)])]
    same = [one == other for one, other in zip(before, after, strict=True)]
    assert same == [n < where for n in range(len(table))]


@given(st.lists(values, max_size=5), st.lists(values, max_size=5))
def test_two_rows_are_written_alike_only_if_they_are_alike(one: list[object], other: list[object]) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)


def test_journals_are_sealed_in_the_order_they_were_committed_and_once(ledger: Ledger) -> None:
    holds = ledger.do(*(ledger.request(user=f"u{n}") for n in range(6)))
    ledger.do(*(MarkSent(hold.id, ledger.clock()) for hold in holds))
    ledger.do(*(booking(hold) for hold in reversed(holds[:3])))
    assert ledger.seal() == 3
    assert ledger.seal() == 0
    ledger.do(*(booking(hold) for hold in holds[3:]))
    ledger.do(ledger.reverse(holds[0].id))
    assert ledger.seal() == 4
    sealed = ledger.rows("SELECT seq, row_id FROM seal WHERE chain = 'books' ORDER BY seq")
    assert sealed == ledger.rows("SELECT seq, id FROM journal ORDER BY seq")
    assert [seq for seq, _ in sealed] == list(range(1, 8)), "without a gap"
    assert sealed[0][1] == holds[2].id


def test_the_sealer_takes_as_many_as_it_is_told_to(ledger: Ledger) -> None:
    journals = [ledger.booked().hold.id for _ in range(4)]
    found = ledger.book.transact(lambda tx: tx.unsealed_journals(0, 3))
    assert [id_ for _, id_ in found] == journals[:3]
    ledger.seal()
    assert ledger.book.transact(lambda tx: tx.unsealed_journals(0, 3)) == []
    assert ledger.book.transact(lambda tx: tx.chain_head("books"))[2] == journals[-1]
    assert ledger.book.transact(lambda tx: tx.chain_head("evidence")) is None


def test_what_is_sealed_is_everything_that_was_booked(ledger: Ledger) -> None:
    op = ledger.booked()
    whole = ledger.book.transact(lambda tx: tx.whole_journals([op.hold.id]))[op.hold.id]
    journal, entries, event, meters = whole
    assert journal[1] == op.hold.id
    assert [row[4] for row in entries] == [leg.amount for leg in op.legs()]
    assert event is not None
    assert event[0] == op.hold.id
    assert [row[4] for row in meters] == [line.quantity for line in op.lines]


def test_an_event_without_a_context_is_sealed_as_events_were_before_there_was_one() -> None:
    assert sealed_event(("a", 1, None)) == ("a", 1)
    assert sealed_event(("a", None, "{}")) == ("a", None, "{}")
