"""What a site adds to the rules is what its detectors read by; what it leaves alone stays the shipped one."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from policies.compiling import detectors_of
from policies.detectors import DETECTORS
from policies.engine import Scanner
from policies.pack import Pack, load, shipped


def test_the_shipped_pack_is_the_shipped_detectors() -> None:
    assert detectors_of(shipped()) == DETECTORS


def test_no_section_of_a_pack_is_left_unread() -> None:
    """A detector made from a section, and a section nobody rebuilds a detector for, would be rules that do nothing."""
    sections = {type(getattr(shipped(), field.name)).__name__ for field in fields(Pack) if field.name != "version"}
    made_from = {
        parameter.annotation
        for detector in DETECTORS
        for parameter in inspect.signature(type(detector)).parameters.values()
        if parameter.name == "pack"
    }
    assert made_from | {"Site", "Dictionaries"} == sections  # those two are the scanner's own rules
    source = inspect.getsource(sys.modules["policies.compiling"])
    assert all(
        f'"{field.name}"' in source for field in fields(Pack) if field.name not in {"version", "site", "dictionaries"}
    )


EYES = "- {variant: eyes, grade: C, triggers: [시장전용], words: [시장전용]}"
ILLNESS = "- {id: health, words: [해치병]}"


@pytest.mark.parametrize(
    ("file", "text", "subject", "kind"),
    [
        ("marks.yaml", EYES, "시장전용\n\n보고 내용", "CLASSMARK"),
        ("keywords.yaml", ILLNESS, "민원인 홍길동 씨는 해치병 환자입니다", "KEYWORD"),
    ],
)
def test_what_a_site_adds_is_found(file: str, text: str, subject: str, kind: str, tmp_path: Path) -> None:
    key = {"marks.yaml": "marks", "keywords.yaml": "topics"}[file]
    (tmp_path / file).write_text(f"{key}:\n  {text}\n", "utf-8")
    pack = load(tmp_path)
    before, after = Scanner(), Scanner(pack.rules, detectors_of(pack))
    assert kind not in {match.kind for match in before.scan(subject)}
    assert kind in {match.kind for match in after.scan(subject)}
    assert before.version != after.version
