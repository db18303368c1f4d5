"""N2SF data grades: O may go anywhere allowed, S only inside (and to government places where allowed), C nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from policies.chain import Subject
from policies.decision import ALLOW, GRADES, Decision, Grade


@dataclass(frozen=True, slots=True)
class DataGrade:
    """`government` is the highest grade a government-shared place may take."""

    government: Grade = "O"
    name: str = "data_grade"

    def decide(self, subject: Subject) -> Decision:
        if subject.grade == "C":
            return Decision("block", f"{self.name}:classified")
        ceiling: Grade = "O"
        if subject.destination == "inside":
            ceiling = "S"
        elif subject.destination == "government":
            ceiling = self.government
        allowed = min(GRADES.index(ceiling), GRADES.index(subject.accepts))
        if GRADES.index(subject.grade) > allowed:
            return Decision("route_local", f"{self.name}:destination")
        return ALLOW
