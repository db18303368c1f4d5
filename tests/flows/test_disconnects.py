"""A client that leaves, at any byte, is billed for what was generated: no more, and never nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from flows.harness import Gateway, Town, asking, eventually

#: Forty tokens, fifteen milliseconds apart: long enough to leave at a chosen place.
SLOWLY = "[[pace:15]] [[chunks:40]] 개요를 써 줘"


def content_chunks(seen: bytes) -> int:
    return seen.count(b'"content":"') - seen.count(b'"content":""')


def after_chunks(count: int) -> Callable[[bytes], bool]:
    return lambda seen: content_chunks(seen) >= count


LEAVING = {
    "after the head": (SLOWLY, lambda seen: b"\r\n\r\n" in seen),
    "after 1 chunk": (SLOWLY, after_chunks(1)),
    "after 7 chunks": (SLOWLY, after_chunks(7)),
    "after 25 chunks": (SLOWLY, after_chunks(25)),
    "after the last content chunk": (SLOWLY, after_chunks(40)),
}


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("place_to_leave", LEAVING)
def test_leaving_in_mid_stream_stops_the_upstream_and_bills_what_came(
    place: Town, gateway: Gateway, place_to_leave: str, how: str
) -> None:
    prompt, enough = LEAVING[place_to_leave]
    project = f"{how} {place_to_leave}"
    wire = gateway.wire()
    wire.ask(place.key, asking(prompt, stream=True), {"x-haechi-project": project})
    wire.read_until(enough)
    heard = content_chunks(wire.seen)
    wire.leave(how)
    left = time.monotonic()
    row = place.event_of_project(project)
    arrival = eventually(lambda: ended(place, row["id"]), within=1.0, what="the upstream sees the end within a second")
    assert time.monotonic() - left < 2.0
    generated = arrival["completion_tokens_sent"]
    if arrival["ended"] == "complete":  # the usage was on its way already
        assert (row["quality"], place.output_tokens(row)) == ("exact", generated)
    else:
        assert arrival["ended"] == "client_closed"
        assert (row["outcome"], row["quality"], row["reason"]) == ("aborted", "estimated", "the client left")
        assert heard <= place.output_tokens(row) <= generated
    if place_to_leave != "after the last content chunk":
        assert generated < 40
    place.books_agree()


def ended(place: Town, id_: str) -> dict[str, object] | None:
    arrival = place.upstream.arrivals()[id_]
    return arrival if arrival["ended"] != "open" else None


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaving_before_the_first_byte(place: Town, gateway: Gateway, how: str) -> None:
    """The prompt was sent and may be billed by the vendor: it is booked, as an estimate."""
    project = f"{how} before the first byte"
    seen = len(place.upstream.arrivals())
    wire = gateway.wire()
    wire.ask(place.key, asking("[[slow:20]] 언제 오나", stream=True), {"x-haechi-project": project})
    eventually(lambda: len(place.upstream.arrivals()) > seen, what="the upstream has the request")
    wire.leave(how)
    row = place.event_of_project(project)
    eventually(lambda: ended(place, row["id"]), within=1.0, what="the upstream sees the end within a second")
    assert (row["outcome"], row["quality"]) == ("aborted", "estimated")
    assert row["tokens"] > 0
    assert place.output_tokens(row) == 0
    place.books_agree()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaving_right_after_done_is_a_completed_answer(place: Town, gateway: Gateway, how: str) -> None:
    """The last bytes are sent after the booking is committed, so there is nothing left to lose."""
    project = f"{how} after done"
    wire = gateway.wire()
    wire.ask(place.key, asking("[[chunks:12]] 짧게", stream=True), {"x-haechi-project": project})
    wire.read_until(lambda seen: b"[DONE]" in seen)
    (row,) = place.rows("SELECT * FROM usage_event WHERE project = :p", p=project)
    wire.leave(how)
    assert (row["outcome"], row["quality"], place.output_tokens(row)) == ("completed", "exact", 12)
    place.books_agree()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaving_while_a_whole_answer_is_being_written(place: Town, gateway: Gateway, how: str) -> None:
    """Without the end of the answer nobody could say what was used, so it is heard to its end and billed exactly."""
    project = f"{how} whole"
    seen = len(place.upstream.arrivals())
    wire = gateway.wire()
    wire.ask(place.key, asking("[[slow:0.5]] [[chunks:20]] 한 번에"), {"x-haechi-project": project})
    eventually(lambda: len(place.upstream.arrivals()) > seen, what="the upstream has the request")
    wire.leave(how)
    row = place.event_of_project(project)
    assert (row["outcome"], row["quality"], place.output_tokens(row)) == ("aborted", "exact", 20)
    place.books_agree()


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("chunks", [0, 3])
def test_draining_reads_on_and_bills_exactly(place: Town, gateway: Gateway, how: str, chunks: int) -> None:
    """For providers that bill the whole answer whoever listens."""
    project = f"{how} drained {chunks}"
    seen = len(place.upstream.arrivals())
    wire = gateway.wire()
    wire.ask(place.key, asking(SLOWLY, model="drained", stream=True), {"x-haechi-project": project})
    eventually(lambda: len(place.upstream.arrivals()) > seen, what="the upstream has the request")
    wire.read_until(after_chunks(chunks))
    wire.leave(how)
    row = place.event_of_project(project)
    assert place.upstream.arrivals()[row["id"]]["ended"] == "complete"
    assert (row["quality"], place.output_tokens(row)) == ("exact", 40)
    assert json.loads(row["raw_usage"])["completion_tokens"] == 40
    place.books_agree()


def test_many_who_leave_at_once_are_each_booked_once(place: Town, gateway: Gateway) -> None:
    before = len(place.events())
    wires = [gateway.wire() for _ in range(24)]
    for number, wire in enumerate(wires):
        wire.ask(place.key, asking(f"{SLOWLY} {number}", stream=True, model=("inside", "drained")[number % 2]))
    for number, wire in enumerate(wires):
        wire.read_until(after_chunks(1 + number % 8))
        wire.leave(("fin", "rst")[number % 2])
    eventually(lambda: len(place.events()) == before + len(wires), what="a row for each")
    place.books_agree()
