"""Who may spend how much in which period, and whether one more request fits. Pure.

A quota is an amount of micro-won (1e-6 KRW) for a scope and a kind of calendar period. Every scope on a request's path must
admit it: the organisation, each department from the caller's own to the root, and the user.

    available = min over hard quotas of (amount − posted − held)

What a request may cost at most is `fixed + ceil(output_cap × per_output)`: the input at its proven upper bound plus the
output at its cap. Where that does not fit, the output cap is *clamped* to what does, as long as an answer of `floor` tokens
remains; the provider then enforces the cap, so the actual cost can never exceed the hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from billing.periods import PeriodKind, Periods

#: `per_output` is a rational: micro-won × SCALE per output token. pico-currency (1e-12) × rate (1e-6) × basis points (1e-4)
#: leaves 1e-22 won = 1e-16 micro-won.
SCALE = 10**16

#: An answer shorter than this is not worth starting: deny rather than clamp below it.
FLOOR = 256


class Quota(Struct, frozen=True):
    """`amount` is micro-won per period. Soft quotas never refuse; they are shown and warned about."""

    scope: str
    period: PeriodKind
    amount: int
    hard: bool = True


class Ask(Struct, frozen=True):
    """The ceiling one attempt needs: `fixed` micro-won for the input and fees, `per_output` micro-won × SCALE per token.

    `choices` is `n`: every choice may use the cap. `wanted` is the cap the caller or the model's default asks for, 0 where
    nothing is generated (embeddings, reranking).
    """

    fixed: int
    per_output: int
    wanted: int
    choices: int = 1
    floor: int = FLOOR

    def ceiling(self, output_cap: int) -> int:
        """Micro-won that cannot be exceeded with this cap; 0 for a model that costs nothing."""
        return self.fixed + -(-(output_cap * self.choices * self.per_output) // SCALE)

    def affordable(self, available: int) -> int:
        """The largest cap ≤ `wanted` whose ceiling fits in `available`; negative when not even the input fits."""
        left = available - self.fixed
        if left < 0:
            return -1
        if self.per_output == 0:
            return self.wanted
        return min(self.wanted, left * SCALE // (self.per_output * self.choices))

    @property
    def least(self) -> int:
        """The smallest cap worth starting with."""
        return min(max(self.floor, 1), self.wanted)


class Standing(NamedTuple):
    """What one quota's period looks like now, micro-won."""

    quota: Quota
    period: str
    posted: int
    held: int

    @property
    def available(self) -> int:
        return self.quota.amount - self.posted - self.held


class Granted(Struct, frozen=True):
    output_cap: int
    amount: int


class Refused(Struct, frozen=True):
    """The narrowest hard quota, and what would have been needed at least.

    `would_fit`: every hard quota would admit the request as soon as what is held now is released.
    """

    standing: Standing
    needed: int
    would_fit: bool


def decide(ask: Ask, standings: Iterable[Standing]) -> Granted | Refused:
    """Admit, clamp or refuse. Soft quotas are passed over; a request that can cost nothing is always admitted."""
    wanted = ask.ceiling(ask.wanted)
    if wanted == 0:
        return Granted(ask.wanted, 0)
    hard = [standing for standing in standings if standing.quota.hard]
    if not hard:
        return Granted(ask.wanted, wanted)
    tightest = min(hard, key=_available)
    available = tightest.available
    if wanted <= available:
        return Granted(ask.wanted, wanted)
    cap = ask.affordable(available)
    if cap >= ask.least:
        return Granted(cap, ask.ceiling(cap))
    needed = ask.ceiling(ask.least)
    return Refused(tightest, needed, all(needed <= s.quota.amount - s.posted for s in hard))


def _available(standing: Standing) -> int:
    return standing.available


def labels(scopes: Iterable[str], periods: Periods) -> list[tuple[str, str]]:
    """Every counter a request touches, in the one order they are locked in."""
    return sorted((scope, label) for scope in scopes for label in (periods.day, periods.month, periods.year))
