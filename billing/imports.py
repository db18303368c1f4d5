"""What enters the ledger from files: dated prices and exchange rates. Each import adds rows; none is ever edited.

The same files a second time add nothing. A file that says something else about an instant the ledger already knows is
refused: a price that held is history, and a change of it is a new line with a later date.
"""

from __future__ import annotations

import csv
import io
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
    """Store every price of the book that is not stored yet, as one version. Returns how many were new."""
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
        elif stored != (price.id, price.unit_price_pico):
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
    """A CSV with the columns date,base,quote,rate,kind,source. Imported rates count as confirmed: finance imported them."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    missing = [column for column in _FX_COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ImportRefused(
            f"the first line must name the columns {','.join(_FX_COLUMNS)}; missing: {','.join(missing)}"
        )
    rates: list[FxRate] = []
    for number, row in enumerate(reader, 2):
        try:
            rate = FxRate(
                rate_e6=scaled((row["rate"] or "").strip().replace(",", ""), 6),
                effective_date=date.fromisoformat((row["date"] or "").strip()),
                kind=(row["kind"] or "").strip(),
                source=(row["source"] or "").strip(),
                confirmed=True,
                base=(row["base"] or "").strip(),
                quote=(row["quote"] or "").strip(),
            )
        except (ValueError, TypeError) as error:
            raise ImportRefused(
                f"line {number}: {error}. Write date as YYYY-MM-DD and rate as a decimal number."
            ) from None
        if rate.rate_e6 <= 0 or not rate.kind or not rate.source or len(rate.base) != 3 or rate.quote != "KRW":
            raise ImportRefused(f"line {number}: rate must be positive, quote KRW, kind and source filled in.")
        rates.append(rate)
    if not rates:
        raise ImportRefused("the file has no rates")
    return rates


def import_rates(tx: Tx, rates: Iterable[FxRate], *, at: int, by: str) -> int:
    """Append the rates; a later one for the same day supersedes the earlier. Returns how many."""
    rows = [
        (r.base, r.quote, r.rate_e6, r.kind, r.effective_date.isoformat(), r.source, int(r.confirmed), at, by)
        for r in rates
    ]
    tx.run(tx.sql.insert_fx_rates, rows)
    return len(rows)


def stored_rates(tx: Tx) -> list[FxRate]:
    return [
        FxRate(rate_e6, date.fromisoformat(day), kind, source, bool(confirmed), base=base, quote=quote)
        for base, quote, rate_e6, kind, day, source, confirmed in tx.fx_rows()
    ]
