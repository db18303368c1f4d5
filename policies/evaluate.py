"""Scores a labelled file against the filters as they really run: `python -m policies evaluate FILE.jsonl`.

    line of the file ─▶ Case ─ Scanner ─▶ matches ─ rules ─▶ Outcome (action, findings) ─▶ Report ─▶ table or JSON

    {"id", "text", "spans": [{"start", "end", "kind"}], "should": "block|mask|allow", "group"?, "split"?, "breaks"?}

Offsets are code points. In `should` warn counts as mask and route_local as block. `breaks` are offsets at which a new message of
the conversation begins. What every number means, with a sum to check it by, is in docs/filters/evaluation.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from policies.chain import Chain
from policies.decision import ACTIONS, Action, Decision, Destination, Finding, Found
from policies.detectors.classmark import grade_of, variant_of
from policies.engine import Located, Part, Scanner
from policies.rules.actions import DEFAULT_TABLE, KINDS, Actions
from policies.rules.data_grade import DataGrade
from policies.subject import Subject

#: The project's own set, in the order of its report.
SHIPPED: Final = tuple(
    Path(__file__).parent / "evaluation" / f"{name}.jsonl"
    for name in ("identifiers", "secrets", "marks", "mixed", "wild", "later", "clean", "evasions", "documents")
)

#: What the filters are to reach: (name in the report, comparison, share).
TARGETS: Final = (
    ("must_block", ">=", 0.97),
    ("left_in_clear", "<=", 0.04),
    ("false_block", "<=", 0.01),
    ("any_alarm", "<=", 0.04),
    ("evasions", ">=", 0.95),
)

_STOPS: Final = frozenset({"route_local", "block"})
#: A value of which at least this part of the letters and digits stays is still readable.
_READABLE: Final = 0.5


class BadLine(ValueError):
    """A line that cannot be scored. The message is `file:line: what is wrong: what to do`."""

    def __init__(self, file: str, line: int, problem: str, remedy: str) -> None:
        super().__init__(f"{file}:{line}: {problem}: {remedy}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Label:
    """A value that somebody marked. Code points, end exclusive."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Case:
    """One line. `should` is what is expected when the text is meant for a foreign model."""

    id: str
    text: str
    labels: tuple[Label, ...]
    should: Action
    group: str = ""
    split: str = ""
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the filters did with a case: the strictest action, and every finding acted upon, offsets in the whole text."""

    case: Case
    action: Action
    findings: tuple[Finding, ...]


Judge = Callable[[Case], Outcome]


# ── reading ──


def read(path: Path) -> Iterator[Case]:
    """The cases of a JSON lines file, empty lines left out. Raises BadLine for the first line that is not one; OSError."""
    known: dict[str, int] = {}
    for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise BadLine(
                path.name, number, "UTF-8이 아님 (not UTF-8)", "UTF-8로 저장하십시오 (save as UTF-8)"
            ) from None
        if not line:
            continue
        try:
            case = _case(json.loads(line))
        except json.JSONDecodeError as error:
            problem = f"JSON이 아님 (not JSON: {error.msg}, column {error.colno})"
            raise BadLine(path.name, number, problem, "한 줄에 JSON 객체 하나 (one object on a line)") from None
        except _Wrong as error:
            raise BadLine(path.name, number, error.problem, error.remedy) from None
        if case.id in known:
            problem = f"id {case.id}: {known[case.id]}행과 같음 (the id of line {known[case.id]})"
            raise BadLine(path.name, number, problem, "다른 id를 주십시오 (give another id)")
        known[case.id] = number
        yield case


class _Wrong(Exception):
    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _case(data: object) -> Case:
    if not isinstance(data, dict):
        raise _Wrong("객체가 아님 (no object)", '{"id", "text", "spans", "should"}')
    for name in ("id", "text"):
        if not isinstance(data.get(name), str) or (name == "id" and not data[name]):
            raise _Wrong(f"{name}: 문자열이 아님 (no text)", f'"{name}": "…"')
    text = data["text"]
    if data.get("should") not in ACTIONS:
        raise _Wrong(f"should: {str(data.get('should'))[:40]}", "block, mask, allow 중 하나 (use one of these)")
    spans = data.get("spans")
    if not isinstance(spans, list):
        raise _Wrong("spans: 목록이 아님 (no list)", "값이 없으면 [] (write [] where there is no value)")
    breaks = data.get("breaks", [])
    if not isinstance(breaks, list) or not all(type(at) is int and 0 < at < len(text) for at in breaks):
        raise _Wrong("breaks", f"1과 {len(text) - 1} 사이의 정수 (integers inside the text)")
    labels = tuple(_label(span, number, text) for number, span in enumerate(spans))
    group, split = (data.get(name) if isinstance(data.get(name), str) else "" for name in ("group", "split"))
    return Case(data["id"], text, labels, data["should"], str(group), str(split), tuple(sorted(set(breaks))))


def _label(span: object, number: int, text: str) -> Label:
    where = f"spans[{number}]"
    if not isinstance(span, dict):
        raise _Wrong(f"{where}: 객체가 아님 (no object)", '{"start", "end", "kind"}')
    start, end, kind = span.get("start"), span.get("end"), span.get("kind")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise _Wrong(
            f"{where}: {start!s:.20}–{end!s:.20}",
            f"0 ≤ start < end ≤ {len(text)}, 코드 포인트로 세십시오 (count code points, not bytes)",
        )
    if not isinstance(kind, str) or not kind:
        raise _Wrong(f"{where}: kind가 없음 (no kind)", f"다음 중 하나 (one of) {' '.join(KINDS)}")
    return Label(start, end, kind)


# ── judging ──


def chain() -> Chain:
    """The rules that a default installation switches on."""
    return Chain((DataGrade(), Actions()))


def judge(scanner: Scanner, destination: Destination = "foreign", rules: Chain | None = None) -> Judge:
    """Puts a case through what a request goes through: the scanner, then the rules, for a model that takes grade O
    (S where it runs inside). Messages that nobody has answered yet are all of the newest turn."""
    rules = chain() if rules is None else rules

    def judged(case: Case) -> Outcome:
        edges = [0, *case.breaks, len(case.text)]
        parts = [Part(str(start), case.text[start:end]) for start, end in pairwise(edges)]
        found = tuple(_found(located) for located in scanner.scan_parts(parts))
        decision = rules.decide(Subject("O", "S" if destination == "inside" else "O", destination, found))
        return Outcome(case, decision.action, _acted(decision))

    return judged


def _found(located: Located) -> Found:
    """Offsets move from the part to the whole text, so the pointer is where the part begins."""
    match, begins = located.match, int(located.pointer)
    return Found(
        match.kind,
        match.rule,
        match.score,
        "",
        match.start + begins,
        match.end + begins,
        variant=variant_of(match.rule),
        grade=grade_of((match,)),
    )


def _acted(decision: Decision) -> tuple[Finding, ...]:
    return tuple(finding for finding in decision.findings if finding.action != "allow")


# ── counting ──


@dataclass(slots=True)
class Share:
    """`part` of `whole`, as counted."""

    part: int = 0
    whole: int = 0

    def add(self, *, hit: bool) -> None:
        self.part += hit
        self.whole += 1

    @property
    def value(self) -> float | None:
        """None where there was nothing to count."""
        return self.part / self.whole if self.whole else None


@dataclass(slots=True)
class Tally:
    """Values of one kind: labelled ones found and missed, findings that no label answers for, labelled ones left in clear."""

    found: int = 0
    missed: int = 0
    false: int = 0
    left: int = 0

    @property
    def recall(self) -> float | None:
        return Share(self.found, self.found + self.missed).value

    @property
    def precision(self) -> float | None:
        return Share(self.found, self.found + self.false).value

    @property
    def f1(self) -> float | None:
        """2 × found ÷ (2 × found + missed + false): the harmonic mean of recall and precision."""
        return Share(2 * self.found, 2 * self.found + self.missed + self.false).value


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that went wrong. `what`: missed, left, false, action. Offsets of the value; those of an action are 0."""

    id: str
    what: str
    kind: str
    start: int
    end: int
    rule: str = ""


