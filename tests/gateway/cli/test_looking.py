"""Commands that only look: they make nothing where nothing is, end when nobody reads on, and know which month it is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.__main__ import main

ROOT = Path(__file__).resolve().parents[3]

#: Every command that only looks.
LOOKS = [
    "usage",
    "usage --month 2026-10 --by model",
    "verify",
    "quota list",
    "price list",
    "price drift",
    "rate --recorded --month 2026-10",
    "policies overview --month 2026-10",
    "policies rules --month 2026-10",
    "policies exceptions",
    "policies tightenings",
    "policies dry-run --month 2026-10",
]
#: Every other one that must find a ledger.
CHANGES = [
    "department add --code A --name A",
    "key revoke hc_live_AAAA",
    "quota set --organisation --won 1 --period day",
]


def ended(line: str, env: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([*shlex.split(line), "--json"], env)
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize("line", LOOKS)
def test_in_a_wrong_folder_it_says_so_and_makes_nothing(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"HAECHI_CONFIG": str(ROOT / "config.yaml"), "HAECHI_DATA": str(tmp_path / "nowhere")}
    code, out, err = ended(line, env, capsys)
    assert (code, out) == (1, "")
    said = json.loads(err)["error"]
    assert said["code"] == "nothing_there"
    assert str(tmp_path / "nowhere") in said["message"]
    assert "HAECHI_DATA" in said["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [look for look in LOOKS if not look.startswith("price")] + CHANGES)
def test_without_a_ledger_it_says_so_and_makes_none(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is an installation's, and the ledger is somewhere else: an empty one beside it would only mislead."""
    data = tmp_path / "data"
    env = {"HAECHI_CONFIG": str(ROOT / "config.yaml"), "HAECHI_DATA": str(data)}
    assert main(["migrate", "--json"], env) == 0
    for file in data.glob("ledger.db*"):
        file.unlink()
    before = sorted(data.iterdir())
    capsys.readouterr()
    code, out, err = ended(line, env, capsys)
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "nothing_there"
    assert sorted(data.iterdir()) == before


@pytest.fixture
def installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    env = {"HAECHI_CONFIG": str(ROOT / "config.yaml"), "HAECHI_DATA": str(tmp_path / "data")}
    assert main(["migrate"], env) == 0
    capsys.readouterr()
    return env


def test_without_a_month_it_is_this_one(installed: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """In the organisation's zone, which may be a month ahead of the machine's; asked twice, should it end just now."""
    months = []
    for _ in range(2):
        months.append(f"{datetime.now(ZoneInfo('Asia/Seoul')):%Y-%m}")
        code, out, _ = ended("usage", installed, capsys)
        assert code == 0
        months.append(json.loads(out)["month"])
    assert months[0] <= months[1] <= months[2] <= months[3]
    assert months[0] == months[1] or months[2] == months[3]


# Each row: a command whose answer nobody reads to its end, and its exit code all the same.
@pytest.mark.parametrize(("line", "code"), [("price list", 0), ("verify", 0), ("usage --month 2026-10", 0)])
def test_a_closed_pipe_is_no_failure(installed: dict[str, str], line: str, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *shlex.split(line)],
        env={"PATH": os.environ["PATH"], **installed},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    told = process.stderr.read().decode()
    assert (process.wait(60), told) == (code, "")
