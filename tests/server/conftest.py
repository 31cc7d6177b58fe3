"""Fixtures of the server's tests: a server per test and database, or one that a module's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import Postgres, Server, running_postgres, start

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


@pytest.fixture
def server(tmp_path: Path, database_url: Callable[[], str | None]) -> Iterator[Server]:
    """A server of this test alone, on SQLite and on PostgreSQL."""
    running = start(tmp_path / "data", database_url())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared_server(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str | None]
) -> Iterator[Server]:
    """A server that the tests of a module share, on SQLite and on PostgreSQL."""
    running = start(tmp_path_factory.mktemp("server") / "data", database_url())
    yield running
    running.stop()
