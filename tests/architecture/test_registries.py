"""A file that adds something to a registry is in the registry's tuple: nothing is switched on by being found, and
nothing is forgotten."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Registry(NamedTuple):
    """A folder with one file per entry, and the module that lists them in a tuple of this name."""

    package: str
    listed_in: str
    tuple_name: str


# Files whose name begins with `_` are shared by the entries and are none themselves.
REGISTRIES = (
    Registry("billing.extract", "billing.extract", "FAMILIES"),
    Registry("billing.reports", "billing.reports", "REPORTS"),
    Registry("gateway.evidence.reports", "gateway.evidence.reports", "REPORTS"),
    Registry("policies.detectors", "policies.detectors", "DETECTORS"),
    Registry("policies.rules", "policies.rules", "RULES"),
)


def files(package: str) -> list[Path]:
    return sorted(path for path in ROOT.joinpath(*package.split(".")).glob("*.py") if not path.name.startswith("_"))


def is_from(entry: Any, module: ModuleType) -> bool:
    """Whether the tuple's entry is this file: the module, what it defines, or an instance it made."""
    if entry is module or getattr(entry, "__module__", None) == module.__name__:
        return True
    assigned = {
        target.id
        for node in ast.parse(Path(str(module.__file__)).read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    return any(getattr(module, name, None) is entry for name in assigned)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.package)
def test_every_file_is_in_the_tuple(registry: Registry) -> None:
    entries = files(registry.package)
    listed = getattr(importlib.import_module(registry.listed_in), registry.tuple_name, ()) if entries else ()
    assert isinstance(listed, tuple)
    missing = []
    for path in entries:
        module = importlib.import_module(f"{registry.package}.{path.stem}")
        if not any(is_from(entry, module) for entry in listed):
            missing.append(path.relative_to(ROOT).as_posix())
    assert missing == [], f"add to {registry.tuple_name} in {registry.listed_in}"


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.package)
def test_nothing_is_in_the_tuple_twice(registry: Registry) -> None:
    listed = (
        getattr(importlib.import_module(registry.listed_in), registry.tuple_name, ()) if files(registry.package) else ()
    )
    assert len({id(entry) for entry in listed}) == len(listed)


def classes(path: Path) -> list[tuple[str, set[str], set[str]]]:
    """Each class of a file: its name, what it derives from, its methods."""
    return [
        (
            node.name,
            {base.id for base in node.bases if isinstance(base, ast.Name)},
            {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)},
        )
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]


def test_every_provider_is_built_by_a_row() -> None:
    """A provider is a class that can be asked and can stream; its file is imported, and built, by the registry."""
    registry = ast.parse((ROOT / "gateway/providers/registry.py").read_text())
    built = {
        node.func.id for node in ast.walk(registry) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    providers = [
        (path.name, name)
        for path in files("gateway.providers")
        for name, bases, methods in classes(path)
        if {"ask", "stream", "close"} <= methods and "Protocol" not in bases and not name.startswith("_")
    ]
    assert providers
    assert [found for found in providers if found[1] not in built] == []


def imports(path: Path) -> set[str]:
    """Modules a file imports, at its top or inside a function; `from package import name` may mean a module as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_provider_file_is_left_out() -> None:
    """A dialect or a transport nobody leads to from the registry cannot be configured, however well it is written."""
    folder = ROOT / "gateway/providers"
    module = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in folder.rglob("*.py")}
    module = {name.removesuffix(".__init__"): path for name, path in module.items()}
    reached: set[str] = set()
    ahead = {"gateway.providers.registry"}
    while ahead:
        reached |= ahead
        ahead = {name for known in ahead for name in imports(module[known]) if name in module} - reached
    # A package's file for `python -m` and the program it runs are started by tests and benchmarks, not by the gateway.
    programs = {name for name, path in module.items() if '__name__ == "__main__"' in path.read_text()}
    assert set(module) - reached - programs - {"gateway.providers"} == set()


def test_rows_have_names_of_their_own() -> None:
    from gateway.providers.registry import KINDS

    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)
