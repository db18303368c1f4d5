"""What is about to leave, as far as policies look at it: its grade, where to, what was found in it, and who asks."""

from __future__ import annotations

from dataclasses import dataclass

from policies.decision import Action, Destination, Found, Grade


@dataclass(frozen=True, slots=True)
class Exemption:
    """A deliberate loosening: one kind (and rule), for one department or all, to `action`, until an instant.

    Somebody answers for it: `by` is the administrator's id and `reason` what they wrote; one without either, or without an
    end after its beginning, is refused when it is made and never in force here. Times are UTC microseconds.
    """

    id: str
    kind: str
    action: Action
    by: str
    reason: str
    begins: int
    ends: int
    department: str | None = None
    rule: str | None = None
    destinations: frozenset[Destination] = frozenset()

    def in_force(self, now: int) -> bool:
        """The end is exclusive."""
        return bool(self.by and self.reason.strip()) and self.begins <= now < self.ends


@dataclass(frozen=True, slots=True)
class Tightening:
    """A department (and those below it) that is stricter than the table. `kind` may be `*`, `destinations` empty for all."""

    department: str
    kind: str
    action: Action
    destinations: frozenset[Destination] = frozenset()

    def covers(self, found: Found, destination: Destination) -> bool:
        return self.kind in ("*", found.kind) and (not self.destinations or destination in self.destinations)


@dataclass(frozen=True, slots=True)
class Subject:
    """`grade` is the stricter of what was declared; `accepts` the highest grade the model may take; `destination` where it runs.

    `findings` is what the detectors saw, `departments` the caller's departments up to the root, by id and by code, `exemptions`
    the exceptions that may be in force at `now` (UTC microseconds), `tightenings` where departments are stricter.
    """

    grade: Grade
    accepts: Grade
    destination: Destination
    findings: tuple[Found, ...] = ()
    departments: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    now: int = 0
    tightenings: tuple[Tightening, ...] = ()
