"""NOTICE names every package this program runs on, at its locked version, with the licence that package states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_what_the_installed_packages_say() -> None:
    check = subprocess.run(
        [sys.executable, "tools/notice.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_every_locked_package_has_a_row_with_a_licence() -> None:
    """Read from the file itself, so a fault in the script cannot hide a package."""
    rows = dict(re.findall(r"^([a-z0-9._-]+ [0-9]\S*) {2,}(\S.*)$", (ROOT / "NOTICE").read_text(), re.M))
    locked = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert len(locked) > 50
    assert {f"{name} {version}" for name, version in locked} == set(rows)


def test_no_package_brings_a_licence_that_would_bind_ours() -> None:
    """LGPL and MPL libraries are used unchanged; a GPL or AGPL one could not be."""
    table = (ROOT / "NOTICE").read_text().partition("Packages installed to run")[2]
    assert not re.findall(r"^.*(?<!L)GPL.*$", table, re.M)
    assert re.findall(r"^(psycopg\S*) .*LGPL-3.0-only$", table, re.M) == ["psycopg", "psycopg-binary"]
