"""Every way an upstream fails: what the client is told, whether another place is asked, and what is booked for it.

Fallback happens only while the client has nothing. What the upstream never saw costs nothing; what it refused is a row
without tokens; what it began and did not finish is an estimate, because it may be billed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from flows.harness import Answer, Gateway, Town

#: (attempt, quality, outcome)
Row = tuple[int, str, str]

NOTHING_USED: Row = (1, "exact", "failed")
GUESSED: Row = (1, "estimated", "failed")
DONE: Row = (1, "exact", "completed")


@pytest.fixture(scope="module")
def place(found: Callable[..., Town]) -> Town:
    return found("sqlite", first_byte_seconds=1, idle_seconds=1, deadline_seconds=3)


class Fault(NamedTuple):
    """What a client sees of a directive. `frame`: the code of an error frame inside a stream that had begun."""

    directive: str
    status: int
    code: str | None = None
    row: Row = NOTHING_USED
    frame: str | None = None


BOTH = [
    Fault("[[fail:500]]", 502, "upstream_failed"),
    Fault("[[fail:502]]", 502, "upstream_failed"),
    Fault("[[fail:503]]", 502, "upstream_failed"),
    Fault("[[fail:529]]", 502, "upstream_failed"),
    Fault("[[fail:429]]", 429, "upstream_rate_limited"),
    Fault("[[fail:408]]", 504, "upstream_timeout", GUESSED),
    Fault("[[fail:400]]", 400, "upstream_rejected_request"),
    Fault("[[fail:404]]", 400, "upstream_rejected_request"),
    Fault("[[fail:413]]", 400, "upstream_rejected_request"),
    Fault("[[fail:422]]", 400, "upstream_rejected_request"),
    Fault("[[fail:401]]", 502, "upstream_failed"),
    Fault("[[fail:402]]", 502, "upstream_failed"),
    Fault("[[fail:403]]", 502, "upstream_failed"),
    Fault("[[fail:301]]", 502, "upstream_failed", GUESSED),
    Fault("[[no-usage]]", 200, row=(1, "estimated", "completed")),
    Fault("[[usage-twice]]", 200, row=DONE),
    Fault("[[zero-usage]]", 200, row=DONE),
    Fault("[[usage-absurd]]", 200, row=(1, "suspense", "completed")),
]
WHOLE = [
    Fault("[[garbage]]", 502, "upstream_failed", GUESSED),
    Fault("[[cut:1]]", 502, "upstream_failed", GUESSED),
    Fault("[[stall:4]]", 504, "upstream_timeout", GUESSED),
]
STREAM = [
    Fault("[[slow:4]]", 504, "upstream_timeout", GUESSED),
    Fault("[[garbage]]", 200, row=GUESSED, frame="upstream_failed"),
    Fault("[[cut:0]]", 200, row=GUESSED, frame="upstream_failed"),
    Fault("[[cut:7]]", 200, row=GUESSED, frame="upstream_failed"),
    Fault("[[stall:4]]", 200, row=GUESSED, frame="upstream_timeout"),
    Fault("[[pace:200]]", 200, row=GUESSED, frame="upstream_timeout"),
]
CASES = [(fault, False) for fault in BOTH + WHOLE] + [(fault, True) for fault in BOTH + STREAM]


def named(case: object) -> str:
    if isinstance(case, Fault):
        return case.directive.strip("[]")
    return {True: "stream", False: "whole"}.get(case, str(case))  # type: ignore[call-overload]


def rows_of(place: Town, answer: Answer) -> list[Row]:
    return sorted((row["attempt"], row["quality"], row["outcome"]) for row in place.events(answer.request_id))


@pytest.mark.parametrize(("fault", "stream"), CASES, ids=named)
def test_a_fault_is_told_and_booked(place: Town, gateway: Gateway, fault: Fault, stream: bool) -> None:
    answer = gateway.chat(f"{fault.directive} [[chunks:30]] 비밀 문장", stream=stream)
    assert answer.status == fault.status, answer.body
    assert rows_of(place, answer) == [fault.row]
    if fault.status != 200:
        assert (answer.error["code"], answer.error["param"]) == (fault.code, None)
        # The provider's own words may quote the prompt or our key: they stay here.
        assert [words for words in ("비밀", "[[", "req_", "chatcmpl") if words in answer.body.decode()] == []
        assert "x-should-retry" not in answer.headers
        waits = fault.directive in {"[[fail:429]]", "[[fail:503]]"}
        assert answer.headers.get("retry-after") == ("1" if waits else None), "the upstream's own word is passed on"
    elif fault.frame is not None:
        (last,) = [chunk for chunk in answer.chunks if "error" in chunk]
        assert answer.chunks[-1] == last
        assert set(last["error"]) == {"message", "type", "param", "code"}
        assert (last["error"]["code"], last["request_id"]) == (fault.frame, answer.request_id)
        assert not answer.done, "a broken answer must not look whole"
    elif stream:
        assert answer.done
    place.books_agree()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("directive", "kind"), [("[[usage-absurd]]", "suspense_usage"), ("[[zero-usage]]", "zero_usage")]
)
def test_a_usage_nobody_can_believe_opens_a_case(
    place: Town, gateway: Gateway, directive: str, kind: str, stream: bool
) -> None:
    answer = gateway.chat(f"{directive} [[chunks:30]] 얼마", stream=stream)
    subjects = [case["subject"] for case in place.cases(kind)]
    assert f"{answer.request_id}:1" in subjects
    row = place.event(answer.request_id)
    if kind == "suspense_usage":
        assert 0 < row["won"] < 1_000_000, "the department carries our own count, not the absurd one"
        query = "SELECT account FROM entry JOIN journal ON journal.seq = entry.journal_seq WHERE journal.id = :id"
        entries = place.rows(query, id=row["id"])
        assert any(entry["account"].startswith("suspense:") for entry in entries)


def test_the_last_of_two_usages_counts(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[usage-twice]] [[chunks:30]] 두 번", stream=True, stream_options={"include_usage": True})
    assert [chunk["usage"]["completion_tokens"] for chunk in answer.chunks if chunk.get("usage")] == [30]
    assert place.output_tokens(place.event(answer.request_id)) == 30


def test_what_never_left_costs_nothing(place: Town, gateway: Gateway) -> None:
    for stream in (False, True):
        answer = gateway.chat("안녕", model="unreachable", stream=stream)
        assert (answer.status, answer.error["code"]) == (502, "upstream_failed")
        holds = place.rows("SELECT state FROM hold WHERE request_id = :r", r=answer.request_id)
        assert [hold["state"] for hold in holds] == ["voided", "voided"], "a connection is worth a second try"
    place.books_agree()


# ── another place ───────────────────────────────────────────────────────────────────────────────────────────────────────

SECOND: Row = (2, "exact", "completed")


@pytest.fixture
def well(place: Town, gateway: Gateway) -> None:
    """One good answer, so that the failures of the tests before do not add up to a rest."""
    assert rows_of(place, gateway.chat("잘 지내나", model="guarded")) == [DONE]


@pytest.mark.usefixtures("well")
@pytest.mark.parametrize(
    ("directive", "first"),
    [
        ("[[fail:500]]", NOTHING_USED),
        ("[[fail:429]]", NOTHING_USED),
        ("[[fail:401]]", NOTHING_USED),
        ("[[slow:4]]", GUESSED),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_before_the_first_byte_another_place_answers(
    place: Town, gateway: Gateway, directive: str, first: Row, stream: bool
) -> None:
    if not stream and "slow" in directive:
        directive = "[[stall:4]]"  # a whole answer may take its time to begin, but not stop in its middle
    answer = gateway.chat(f"{directive} 다른 곳", model="guarded", stream=stream)
    assert answer.status == 200
    assert rows_of(place, answer) == [first, SECOND]
    assert place.steady.arrivals()[f"{answer.request_id}:2"]["model"] == "served-reserve"
    served = answer.chunks[0]["model"] if stream else answer.json["model"]
    assert served.startswith("served-reserve")
    if not stream:
        assert answer.headers["x-haechi-model"] == "reserve"
    place.books_agree()


@pytest.mark.usefixtures("well")
@pytest.mark.parametrize("directive", ["[[cut:0]]", "[[cut:5]]", "[[garbage]]", "[[stall:4]]"])
def test_after_the_first_byte_no_other_place_is_asked(place: Town, gateway: Gateway, directive: str) -> None:
    answer = gateway.chat(f"{directive} [[chunks:30]] 이어서", model="guarded", stream=True)
    assert answer.status == 200
    assert "error" in answer.chunks[-1]
    assert rows_of(place, answer) == [GUESSED]
    assert f"{answer.request_id}:2" not in place.arrivals()
    place.books_agree()


@pytest.mark.usefixtures("well")
def test_a_request_that_is_wrong_is_wrong_elsewhere_too(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[fail:400]] 잘못", model="guarded")
    assert (answer.status, rows_of(place, answer)) == (400, [NOTHING_USED])


def test_a_place_that_keeps_failing_is_left_alone_for_a_while(found: Callable[..., Town]) -> None:
    """The fifth failure in ten seconds: the next request begins where the last ones ended."""
    town = found("sqlite")
    gateway = town.gateway()
    for _ in range(5):
        assert rows_of(town, gateway.chat("[[fail:500]] 또", model="guarded")) == [NOTHING_USED, SECOND]
    answer = gateway.chat("이번에는", model="guarded")
    assert rows_of(town, answer) == [DONE]
    assert town.steady.arrivals()[f"{answer.request_id}:1"]["status"] == 200
    town.books_agree()


@pytest.mark.usefixtures("well")
def test_what_was_answered_elsewhere_is_not_charged_twice(place: Town, gateway: Gateway) -> None:
    answer = gateway.chat("[[fail:503]] 한 번만", model="guarded")
    first, second = place.events(answer.request_id)
    assert (first["won"], first["tokens"]) == (0, 0)
    assert answer.headers["x-haechi-cost-krw"] == f"{(second['won'] + second['vat']) / 1e6:.6f}".rstrip("0").rstrip(".")
