"""Who used how much in a month: the rows add up to what the budgets carried, however they are grouped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clock import DAY
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledgers import SEOUL, Ledger, booking, open_ledger, place, used

from billing.holds import Void
from billing.reports.usage import By, Row, rows
from gateway.database import reading

MONTH = "2026-11"
BYS: tuple[By, ...] = ("department", "user", "model")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as opened:
        yield opened


def report(ledger: Ledger, by: By = "department", month: str = MONTH, *, user: str | None = None) -> list[Row]:
    with reading(ledger.engine).connect() as connection:
        return rows(connection, month, by, user_id=user)


def worked_month(ledger: Ledger) -> None:
    """kim (water): ₩2.80 and a free answer. lee (water): ₩2.80 with ₩0.28 tax. park (roads): ₩3 at a Korean provider.

    Each answer is 800 tokens in and 300 out.
    """
    ledger.booked(user="kim")
    ledger.booked(user="kim", where=place("inside/free"))
    ledger.booked(user="lee", where=place(vat_bp=1000))
    ledger.booked(user="park", department="roads", where=place("hangang/won"))


def test_a_month_by_department_by_user_and_by_model(ledger: Ledger) -> None:
    worked_month(ledger)
    assert report(ledger) == [Row("water", 3, 3300, 5_880_000), Row("roads", 1, 1100, 3_000_000)]
    assert report(ledger, "user") == [
        Row("lee", 1, 1100, 3_080_000),
        Row("park", 1, 1100, 3_000_000),
        Row("kim", 2, 2200, 2_800_000),
    ]
    assert report(ledger, "model") == [
        Row("plain", 2, 2200, 5_880_000),
        Row("won", 1, 1100, 3_000_000),
        Row("free", 1, 1100, 0),
    ]


def test_one_person_sees_his_own(ledger: Ledger) -> None:
    worked_month(ledger)
    assert report(ledger, "model", user="kim") == [Row("plain", 1, 1100, 2_800_000), Row("free", 1, 1100, 0)]
    assert report(ledger, "model", user="nobody") == []


def test_a_request_is_counted_once_where_its_last_attempt_went(ledger: Ledger) -> None:
    """The first place billed the prompt and broke; the second answered. One request, the tokens and the money of both."""
    first = ledger.sent(request_id="r", where=place(model="big"))
    prompt = booking(first, used(800, 0), outcome="failed")
    second = ledger.do(ledger.request(request_id="r", attempt=2, where=place(model="small"), instead_of=prompt))
    ledger.do(booking(second))
    # 800 × $1 a million at ₩1,400 = ₩1.12
    assert report(ledger) == [Row("water", 1, 1900, 3_920_000)]
    assert report(ledger, "model") == [Row("small", 1, 1100, 2_800_000), Row("big", 0, 800, 1_120_000)]


def test_tokens_of_every_outcome_count_and_what_never_left_does_not(ledger: Ledger) -> None:
    ledger.do(booking(ledger.sent(), used(800, 100), outcome="aborted"))
    ledger.do(booking(ledger.sent(), used(800, 0), outcome="failed"))
    ledger.do(Void(ledger.held(), "failed", ledger.clock()))
    ledger.held()
    # 1,600 × $1 + 100 × $4 a million = $0.002
    assert report(ledger) == [Row("water", 2, 1700, 2_800_000)]


def test_a_reversal_counts_in_the_month_it_was_made(ledger: Ledger) -> None:
    """November was reported and stays as it was; December has the money back and no request."""
    worked_month(ledger)
    november = report(ledger)
    ledger.clock.advance(10 * DAY)
    ledger.do(ledger.reverse("request-000003:1"))
    assert report(ledger) == november
    assert report(ledger, month="2026-12") == [Row("water", 0, 0, -3_080_000)]
    assert report(ledger, "user", "2026-12") == [Row("lee", 0, 0, -3_080_000)]
    assert report(ledger, "model", "2026-12", user="lee") == [Row("plain", 0, 0, -3_080_000)]
    assert report(ledger, "model", "2026-12", user="kim") == []


def test_a_reversal_in_the_same_month_takes_the_money_and_leaves_the_request(ledger: Ledger) -> None:
    worked_month(ledger)
    ledger.do(ledger.reverse("request-000001:1"))
    assert report(ledger, "user")[-1] == Row("kim", 2, 2200, 0)


def test_an_amount_nobody_knows_yet_counts_its_tokens(ledger: Ledger) -> None:
    with_amount = booking(ledger.sent())
    unknown = booking(ledger.sent())
    ledger.do(with_amount)
    ledger.do(
        type(unknown)(
            **{**{f: getattr(unknown, f) for f in unknown.__slots__}, "ticks": None, "won": None, "lines": ()}
        )
    )
    assert report(ledger) == [Row("water", 2, 2200, 2_800_000)]


def test_an_empty_month_has_no_rows(ledger: Ledger) -> None:
    worked_month(ledger)
    assert report(ledger, month="2026-10") == []


requests = st.tuples(
    st.sampled_from(("kim", "lee", "park")),
    st.sampled_from(("water", "roads")),
    st.sampled_from((place(), place(vat_bp=1000), place("hangang/won"), place(model="other"))),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.booleans(),
)


@settings(max_examples=8, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_rows_add_up_to_what_the_organisation_spent(ledger: Ledger, data: st.DataObject) -> None:
    """Whatever was used and reversed, by whichever grouping."""
    for user, department, where, sent, answered, wrong in data.draw(st.lists(requests, max_size=12)):
        op = ledger.booked(used(sent, answered), user=user, department=department, where=where)
        if wrong:
            ledger.do(ledger.reverse(op.hold.id))
    month = SEOUL.periods(ledger.clock()).month
    spent, _ = ledger.counter("organisation", month)
    events = ledger.rows("SELECT count(*), coalesce(sum(tokens), 0) FROM usage_event WHERE service_month = :m", m=month)
    for by in BYS:
        found = report(ledger, by, month)
        assert sum(row.won for row in found) == spent
        assert [(sum(row.requests for row in found), sum(row.tokens for row in found))] == [tuple(map(int, events[0]))]
        assert [row.won for row in found] == sorted((row.won for row in found), reverse=True), "the dearest first"
