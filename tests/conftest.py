"""What every test may ask for: real servers, and a migrated database of its own on each kind we support.

Nothing is skipped for want of a server. `make test` installs them; a machine that has its own names them in
HAECHI_TEST_POSTGRES_URL (an account that may create databases) and HAECHI_TEST_REDIS_URL.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import servers
from psycopg import sql

from gateway import database


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest revision, as `haechi migrate` does, and let go of it."""
    engine = database.open_engine(url)
    database.migrate(engine)
    engine.dispose()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test by a long text's parameter, not by the text: it is unreadable, and where it was made by chance the
    test processes would not agree on which tests there are."""
    return argname if isinstance(val, str) and len(val) > 40 else None


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """The name of this test process: `main`, or `gw0`, `gw1` … when the tests run in several."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on now."""
    return servers.free_port()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server in which databases may be created; its maintenance database's address."""
    if given := os.environ.get("HAECHI_TEST_POSTGRES_URL"):
        yield given
        return
    try:
        with servers.postgres() as url:
            yield url
    except servers.NoServer as why:
        pytest.fail(str(why), pytrace=False)


@pytest.fixture(scope="session")
def redis_url(worker: str) -> Iterator[str]:
    """A Redis this test process has to itself."""
    if given := os.environ.get("HAECHI_TEST_REDIS_URL"):
        # One numbered database per test process: gw0 takes 1, gw1 takes 2 …
        number = int(worker.removeprefix("gw")) + 1 if worker.startswith("gw") else 0
        yield f"{given.rstrip('/').removesuffix('/0')}/{number}"
        return
    try:
        with servers.redis_server() as url:
            yield url
    except servers.NoServer as why:
        pytest.fail(str(why), pytrace=False)


def _maintain(url: str, statement: str, **names: str) -> None:
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(**identifiers))


def _beside(url: str, database: str) -> str:
    """`url` with another database name."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


class Databases:
    """Databases of this test process on the PostgreSQL server."""

    def __init__(self, url: str, worker: str) -> None:
        self._url = url
        self._worker = worker
        self._made: list[str] = []

    def new(self, template: str = "template0") -> str:
        """The address of a new database: empty, or a copy of `template`."""
        name = f"haechi_{self._worker}_{uuid.uuid4().hex[:12]}"
        _maintain(self._url, "CREATE DATABASE {name} TEMPLATE {template}", name=name, template=template)
        self._made.append(name)
        return _beside(self._url, name)

    def drop(self, url: str) -> None:
        name = urlsplit(url).path.removeprefix("/")
        self._made.remove(name)
        _maintain(self._url, "DROP DATABASE {name} WITH (FORCE)", name=name)

    def drop_all(self) -> None:
        for name in list(self._made):
            self.drop(_beside(self._url, name))


@pytest.fixture(scope="session")
def databases(postgres_url: str, worker: str) -> Iterator[Databases]:
    """Where databases come from; what is left is dropped at the end."""
    made = Databases(postgres_url, worker)
    yield made
    made.drop_all()


@pytest.fixture(scope="session")
def new_postgres_database(databases: Databases) -> Callable[..., str]:
    """Call it for the address of an empty database, or with `template=` for a copy of another. It lasts to the end."""
    return databases.new


@pytest.fixture(scope="session")
def migrated_postgres(databases: Databases) -> str:
    """The name of a migrated, empty database to copy: a copy takes milliseconds, the migrations take seconds."""
    url = databases.new()
    migrate(url)
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    path = tmp_path / "ledger.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(databases: Databases, migrated_postgres: str) -> Iterator[str]:
    """A migrated PostgreSQL database of this test's own."""
    url = databases.new(template=migrated_postgres)
    yield url
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test's own, once on each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))
