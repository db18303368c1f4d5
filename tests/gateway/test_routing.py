"""In which order places are tried, and how an unwell one moves to the end of the line."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog import Catalog, Deployment, Model
from gateway.providers.base import Failure
from gateway.routing import Router
from gateway.settings import Label

LABEL = Label(ko="모델", en="model")


def place(id_: str, weight: int = 1) -> Deployment:
    return Deployment(
        id=id_,
        provider="p",
        model=id_,
        price_key="practice/inside",
        weight=weight,
        destination="inside",
        tokenizer=None,
        family=("openai", "chat"),
        on_disconnect="cancel",
        output_cap_field="max_tokens",
        trust_reported_cost=False,
        tax_treatment="none",
        tax_rate_bp=0,
        available=True,
        reason=None,
    )


def model(name: str, *places: Deployment, **more: Any) -> Model:
    plain = Model(name, LABEL, None, (), "O", frozenset({"chat"}), 1000, 100, places, places, (), "inside", True, None)
    return replace(plain, **more)


def order(router: Router, catalog: Catalog, name: str, now: float = 0.0, attempts: int = 9) -> list[str]:
    return [c.deployment.id for c in router.candidates(catalog, catalog.resolve(name), now, attempts)]


def test_own_places_come_before_those_of_fallbacks() -> None:
    catalog = Catalog((model("a", place("a1"), fallbacks=("b",)), model("b", place("b1"), place("b2"))))
    found = order(Router(random.Random(1)), catalog, "a")
    assert found[0] == "a1"
    assert set(found[1:]) == {"b1", "b2"}


def test_a_fallback_that_takes_only_a_lower_grade_is_passed_over() -> None:
    catalog = Catalog((model("a", place("a1"), grade="S", fallbacks=("b",)), model("b", place("b1"), grade="O")))
    assert order(Router(), catalog, "a") == ["a1"]


def test_at_most_so_many_places_are_tried() -> None:
    catalog = Catalog((model("a", place("a1"), place("a2"), place("a3"), place("a4")),))
    assert len(order(Router(random.Random(1)), catalog, "a", attempts=3)) == 3


def test_weight_decides_how_often_a_place_is_first() -> None:
    catalog = Catalog((model("a", place("heavy", 9), place("light", 1)),))
    router = Router(random.Random(7))
    first = Counter(order(router, catalog, "a")[0] for _ in range(2000))
    assert 1700 < first["heavy"] < 1900  # nine in ten are 1,800


@pytest.mark.parametrize(
    ("failures", "rests"),
    [
        ([(Failure.UNAVAILABLE, t) for t in (0, 1, 2, 3, 4)], True),
        ([(Failure.UNAVAILABLE, t) for t in (0, 1, 2, 3)], False),  # four are not five
        ([(Failure.UNAVAILABLE, t) for t in (0, 3, 6, 9, 12)], False),  # not within ten seconds
        ([(Failure.REFUSED, t) for t in (0, 1, 2, 3, 4)], False),  # the requests were wrong, not the place
    ],
)
def test_five_failures_in_ten_seconds_move_a_place_to_the_end_for_ten(
    failures: list[tuple[Failure, float]], rests: bool
) -> None:
    catalog = Catalog((model("a", place("sick", 1000), place("well", 1)),))
    router = Router(random.Random(1))
    for failure, at in failures:
        router.failed("sick", failure, at)
    now = failures[-1][1] + 1
    assert (order(router, catalog, "a", now)[0] == "well") is rests
    assert (router.resting(now) == ["sick"]) is rests
    assert order(router, catalog, "a", now + 20)[0] == "sick"


def test_a_lone_sick_place_is_still_tried() -> None:
    catalog = Catalog((model("a", place("only")),))
    router = Router()
    for at in range(5):
        router.failed("only", Failure.CONNECT, at)
    assert order(router, catalog, "a", 5) == ["only"]


def test_an_answer_makes_it_well_again() -> None:
    router = Router(random.Random(1))
    for at in range(5):
        router.failed("sick", Failure.CONNECT, at)
    router.answered("sick")
    assert router.resting(5) == []
