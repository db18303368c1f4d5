"""A small month of a small city against the ledger's own holds: what the whole city's run is judged by holds here too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.simulate import VARIANTS, Outcome, Variant, acceptable, simulate


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[Variant, Outcome]]:
    return list(simulate(60, 60, 1, VARIANTS[:2]))


def test_no_won_is_overspent_and_budgets_can_be_spent(outcomes: list[tuple[Variant, Outcome]]) -> None:
    """One way counts tokens where a budget is tight, the other knows only bytes; every budget runs out in both."""
    assert [variant.bound for variant, _ in outcomes] == ["both", "bytes"]
    for _, outcome in outcomes:
        assert acceptable(outcome)
        assert outcome.refused > outcome.calls * 0.05, "no budget ran out: this proves nothing"
        assert outcome.spendable.keys() > outcome.oracle.keys()
        assert len(outcome.units) == 4


def test_the_same_month_comes_to_the_same(outcomes: list[tuple[Variant, Outcome]]) -> None:
    variant, first = outcomes[0]
    ((_, again),) = simulate(60, 60, 1, [variant])
    assert replace(again, seconds=0) == replace(first, seconds=0)


# Each row: what would be wrong with a run, and would have to be noticed.
@pytest.mark.parametrize(
    "spoilt",
    [
        {"overspend": 1},
        {"held_at_end": 1},
        {"breaches": 1},
        {"broken": ["entries_balance"]},
        {"refused_wrong": 1_000},
        {"spendable": {"organisation": 0.98, "department:u0000": 0.995}},
        {"spendable": {"organisation": 0.995, "department:u0000": 0.98}},
    ],
    ids=lambda spoilt: next(iter(spoilt)),
)
def test_a_run_that_went_wrong_is_not_acceptable(spoilt: dict[str, object]) -> None:
    good = Outcome(calls=10_000, most_wrong=0.001, spendable={"organisation": 0.995, "department:u0000": 0.995})
    good.step = {"department:u0000": 0.004}
    assert acceptable(good)
    assert not acceptable(replace(good, **spoilt))  # type: ignore[arg-type]


def test_a_budget_of_a_few_calls_is_asked_for_all_but_one() -> None:
    """Fourteen calls long: one of them is 7 % of it. 93.5 % spent is all but one, 92 % is not."""
    coarse = Outcome(calls=10_000, most_wrong=0.001, step={"department:u0000": 0.07})
    assert acceptable(replace(coarse, spendable={"organisation": 0.995, "department:u0000": 0.935}))
    assert not acceptable(replace(coarse, spendable={"organisation": 0.995, "department:u0000": 0.92}))
