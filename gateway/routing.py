"""Orders the places an answer may come from, and remembers which of them are unwell.

    model's deployments (healthy first, by weight) ─▶ its fallbacks' deployments ─▶ at most `attempts`

A place that fails five times in ten seconds is left alone for ten: it stays last in line, never out of it, because a model
with one sick place is better tried than refused. Fallback happens only before the first byte of an answer, and only to a
model whose grade and destination may take the same text.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.catalog import Catalog, Deployment, Model
from gateway.providers.base import Failure
from gateway.settings import GRADES

_FAILURES = 5
_WINDOW_SECONDS = 10.0
_REST_SECONDS = 10.0

#: Failures that say something about the place rather than about the request.
_UNWELL = frozenset({Failure.CONNECT, Failure.TIMEOUT, Failure.UNAVAILABLE, Failure.BROKEN, Failure.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place to try, with the model whose place it is."""

    model: Model
    deployment: Deployment


class Router:
    """Health by deployment id. `choose` is seeded in tests."""

    def __init__(self, choose: random.Random | None = None) -> None:
        self._choose = choose or random.Random()  # noqa: S311 – spreads load, guards nothing
        self._failures: dict[str, deque[float]] = {}
        self._resting_until: dict[str, float] = {}

    def candidates(
        self, catalog: Catalog, model: Model, now: float, attempts: int | None = None
    ) -> tuple[Candidate, ...]:
        """Places in the order to try them, at most `attempts`; `now` is monotonic seconds. Empty when there is no usable one."""
        found: list[Candidate] = []
        for option in _with_fallbacks(catalog, model):
            found += [Candidate(option, deployment) for deployment in self._ordered(option.usable)]
        found.sort(key=lambda candidate: self._rests(candidate.deployment.id, now))
        return tuple(found[:attempts])

    def failed(self, deployment: str, failure: Failure, now: float) -> None:
        if failure not in _UNWELL:
            return
        recent = self._failures.setdefault(deployment, deque(maxlen=_FAILURES))
        recent.append(now)
        if len(recent) == _FAILURES and now - recent[0] <= _WINDOW_SECONDS:
            self._resting_until[deployment] = now + _REST_SECONDS

    def answered(self, deployment: str) -> None:
        if deployment in self._failures:
            del self._failures[deployment]
            self._resting_until.pop(deployment, None)

    def resting(self, now: float) -> list[str]:
        """Places that are left alone at the moment, for the status page and metrics."""
        return sorted(name for name, until in self._resting_until.items() if until > now)

    def _rests(self, deployment: str, now: float) -> bool:
        return self._resting_until.get(deployment, 0.0) > now

    def _ordered(self, deployments: tuple[Deployment, ...]) -> list[Deployment]:
        if len(deployments) < 2:
            return list(deployments)
        # Weighted shuffle: the larger the weight, the likelier an early place.
        return sorted(deployments, key=lambda d: self._choose.random() ** (1.0 / d.weight), reverse=True)


def _with_fallbacks(catalog: Catalog, model: Model) -> Iterator[Model]:
    yield model
    for name in model.fallbacks:
        other = catalog.resolve(name)
        if GRADES.index(other.grade) >= GRADES.index(model.grade):
            yield other
