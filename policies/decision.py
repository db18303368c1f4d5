"""What a policy says: an action, and findings that never carry the text they matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["allow", "warn", "mask", "route_local", "block"]
Grade = Literal["O", "S", "C"]

#: Weakest to strictest; the strictest of several wins.
ACTIONS: tuple[Action, ...] = ("allow", "warn", "mask", "route_local", "block")
#: Open < sensitive < classified (N2SF).
GRADES: tuple[Grade, ...] = ("O", "S", "C")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something sensitive, where it is and what becomes of it. `part` is a JSON pointer, offsets are code points."""

    kind: str
    part: str
    start: int
    end: int
    action: Action


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
