"""Accounts, journals and their legs. Pure.

    usage in USD:   clearing:USD          +A      payable:openai:USD    −A
                    expense:department:x  +B      clearing:KRW          −B        B = A × rate, rounded half to even
    with VAT:       expense:department:x  +V      tax:vat:<treatment>   −V
    usage in KRW:   expense:department:x  +B      payable:naver:KRW     −B
    a local model:  the payable is internal:<provider>:<currency>
    unknown usage:  the payable is suspense:<reason>:<currency> until someone resolves it

A journal's legs sum to zero in each currency. An account has one currency. Amounts are integers: USD in ticks of 1e-10,
KRW in micro-won (1e-6). A mistake is answered by another journal that negates the first, never by an edit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple


class Leg(NamedTuple):
    """One line of a journal."""

    account: str
    currency: str
    amount: int


class Unbalanced(ValueError):
    """A journal whose legs do not sum to zero; a programming error, refused before it reaches the book."""


def check_balance(legs: Iterable[Leg]) -> None:
    sums: defaultdict[str, int] = defaultdict(int)
    for leg in legs:
        sums[leg.currency] += leg.amount
    if any(sums.values()):
        raise Unbalanced(f"journal does not sum to zero: {dict(sums)}")


def usage_legs(
    *,
    department_id: str,
    creditor: str,
    currency: str,
    ticks: int,
    won: int,
    vat: int = 0,
    vat_treatment: str = "none",
) -> tuple[Leg, ...]:
    """Legs of one priced usage. `creditor` is `payable:<provider>`, `internal:<provider>` or `suspense:<reason>`.

    `ticks` is the charge in the provider's currency, `won` the same in micro-won, `vat` micro-won on top. Zero amounts make
    no legs: a free local answer is a journal without lines that still carries its quantities.
    """
    expense = f"expense:department:{department_id}"
    legs: list[Leg] = []
    if currency == "KRW":
        if won:
            legs += [Leg(expense, "KRW", won), Leg(f"{creditor}:KRW", "KRW", -won)]
    else:
        if ticks:
            legs += [Leg(f"clearing:{currency}", currency, ticks), Leg(f"{creditor}:{currency}", currency, -ticks)]
        if won:
            legs += [Leg(expense, "KRW", won), Leg("clearing:KRW", "KRW", -won)]
    if vat:
        legs += [Leg(expense, "KRW", vat), Leg(f"tax:vat:{vat_treatment}", "KRW", -vat)]
    check_balance(legs)
    return tuple(legs)


def reversed_legs(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    """The exact negation, in the same order."""
    return tuple(Leg(leg.account, leg.currency, -leg.amount) for leg in legs)
