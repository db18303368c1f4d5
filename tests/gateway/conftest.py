"""A migrated database of each kind, a clock, and a small city to act in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clock import Clock
from sqlalchemy import Engine

from gateway.audit import Actor
from gateway.database import open_engine
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The shipped configuration with a data folder of its own."""
    return load_settings(ROOT / "config.yaml", tmp_path / "data", {})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def by() -> Actor:
    return Actor("os:tester", "cli")


@pytest.fixture
def directory(engine: Engine, settings: Settings, clock: Clock) -> Directory:
    return Directory(engine, settings.secrets.pepper.get_secret_value(), clock, uuid7)


@pytest.fixture
def city(directory: Directory, by: Actor) -> Directory:
    """CITY ▸ FIN ▸ TAX, and Kim of TAX, who is staff."""
    directory.add_department("CITY", "데모시", by=by)
    directory.add_department("FIN", "재무국", by=by, parent="CITY")
    directory.add_department("TAX", "세정과", by=by, parent="FIN")
    directory.add_user("kim@city.example", "TAX", ["staff"], by=by)
    return directory
