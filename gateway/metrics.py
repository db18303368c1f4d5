"""Every Prometheus series, declared once. Labels carry models, deployments and outcomes; never a user or a key."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from billing.holds import Booked, Settle

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """Children are kept by label values: looking one up costs more than adding to it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "haechi_requests_total",
            "Attempts booked, by public model, outcome and quality of the amount.",
            ("model", "outcome", "quality"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "haechi_tokens_total", "Tokens booked, by public model.", ("model",), registry=self.registry
        )
        self._won = Counter("haechi_cost_won_total", "Won booked, tax included.", ("model",), registry=self.registry)
        self._seconds = Histogram(
            "haechi_upstream_seconds",
            "From dispatch to the end of the answer, by deployment.",
            ("deployment",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failures = Counter(
            "haechi_attempts_failed_total",
            "Attempts that delivered nothing, by deployment and failure.",
            ("deployment", "failure"),
            registry=self.registry,
        )
        self._refusals = Counter(
            "haechi_refusals_total", "Requests refused, by machine code.", ("code",), registry=self.registry
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
        model = op.hold.where.model
        self._child(self._requests, model, op.outcome, op.quality).inc()
        self._child(self._tokens, model).inc(op.tokens)
        self._child(self._won, model).inc(op.total / 1e6)
        self._child(self._seconds, op.hold.where.deployment).observe((op.ended_at - op.started_at) / 1e6)
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
