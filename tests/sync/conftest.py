"""Fixtures of the sync client's tests: real servers, a project folder, an upload without a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from server_process import Postgres, Server, running_postgres, start
from sync_lab import Desk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a module share; their runs have ids of their own."""
    running = start(tmp_path_factory.mktemp("server") / "data")
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of one test, which may kill it."""
    running = start(tmp_path / "data")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this session."""
    with running_postgres() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    root = tmp_path / "a project é"
    (root / "runs").mkdir(parents=True)
    (root / "worldflux.yaml").write_text("project: demo\n")
    return root


@pytest.fixture
def desk(server: Server, project: Path) -> Iterator[Desk]:
    """A client of the shared server for the project."""
    with Desk.at(server.url, server.key, project) as found:
        yield found


@pytest.fixture
def desk_at(project: Path) -> Iterator[Callable[..., Desk]]:
    """Makes clients of other servers or addresses."""
    made: list[Desk] = []

    def make(url: str, key: str, root: Path | None = None, **options: object) -> Desk:
        made.append(Desk.at(url, key, root or project, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()
