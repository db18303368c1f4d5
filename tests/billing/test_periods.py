"""Calendar periods in the organisation's own zone: every instant is in exactly one day, one month and one fiscal year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods import KINDS, Calendar, Periods, from_us, kind_of, to_us

SEOUL = ZoneInfo("Asia/Seoul")


def at(text: str, zone: ZoneInfo = SEOUL) -> int:
    return to_us(datetime.fromisoformat(text).replace(tzinfo=zone))


@pytest.mark.parametrize(
    ("instant", "day", "month", "year"),
    [
        ("2026-11-23T00:00:00", "2026-11-23", "2026-11", "2026"),
        ("2026-11-23T23:59:59.999999", "2026-11-23", "2026-11", "2026"),
        ("2026-11-24T00:00:00", "2026-11-24", "2026-11", "2026"),
        ("2026-11-30T23:59:59.999999", "2026-11-30", "2026-11", "2026"),
        ("2026-12-01T00:00:00", "2026-12-01", "2026-12", "2026"),
        ("2026-12-31T23:59:59.999999", "2026-12-31", "2026-12", "2026"),
        ("2027-01-01T00:00:00", "2027-01-01", "2027-01", "2027"),
        ("2028-02-29T12:00:00", "2028-02-29", "2028-02", "2028"),
        ("2028-03-01T00:00:00", "2028-03-01", "2028-03", "2028"),
    ],
)
def test_seoul_days_end_at_seoul_midnight(instant: str, day: str, month: str, year: str) -> None:
    assert Calendar(SEOUL).periods(at(instant)) == Periods(day, month, year)


def test_midnight_in_seoul_is_three_in_the_afternoon_in_greenwich() -> None:
    calendar = Calendar(SEOUL)
    assert calendar.periods(to_us(datetime(2026, 11, 30, 14, 59, 59, 999_999, UTC))).month == "2026-11"
    assert calendar.periods(to_us(datetime(2026, 11, 30, 15, 0, 0, 0, UTC))).month == "2026-12"


@pytest.mark.parametrize(
    ("start", "instant", "year"),
    [
        ((1, 1), "2026-12-31T23:59:59", "2026"),
        ((4, 1), "2026-03-31T23:59:59", "2025"),  # Japan's and Britain's kind of year: named after the one it begins in
        ((4, 1), "2026-04-01T00:00:00", "2026"),
        ((10, 1), "2026-09-30T23:59:59", "2025"),
        ((10, 1), "2026-10-01T00:00:00", "2026"),
        ((7, 15), "2026-07-14T23:59:59", "2025"),
        ((7, 15), "2026-07-15T00:00:00", "2026"),
        ((3, 1), "2028-02-29T23:59:59", "2027"),
    ],
)
def test_a_fiscal_year_may_begin_on_any_day(start: tuple[int, int], instant: str, year: str) -> None:
    assert Calendar(SEOUL, start).periods(at(instant)).year == year


@pytest.mark.parametrize("start", [(2, 29), (13, 1), (0, 1), (4, 31)])
def test_a_fiscal_year_begins_on_a_day_that_every_year_has(start: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"day|month"):
        Calendar(SEOUL, start)


@pytest.mark.parametrize(
    ("label", "start", "first", "after"),
    [
        ("2026-11-23", (1, 1), "2026-11-23T00:00:00", "2026-11-24T00:00:00"),
        ("2026-12-31", (1, 1), "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("2026-12", (1, 1), "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("2028-02", (1, 1), "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("2026", (1, 1), "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("2026", (4, 1), "2026-04-01T00:00:00", "2027-04-01T00:00:00"),
    ],
)
def test_a_period_spans_from_midnight_to_midnight(label: str, start: tuple[int, int], first: str, after: str) -> None:
    assert Calendar(SEOUL, start).span(label) == (at(first), at(after))


@pytest.mark.parametrize(
    ("kind", "resets"),
    [("day", "2026-11-24T00:00:00"), ("month", "2026-12-01T00:00:00"), ("year", "2027-01-01T00:00:00")],
)
def test_when_a_budget_is_fresh_again(kind: str, resets: str) -> None:
    found = Calendar(SEOUL).resets_at(kind, at("2026-11-23T09:00:00"))  # type: ignore[arg-type]
    assert found.isoformat() == f"{resets}+09:00"


@pytest.mark.parametrize(("label", "kind"), [("2026", "year"), ("2026-11", "month"), ("2026-11-23", "day")])
def test_a_label_says_what_kind_it_is(label: str, kind: str) -> None:
    assert kind_of(label) == kind


@pytest.mark.parametrize(
    "label",
    [
        "",
        "26",
        "2026-13",
        "2026-1",
        "2026-11-31",
        "2026-W48-1",
        "20261123",
        "2026/11",
        "２０２６",
        "2026-11-23T00",
        "0000",
    ],
)
def test_anything_else_is_no_period(label: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        kind_of(label)


#: Between 2000 and 2100. The zones have daylight saving at midnight, at one, in half hours and none.
instants = st.integers(to_us(datetime(2000, 1, 2, tzinfo=UTC)), to_us(datetime(2100, 1, 1, tzinfo=UTC)))
ZONES = (
    "Asia/Seoul",
    "UTC",
    "Africa/Cairo",
    "America/Havana",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
)
zones = st.sampled_from(ZONES)
starts = st.dates(date(2001, 1, 1), date(2001, 12, 31)).map(lambda day: (day.month, day.day))


@given(instants, zones, starts)
def test_every_instant_is_in_exactly_one_day_month_and_year(instant: int, zone: str, start: tuple[int, int]) -> None:
    """In the one it is labelled with, and outside the ones before and after it."""
    calendar = Calendar(ZoneInfo(zone), start)
    periods = calendar.periods(instant)
    for kind in KINDS:
        label = periods.label(kind)
        assert kind_of(label) == kind
        first, after = calendar.span(label)
        assert first <= instant < after
        fresh = Calendar(ZoneInfo(zone), start)
        assert fresh.periods(first).label(kind) == label
        assert fresh.periods(after - 1).label(kind) == label
        assert fresh.periods(after).label(kind) != label
        assert fresh.periods(first - 1).label(kind) != label
        assert calendar.span(fresh.periods(after).label(kind))[0] == after, "no instant is between two periods"


@given(st.lists(instants, min_size=2, max_size=8), zones)
def test_what_was_asked_before_changes_no_answer(asked: list[int], zone: str) -> None:
    """The calendar remembers its day."""
    calendar = Calendar(ZoneInfo(zone))
    assert [calendar.periods(one) for one in asked] == [Calendar(ZoneInfo(zone)).periods(one) for one in asked]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 – made aware below
def test_microseconds_survive_the_way_there_and_back(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert from_us(to_us(aware)) == aware
    assert to_us(aware + timedelta(microseconds=1)) == to_us(aware) + 1
