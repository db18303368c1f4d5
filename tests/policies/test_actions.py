"""What becomes of a finding: the default table written out, and everything that tightens or loosens it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.chain import Chain
from policies.decision import ACTIONS, DESTINATIONS, GRADES, Action, Destination, Found, Grade, band, stricter
from policies.rules.actions import (
    DEFAULT_TABLE,
    FLOORS,
    KINDS,
    UNMASKABLE,
    Actions,
    TableRefused,
    read_table,
)
from policies.rules.data_grade import DataGrade
from policies.ruleset import Dictionary
from policies.subject import Exemption, Subject, Tightening

NOW = 1_000_000


def found(kind: str, score: float = 0.9, **more: object) -> Found:
    return Found(kind, f"{kind.lower()}:test", score, "/messages/0/content", 3, 9, **more)  # type: ignore[arg-type]


def subject(*findings: Found, to: Destination = "foreign", **more: object) -> Subject:
    return Subject("O", "S", to, findings, ("TAX", "FIN", "CITY"), now=NOW, **more)  # type: ignore[arg-type]


def becomes(rule: Actions, *findings: Found, **more: object) -> Action:
    return rule.decide(subject(*findings, **more)).action  # type: ignore[arg-type]


IDENTIFIERS = ("RRN", "FRN", "PASSPORT", "DRIVER_LICENSE")
PERSONAL = ("PHONE", "EMAIL", "ADDRESS", "ACCOUNT", "CARD", "NHIS", "PLATE", "BIRTHDATE", "PERSON")
PUBLIC = ("BRN", "CORP", "IP", "KEYWORD")

# kinds, variant → inside, government where it may take O only, government where it may take S, domestic, foreign
TABLE: list[tuple[tuple[str, ...], str, tuple[Action, ...]]] = [
    (IDENTIFIERS, "", ("allow", "block", "mask", "block", "block")),
    (("SECRET",), "", ("block", "block", "block", "block", "block")),
    (("CLASSMARK",), "", ("allow", "block", "block", "block", "block")),
    (("CLASSMARK",), "partial", ("allow", "route_local", "allow", "route_local", "route_local")),
    (("CLASSMARK",), "sensitive", ("allow", "route_local", "allow", "route_local", "route_local")),
    (PERSONAL, "", ("allow", "mask", "warn", "mask", "mask")),
    (PUBLIC, "", ("allow", "warn", "allow", "warn", "warn")),
]
PLACES: tuple[tuple[Destination, Grade], ...] = (
    ("inside", "O"),
    ("government", "O"),
    ("government", "S"),
    ("domestic", "O"),
    ("foreign", "O"),
)


@pytest.mark.parametrize(
    ("kind", "variant", "destination", "government", "action"),
    [
        (kind, variant, destination, government, action)
        for kinds, variant, actions in TABLE
        for kind in kinds
        for (destination, government), action in zip(PLACES, actions, strict=True)
    ],
)
def test_the_default_table(
    kind: str, variant: str, destination: Destination, government: Grade, action: Action
) -> None:
    """What a sure finding of each kind becomes at each place."""
    assert becomes(Actions(government=government), found(kind, variant=variant), to=destination) == action


def test_the_table_has_a_row_for_every_kind() -> None:
    assert {kind for kinds, _, _ in TABLE for kind in kinds} == set(KINDS)
    assert {key.partition("/")[0] for key in DEFAULT_TABLE} == {*KINDS, "UNREADABLE"}


MARKS = {"O": (), "S": (found("CLASSMARK", variant="sensitive", grade="S"),), "C": (found("CLASSMARK", grade="C"),)}


@pytest.mark.parametrize(("grade", "destination", "kind"), list(product(GRADES, DESTINATIONS, ["none", *KINDS])))
@pytest.mark.parametrize("detected", [True, False])
def test_grade_and_destination_and_kind(*, grade: Grade, destination: Destination, kind: str, detected: bool) -> None:
    """The grade is no weaker for what was found beside it, and what was found no weaker for the grade: the strictest wins.
    S stays in the house, C goes nowhere; declared or detected makes no difference to that."""
    findings = () if kind == "none" else (found(kind),)
    if detected:
        findings += MARKS[grade]
    declared: Grade = "O" if detected else grade
    verdict = Chain((DataGrade(), Actions())).decide(replace(subject(*findings, to=destination), grade=declared))
    of_grade: Action = "allow"
    if grade == "C":
        of_grade = "block"
    elif grade == "S" and destination != "inside":
        of_grade = "route_local"
    of_kind = (
        "allow" if kind == "none" else DEFAULT_TABLE[kind]["domestic" if destination == "government" else destination]
    )
    assert verdict.action == max(of_grade, of_kind, key=ACTIONS.index)
    if grade == "C":
        assert verdict.action == "block"
    if grade == "S" and destination != "inside":
        assert ACTIONS.index(verdict.action) >= ACTIONS.index("route_local")


@pytest.mark.parametrize(
    ("kind", "score", "action"),
    [
        ("RRN", 0.8, "block"),
        ("RRN", 0.79, "mask"),
        ("RRN", 0.5, "mask"),
        ("RRN", 0.49, "warn"),
        ("RRN", 0.35, "warn"),
        ("RRN", 0.34, "allow"),
        ("PERSON", 0.9, "mask"),
        ("PERSON", 0.5, "mask"),
        ("PERSON", 0.4, "warn"),
        ("IP", 0.9, "warn"),
        ("IP", 0.4, "warn"),
        ("CLASSMARK", 0.8, "block"),
        ("CLASSMARK", 0.6, "route_local"),
        ("CLASSMARK", 0.4, "warn"),
    ],
)
def test_no_stricter_than_it_is_sure(kind: str, score: float, action: Action) -> None:
    assert becomes(Actions(), found(kind, score)) == action


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.0, None), (0.349, None), (0.35, "possible"), (0.5, "likely"), (0.8, "sure"), (1.0, "sure")],
)
def test_bands(score: float, expected: str | None) -> None:
    assert band(score) == expected


def test_an_earlier_turn_is_masked_so_that_a_chat_is_never_stuck() -> None:
    rule = Actions()
    for kind in KINDS:
        old = becomes(rule, found(kind, newest=False))
        new = becomes(rule, found(kind))
        assert old == (new if kind in UNMASKABLE else min(new, "mask", key=ACTIONS.index)), kind
    assert becomes(rule, found("RRN", newest=False), found("RRN")) == "block", "what is new is still blocked"
    assert becomes(rule, found("SECRET", newest=False), to="inside") == "mask"


def test_a_kind_without_a_row_does_not_leave() -> None:
    assert becomes(Actions(), found("IRIS_SCAN")) == "block"
    assert becomes(Actions(), found("IRIS_SCAN"), to="inside") == "allow"


@pytest.mark.parametrize(
    ("tightening", "kind", "destination", "action"),
    [
        (Tightening("TAX", "PHONE", "block"), "PHONE", "foreign", "block"),
        (Tightening("FIN", "PHONE", "block"), "PHONE", "foreign", "block"),  # those below it as well
        (Tightening("OTHER", "PHONE", "block"), "PHONE", "foreign", "mask"),
        (Tightening("TAX", "PHONE", "block"), "EMAIL", "foreign", "mask"),
        (Tightening("TAX", "*", "block"), "IP", "inside", "block"),
        (Tightening("TAX", "*", "block", frozenset({"foreign"})), "IP", "inside", "allow"),
        (Tightening("TAX", "*", "block", frozenset({"foreign"})), "IP", "foreign", "block"),
        (Tightening("TAX", "RRN", "allow"), "RRN", "foreign", "block"),  # it may only tighten
    ],
)
def test_a_department_tightens(tightening: Tightening, kind: str, destination: Destination, action: Action) -> None:
    assert becomes(Actions(tightenings=(tightening,)), found(kind), to=destination) == action
    assert becomes(Actions(), found(kind), to=destination, tightenings=(tightening,)) == action


PROJECT = Dictionary("project", ("한강르네상스",), department="FIN", action="block")


@pytest.mark.parametrize(
    ("dictionary", "score", "destination", "action"),
    [
        (PROJECT, 0.9, "foreign", "block"),
        (PROJECT, 0.6, "foreign", "mask"),  # no stricter than it is sure
        (PROJECT, 0.9, "inside", "allow"),
        (replace(PROJECT, department=""), 0.9, "foreign", "block"),
        (replace(PROJECT, department="OTHER"), 0.9, "foreign", None),  # a word of somebody else's is no finding here
        (replace(PROJECT, action="route_local"), 0.9, "domestic", "route_local"),
        (replace(PROJECT, name="another"), 0.9, "foreign", "warn"),  # nobody says, so the kind does
    ],
)
def test_a_department_says_what_becomes_of_its_words(
    dictionary: Dictionary, score: float, destination: Destination, action: Action | None
) -> None:
    hit = replace(found("KEYWORD", score), rule="dictionary:project")
    verdict = Actions(dictionaries=(dictionary,)).decide(subject(hit, to=destination))
    assert [finding.action for finding in verdict.findings] == ([] if action is None else [action])
    elsewhere = Actions(dictionaries=(dictionary,)).decide(
        subject(replace(hit, rule="dictionary:project+joined"), to=destination)
    )
    assert elsewhere.action == verdict.action, "in whatever reading of the text it was seen"


LOOSE = Exemption("e1", "RRN", "warn", "admin-1", "지방세기본법 제142조 징수 위탁", NOW - 10, NOW + 10)


@pytest.mark.parametrize(
    ("change", "kind", "destination", "action"),
    [
        ({}, "RRN", "foreign", "warn"),
        ({}, "FRN", "foreign", "block"),
        ({"department": "FIN"}, "RRN", "foreign", "warn"),
        ({"department": "OTHER"}, "RRN", "foreign", "block"),
        ({"rule": "rrn:test"}, "RRN", "foreign", "warn"),
        ({"rule": "rrn:other"}, "RRN", "foreign", "block"),
        ({"rule": "rrn"}, "RRN", "foreign", "block"),
        ({"destinations": frozenset({"domestic"})}, "RRN", "foreign", "block"),
        ({"destinations": frozenset({"domestic"})}, "RRN", "domestic", "warn"),
        ({"ends": NOW}, "RRN", "foreign", "block"),  # the end is exclusive
        ({"begins": NOW + 1}, "RRN", "foreign", "block"),
        ({"begins": NOW}, "RRN", "foreign", "warn"),
        ({"by": ""}, "RRN", "foreign", "block"),
        ({"reason": "  "}, "RRN", "foreign", "block"),
        ({"kind": "SECRET", "action": "allow"}, "SECRET", "foreign", "mask"),  # the floors
        ({"kind": "CLASSMARK", "action": "allow"}, "CLASSMARK", "foreign", "route_local"),
        ({"kind": "PHONE", "action": "block"}, "PHONE", "foreign", "mask"),  # it may only loosen
    ],
)
def test_an_exception_loosens(change: dict[str, object], kind: str, destination: Destination, action: Action) -> None:
    exemption = replace(LOOSE, **change)  # type: ignore[arg-type]
    assert becomes(Actions(), found(kind), to=destination, exemptions=(exemption,)) == action


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_no_exception_takes_a_grade_away(kind: str, destination: Destination) -> None:
    every = tuple(replace(LOOSE, kind=kind, action="allow") for kind in KINDS)
    chain = Chain((DataGrade(), Actions()))
    classified = subject(found(kind), found("CLASSMARK", grade="C"), to=destination, exemptions=every)
    assert chain.decide(classified).action == "block"
    if destination != "inside":
        sensitive = replace(subject(found(kind), to=destination, exemptions=every), grade="S")
        assert ACTIONS.index(chain.decide(sensitive).action) >= ACTIONS.index("route_local")


def test_the_exception_is_stronger_than_the_department_that_tightened() -> None:
    rule = Actions(tightenings=(Tightening("TAX", "PHONE", "block"),))
    assert becomes(rule, found("PHONE"), exemptions=(replace(LOOSE, kind="PHONE", action="allow"),)) == "allow"


def test_every_finding_says_what_becomes_of_it_and_the_strictest_decides() -> None:
    verdict = Actions().decide(subject(found("IP"), found("RRN"), found("PHONE"), found("PHONE", 0.1)))
    assert (verdict.action, verdict.rule) == ("block", "actions:RRN")
    assert [(f.kind, f.action, f.part, f.start, f.end) for f in verdict.findings] == [
        ("IP", "warn", "/messages/0/content", 3, 9),
        ("RRN", "block", "/messages/0/content", 3, 9),
        ("PHONE", "mask", "/messages/0/content", 3, 9),
    ]
    assert Actions().decide(subject()).findings == ()


@given(
    st.lists(st.builds(found, st.sampled_from(KINDS), st.floats(0, 1), newest=st.booleans()), max_size=5),
    st.builds(found, st.sampled_from(KINDS), st.floats(0, 1)),
    st.sampled_from(DESTINATIONS),
)
def test_more_findings_are_never_weaker(some: list[Found], more: Found, destination: Destination) -> None:
    rule = Actions()
    before, after = becomes(rule, *some, to=destination), becomes(rule, *some, more, to=destination)
    assert ACTIONS.index(after) >= ACTIONS.index(before)


@given(st.sampled_from(KINDS), st.sampled_from(ACTIONS), st.sampled_from(DESTINATIONS), st.floats(0, 1))
def test_an_exception_never_makes_stricter_and_stops_at_its_floor(
    kind: str, action: Action, destination: Destination, score: float
) -> None:
    before = becomes(Actions(), found(kind, score), to=destination)
    after = becomes(
        Actions(), found(kind, score), to=destination, exemptions=(replace(LOOSE, kind=kind, action=action),)
    )
    assert ACTIONS.index(after) <= ACTIONS.index(before)
    floor = min(before, FLOORS.get(kind, "allow"), key=ACTIONS.index)
    assert ACTIONS.index(after) >= ACTIONS.index(floor)


@pytest.mark.parametrize(
    ("grades", "expected"),
    [((), "O"), (("O",), "O"), (("O", "S"), "S"), (("C", "O", "S"), "C"), (("S", "S"), "S")],
)
def test_the_stricter_grade_counts(grades: tuple[Grade, ...], expected: Grade) -> None:
    assert stricter(*grades) == expected


def test_a_table_is_read_over_the_default_one() -> None:
    table = read_table({"PHONE": "warn", "RRN": {"inside": "warn"}, "CLASSMARK/partial": {"foreign": "block"}})
    assert dict(table["PHONE"]) == {"inside": "allow", "government": "warn", "domestic": "warn", "foreign": "warn"}
    assert dict(table["RRN"]) == {"inside": "warn", "government": "mask", "domestic": "block", "foreign": "block"}
    assert table["CLASSMARK/partial"]["foreign"] == "block"
    assert table["CLASSMARK/partial"]["domestic"] == "route_local"
    assert table["EMAIL"] == DEFAULT_TABLE["EMAIL"]
    assert read_table({}) == DEFAULT_TABLE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "a mapping"),
        ({"PHONES": "warn"}, "no kind"),
        ({"PHONE": "stop"}, "actions.PHONE: one of"),
        ({"PHONE": {"foreign": "stop"}}, "no action"),
        ({"PHONE": {"abroad": "warn"}}, "no destination"),
        ({"PHONE": {}}, "one of allow"),
        ({"PHONE": 3}, "one of allow"),
        ({"CLASSMARK": "mask"}, "cannot be masked"),
        ({1: "warn"}, "no kind"),
    ],
)
def test_a_bad_table_is_refused_whole(data: object, says: str) -> None:
    with pytest.raises(TableRefused, match=says):
        read_table(data)


def test_every_problem_of_a_table_is_told_at_once() -> None:
    with pytest.raises(TableRefused) as told:
        read_table({"PHONES": "warn", "EMAIL": "stop"})
    assert len(told.value.problems) == 2
