"""Which exchange rate counts for a day, and when an amount made with it is provisional."""

from datetime import date
from pathlib import Path

import pytest

from billing.fx import FxRate, FxTable, NoRate, load

FRIDAY, MONDAY = date(2026, 10, 30), date(2026, 11, 2)


def rate(day: date, won: int, *, confirmed: bool = True) -> FxRate:
    return FxRate(rate_e6=won * 1_000_000, effective_date=day, source="test", confirmed=confirmed)


@pytest.mark.parametrize(
    ("day", "won", "provisional"),
    [
        (FRIDAY, 1400, False),
        (date(2026, 10, 31), 1400, False),  # Saturday: Friday's
        (date(2026, 11, 1), 1400, False),  # Sunday: Friday's
        (MONDAY, 1410, False),
        (date(2026, 11, 7), 1410, False),  # five days old: a long holiday is no gap
        (date(2026, 11, 8), 1410, True),  # six days old: somebody forgot to import
    ],
)
def test_the_newest_rate_not_after_the_day_counts(day: date, won: int, *, provisional: bool) -> None:
    found = FxTable([rate(MONDAY, 1410), rate(FRIDAY, 1400)]).at(day)
    assert (found.rate_e6, found.provisional) == (won * 1_000_000, provisional)


def test_an_unconfirmed_rate_is_provisional_on_its_own_day() -> None:
    assert FxTable([rate(FRIDAY, 1400, confirmed=False)]).at(FRIDAY).provisional


def test_before_the_first_rate_there_is_none() -> None:
    with pytest.raises(NoRate, match="2026-10-29"):
        FxTable([rate(FRIDAY, 1400)]).at(date(2026, 10, 29))


def test_a_later_word_on_a_day_supersedes_the_earlier() -> None:
    assert FxTable([rate(FRIDAY, 1400), rate(FRIDAY, 1401)]).at(FRIDAY).rate_e6 == 1_401_000_000


def test_kinds_and_pairs_do_not_mix() -> None:
    card = FxRate(rate_e6=1_450_000_000, effective_date=FRIDAY, kind="카드", source="test", confirmed=True)
    table = FxTable([rate(FRIDAY, 1400), card])
    assert table.at(FRIDAY).rate_e6 == 1_400_000_000
    assert table.at(FRIDAY, kind="카드").rate_e6 == 1_450_000_000
    with pytest.raises(NoRate):
        table.at(FRIDAY, base="EUR")


def test_a_rate_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        FxTable([rate(FRIDAY, 0)])


def test_the_shipped_rate_is_provisional() -> None:
    assert FxTable(load()).at(date(2026, 11, 2)).provisional


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rates: 3",
        'rates: [{date: "2026-13-01", rate: "1400", source: s, confirmed: false}]',
        'rates: [{date: "2026-01-01", rate: "x", source: s, confirmed: false}]',
        'rates: [{date: "2026-01-01", rate: "1400", confirmed: false}]',
        'rates: [{date: "2026-01-01", rate: "1400", source: s, confirmed: perhaps}]',
        (
            'rates: [{date: "2026-01-01", rate: "1", source: s, confirmed: "true"}, '
            '{date: "2026-01-01", rate: "2", source: s, confirmed: "true"}]'
        ),
        "rates: [7]",
    ],
)
def test_a_rate_file_that_cannot_be_used_names_itself(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rates.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"rates\.yaml"):
        load(file)
