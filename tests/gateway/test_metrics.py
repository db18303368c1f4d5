"""What a scrape says of the bookings, in numbers a reader can add up."""

from __future__ import annotations

from ledgers import ask_for, booking, place, used, who
from prometheus_client import generate_latest

from billing.holds import Booked, Hold, Place
from gateway.metrics import Metrics

AT = 1_795_500_000_000_000


def hold(where: Place) -> Hold:
    need = ask_for(where)
    return Hold("request-1", 1, who(AT), where, need.ceiling(need.wanted), need.wanted, 1000, 250, AT)


def lines(metrics: Metrics) -> set[str]:
    return set(generate_latest(metrics.registry).decode().splitlines())


def test_every_booking_is_counted_by_model_and_timed_by_deployment() -> None:
    """Two answers of one model after 0.1 s and 3 s, and one of another model that failed after 400 s."""
    metrics = Metrics()
    plain, free = hold(place("acme/plain")), hold(place("inside/free"))
    first = booking(plain, used(800, 300), at=AT + 100_000)
    metrics.settled(first, Booked("booked"))
    metrics.settled(booking(plain, used(200, 0), at=AT + 3_000_000), Booked("booked"))
    metrics.settled(booking(free, used(10, 5), at=AT + 400_000_000, outcome="failed"), Booked("booked"))
    told = lines(metrics)
    won = (first.total + booking(plain, used(200, 0)).total) / 1e6
    assert {
        'haechi_requests_total{model="plain",outcome="completed",quality="exact"} 2.0',
        'haechi_requests_total{model="free",outcome="failed",quality="exact"} 1.0',
        'haechi_tokens_total{model="plain"} 1300.0',  # 800 + 300 + 200
        'haechi_tokens_total{model="free"} 15.0',
        f'haechi_cost_won_total{{model="plain"}} {won}',
        'haechi_upstream_seconds_bucket{deployment="acme/plain",le="0.1"} 1.0',
        'haechi_upstream_seconds_bucket{deployment="acme/plain",le="2.0"} 1.0',
        'haechi_upstream_seconds_bucket{deployment="acme/plain",le="5.0"} 2.0',
        'haechi_upstream_seconds_bucket{deployment="acme/plain",le="+Inf"} 2.0',
        'haechi_upstream_seconds_count{deployment="acme/plain"} 2.0',
        'haechi_upstream_seconds_sum{deployment="acme/plain"} 3.1',
        'haechi_upstream_seconds_bucket{deployment="inside/free",le="320.0"} 0.0',
        'haechi_upstream_seconds_bucket{deployment="inside/free",le="+Inf"} 1.0',
    } <= told


def test_what_was_booked_before_is_not_counted_again() -> None:
    metrics = Metrics()
    for state in ("replayed", "late", "alive"):
        metrics.settled(booking(hold(place())), Booked(state))
    assert not [line for line in lines(metrics) if line.startswith("haechi_requests_total{")]
