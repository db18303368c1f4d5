"""What enters the ledger from files: dated prices and exchange rates. Each import adds rows; none is ever edited.

The same file a second time adds nothing. A price file that says something else about an instant the ledger already knows is
refused: a price that held is history, and a change of it is a new line with a later date. A rate may be corrected: another
rate for the same day is added, and counts from then on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from datetime import date

import orjson

from billing.card import Price
from billing.fx import FxRate
from billing.money import scaled
from billing.periods import to_us
from billing.pricing import PriceBook
from billing.store import Tx


class ImportRefused(ValueError):
    """The file contradicts what the ledger knows, or cannot be read; the message names the line or key and the remedy."""


def import_book(tx: Tx, book: PriceBook, *, origin: str, ids: Callable[[], str], at: int, by: str) -> int:
    """Store every price of the book that is not stored yet, as one version. Returns how many were new.

    Raises ImportRefused when the book prices something differently that the ledger knows, and then stores nothing.
    """
    tx.lock("price_book")
    if tx.has_price_book(book.version):
        return 0
    known = tx.price_identities()
    book_id = ids()
    new = []
    for price in book.prices:
        row = _price_row(price, book_id)
        stored = known.get(_identity(price))
        if stored is None:
            new.append(row)
        elif stored != (price.id, price.unit_price_pico, price.currency):
            raise ImportRefused(
                f"{price.key}: {price.meter} from {price.valid_from:%Y-%m-%d} is in the ledger with another price. "
                "Leave that line as it was and add a new one with a later valid_from."
            )
    tx.run(tx.sql.insert_price_books, [(book_id, book.version, "active", origin, book.version, by, at, at)])
    tx.run(tx.sql.insert_prices, new)
    return len(new)


def _identity(price: Price) -> tuple[str, str, int, int, str, int]:
    return (
        price.key,
        price.meter,
        -1 if price.tier_gt is None else price.tier_gt,
        -1 if price.tier_ge is None else price.tier_ge,
        _conditions(price),
        to_us(price.valid_from),
    )


def _conditions(price: Price) -> str:
    return orjson.dumps(dict(price.conditions or {}), option=orjson.OPT_SORT_KEYS).decode()


def _price_row(price: Price, book_id: str) -> tuple[object, ...]:
    return (
        price.id,
        book_id,
        price.provider,
        price.key,
        price.meter,
        price.currency,
        price.unit_price_pico,
        price.tier_gt,
        price.tier_ge,
        _conditions(price),
        to_us(price.valid_from),
        price.source,
        int(price.confirmed),
    )


_FX_COLUMNS = ("date", "base", "quote", "rate", "kind", "source")


def read_rates(text: str) -> list[FxRate]:
    """A CSV with the columns date,base,quote,rate,kind,source. Imported rates count as confirmed: finance imported them.

    Raises ImportRefused naming the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rates: dict[tuple[str, str, str, date], tuple[FxRate, int]] = {}
    try:
        missing = [column for column in _FX_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ImportRefused(
                f"the first line must name the columns {','.join(_FX_COLUMNS)}; missing: {','.join(missing)}"
            )
        for row in reader:
            rate, number = _rate(row, reader.line_num), reader.line_num
            known, line = rates.setdefault(_day_of(rate), (rate, number))
            if known != rate:
                raise ImportRefused(f"line {number}: line {line} has another rate for that day. Keep one of them.")
    except csv.Error as error:
        raise ImportRefused(f"line {reader.reader.line_num}: {error}. Save the file as plain CSV.") from None
    if not rates:
        raise ImportRefused("the file has no rates")
    return [rate for rate, _ in rates.values()]


def _rate(row: dict[str, str | None], number: int) -> FxRate:
    if None in row or None in row.values():
        raise ImportRefused(f"line {number}: not as many values as columns. Put a value with a comma in quotes.")
    given = {name: (value or "").strip() for name, value in row.items()}
    try:
        rate = FxRate(
            rate_e6=scaled(given["rate"].replace(",", ""), 6),
            effective_date=date.fromisoformat(given["date"]),
            kind=given["kind"],
            source=given["source"],
            confirmed=True,
            base=given["base"],
            quote=given["quote"],
        )
    except ValueError as error:
        raise ImportRefused(f"line {number}: {error}. Write date as YYYY-MM-DD and rate as a decimal number.") from None
    if not 0 < rate.rate_e6 < _RATE_LIMIT:
        raise ImportRefused(f"line {number}: a rate of {given['rate']} is no rate. Write won per unit of the currency.")
    if not rate.kind or not rate.source:
        raise ImportRefused(f"line {number}: kind and source say which rate it is and where it was seen. Fill them in.")
    if not _CURRENCY.fullmatch(rate.base) or rate.base == "KRW" or rate.quote != "KRW":
        raise ImportRefused(
            f"line {number}: {rate.base}/{rate.quote} is not kept. Write won (KRW) per unit of another one."
        )
    return rate


#: A million won for one unit: no currency is worth that much, and the column would hold more.
_RATE_LIMIT = 10**12

_CURRENCY = re.compile("[A-Z]{3}")


def _day_of(rate: FxRate) -> tuple[str, str, str, date]:
    return (rate.base, rate.quote, rate.kind, rate.effective_date)


def import_rates(tx: Tx, rates: Iterable[FxRate], *, at: int, by: str) -> int:
    """Append what the ledger does not say already; a later row for the same day supersedes the earlier. Returns how many."""
    tx.lock("fx_rate")
    known = {_day_of(rate): rate for rate in stored_rates(tx)}
    new = [rate for rate in rates if known.get(_day_of(rate)) != rate]
    tx.add_rates(
        [
            (r.base, r.quote, r.rate_e6, r.kind, r.effective_date.isoformat(), r.source, int(r.confirmed), at, by)
            for r in new
        ]
    )
    return len(new)


def stored_rates(tx: Tx) -> list[FxRate]:
    return [
        FxRate(rate_e6, date.fromisoformat(day), kind, source, bool(confirmed), base=base, quote=quote)
        for base, quote, rate_e6, kind, day, source, confirmed in tx.fx_rows()
    ]