@dataclass(slots=True)
class Report:
    """All counts over a set of cases."""

    cases: int = 0
    kinds: dict[str, Tally] = field(default_factory=dict)
    must_block: Share = field(default_factory=Share)
    left_in_clear: Share = field(default_factory=Share)
    false_block: Share = field(default_factory=Share)
    any_alarm: Share = field(default_factory=Share)
    evasions: Share = field(default_factory=Share)
    misses: list[Miss] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        """All kinds together."""
        tallies = self.kinds.values()
        return Tally(*(sum(getattr(t, name) for t in tallies) for name in ("found", "missed", "false", "left")))

    def failed(self) -> tuple[str, ...]:
        """Targets that were counted and not reached."""
        return tuple(name for name, sign, least in TARGETS if not _reached(getattr(self, name).value, sign, least))


def _reached(value: float | None, sign: str, least: float) -> bool:
    return value is None or (value >= least if sign == ">=" else value <= least)


def score(outcomes: Iterable[Outcome], destination: Destination = "foreign") -> Report:
    """Counts, case by case."""
    report = Report()
    for outcome in outcomes:
        _count(report, outcome, destination)
    return report


def _count(report: Report, outcome: Outcome, destination: Destination) -> None:
    case = outcome.case
    report.cases += 1
    expected = case.labels if case.should != "allow" else ()
    found = {label: any(_same(label, finding) for finding in outcome.findings) for label in expected}
    left = {label for label in expected if survives(label, outcome, destination)}
    for label in expected:
        tally = report.kinds.setdefault(label.kind, Tally())
        tally.found += found[label]
        tally.missed += not found[label]
        tally.left += label in left
        if not found[label] or label in left:
            what = "left" if label in left else "missed"
            report.misses.append(Miss(case.id, what, label.kind, label.start, label.end))
    for finding in outcome.findings:
        if not any(_same(label, finding) for label in expected):
            report.kinds.setdefault(finding.kind, Tally()).false += 1
            report.misses.append(Miss(case.id, "false", finding.kind, finding.start, finding.end, finding.rule))
    stopped = outcome.action in _STOPS
    if case.should == "allow":
        report.false_block.add(hit=stopped)
        report.any_alarm.add(hit=outcome.action != "allow")
        return
    if case.should in _STOPS:
        report.must_block.add(hit=stopped)
        if not stopped:
            report.misses.append(Miss(case.id, "action", outcome.action, 0, 0))
    if expected:
        report.left_in_clear.add(hit=bool(left))
    if case.group == "evasion":
        report.evasions.add(hit=outcome.action != "allow" and not left and (stopped or case.should not in _STOPS))


