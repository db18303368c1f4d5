"""Prices and rates enter the ledger from files: the same file twice adds nothing, and what is refused names line and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from ledgers import PRICES, Ledger, open_ledger

from billing.card import Price
from billing.fx import FxTable
from billing.imports import ImportRefused, import_book, import_rates, read_rates, stored_rates
from billing.pricing import PriceBook
from billing.store import Tx

HEAD = "date,base,quote,rate,kind,source\n"


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """It knows the prices of `ledgers.PRICES`."""
    with open_ledger(database_url) as opened:
        yield opened


def import_(ledger: Ledger, *prices: Price, version: str) -> int:
    def work(tx: Tx) -> int:
        book = PriceBook(prices, version=version)
        return import_book(tx, book, origin="a file", ids=lambda: f"book-{version}", at=5, by="finance")

    return int(ledger.book.transact(work))


def versions(ledger: Ledger) -> list[str]:
    return [version for (version,) in ledger.rows("SELECT version FROM price_book ORDER BY version")]


LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_the_same_prices_a_second_time_add_nothing(ledger: Ledger) -> None:
    before = ledger.rows("SELECT * FROM price ORDER BY id")
    assert len(before) == len(PRICES.prices)
    assert import_(ledger, *PRICES.prices, version=PRICES.version) == 0
    assert versions(ledger) == ["test-1"]
    # another version of the files that prices all of it as before
    assert import_(ledger, *PRICES.prices, version="test-2") == 0
    assert ledger.rows("SELECT * FROM price ORDER BY id") == before
    assert versions(ledger) == ["test-1", "test-2"]


def test_a_later_list_adds_its_lines(ledger: Ledger) -> None:
    newer = replace(PRICES.prices[0], id="newer", unit_price_pico=900_000, valid_from=LATER)
    assert import_(ledger, *PRICES.prices, newer, version="test-2") == 1
    assert ledger.rows("SELECT price_key, unit_price_pico FROM price WHERE id = 'newer'") == [("acme/plain", 900_000)]


@pytest.mark.parametrize("changed", [{"unit_price_pico": 2_000_000}, {"id": "renamed"}])
def test_a_price_that_held_is_history(ledger: Ledger, changed: dict[str, Any]) -> None:
    first, *rest = PRICES.prices
    before = ledger.everything()
    newer = replace(first, id="newer", valid_from=LATER)
    with pytest.raises(
        ImportRefused, match=r"acme/plain: input from 2026-01-01 .* add a new one with a later valid_from"
    ):
        import_(ledger, newer, replace(first, **changed), *rest, version="test-2")
    assert ledger.everything() == before
    assert versions(ledger) == ["test-1"], "nothing of a refused file is kept"


def test_a_list_in_another_currency_contradicts_too(ledger: Ledger) -> None:
    rows = [replace(price, currency="KRW") for price in PRICES.prices if price.key == "acme/plain"]
    with pytest.raises(ImportRefused, match="acme/plain"):
        import_(ledger, *rows, version="test-2")


def test_a_tier_is_another_line_than_the_plain_price(ledger: Ledger) -> None:
    tiers = ledger.rows(
        "SELECT tier_gt, unit_price_pico FROM price WHERE price_key = 'acme/tiered' AND meter = 'input'"
    )
    assert sorted(tiers, key=str) == [(1000, 2_500_000), (None, 1_250_000)]


def test_two_processes_that_start_at_once_import_once(database_url: str) -> None:
    with open_ledger(database_url) as one, open_ledger(database_url, prefix="other") as other:
        newer = replace(PRICES.prices[0], id="newer", valid_from=LATER)
        with ThreadPoolExecutor(2) as pool:
            added = list(pool.map(lambda ledger: import_(ledger, newer, version="test-2"), (one, other)))
        assert sorted(added) == [0, 1]
        assert versions(one) == ["test-1", "test-2"]


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_file_of_rates_is_read() -> None:
    text = (
        "\ufeff"
        + HEAD
        + '2026-11-20,USD,KRW,"1,400.50",매매기준율,서울외국환중개\r\n2026-11-23,EUR,KRW,1600,매매기준율,x\n'
    )
    one, other = read_rates(text)
    assert (one.base, one.rate_e6, one.effective_date, one.kind, one.source, one.confirmed) == (
        "USD",
        1_400_500_000,
        date(2026, 11, 20),
        "매매기준율",
        "서울외국환중개",
        True,
    )
    assert (other.base, other.rate_e6) == ("EUR", 1_600_000_000)


def test_columns_may_stand_in_another_order_and_beside_others() -> None:
    (rate,) = read_rates("source,note,rate,kind,quote,base,date\nBOK,n,1400,매매기준율,KRW,USD,2026-11-23\n")
    assert (rate.source, rate.rate_e6) == ("BOK", 1_400_000_000)


TWO_DAYS = "2026-11-23,USD,KRW,1400,매매기준율,x\n2026-11-24,USD,KRW,1400,매매기준율,x\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the first line must name the columns"),
        ("date,base,quote,rate,kind\n", "missing: source"),
        (HEAD, "the file has no rates"),
        (HEAD + "2026-11-23,USD,KRW,1400,매매기준율,x\n23.11.2026,USD,KRW,1400,매매기준율,x\n", "line 3: .*YYYY-MM-DD"),
        (HEAD + "2026-11-31,USD,KRW,1400,매매기준율,x\n", "line 2: .*YYYY-MM-DD"),
        (HEAD + "2026-11-23,USD,KRW,viel,매매기준율,x\n", "line 2: .*decimal number"),
        (HEAD + "2026-11-23,USD,KRW,1400.1234567,매매기준율,x\n", "line 2: .*more than 6 decimal places"),
        (HEAD + "2026-11-23,USD,KRW,NaN,매매기준율,x\n", "line 2: .*decimal number"),
        (HEAD + "2026-11-23,USD,KRW,0,매매기준율,x\n", "line 2: a rate of 0 is no rate"),
        (HEAD + "2026-11-23,USD,KRW,-1400,매매기준율,x\n", "line 2: a rate of -1400 is no rate"),
        (HEAD + "2026-11-23,USD,KRW,99999999999999,매매기준율,x\n", "line 2: a rate of"),
        (HEAD + "2026-11-23,USD,KRW,1400,,x\n", "line 2: kind and source"),
        (HEAD + "2026-11-23,USD,KRW,1400,매매기준율, \n", "line 2: kind and source"),
        (HEAD + "2026-11-23,USD,EUR,1400,매매기준율,x\n", "line 2: USD/EUR is not kept"),
        (HEAD + "2026-11-23,KRW,KRW,1400,매매기준율,x\n", "line 2: KRW/KRW is not kept"),
        (HEAD + "2026-11-23,dollar,KRW,1400,매매기준율,x\n", "line 2: dollar/KRW is not kept"),
        (HEAD + "2026-11-23,USD,KRW,1,400.50,매매기준율,x\n", "line 2: not as many values as columns.*quotes"),
        (HEAD + "2026-11-23,USD,KRW\n", "line 2: not as many values as columns"),
        (HEAD + '2026-11-23,USD,KRW,1400,매매기준율,"x\n', "line 2: .*plain CSV"),
        (HEAD + TWO_DAYS + "2026-11-23,USD,KRW,1401,매매기준율,x\n", "line 4: line 2 has another rate for that day"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_its_line(text: str, says: str) -> None:
    with pytest.raises(ImportRefused, match=says):
        read_rates(text)


def test_the_same_line_twice_in_a_file_is_one_rate() -> None:
    assert len(read_rates(HEAD + "2026-11-23,USD,KRW,1400,매매기준율,x\n" * 2)) == 1


def add(ledger: Ledger, *lines: str) -> int:
    rates = read_rates(HEAD + "\n".join(lines))
    return int(ledger.book.transact(lambda tx: import_rates(tx, rates, at=7, by="finance")))


def test_the_same_rates_a_second_time_add_nothing(ledger: Ledger) -> None:
    lines = ("2026-11-20,USD,KRW,1400,매매기준율,x", "2026-11-23,USD,KRW,1405.5,매매기준율,x")
    assert add(ledger, *lines) == 2
    assert add(ledger, *lines) == 0
    assert add(ledger, *lines, "2026-11-24,USD,KRW,1401,매매기준율,x") == 1
    assert len(ledger.rows("SELECT id FROM fx_rate")) == 3


def test_a_correction_is_another_row_and_counts_from_then_on(ledger: Ledger) -> None:
    add(ledger, "2026-11-23,USD,KRW,1400,매매기준율,x")
    assert add(ledger, "2026-11-23,USD,KRW,1410,매매기준율,x") == 1
    assert add(ledger, "2026-11-23,USD,KRW,1400,매매기준율,x") == 1, "back again is a third statement"
    rates = ledger.book.transact(stored_rates)
    assert [rate.rate_e6 // 10**6 for rate in rates] == [1400, 1410, 1400]
    assert FxTable(rates).at(date(2026, 11, 23)).rate_e6 == 1_400_000_000


def test_kinds_and_currencies_do_not_mix(ledger: Ledger) -> None:
    assert add(ledger, "2026-11-23,USD,KRW,1400,매매기준율,x", "2026-11-23,USD,KRW,1412,전신환매도,x") == 2
    assert add(ledger, "2026-11-23,EUR,KRW,1400,매매기준율,x") == 1


def test_a_server_sees_that_there_is_a_new_rate(ledger: Ledger) -> None:
    before = ledger.book.transact(lambda tx: tx.newest_fx())
    add(ledger, "2026-11-23,USD,KRW,1400,매매기준율,x")
    assert ledger.book.transact(lambda tx: tx.newest_fx()) > before
