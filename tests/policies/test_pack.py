"""A pack is read whole or refused whole; what a site adds is added; the version says which files were read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from policies.pack import PackError, Topic, load, shipped


def test_what_ships_leaves_no_list_empty() -> None:
    pack = shipped()
    for section in (pack.secrets, pack.marks, pack.email, pack.keywords, pack.places, pack.names):
        assert [field.name for field in fields(section) if not getattr(section, field.name)] == []
    assert all(shape.source for shape in pack.secrets.secrets)


SHAPE = "secrets:\n  - {id: ours, keywords: [ours_], regex: 'ours_[0-9a-f]{32}', source: 우리}\n"


@pytest.mark.parametrize(
    ("file", "text", "line", "says"),
    [
        ("keywords.yaml", "topics:\n  - {id: a, words: [가]}\n  - {id: a, words: [나]}\n", 3, "twice"),
        ("keywords.yaml", "topics: 가\n", 1, "list"),
        ("keywords.yaml", "topic: [가]\n", 1, "unknown key"),
        ("keywords.yaml", "persons: [가]\npersons: [나]\n", 2, "key twice"),
        ("keywords.yaml", "topics:\n  - {id: a}\n", 2, "missing"),
        ("keywords.yaml", "persons:\n  - [가, 나]\n", 2, "no text"),
        ("keywords.yaml", "persons: [가\n", 2, "not YAML"),
        ("keywords.yaml", "", 1, "empty"),
        ("keywords.yaml", "- 가\n", 1, "no mapping"),
        ("marks.yaml", "marks:\n  - {variant: a, grade: X, words: [가], triggers: [가]}\n", 2, "unknown"),
        ("marks.yaml", "marks:\n  - {variant: a, grade: C, words: ['(가)'], triggers: [가]}\n", 2, "group"),
        ("secrets.yaml", SHAPE.replace("[0-9a-f]{32}", "(?=x)"), 2, "RE2"),
        ("secrets.yaml", SHAPE.replace("[0-9a-f]{32}", "(a)\\1"), 2, "RE2"),
        ("secrets.yaml", SHAPE.replace("ours_[0-9a-f]{32}", "[0-9a-f]*"), 2, "matches nothing"),
        ("secrets.yaml", SHAPE.replace("[0-9a-f]{32}", "(a)(b)"), 2, "group"),
        ("secrets.yaml", SHAPE.replace("[0-9a-f]{32}", "a" * 2100), 2, "too long"),
        ("secrets.yaml", SHAPE.replace("source: 우리", "source: 우리, entropy: high"), 2, "number"),
        ("secrets.yaml", SHAPE.replace("source: 우리", "source: 우리, digits: maybe"), 2, "true or false"),
        ("dictionaries.yaml", "dictionaries:\n  - {name: a, words: [해치], action: shout}\n", 2, "unknown"),
        ("rules.yaml", "a: b\n", 1, "no file of a pack"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_its_line_and_what_to_do(
    file: str, text: str, line: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "places.yaml").write_text("venues: [놀이터]\n", "utf-8")
    (tmp_path / file).write_text(text, "utf-8")
    with pytest.raises(PackError) as refusal:
        load(tmp_path)
    assert (refusal.value.file, refusal.value.line) == (file, line)
    assert says in str(refusal.value)
    assert str(refusal.value).startswith(f"{file}:{line}: ")
    assert len(str(refusal.value).split(": ")) >= 3


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_bytes(b"venues: [\xff\xfe]")
    with pytest.raises(PackError, match="UTF-8"):
        load(tmp_path)


def test_an_empty_folder_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="empty folder"):
        load(tmp_path)


def test_what_a_folder_says_is_added_and_an_entry_of_one_name_replaced(tmp_path: Path) -> None:
    (tmp_path / "keywords.yaml").write_text(
        "topics:\n  - {id: health, words: [해치병]}\npersons: [우리 애는]\n", "utf-8"
    )
    (tmp_path / "site.yaml").write_text("phones: ['02-2133-*']\noff: [plate]\n", "utf-8")
    (tmp_path / "dictionaries.yaml").write_text(
        "dictionaries:\n  - {name: 사업, words: [해치 계획], patterns: ['HC-[0-9]{4}'], department: D1, action: block}\n",
        "utf-8",
    )
    before, after = shipped(), load(tmp_path)
    assert after.keywords.persons == (*before.keywords.persons, "우리 애는")
    assert Topic("health", ("해치병",)) in after.keywords.topics
    assert len(after.keywords.topics) == len(before.keywords.topics)
    assert after.names == before.names
    rules = after.rules
    assert rules.phones == (*before.site.phones, "02-2133-*")
    assert rules.off == frozenset({"plate"})
    assert [(d.name, d.department, d.action) for d in rules.dictionaries] == [("사업", "D1", "block")]


def test_the_version_is_the_files(tmp_path: Path) -> None:
    assert load().version == shipped().version == shipped().rules.pack
    (tmp_path / "places.yaml").write_text("venues: [놀이터]\n", "utf-8")
    one = load(tmp_path).version
    assert one == load(tmp_path).version != shipped().version
    (tmp_path / "places.yaml").write_text("venues: [놀이터, 썰매장]\n", "utf-8")
    assert load(tmp_path).version != one
