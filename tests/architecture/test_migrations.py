"""Migrations are numbered in a line, build exactly the declared tables on both databases, and run once."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlmodel import SQLModel

import billing
import gateway
from gateway import database

VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"
FILES = sorted(VERSIONS.glob("*.py"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared() -> sa.MetaData:
    """Every table that any module declares, so that one nobody migrates is found even if nobody imports its module."""
    found = {id(SQLModel.metadata): SQLModel.metadata}
    for package in (billing, gateway):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if re.search(r"\.(tables|store|audit|evidence)$", module.name):
                values = vars(importlib.import_module(module.name)).values()
                found.update({id(value): value for value in values if isinstance(value, sa.MetaData)})
    everything = sa.MetaData()
    for metadata in found.values():
        for table in metadata.tables.values():
            table.to_metadata(everything)
    return everything


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which nothing was migrated yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    new: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    return new()


def test_files_are_numbered_without_a_gap() -> None:
    numbers = [path.name[:5] for path in FILES]
    assert numbers == [f"{n:04}_" for n in range(1, len(FILES) + 1)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_carries_its_number_as_its_revision(path: Path) -> None:
    module = load(path)
    assert module.revision == path.name[:4]
    assert module.branch_labels is None
    assert module.depends_on is None


def test_each_revision_follows_the_one_before_it() -> None:
    modules = [load(path) for path in FILES]
    assert modules[0].down_revision is None
    assert all(later.down_revision == earlier.revision for earlier, later in pairwise(modules))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_why_it_is_safe(path: Path) -> None:
    """The first thing a person asks before running it: can the program before it still run, and can it be undone."""
    assert re.search(r"^Safe: \w+", load(path).__doc__ or "", re.M)


def test_an_empty_database_gets_exactly_the_declared_tables(empty_database: str) -> None:
    metadata = declared()
    engine = database.open_engine(empty_database)
    database.migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = [
            str(difference) for difference in compare_metadata(context, metadata) if not is_only_migrated(difference)
        ]
    engine.dispose()
    assert not found, "\n".join(found)


def is_only_migrated(difference: Any) -> bool:
    """Tables declared with Core say what statements need: names, types, keys. Their indexes and references to each other
    are the migration's. The ledger's are declared whole, and have to match whole."""
    what, thing = difference[:2] if isinstance(difference, tuple) else ("", difference)
    if what not in {"remove_index", "remove_fk", "remove_constraint"}:
        return False
    return thing.table.name not in SQLModel.metadata.tables


def test_a_second_run_finds_nothing_to_do(empty_database: str) -> None:
    engine = database.open_engine(empty_database)
    first = database.migrate(engine)
    before = schema(engine)
    assert database.migrate(engine) == first == FILES[-1].name[:4]
    assert schema(engine) == before
    engine.dispose()


def schema(engine: sa.Engine) -> dict[str, list[str]]:
    inspector = sa.inspect(engine)
    return {
        table: sorted(f"{c['name']} {c['type']} {c['nullable']}" for c in inspector.get_columns(table))
        for table in inspector.get_table_names()
    }
