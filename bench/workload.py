"""A month of a city's use of language models, made up from published shapes. Pure and seeded: same seed, same month.

    people ─▶ units ─▶ how much each asks in the month ─▶ conversations on the month's clock ─▶ turns ─▶ calls

What a call carries is decided here (tokens, bytes, how long it runs); what it costs and whether it may go is not.
Where the shapes come from:
    prompts per person        lognormal, σ 1.09: a 95th-percentile worker sends six times the median
    hours, weekdays           an office in Seoul: 88 % of calls between 09 and 18, the busiest hour 13 %
    bursts                    the rate of each minute is Gamma-distributed (k = 6); eight classes a week in which a whole
                              bureau sends the same exercise within half a minute
    conversations             3 turns on average (geometric); 18 % begin with an attached document; history is sent again
    sizes                     lognormal: short questions 35 tokens, pasted text 700, documents 4,500, answers 520, reasoning 250
    models                    a typical mix over nine price classes
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from types import MappingProxyType
from zoneinfo import ZoneInfo

SEOUL = ZoneInfo("Asia/Seoul")

UNITS = 370
BUREAUS = 40
#: People in the whole organisation's pilot; smaller runs keep the people per unit and have fewer units.
CITY = 6_318

#: Share of calls, list prices in USD per million tokens (input, cached input, output) and USD per request; late 2025.
#: Two small families are counted with their nearest neighbour.
MODELS: Mapping[str, tuple[float, str, str, str, str]] = MappingProxyType(
    {
        "gpt-5": (0.30, "1.25", "0.125", "10", "0"),
        "gpt-5-mini": (0.20, "0.25", "0.025", "2", "0"),
        "claude-sonnet": (0.14, "3", "0.3", "15", "0"),
        "gpt-4o": (0.12, "2.5", "1.25", "10", "0"),
        "gemini-flash": (0.08, "0.3", "0.03", "2.5", "0"),
        "gemini-pro": (0.05, "1.25", "0.125", "10", "0"),
        "sonar": (0.08, "1", "1", "1", "0.012"),
        "grok-fast": (0.03, "0.2", "0.05", "0.5", "0"),
    }
)
#: Hidden reasoning relative to the general shape; models not named do not reason.
REASONING: Mapping[str, float] = MappingProxyType(
    {"gpt-5": 1.2, "gpt-5-mini": 0.7, "gemini-pro": 1.2, "gemini-flash": 0.5}
)

#: Monday to Sunday; midnight to midnight.
WEEKDAY = (1.05, 1.08, 1.05, 1.0, 0.82, 0.03, 0.03)
HOUR = (0, 0, 0, 0, 0, 0, 0, 1, 4, 13, 15, 12, 4, 11, 14, 13, 11, 7, 3, 2, 1.5, 1, 0.7, 0.3)

SYSTEM_TOKENS = 350
HISTORY_TOKENS = 60_000
#: UTF-8 bytes of a token: Korean prose in a modern byte-level vocabulary, and mixed or English text.
BYTES_KOREAN, BYTES_OTHER = 4.6, 4.2
KOREAN_SHARE = 0.93
CLASSES_PER_WEEK = 8


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One request. Times are microseconds since 1970, UTC. `output` is what the model would say if nobody stopped it."""

    at: int
    person: int
    unit: int
    model: str
    messages: int
    input_tokens: int
    input_bytes: int
    cached_tokens: int
    output: int
    seconds: float


@dataclass(frozen=True, slots=True)
class City:
    """Who sits where: `unit_of[person]`, `bureau_of[unit]`."""

    unit_of: Sequence[int]
    bureau_of: Sequence[int]

    @property
    def units(self) -> int:
        return len(self.bureau_of)


