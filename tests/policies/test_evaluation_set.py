"""The labelled set that ships: made from its sources, labelled where it says, broad enough to mean something."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from policies.engine import Scanner
from policies.evaluate import SHIPPED, Case, as_json, judge, read, score
from policies.evaluation import make
from policies.evaluation.evasions import BREAK, EVASIONS, evade
from policies.evaluation.values import (
    business_check,
    corporate_check,
    ean_check,
    foreigner_check,
    luhn_check,
    resident_check,
    value,
)
from policies.pack import shipped
from policies.rules.actions import KINDS

CASES: tuple[Case, ...] = tuple(case for path in SHIPPED for case in read(path))

#: Kinds whose values are drawn, with the style that is checked, and what every one of them looks like.
SHAPES = {
    "RRN": r"\d{6}-[1-4]\d{6}",
    "FRN": r"\d{6}-[5-8]\d{6}",
    "PASSPORT": r"[MSRD]\d{3}[A-Z]\d{4}",
    "DRIVER_LICENSE": r"\d\d-\d\d-\d{6}-\d\d",
    "PHONE": r"010-[2-9]\d{3}-\d{4}",
    "BRN": r"\d{3}-\d\d-\d{5}",
    "CORP": r"\d{6}-\d{7}",
    "NHIS": r"\d-\d{10}",
}


def test_the_files_are_what_the_sources_make() -> None:
    """Whoever edits a source builds the set again, and the same sources give the same bytes."""
    made = {name: "".join(case.line() + "\n" for case in cases) for name, cases in make.everything().items()}
    assert set(made) == {path.name for path in SHIPPED}
    assert [path.name for path in SHIPPED if path.read_text("utf-8") != made[path.name]] == [], "make.py was not run"


def test_every_span_is_where_it_says() -> None:
    """A label covers its value and nothing beside it; labels do not overlap; no mark of a source was left standing."""
    for case in CASES:
        ends = 0
        for label in case.labels:
            piece = case.text[label.start : label.end]
            assert piece == piece.strip(), case.id
            assert label.start >= ends, case.id
            ends = label.end
            assert label.kind in KINDS, case.id
        assert not re.search(r"<<~?[A-Z]|[A-Za-z=]>>(?!>)|\ue000", case.text), case.id


def test_ids_are_unique_over_all_files() -> None:
    assert [name for name, count in Counter(case.id for case in CASES).items() if count > 1] == []


def test_expectations_agree_with_labels() -> None:
    """What has to be stopped has a label, what may pass has none, and what carries an identifier is to be blocked."""
    strict = {"RRN", "FRN", "PASSPORT", "DRIVER_LICENSE", "SECRET", "CLASSMARK"}
    for case in CASES:
        kinds = {label.kind for label in case.labels}
        assert (case.should == "allow") == (not kinds), case.id
        if case.should != "warn" or not case.id.startswith("evade"):
            assert (case.should == "block") == bool(kinds & strict), case.id


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_cases_and_near_misses(kind: str) -> None:
    """At least twelve cases where the kind stands and as many where only something like it does."""
    near = {"DRIVER_LICENSE": "driver", "CLASSMARK": "mark"}.get(kind, kind.lower())
    assert sum(any(label.kind == kind for label in case.labels) for case in CASES) >= 12
    assert sum(re.fullmatch(rf"{near}-near-\d+", case.id) is not None for case in CASES) >= 12


def test_the_set_is_as_broad_as_it_claims() -> None:
    """Sizes of its parts; documents are of full length, a third of everything is held out."""
    documents = [case for case in CASES if case.group == "document"]
    evasions = [case for case in CASES if case.group == "evasion"]
    assert len(CASES) - len(documents) - len(evasions) >= 800
    assert len(documents) >= 40
    assert len(evasions) >= 150
    for case in documents:
        assert 1000 <= len(case.text.encode()) <= 6200, case.id
    assert sum(case.should == "allow" for case in documents) >= 15
    assert sum(len(case.labels) >= 3 for case in documents) >= 20
    held = sum(case.split == "held_out" for case in CASES)
    assert 0.28 <= held / len(CASES) <= 0.34


def test_sentences_are_not_one_template() -> None:
    """With digits and labelled values taken out, hardly two cases read the same."""
    bare = []
    for case in CASES:
        text, at = "", 0
        for label in case.labels:
            text += case.text[at : label.start] + "□"
            at = label.end
        bare.append(re.sub(r"\d", "", text + case.text[at:]))
    assert len(set(bare)) / len(bare) >= 0.9


@pytest.mark.parametrize(("kind", "shape"), SHAPES.items())
def test_values_have_the_shape_of_the_real_thing(kind: str, shape: str) -> None:
    draw = Random(7)
    for _ in range(200):
        assert re.fullmatch(shape, value(draw, kind, "h" if kind != "PASSPORT" else ""))


def test_check_digits_against_published_examples() -> None:
    """The worked example of the court registry (110111-006243 gives 2), and numbers that are printed as valid elsewhere."""
    assert corporate_check("110111006243") == 2
    assert luhn_check("411111111111111") == 1
    assert ean_check("400638133393") == 1
    assert business_check("124810099") == 8
    # 911124-5678906 is a 외국인등록번호 whose check digit holds only by the foreigners' formula
    assert foreigner_check("911124567890") == 6
    assert resident_check("911124567890") != 6


def test_numbers_issued_since_october_2020_fail_the_check() -> None:
    """As the real ones do, nine times in ten: here always, so that a filter that relies on the check is seen."""
    draw = Random(3)
    for _ in range(200):
        digits = value(draw, "RRN", "rb")
        assert int(digits[12]) != resident_check(digits[:12])
        valid = value(draw, "RRN", "b")
        assert int(valid[12]) == resident_check(valid[:12])


def test_the_same_seed_draws_the_same_value() -> None:
    assert value(Random("a"), "CARD", "visa") == value(Random("a"), "CARD", "visa")
    with pytest.raises(KeyError):
        value(Random("a"), "CARDS", "visa")


def test_every_evasion_changes_what_it_is_given() -> None:
    """Each way is used by the set, and changes a mailbox or a number."""
    sources = "".join(path.read_text("utf-8") for path in (Path(make.__file__).parent / "source").glob("*.txt"))
    for name, change in EVASIONS.items():
        assert change("kim.soyeon@naver.com") != "kim.soyeon@naver.com" or change("101-0123") != "101-0123", name
        assert re.search(rf"[|+]{re.escape(name)}(?=[+>@])", sources), name
    assert evade("850312-2345678", "widedigits+endash") == "８５０３１２–２３４５６７８"
    assert evade("850312-2345678", "break") == f"850312-{BREAK}2345678"


def test_a_message_boundary_falls_inside_its_value() -> None:
    """A value split over messages really is: the boundary lies within a label."""
    split = [case for case in CASES if case.breaks]
    assert len(split) >= 5
    for case in split:
        assert any(label.start < at < label.end for at in case.breaks for label in case.labels), case.id


def test_the_filters_reach_their_targets_on_it() -> None:
    """Must-block ≥ 97 %, left in clear ≤ 4 %, false blocks ≤ 1 %, any alarm ≤ 4 %, evasions ≥ 95 %, on the whole set."""
    judged = judge(Scanner(shipped().rules))
    report = score([judged(case) for case in CASES])
    assert report.failed() == (), as_json(report)
