"""The strictest policy wins, findings accumulate, an error fails closed; and which grade may go where."""

from dataclasses import dataclass

import pytest

from policies.chain import Chain, Subject
from policies.decision import ACTIONS, Action, Decision, Finding, strictest
from policies.rules.data_grade import DataGrade


@dataclass(frozen=True)
class Says:
    action: Action
    name: str = "says"

    def decide(self, subject: Subject) -> Decision:
        return Decision(
            self.action, self.name, (Finding(self.action.upper(), "/messages/0/content", 0, 1, self.action),)
        )


class Breaks:
    name = "breaks"

    def decide(self, subject: Subject) -> Decision:
        raise RuntimeError("a detector is broken")


OPEN = Subject("O", "S", "foreign")


@pytest.mark.parametrize("first", ACTIONS)
@pytest.mark.parametrize("second", ACTIONS)
def test_the_strictest_wins_and_every_finding_is_kept(first: Action, second: Action) -> None:
    verdict = Chain((Says(first), Says(second))).decide(OPEN)
    assert verdict.action == max(first, second, key=ACTIONS.index)
    assert [finding.action for finding in verdict.findings] == [first, second]
    assert strictest(Decision(first), Decision(second)).action == strictest(Decision(second), Decision(first)).action


def test_an_empty_chain_allows() -> None:
    assert Chain(()).decide(OPEN).action == "allow"


@pytest.mark.parametrize("on_error", ["block", "route_local"])
def test_a_policy_that_breaks_lets_nothing_leave(on_error: Action) -> None:
    verdict = Chain((Breaks(), Says("allow")), on_error).decide(OPEN)
    assert verdict.action == on_error
    assert verdict.rule == "breaks:error"


@pytest.mark.parametrize(
    ("grade", "accepts", "destination", "government", "action"),
    [
        ("O", "O", "foreign", "O", "allow"),
        ("O", "O", "domestic", "O", "allow"),
        ("O", "O", "inside", "O", "allow"),
        ("S", "O", "foreign", "O", "route_local"),
        ("S", "S", "foreign", "S", "route_local"),
        ("S", "S", "domestic", "S", "route_local"),
        ("S", "S", "government", "O", "route_local"),
        ("S", "S", "government", "S", "allow"),
        ("S", "O", "inside", "O", "route_local"),
        ("S", "S", "inside", "O", "allow"),
        ("C", "C", "inside", "S", "block"),
        ("C", "C", "foreign", "S", "block"),
    ],
)
def test_which_grade_may_go_where(grade: str, accepts: str, destination: str, government: str, action: str) -> None:
    subject = Subject(grade, accepts, destination)  # type: ignore[arg-type]
    assert DataGrade(government).decide(subject).action == action  # type: ignore[arg-type]
