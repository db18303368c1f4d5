"""Every kind's file proves itself: its examples are found, its near misses are not, and nothing it says holds the value."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from policies.detector import Detector
from policies.detectors import DETECTORS
from policies.engine import RISK, Scanner

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 24)
KINDS = (
    "RRN FRN PASSPORT DRIVER_LICENSE PHONE EMAIL ADDRESS ACCOUNT CARD BRN CORP NHIS PLATE BIRTHDATE PERSON IP "
    "SECRET CLASSMARK KEYWORD"
)

scanner = Scanner(today=lambda: TODAY)


def file_of(detector: Detector) -> ModuleType:
    return importlib.import_module(type(detector).__module__)


def found(text: str, kind: str) -> list[str]:
    return [text[match.start : match.end] for match in scanner.scan(text) if match.kind == kind]


EXAMPLES = [
    pytest.param(
        detector.kind, text, [wanted] if isinstance(wanted, str) else list(wanted), id=f"{detector.name}-{index}"
    )
    for detector in DETECTORS
    for index, (text, wanted) in enumerate(file_of(detector).EXAMPLES)
]
NEAR_MISSES = [
    pytest.param(detector.kind, text, id=f"{detector.name}-{index}")
    for detector in DETECTORS
    for index, text in enumerate(file_of(detector).NEAR_MISSES)
]


@pytest.mark.parametrize(("kind", "text", "wanted"), EXAMPLES)
def test_what_a_kind_shows_as_its_own_is_found_to_the_letter(kind: str, text: str, wanted: Sequence[str]) -> None:
    assert found(text, kind) == wanted


@pytest.mark.parametrize(("kind", "text"), NEAR_MISSES)
def test_what_only_looks_like_a_kind_is_left_alone(kind: str, text: str) -> None:
    assert found(text, kind) == []


def test_there_is_a_detector_for_every_kind() -> None:
    assert {detector.kind for detector in DETECTORS} == set(KINDS.split()) == set(RISK)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)
def test_every_file_brings_enough_to_judge_it_by(detector: Detector) -> None:
    module = file_of(detector)
    assert detector.kind == module.KIND
    assert len(module.EXAMPLES) >= 4
    assert len(module.NEAR_MISSES) >= 4


@pytest.mark.parametrize(("kind", "text", "wanted"), EXAMPLES)
def test_a_finding_never_carries_what_it_found(kind: str, text: str, wanted: Sequence[str]) -> None:
    """Rules and evidence are written to logs and records. (A mark such as 대외비 is its own name, and short.)"""
    for match in scanner.scan(text):
        for said in (match.rule, *match.evidence):
            assert not any(value in said for value in wanted if len(value) > 4)


def test_no_expression_uses_word_boundaries() -> None:
    r"""Hangul counts as a letter: `\b` finds nothing between a value and the 입니다 behind it."""
    using = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "policies").rglob("*.py")
        if re.search(r"\\[bB](?![a-z])", path.read_text())
    ]
    assert using == []


def test_a_detector_can_be_switched_off_by_name() -> None:
    """And the version says so, since what is found changes."""
    from policies.ruleset import Rules

    without = Scanner(Rules(off=frozenset({"rrn"})), today=lambda: TODAY)
    assert [match.kind for match in without.scan("주민번호 850312-2345678") if match.kind == "RRN"] == []
    assert without.version != scanner.version
