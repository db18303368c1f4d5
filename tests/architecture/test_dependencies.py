"""What we build on is pinned, hashed, and not older than the release that closed a hole in it."""

from __future__ import annotations

import re
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
RUNTIME = ROOT / "requirements.lock"

# Package → the first release without the hole, and what the hole is. Absent packages are fine.
FLOORS = {
    "starlette": ("1.3.1", "CVE-2026-54283 form limits, CVE-2026-48710 host confusion, CVE-2025-62727 ranges"),
    "python-multipart": ("0.0.32", "CVE-2026-53539, CVE-2026-24486, CVE-2024-53981 resource exhaustion"),
    "h11": ("0.16.0", "CVE-2025-43859 request smuggling by chunk endings"),
    "authlib": ("1.7.2", "CVE-2026-27962 key injection, CVE-2026-28498, CVE-2026-28802, CVE-2025-59420"),
    "litellm": ("1.106.2", "older ones hold CVE-2026-42208, CVE-2026-35030 and what came after"),
}
STOLEN = {"litellm": {"1.82.7", "1.82.8"}}  # releases that sent credentials away

# A .pth file runs code at every start of Python; the stolen litellm releases worked that way.
KNOWN_PTH = {
    "_editable_impl_haechi.pth",  # this checkout, installed editable
    "distutils-precedence.pth",  # setuptools, which Debian's venv brings along
}


def entries(lock: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock with its hashes."""
    logical = lock.read_text().replace("\\\n", " ")
    for line in logical.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            yield Requirement(requirement), [value.strip() for value in hashes]


def pins(lock: Path) -> dict[str, Version]:
    return {canonicalize_name(r.name): Version(next(iter(r.specifier)).version) for r, _ in entries(lock)}


def test_there_is_a_lock_for_every_environment() -> None:
    """The parametrised tests below would pass on an empty list."""
    names = {lock.name.removeprefix("requirements").strip("-.").removesuffix("lock").strip(".") for lock in LOCKS}
    assert names >= {"", "dev", "local", "sdk", "uv"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_one_version_with_hashes(lock: Path) -> None:
    for requirement, hashes in entries(lock):
        assert [s.operator for s in requirement.specifier] == ["=="], f"{requirement} is not pinned"
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement.name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_says_where_packages_come_from(lock: Path) -> None:
    """A site behind its own mirror installs from the same files."""
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", text, re.M)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_nothing_is_older_than_its_floor(lock: Path) -> None:
    for name, version in pins(lock).items():
        floor, hole = FLOORS.get(name, ("0", ""))
        assert version >= Version(floor), f"{name} {version}: {hole}"
        assert str(version) not in STOLEN.get(name, set()), f"{name} {version} stole credentials"


def test_the_floor_test_sees_the_packages_it_guards() -> None:
    assert {"starlette", "h11", "litellm"} <= set(pins(RUNTIME))


def test_litellm_is_a_library_here() -> None:
    """Its `proxy` extra brings proprietary code and a server of its own."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [Requirement(d).extras for d in declared if Requirement(d).name == "litellm"] == [set()]
    locked = {name for lock in LOCKS for name in pins(lock)}
    assert not locked & {"litellm-enterprise", "litellm-proxy-extras"}


def test_the_development_environment_holds_the_runtime_one() -> None:
    """Tests must run against the versions that are served."""
    development = pins(ROOT / "requirements-dev.lock")
    assert {name: development.get(name) for name in pins(RUNTIME)} == pins(RUNTIME)


def test_every_declared_dependency_is_locked() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = pins(RUNTIME)
    for requirement in map(Requirement, declared):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in the lock: make lock"
        assert version in requirement.specifier, f"{requirement} is locked at {version}: make lock"


def test_nothing_hooks_the_start_of_python() -> None:
    found = {path.name for path in Path(sysconfig.get_path("purelib")).glob("*.pth")}
    assert found <= KNOWN_PTH