def _same(label: Label, finding: Finding) -> bool:
    """The same kind, and they share at least half of the shorter of the two."""
    shared = min(label.end, finding.end) - max(label.start, finding.start)
    return label.kind == finding.kind and 2 * shared >= min(label.end - label.start, finding.end - finding.start) > 0


def survives(label: Label, outcome: Outcome, destination: Destination) -> bool:
    """Whether a labelled value can still be read in what would be sent.

    Nothing is sent of a case that is blocked or kept inside. Kinds of which the table only warns, and cases of which a warning
    is all that is expected, need a warning over the value and no more. Everything else has to be masked: half of its letters and
    digits at least, and no copy of it may stand elsewhere in the text.
    """
    if outcome.action in _STOPS:
        return False
    text = outcome.case.text
    row = DEFAULT_TABLE.get(label.kind)
    needed = row[destination] if row else "mask"
    if needed == "allow":
        return False
    if needed == "warn" or outcome.case.should == "warn":
        return not any(finding.start < label.end and label.start < finding.end for finding in outcome.findings)
    hidden = [(finding.start, finding.end) for finding in outcome.findings if finding.action == "mask"]
    letters = [at for at in range(label.start, label.end) if text[at].isalnum()]
    shown = sum(not any(start <= at < end for start, end in hidden) for at in letters)
    if shown >= _READABLE * max(len(letters), 1):
        return True
    return text[label.start : label.end] in _sent(text, hidden)


def _sent(text: str, hidden: Sequence[tuple[int, int]]) -> str:
    """The text with a mark in place of everything hidden."""
    out, at = [], 0
    for start, end in sorted(hidden):
        out.append(text[at : max(start, at)] + ("\0" if end > at else ""))
        at = max(at, end)
    return "".join(out) + text[at:]


# ── what is shown ──


def as_json(report: Report) -> dict[str, Any]:
    """Counts and shares; a share is null where there was nothing to count."""
    out: dict[str, Any] = {"cases": report.cases}
    for name, sign, least in TARGETS:
        share: Share = getattr(report, name)
        reached = None if share.value is None else _reached(share.value, sign, least)
        out[name] = {"count": share.part, "of": share.whole, "share": _rounded(share.value)}
        out[name] |= {"target": f"{sign} {least}", "reached": reached}
    out["total"] = _tally(report.total)
    out["kinds"] = {kind: _tally(report.kinds[kind]) for kind in in_order(report.kinds)}
    return out


def in_order(kinds: Iterable[str]) -> list[str]:
    """The kinds of the table in its order, then others by name."""
    return sorted(kinds, key=lambda kind: (KINDS.index(kind) if kind in KINDS else len(KINDS), kind))


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "labelled": tally.found + tally.missed,
        "found": tally.found,
        "missed": tally.missed,
        "false": tally.false,
        "left": tally.left,
        "recall": _rounded(tally.recall),
        "precision": _rounded(tally.precision),
        "f1": _rounded(tally.f1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