def city(people: int, rng: random.Random) -> City:
    """People in units of uneven size (a third as large to three times as large as the mean), units in bureaus."""
    units = max(2, round(UNITS * people / CITY))
    bureaus = max(1, round(BUREAUS * people / CITY))
    weights = [rng.lognormvariate(0, 0.5) for _ in range(units)]
    unit_of = [*range(units), *rng.choices(range(units), weights, k=max(0, people - units))][:people]
    return City(unit_of, [unit * bureaus // units for unit in range(units)])


def month(where: City, *, requests: float, year: int, number: int, seed: int) -> list[Call]:
    """Every call of the month, in order. `requests` is the mean per person."""
    rng = random.Random(seed)
    clock = _Clock(year, number, rng)
    calls: list[Call] = []
    # The mean of a lognormal is exp(μ + σ²/2).
    sigma = 1.09
    mu = math.log(requests) - sigma**2 / 2
    for person, unit in enumerate(where.unit_of):
        wanted = round(rng.lognormvariate(mu, sigma))
        while wanted > 0:
            turns = _conversation(rng, person, unit, clock.draw(rng), most=wanted)
            wanted -= len(turns)
            calls += turns
    calls += _classes(where, clock, rng)
    # A conversation that runs past the month's last midnight is cut there: its rest belongs to another budget.
    return sorted(call for call in calls if call.at < clock.end)


class _Clock:
    """Draws instants of the month with the office's rhythm."""

    def __init__(self, year: int, number: int, rng: random.Random) -> None:
        first = datetime(year, number, 1, tzinfo=SEOUL)
        after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=SEOUL)
        self.days = (after - first).days
        weights = []
        for day in range(self.days):
            weekday = WEEKDAY[(first + timedelta(days=day)).weekday()]
            weights += [weekday * HOUR[m // 60] * rng.gammavariate(6, 1 / 6) for m in range(24 * 60)]
        self._sums = list(accumulate(weights))
        self._first = round(first.astimezone(UTC).timestamp())
        self.end = round(after.astimezone(UTC).timestamp()) * 1_000_000

    def draw(self, rng: random.Random) -> int:
        minute = bisect(self._sums, rng.random() * self._sums[-1])
        return round((self._first + (min(minute, len(self._sums) - 1) + rng.random()) * 60) * 1e6)


def _conversation(
    rng: random.Random, person: int, unit: int, at: int, *, most: int, model: str | None = None
) -> list[Call]:
    model = model or rng.choices(list(MODELS), [m[0] for m in MODELS.values()])[0]
    per_token = BYTES_KOREAN if rng.random() < KOREAN_SHARE else BYTES_OTHER
    turns = min(most, 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / 3)))
    history = _capped(rng, 4_500, 1.0, 60_000) if rng.random() < 0.18 else 0
    calls: list[Call] = []
    for turn in range(turns):
        question = _capped(rng, 35, 0.9, 12_000) if rng.random() < 0.72 else _capped(rng, 700, 0.9, 12_000)
        tokens = SYSTEM_TOKENS + min(HISTORY_TOKENS, history + question)
        cached = SYSTEM_TOKENS + min(HISTORY_TOKENS, history) if turn and rng.random() < 0.5 else 0
        visible = _capped(rng, 520, 0.75, 6_000)
        hidden = round(rng.lognormvariate(math.log(250), 0.9) * REASONING.get(model, 0))
        seconds = 2 + rng.lognormvariate(math.log(12), 0.6)
        calls.append(
            Call(
                at, person, unit, model, 2 + 2 * turn, tokens, math.ceil(tokens * per_token), cached, visible + hidden, seconds
            )
        )  # fmt: skip
        history += question + visible
        # Read the answer, think, ask on.
        at += round((seconds + rng.lognormvariate(math.log(60), 0.8)) * 1e6)
    return calls


def _capped(rng: random.Random, median: float, sigma: float, most: int) -> int:
    return max(1, min(most, round(rng.lognormvariate(math.log(median), sigma))))


def _classes(where: City, clock: _Clock, rng: random.Random) -> Iterator[Call]:
    """A bureau's people in a training room: everyone sends the exercise to the same model within 10 to 30 seconds."""
    count = round(CLASSES_PER_WEEK * clock.days / 7 * len(where.unit_of) / CITY)
    by_bureau: dict[int, list[int]] = {}
    for person, unit in enumerate(where.unit_of):
        by_bureau.setdefault(where.bureau_of[unit], []).append(person)
    for _ in range(max(1, count)):
        people = rng.choice(list(by_bureau.values()))
        began, span = clock.draw(rng), rng.uniform(10, 30)
        model = rng.choice(("gpt-5", "gpt-5-mini"))
        for person in rng.sample(people, min(len(people), rng.randint(25, 100))):
            at = began + round(rng.uniform(0, span) * 1e6)
            yield from _conversation(rng, person, where.unit_of[person], at, most=1, model=model)
