"""The arithmetic of the evaluation, on sets small enough to count on one's fingers; and its command."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from policies.__main__ import main
from policies.decision import Action, Finding
from policies.evaluate import BadLine, Case, Label, Outcome, as_json, read, score, survives


def outcome(
    text: str,
    labels: tuple[tuple[int, int, str], ...],
    should: Action,
    action: Action,
    *findings: tuple[int, int, str, Action],
    group: str = "",
) -> Outcome:
    case = Case("c", text, tuple(Label(*label) for label in labels), should, group)
    return Outcome(case, action, tuple(Finding(kind, "", start, end, did) for start, end, kind, did in findings))


#: Ten cases. What the counts below add up is written beside each.
TEN = (
    # blocked as it should be: must-block 1 of 1, RRN found 1
    outcome("주민 850312-2345678", ((3, 17, "RRN"),), "block", "block", (3, 17, "RRN", "block")),
    # a password nobody saw: must-block 1 of 2, SECRET missed 1, left in clear
    outcome("암호 Qwer!234", ((3, 11, "SECRET"),), "block", "allow"),
    # masked: PHONE found 1
    outcome("전화 010-2345-6789", ((3, 16, "PHONE"),), "mask", "mask", (3, 16, "PHONE", "mask")),
    # the number is masked, the mailbox stays: PHONE found 2, EMAIL missed 1, left in clear
    outcome("010-2345-6789 a@b.kr", ((0, 13, "PHONE"), (14, 20, "EMAIL")), "mask", "mask", (0, 13, "PHONE", "mask")),
    # a company's number is public, a warning is what the table asks for: BRN found 1, not left
    outcome("124-81-00998", ((0, 12, "BRN"),), "mask", "warn", (0, 12, "BRN", "warn")),
    # clean, nothing said
    outcome("회의 자료", (), "allow", "allow"),
    # clean, masked: any alarm 1, PHONE false 1
    outcome("0102345678", (), "allow", "mask", (0, 10, "PHONE", "mask")),
    # clean, kept inside, which counts as blocked: false block 1, any alarm 2, CLASSMARK false 1
    outcome("S등급 평가", (), "allow", "route_local", (0, 3, "CLASSMARK", "route_local")),
    # evasion caught: evasions 1 of 1, PHONE found 3
    outcome("공일공", ((0, 3, "PHONE"),), "mask", "mask", (0, 3, "PHONE", "mask"), group="evasion"),
    # evasion masked where it should be blocked: evasions 1 of 2, must-block 1 of 3, RRN found 2, not left
    outcome("８５０３", ((0, 4, "RRN"),), "block", "mask", (0, 4, "RRN", "mask"), group="evasion"),
)


def test_the_ten_cases_add_up() -> None:
    """Every count of the report equals the sum of the remarks beside the ten cases."""
    report = score(TEN)
    shares = {
        name: (share.part, share.whole)
        for name in ("must_block", "left_in_clear", "false_block", "any_alarm", "evasions")
        for share in [getattr(report, name)]
    }
    assert shares == {
        "must_block": (1, 3),
        "left_in_clear": (2, 7),  # 10 cases − 3 clean ones
        "false_block": (1, 3),
        "any_alarm": (2, 3),
        "evasions": (1, 2),
    }
    counted = {kind: (t.found, t.missed, t.false, t.left) for kind, t in report.kinds.items()}
    assert counted == {
        "RRN": (2, 0, 0, 0),
        "SECRET": (0, 1, 0, 1),
        "PHONE": (3, 0, 1, 0),
        "EMAIL": (0, 1, 0, 1),
        "BRN": (1, 0, 0, 0),
        "CLASSMARK": (0, 0, 1, 0),
    }
    total = report.total
    assert (total.found, total.missed, total.false, total.left) == (6, 2, 2, 2)
    assert total.recall == 6 / 8
    assert total.precision == 6 / 8
    assert total.f1 == 12 / 16


def test_shares_are_rounded_only_when_shown() -> None:
    """1 ÷ 3 is shown as 0.3333, and a share of nothing as null."""
    shown = as_json(score(TEN))
    assert shown["must_block"] == {"count": 1, "of": 3, "share": 0.3333, "target": ">= 0.97", "reached": False}
    assert shown["kinds"]["CLASSMARK"]["recall"] is None
    assert next(iter(shown["kinds"])) == "RRN"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (outcome("전화 010-2345-6789", ((3, 16, "PHONE"),), "mask", "mask", (3, 16, "PHONE", "mask")), False),
        # 6 of 11 digits stay
        (outcome("전화 010-2345-6789", ((3, 16, "PHONE"),), "mask", "mask", (10, 16, "PHONE", "mask")), True),
        # 3 of 11 digits stay
        (outcome("전화 010-2345-6789", ((3, 16, "PHONE"),), "mask", "mask", (7, 16, "PHONE", "mask")), False),
        # masked under another kind is masked all the same
        (outcome("전화 010-2345-6789", ((3, 16, "PHONE"),), "mask", "mask", (3, 16, "ACCOUNT", "mask")), False),
        # a second copy stays
        (outcome("박서준 박서준", ((0, 3, "PERSON"),), "mask", "mask", (0, 3, "PERSON", "mask")), True),
        # a warning does not take anything out of the text
        (outcome("박서준 님", ((0, 3, "PERSON"),), "mask", "warn", (0, 3, "PERSON", "warn")), True),
        # unless a warning is all that is expected
        (outcome("박서준 님", ((0, 3, "PERSON"),), "warn", "warn", (0, 3, "PERSON", "warn")), False),
        # nothing of a blocked text is sent, whatever was found
        (outcome("박서준 님", ((0, 3, "PERSON"),), "mask", "block"), False),
        # addresses of machines are warned of
        (outcome("10.20.3.4", ((0, 9, "IP"),), "mask", "warn", (0, 9, "IP", "warn")), False),
        (outcome("10.20.3.4", ((0, 9, "IP"),), "mask", "allow"), True),
    ],
)
def test_when_a_value_is_left(given: Outcome, *, left: bool) -> None:
    """A value is left when half of it or a copy of it can be read in what would be sent."""
    assert survives(given.case.labels[0], given, "foreign") is left


GOOD = {"id": "a", "text": "전화 010-2345-6789", "spans": [{"start": 3, "end": 16, "kind": "PHONE"}], "should": "mask"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "JSON"),
        ("[]", "객체"),
        (json.dumps(GOOD | {"id": ""}), "id"),
        (json.dumps(GOOD | {"text": 3}), "text"),
        (json.dumps(GOOD | {"should": "stop"}), "block, mask, allow"),
        (json.dumps(GOOD | {"spans": None}), "spans"),
        (json.dumps(GOOD | {"spans": [{"start": 3, "end": 17, "kind": "PHONE"}]}), "end ≤ 16"),
        (json.dumps(GOOD | {"spans": [{"start": 3, "end": 3, "kind": "PHONE"}]}), "start < end"),
        (json.dumps(GOOD | {"spans": [{"start": True, "end": 3, "kind": "PHONE"}]}), "start < end"),
        (json.dumps(GOOD | {"spans": [{"start": 3, "end": 4}]}), "RRN"),
        (json.dumps(GOOD | {"breaks": [16]}), "breaks"),
        (json.dumps(GOOD), "2행"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_a_remedy(line: str, said: str, tmp_path: Path) -> None:
    """The fourth line is wrong (the second is the good one, the third empty): the command says so and exits with 2."""
    path = tmp_path / "set.jsonl"
    path.write_text(f"\n{json.dumps(GOOD)}\n\n{line}\n", "utf-8")
    with pytest.raises(BadLine) as caught:
        list(read(path))
    assert caught.value.line == 4
    assert said in str(caught.value)
    err = io.StringIO()
    assert main(["evaluate", str(path)], io.StringIO(), err) == 2
    assert "set.jsonl:4:" in err.getvalue()


def test_what_is_not_there_and_what_is_not_utf8(tmp_path: Path) -> None:
    """Both are bad arguments, said in a sentence."""
    err = io.StringIO()
    assert main(["evaluate", str(tmp_path / "none.jsonl")], io.StringIO(), err) == 2
    (tmp_path / "euc.jsonl").write_bytes("한글".encode("euc-kr"))
    assert main(["evaluate", str(tmp_path / "euc.jsonl")], io.StringIO(), err) == 2
    assert main(["evaluate", "--destination", "moon"], io.StringIO(), err) == 2
    assert "none.jsonl" in err.getvalue()
    assert "UTF-8" in err.getvalue()


def written(folder: Path) -> Path:
    """Three cases the real filters answer without doubt, and one label on a value that is none."""
    rows = (
        {"id": "a", "text": "주민등록번호 850312-2345678", "spans": [{"start": 7, "end": 21, "kind": "RRN"}]}
        | {"should": "block", "split": "open"},
        GOOD | {"id": "b", "split": "held_out"},
        {"id": "c", "text": "다음 주 회의 일정", "spans": [], "should": "allow", "split": "open"},
        {"id": "d", "text": "비밀 없음", "spans": [{"start": 0, "end": 2, "kind": "PHONE"}], "should": "mask"},
    )
    path = folder / "four.jsonl"
    path.write_text("\ufeff" + "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def test_json_is_what_the_real_filters_did(tmp_path: Path) -> None:
    """One blocked, one masked, one clean, one missed: 1/1, 1 of 3 left, 0/1, and no evasion to count."""
    out = io.StringIO()
    assert main(["evaluate", str(written(tmp_path)), "--json", "--misses"], out) == 0
    answer = json.loads(out.getvalue())
    assert answer["cases"] == 4
    assert answer["must_block"]["share"] == 1.0
    assert (answer["left_in_clear"]["count"], answer["left_in_clear"]["of"]) == (1, 3)
    assert answer["false_block"]["share"] == 0.0
    assert answer["evasions"] | {"share": None, "reached": None} == answer["evasions"]
    assert {name: split["cases"] for name, split in answer["splits"].items()} == {"open": 2, "held_out": 1}
    assert answer["misses"] == [{"id": "d", "what": "left", "kind": "PHONE", "start": 0, "end": 2, "rule": ""}]


def test_text_is_shown_only_when_asked_for(tmp_path: Path) -> None:
    """--misses names ids and kinds; the text of a miss needs --show. --check turns a missed target into exit 1."""
    path = str(written(tmp_path))
    quiet, loud = io.StringIO(), io.StringIO()
    assert main(["evaluate", path, "--misses", "--check"], quiet) == 1
    assert main(["evaluate", path, "--show"], loud) == 0
    assert "비밀" not in quiet.getvalue()
    assert "'비밀'" in loud.getvalue()
    assert main(["evaluate", path, "--split", "held_out", "--check"], io.StringIO()) == 0


def test_columns_stand_under_each_other_in_hangul_too(tmp_path: Path) -> None:
    """The right ends of numbers line up when a Hangul letter is as wide as two digits."""
    out = io.StringIO()
    main(["evaluate", str(written(tmp_path))], out)
    rows = [line for line in out.getvalue().splitlines() if line.startswith(("RRN", "PHONE", "합계 total"))]
    ends = {len(row.split("%")[0]) + sum("가" <= letter <= "힣" for letter in row) for row in rows if "%" in row}
    assert len(rows) == 3
    assert len(ends) == 1


def test_inside_nothing_has_to_be_taken_out(tmp_path: Path) -> None:
    """For a model under our own roof the table allows identifiers, so none counts as left."""
    out = io.StringIO()
    assert main(["evaluate", str(written(tmp_path)), "--json", "--destination", "inside"], out) == 0
    answer = json.loads(out.getvalue())
    assert answer["left_in_clear"]["count"] == 0
    assert answer["must_block"]["share"] == 0.0


def test_the_sum_in_the_documentation_is_what_comes_out(tmp_path: Path) -> None:
    """The example that clerks are invited to check: its lines give its table, to the letter."""
    page = (Path(__file__).parents[2] / "docs" / "filters" / "evaluation.md").read_text("utf-8")
    lines, table = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("jsonl", "text"))
    path = tmp_path / "example.jsonl"
    path.write_text(lines, "utf-8")
    out = io.StringIO()
    assert main(["evaluate", str(path)], out) == 0
    _, _, shown = out.getvalue().partition("\n\n")
    assert shown == table
