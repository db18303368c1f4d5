"""Every Prometheus series, declared once. Labels carry models, deployments and outcomes; never a user or a key."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from billing.holds import Booked, Settle

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


class _Bookings(Collector):
    """What every booking adds to, in plain numbers: they are turned into series when somebody asks, not for each request."""

    def __init__(self) -> None:
        #: (model, outcome, quality) → bookings, tokens, micro-won
        self._sums: dict[tuple[str, str, str], list[int]] = {}
        #: deployment → bookings by the first bucket they fit in, then their seconds
        self._times: dict[str, list[float]] = {}

    def add(self, op: Settle) -> None:
        where = op.hold.where
        key = (where.model, op.outcome, op.quality)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0, 0, 0]
        sums[0] += 1
        sums[1] += op.tokens
        sums[2] += op.total
        times = self._times.get(where.deployment)
        if times is None:
            times = self._times[where.deployment] = [0.0] * (len(_SECONDS) + 2)
        seconds = (op.ended_at - op.started_at) / 1e6
        times[bisect_left(_SECONDS, seconds)] += 1
        times[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "haechi_requests",
            "Attempts booked, by public model, outcome and quality of the amount.",
            labels=("model", "outcome", "quality"),
        )
        tokens = CounterMetricFamily("haechi_tokens", "Tokens booked, by public model.", labels=("model",))
        won = CounterMetricFamily("haechi_cost_won", "Won booked, tax included.", labels=("model",))
        seconds = HistogramMetricFamily(
            "haechi_upstream_seconds", "From dispatch to the end of the answer, by deployment.", labels=("deployment",)
        )
        by_model: dict[str, tuple[int, int]] = {}
        for key, (count, used, cost) in list(self._sums.items()):
            requests.add_metric(key, count)
            before = by_model.get(key[0], (0, 0))
            by_model[key[0]] = (before[0] + used, before[1] + cost)
        for model, (used, cost) in by_model.items():
            tokens.add_metric((model,), used)
            won.add_metric((model,), cost / 1e6)
        for deployment, times in list(self._times.items()):
            reached = accumulate(times[:-1])
            edges = (*(str(float(edge)) for edge in _SECONDS), "+Inf")
            seconds.add_metric((deployment,), list(zip(edges, reached, strict=True)), sum_value=times[-1])
        return (requests, tokens, won, seconds)


class Metrics:
    """Children are kept by label values: looking one up costs more than adding to it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._bookings = _Bookings()
        self.registry.register(self._bookings)
        self._failures = Counter(
            "haechi_attempts_failed_total",
            "Attempts that delivered nothing, by deployment and failure.",
            ("deployment", "failure"),
            registry=self.registry,
        )
        self._refusals = Counter(
            "haechi_refusals_total", "Requests refused, by machine code.", ("code",), registry=self.registry
        )
        self.unresolved = Counter(
            "haechi_unresolved_placeholders_total",
            "Placeholders in answers that stand for no masked value and were left as the model wrote them.",
            registry=self.registry,
        )
        self._filtered = Counter(
            "haechi_filtered_total",
            "Requests in which the filters found something, by what became of them and by destination.",
            ("action", "destination"),
            registry=self.registry,
        )
        self._breaches = Counter(
            "haechi_hold_breach_total", "Bookings that cost more than their hold.", registry=self.registry
        )
        self._cases = Counter(
            "haechi_cases_opened_total", "Reconciliation cases opened, by kind.", ("kind",), registry=self.registry
        )
        self.live = Gauge("haechi_live_requests", "Requests in flight.", registry=self.registry)
        self.unsealed = Gauge("haechi_unsealed_rows", "Ledger rows not yet in the hash chain.", registry=self.registry)
        self.healthy = Gauge("haechi_ledger_healthy", "1 while the ledger takes writes.", registry=self.registry)
        self._children: dict[tuple[Any, ...], Any] = {}

    def settled(self, op: Settle, booked: Booked) -> None:
        if booked.state != "booked":
            return
        self._bookings.add(op)
        if booked.breach:
            self._breaches.inc()
        for case in op.cases:
            self._child(self._cases, case.kind).inc()

    def attempt_failed(self, deployment: str, failure: str) -> None:
        self._child(self._failures, deployment, failure).inc()

    def refused(self, code: str | None) -> None:
        self._child(self._refusals, code or "unknown").inc()

    def filtered(self, action: str, destination: str) -> None:
        self._child(self._filtered, action, destination).inc()

    def _child(self, metric: Any, *values: str) -> Any:
        key = (metric, *values)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*values)
        return child
