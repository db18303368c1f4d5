"""How much did the filters stop, where, and which rules did it?

    by_department   month, department → requests by what became of them, findings by kind
    by_rule         kind, rule → findings and decisions by action: what a rule costs and what it catches

Requests without a finding left no record and are not in these numbers; how many there were is the ledger's to say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from gateway.evidence.tables import evidence, evidence_item
from policies.decision import Action


@dataclass(frozen=True, slots=True)
class DepartmentRow:
    """One department in one month. `decisions`: action → requests; `answers`: action → answers the output filter saw
    something in; `findings`: kind → how many in requests."""

    month: str
    department_id: str
    decisions: Mapping[Action, int]
    answers: Mapping[Action, int]
    findings: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule in one month. `findings` and `decisions`: what became of a finding → how many, and in how many decisions."""

    kind: str
    rule: str
    findings: Mapping[Action, int]
    decisions: Mapping[Action, int]


def by_department(
    connection: Connection, months: Sequence[str], department_ids: Sequence[str] | None = None
) -> list[DepartmentRow]:
    """In the order of months and departments; with `department_ids` only those."""
    of = [evidence.c.month.in_(list(months))]
    if department_ids is not None:
        of.append(evidence.c.department_id.in_(list(department_ids)))
    decisions: defaultdict[tuple[str, str, str], dict[Action, int]] = defaultdict(dict)
    for month, department, stage, action, count in connection.execute(
        select(evidence.c.month, evidence.c.department_id, evidence.c.stage, evidence.c.action, func.count())
        .where(*of)
        .group_by(evidence.c.month, evidence.c.department_id, evidence.c.stage, evidence.c.action)
    ):
        decisions[month, department, stage][action] = count
    findings: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for month, department, kind, count in connection.execute(
        select(evidence.c.month, evidence.c.department_id, evidence_item.c.kind, func.sum(evidence_item.c.count))
        .join(evidence_item, evidence_item.c.evidence_id == evidence.c.id)
        .where(*of, evidence.c.stage == "input")
        .group_by(evidence.c.month, evidence.c.department_id, evidence_item.c.kind)
        .order_by(evidence_item.c.kind)
    ):
        findings[month, department][kind] = int(count)
    return [
        DepartmentRow(
            month,
            department,
            decisions[month, department, "input"],
            decisions[month, department, "output"],
            findings[month, department],
        )
        for month, department in sorted({(month, department) for month, department, _ in decisions})
    ]


def by_rule(connection: Connection, month: str) -> list[RuleRow]:
    """In the order of kinds and rules."""
    rows: dict[tuple[str, str], RuleRow] = {}
    found: defaultdict[tuple[str, str], dict[Action, int]] = defaultdict(dict)
    decided: defaultdict[tuple[str, str], dict[Action, int]] = defaultdict(dict)
    for kind, rule, action, count, decisions in connection.execute(
        select(
            evidence_item.c.kind,
            evidence_item.c.rule,
            evidence_item.c.action,
            func.sum(evidence_item.c.count),
            func.count(evidence_item.c.evidence_id.distinct()),
        )
        .join(evidence, evidence.c.id == evidence_item.c.evidence_id)
        .where(evidence.c.month == month)
        .group_by(evidence_item.c.kind, evidence_item.c.rule, evidence_item.c.action)
    ):
        found[kind, rule][action] = int(count)
        decided[kind, rule][action] = int(decisions)
        rows[kind, rule] = RuleRow(kind, rule, found[kind, rule], decided[kind, rule])
    return [rows[key] for key in sorted(rows)]
