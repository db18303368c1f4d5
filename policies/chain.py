"""Runs a tuple of policies in order: the strictest wins, findings accumulate, an error fails closed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from policies.decision import ALLOW, Action, Decision, strictest
from policies.subject import Subject

__all__ = ["Chain", "Policy", "Subject"]

log = logging.getLogger("haechi.policies")


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    def decide(self, subject: Subject) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Chain:
    """The policies that are switched on. `on_error` is what a policy that breaks decides: text never leaves on an error."""

    policies: tuple[Policy, ...]
    on_error: Action = "block"

    def decide(self, subject: Subject) -> Decision:
        verdict = ALLOW
        for policy in self.policies:
            try:
                verdict = strictest(verdict, policy.decide(subject))
            except Exception:  # a broken policy must not let text leave, whatever broke it
                log.exception("policy %s failed", policy.name)
                verdict = strictest(verdict, Decision(self.on_error, f"{policy.name}:error"))
        return verdict
