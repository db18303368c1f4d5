"""What becomes of a finding: by its kind, how sure it is, where the text would go, and who asks.

    kind × destination ─▶ the table's action ─▶ no stricter than the finding is sure ─▶ department tightens
        ─▶ an exception in force loosens, down to its kind's floor ─▶ what was said in an earlier turn is masked, not blocked

Default table (the place in front of "/" is the outside: domestic and foreign alike; government as an organisation that lets
sensitive data go there wants it; without that permission government counts as domestic):

    RRN FRN PASSPORT DRIVER_LICENSE                              block   / government mask  / inside allow
    SECRET                                                       block everywhere
    CLASSMARK                                                    block, partial and sensitive ones route_local / inside allow
    PHONE EMAIL ADDRESS ACCOUNT CARD NHIS PLATE BIRTHDATE PERSON mask    / government warn  / inside allow
    BRN CORP IP KEYWORD                                          warn    / government allow / inside allow
    what cannot be read (UNREADABLE)                             route_local / government route_local / inside allow

`allow` with a finding is not nothing: it is recorded. What a mark says about the data's grade is the other rule's business
(data_grade.py): a classified text goes nowhere whatever this table says, and no exception changes that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.decision import (
    ACTIONS,
    ALLOW,
    DESTINATIONS,
    Action,
    Band,
    Decision,
    Destination,
    Finding,
    Found,
    Grade,
    band,
    rule_of,
    strictest_action,
)
from policies.ruleset import Dictionary
from policies.subject import Exemption, Subject, Tightening

#: The values of `kind`, as every answer spells them.
KINDS: tuple[str, ...] = (
    "RRN",
    "FRN",
    "PASSPORT",
    "DRIVER_LICENSE",
    "PHONE",
    "EMAIL",
    "ADDRESS",
    "ACCOUNT",
    "CARD",
    "BRN",
    "CORP",
    "NHIS",
    "PLATE",
    "BIRTHDATE",
    "PERSON",
    "IP",
    "SECRET",
    "CLASSMARK",
    "KEYWORD",
)

#: Taking out the words "대외비" makes no text less confidential: a mark is about the whole text, so it cannot be masked.
UNMASKABLE = frozenset({"CLASSMARK"})

#: No exception loosens below this. A password is never worth sending: at least it is taken out of the text.
FLOORS: Mapping[str, Action] = MappingProxyType({"SECRET": "mask", "CLASSMARK": "route_local"})

#: A finding is acted upon no more strictly than it is sure (a mark that is only likely keeps its text in the house).
_AT_MOST: Mapping[Band, Action] = MappingProxyType({"possible": "warn", "likely": "mask", "sure": "block"})

Row = Mapping[Destination, Action]

#: How the rule of a dictionary's hit begins.
_DICTIONARY = "dictionary:"


def _row(outside: Action, government: Action, inside: Action = "allow") -> Row:
    return MappingProxyType({"inside": inside, "government": government, "domestic": outside, "foreign": outside})


_IDENTIFIER = _row("block", "mask")
_PERSONAL = _row("mask", "warn")
_PUBLIC = _row("warn", "allow")

#: Keyed by kind, or by `kind/variant` where one kind is treated in two ways.
DEFAULT_TABLE: Mapping[str, Row] = MappingProxyType(
    {
        **dict.fromkeys(("RRN", "FRN", "PASSPORT", "DRIVER_LICENSE"), _IDENTIFIER),
        "SECRET": _row("block", "block", "block"),
        "CLASSMARK": _row("block", "block"),
        "CLASSMARK/partial": _row("route_local", "allow"),
        "CLASSMARK/sensitive": _row("route_local", "allow"),
        **dict.fromkeys(
            ("PHONE", "EMAIL", "ADDRESS", "ACCOUNT", "CARD", "NHIS", "PLATE", "BIRTHDATE", "PERSON"), _PERSONAL
        ),
        **dict.fromkeys(("BRN", "CORP", "IP", "KEYWORD"), _PUBLIC),
        # No kind of text, but bytes nobody here can read: an image, a recording, a file, a tokeniser's numbers.
        "UNREADABLE": _row("route_local", "route_local"),
    }
)


@dataclass(frozen=True, slots=True)
class Actions:
    """The rule. `government` is the highest grade a government-shared place may take, as in data_grade.py.

    A hit of one of the `dictionaries` becomes outside what that dictionary says, and is none for a department it is not for.

    A kind the table does not know is blocked outside and recorded inside: somebody added a detector and no row.
    """

    table: Mapping[str, Row] = field(default_factory=lambda: DEFAULT_TABLE)
    tightenings: tuple[Tightening, ...] = ()
    government: Grade = "O"
    dictionaries: tuple[Dictionary, ...] = ()
    name: str = "actions"

    def decide(self, subject: Subject) -> Decision:
        """The strictest action over all findings, and what becomes of each of them."""
        if not subject.findings:
            return ALLOW
        findings = tuple(
            Finding(f.kind, f.part, f.start, f.end, action, f.score, f.rule, f.newest)
            for f in subject.findings
            if (action := self.action(f, subject)) is not None
        )
        if not findings:
            return ALLOW
        strictest = max(findings, key=lambda finding: ACTIONS.index(finding.action))
        return Decision(strictest.action, f"{self.name}:{strictest.kind}", findings)

    def action(self, found: Found, subject: Subject) -> Action | None:
        """What becomes of one finding; None where it is too unsure to be one."""
        sure = band(found.score)
        if sure is None:
            return None
        destination = subject.destination
        listed = self._of_dictionary(found, subject) if found.rule.startswith(_DICTIONARY) else None
        if found.rule.startswith(_DICTIONARY) and listed is None:
            return None
        action = self._at_most(listed or self._of_table(found, destination), found.kind, sure)
        tightened = [
            t.action
            for t in (*self.tightenings, *subject.tightenings)
            if t.department in subject.departments and t.covers(found, destination)
        ]
        action = strictest_action(action, *tightened)
        action = loosened(action, found, subject)
        if found.newest or ACTIONS.index(action) <= ACTIONS.index("mask") or found.kind in UNMASKABLE:
            return action
        return "mask"

    def _of_table(self, found: Found, destination: Destination) -> Action:
        place: Destination = destination
        if place == "government" and self.government == "O":
            place = "domestic"
        row = self.table.get(f"{found.kind}/{found.variant}") if found.variant else None
        row = row or self.table.get(found.kind)
        if row is None:
            return "allow" if place == "inside" else "block"
        return row[place]

    def _of_dictionary(self, found: Found, subject: Subject) -> Action | None:
        for dictionary in self.dictionaries:
            if rule_of(found.rule) == f"{_DICTIONARY}{dictionary.name}":
                if dictionary.department and dictionary.department not in subject.departments:
                    return None
                return "allow" if subject.destination == "inside" else dictionary.action
        return self._of_table(found, subject.destination)

    def _at_most(self, action: Action, kind: str, sure: Band) -> Action:
        ceiling = _AT_MOST[sure]
        if kind in UNMASKABLE and ceiling == "mask":
            ceiling = "route_local"
        return min(action, ceiling, key=ACTIONS.index)


def loosened(action: Action, found: Found, subject: Subject) -> Action:
    """The action after the exceptions in force: each loosens to what it says, none below the floor of the kind."""
    floor = FLOORS.get(found.kind, "allow")
    for exemption in subject.exemptions:
        if _applies(exemption, found, subject):
            action = min(action, strictest_action(exemption.action, floor), key=ACTIONS.index)
    return action


def _applies(exemption: Exemption, found: Found, subject: Subject) -> bool:
    return (
        exemption.in_force(subject.now)
        and exemption.kind == found.kind
        and exemption.rule in (None, found.rule, rule_of(found.rule))
        and (exemption.department is None or exemption.department in subject.departments)
        and (not exemption.destinations or subject.destination in exemption.destinations)
    )


class TableRefused(ValueError):
    """A table that does not read; it is refused whole. `problems` says every line that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def read_table(data: object) -> Mapping[str, Row]:
    """A table from plain data, on top of the default one; raises TableRefused with every problem.

    {"PHONE": "warn"} sets every destination outside the house; {"PHONE": {"foreign": "block", "inside": "warn"}} sets those
    that are named. A key is a kind, or `kind/variant`.
    """
    if not isinstance(data, Mapping):
        raise TableRefused(["actions: a mapping of kinds to actions / 종류별 조치를 적으십시오"])
    table = dict(DEFAULT_TABLE)
    problems: list[str] = []
    for key, given in data.items():
        if not isinstance(key, str) or key.partition("/")[0] not in DEFAULT_TABLE:
            problems.append(f"actions: {str(key)[:40]!r} is no kind; use one of {', '.join(KINDS)}, UNREADABLE")
            continue
        cells = dict.fromkeys(("government", "domestic", "foreign"), given) if given in ACTIONS else given
        if not isinstance(cells, Mapping) or not cells:
            problems.append(f"actions.{key}: one of {', '.join(ACTIONS)}, or a mapping of destinations to them")
            continue
        base = dict(table.get(key) or table[key.partition("/")[0]])
        for place, action in cells.items():
            if place not in DESTINATIONS:
                problems.append(f"actions.{key}: {str(place)[:40]!r} is no destination; use {', '.join(DESTINATIONS)}")
            elif action not in ACTIONS:
                problems.append(f"actions.{key}.{place}: {str(action)[:40]!r} is no action; use {', '.join(ACTIONS)}")
            else:
                base[place] = action
        if key.partition("/")[0] in UNMASKABLE and "mask" in base.values():
            problems.append(f"actions.{key}: a mark cannot be masked; use route_local or block")
        table[key] = MappingProxyType(base)
    if problems:
        raise TableRefused(problems)
    return MappingProxyType(table)
