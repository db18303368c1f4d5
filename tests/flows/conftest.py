"""Towns for the flows: one shared by tests that only look, and a maker for those that break things."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flows.harness import Gateway, Town, town

Founder = Callable[..., Town]


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, migrated_sqlite: Path) -> Callable[[str, Path], str]:
    """(kind, folder) → the address of a migrated, empty database there."""

    def new(kind: str, folder: Path) -> str:
        if kind == "postgresql":
            make = request.getfixturevalue("new_postgres_database")
            return str(make(template=request.getfixturevalue("migrated_postgres")))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_sqlite, folder / "ledger.db")
        return f"sqlite:///{folder / 'ledger.db'}"

    return new


@pytest.fixture(scope="module")
def found(new_database: Callable[[str, Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Founder]:
    """Found a town of this module's own; it is dissolved with the module."""
    with contextlib.ExitStack() as open_towns:

        def make(kind: str = "sqlite", **limits: Any) -> Town:
            folder = tmp_path_factory.mktemp(f"town-{kind}")
            return open_towns.enter_context(town(folder, new_database(kind, folder / "database"), **limits))

        yield make


@pytest.fixture(scope="module")
def place(found: Founder) -> Town:
    """This module's town on SQLite."""
    return found("sqlite")


@pytest.fixture(scope="module")
def gateway(place: Town) -> Gateway:
    """This module's gateway on SQLite."""
    return place.gateway()
