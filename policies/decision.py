"""What a policy reads and what it says: findings that never carry the text they matched, an action, a grade.

detector ─▶ Found (what, how sure, where) ─▶ rule ─▶ Finding (what, where, what becomes of it) ─▶ Decision
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["allow", "warn", "mask", "route_local", "block"]
Grade = Literal["O", "S", "C"]
Destination = Literal["inside", "government", "domestic", "foreign"]
Band = Literal["possible", "likely", "sure"]

#: Weakest to strictest; the strictest of several wins.
ACTIONS: tuple[Action, ...] = ("allow", "warn", "mask", "route_local", "block")
#: Open < sensitive < classified (N2SF).
GRADES: tuple[Grade, ...] = ("O", "S", "C")
#: Where text may go: under our own roof, to a place the government shares, to a certified company at home, abroad.
DESTINATIONS: tuple[Destination, ...] = ("inside", "government", "domestic", "foreign")
#: How sure a detector is, from the score at which each begins. Below the first a finding is none.
BANDS: tuple[tuple[Band, float], ...] = (("possible", 0.35), ("likely", 0.5), ("sure", 0.8))


def stricter(*grades: Grade) -> Grade:
    """Of a request's, a conversation's, a file's, a key's and a detected grade the strictest counts; of none it is O."""
    return max(grades, key=GRADES.index, default="O")


def strictest_action(*actions: Action) -> Action:
    """The strictest; of none it is allow."""
    return max(actions, key=ACTIONS.index, default="allow")


def band(score: float) -> Band | None:
    """How sure a score (0 to 1) is; None where it is too low to be a finding. Sums of tenths are compared as such."""
    reached: Band | None = None
    for name, least in BANDS:
        if score >= least - 1e-9:
            reached = name
    return reached


def rule_of(rule: str) -> str:
    """A detector's rule, whatever reading of the text it was seen in: `phone:mobile` of `phone:mobile+spelled`."""
    return rule.partition("+")[0]


@dataclass(frozen=True, slots=True)
class Found:
    """Something a detector saw. `part` is a JSON pointer, offsets are code points in that part.

    `rule` names the detector's rule. `variant` tells apart what one kind treats differently (`CLASSMARK/partial`); `grade` is
    what the finding itself says about the data (only marks do). `newest` is false for what was said in an earlier turn.
    """

    kind: str
    rule: str
    score: float
    part: str
    start: int
    end: int
    newest: bool = True
    variant: str = ""
    grade: Grade = "O"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something sensitive, where it is and what becomes of it. `part` is a JSON pointer, offsets are code points."""

    kind: str
    part: str
    start: int
    end: int
    action: Action
    score: float = 1.0
    rule: str = ""
    newest: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of one policy or of a whole chain. `rule` names what decided."""

    action: Action
    rule: str = ""
    findings: tuple[Finding, ...] = ()


ALLOW = Decision("allow")


def strictest(first: Decision, second: Decision) -> Decision:
    """The stricter action, the findings of both."""
    winner = first if ACTIONS.index(first.action) >= ACTIONS.index(second.action) else second
    return Decision(winner.action, winner.rule, first.findings + second.findings)
