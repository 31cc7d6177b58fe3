"""Fixtures of the server's tests: a server per test and database, or one that a module's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import Postgres, Server, migrated, running_postgres, start

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session", params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Makes a fresh database of each kind: None stands for SQLite in the data folder."""
    if request.param == "sqlite":
        return lambda: None
    made: Postgres = request.getfixturevalue("postgres")
    return made.new_database


@pytest.fixture(scope="session")
def made_tables() -> dict[str, Callable[[Path], str | None]]:
    """What `tables` made so far. Pytest forgets a fixture with parameters at each change of the parameter."""
    return {}


@pytest.fixture(scope="session")
def tables(
    request: pytest.FixtureRequest,
    database_url: Callable[[], str | None],
    made_tables: dict[str, Callable[[Path], str | None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path], str | None]:
    """Gives a new data folder a database with all tables, made once for each kind; its URL, None for SQLite."""
    kind = DATABASES[database_url() is not None]
    if kind not in made_tables:
        postgres = request.getfixturevalue("postgres") if kind == "postgresql" else None
        made_tables[kind] = migrated(tmp_path_factory.mktemp("tables") / "data", postgres)
    return made_tables[kind]


@pytest.fixture
def server(tmp_path: Path, tables: Callable[[Path], str | None]) -> Iterator[Server]:
    """A server of this test alone, on SQLite and on PostgreSQL."""
    running = start(tmp_path / "data", tables(tmp_path / "data"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared_server(
    tmp_path_factory: pytest.TempPathFactory, tables: Callable[[Path], str | None]
) -> Iterator[Server]:
    """A server that the tests of a module share, on SQLite and on PostgreSQL."""
    data = tmp_path_factory.mktemp("server") / "data"
    running = start(data, tables(data))
    yield running
    running.stop()
