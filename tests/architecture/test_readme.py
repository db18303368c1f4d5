"""What the documentation tells a person to type exists, and what it links to is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from gateway.__main__ import _parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.split()] or sorted(ROOT.glob("*.md"))  # fmt: skip
README = ROOT / "README.md"


def quoted(page: Path) -> list[str]:
    """Each line of a shell block and each inline code span."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [line.strip() for block in blocks for line in block.splitlines()] + spans


def commands(page: Path) -> list[list[str]]:
    """The words after `haechi`, for every command of ours that a page quotes whole."""
    start = re.compile(r"^(?:\.venv/bin/)?(?:haechi|python -m gateway) +(.+)$")
    found = [match[1] for line in quoted(page) if (match := start.match(line))]
    found = [re.sub(r"\$\([^)]*\)", "2026-11", line) for line in found]  # what the shell would put there
    return [shlex.split(line, comments=True) for line in found if "…" not in line and "|" not in line]


def test_the_two_commands_a_newcomer_needs() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"run", "test"} <= targets
    first = re.findall(r"^make ([a-z-]+)", README.read_text(), re.M)
    assert first[:2] == ["run", "test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {match[1] for line in quoted(page) if (match := re.match(r"make ([a-z-]+)", line))}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_quoted_command_parses(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    for words in commands(page):
        try:
            _parser(words).parse_args(words)
        except SystemExit as why:
            said = capsys.readouterr().err
            # A page may speak of a command by its name alone; with options it is there to be typed.
            only_named = len(words) <= 2 and "the following arguments are required" in said
            if why.code and not only_named:
                refused.append(f"haechi {shlex.join(words)}: {said.splitlines()[-1]}")
    assert not refused, "\n".join(refused)


def test_the_readme_shows_every_command() -> None:
    """A command nobody can find out about does not exist."""
    from gateway.cli import GROUPS

    shown = {words[0] for words in commands(README)}
    assert {group.name for group in GROUPS} <= shown


def test_the_readme_names_every_variable_the_program_reads() -> None:
    read = {
        name
        for package in ("gateway", "billing", "policies")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"\bHAECHI_[A-Z_]+[A-Z]\b", path.read_text())
    }
    assert {name for name in read if f"`{name}`" not in README.read_text()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, _ = target.partition("#")
        if path and "://" not in path and not (page.parent / path).exists():
            missing.append(target)
    assert missing == []
