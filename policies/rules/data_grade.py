"""N2SF data grades: O may go anywhere allowed, S only inside (and to government places where allowed), C nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from policies.decision import ALLOW, BANDS, GRADES, Decision, Found, Grade, stricter
from policies.subject import Subject

#: A mark that is only possible says nothing about the whole text yet.
_LIKELY = dict(BANDS)["likely"]


def detected_grade(findings: tuple[Found, ...]) -> Grade:
    """What the marks found in a text say about it, the strictest of them; O without any."""
    return stricter(*(found.grade for found in findings if found.score >= _LIKELY))


@dataclass(frozen=True, slots=True)
class DataGrade:
    """`government` is the highest grade a government-shared place may take. Of declared and detected the stricter counts."""

    government: Grade = "O"
    name: str = "data_grade"

    def decide(self, subject: Subject) -> Decision:
        grade = stricter(subject.grade, detected_grade(subject.findings))
        if grade == "C":
            return Decision("block", f"{self.name}:classified")
        ceiling: Grade = "O"
        if subject.destination == "inside":
            ceiling = "S"
        elif subject.destination == "government":
            ceiling = self.government
        allowed = min(GRADES.index(ceiling), GRADES.index(subject.accepts))
        if GRADES.index(grade) > allowed:
            return Decision("route_local", f"{self.name}:destination")
        return ALLOW
