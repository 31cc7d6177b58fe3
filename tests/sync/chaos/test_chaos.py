"""Disasters by seed, on SQLite and on PostgreSQL: nothing is lost, nothing comes twice.

A handful of seeds is part of the suite. `make chaos` runs 200 on SQLite and 50 on PostgreSQL:
WORLDFLUX_TEST_CHAOS=N sets how many, WORLDFLUX_TEST_CHAOS_FROM the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from schedule import Clients, Schedule
from server_process import Postgres, start

SEEDS = int(os.environ.get("WORLDFLUX_TEST_CHAOS", "4"))
FIRST = int(os.environ.get("WORLDFLUX_TEST_CHAOS_FROM", "0"))
ON_POSTGRES = max(1, SEEDS // 4)


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_disasters_on_sqlite(seed: int, clients: Clients, tmp_path: Path) -> None:
    """A server with its own database comes through a schedule of disasters."""
    _carry_out(seed, None, clients, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST + 1000, FIRST + 1000 + ON_POSTGRES))
def test_disasters_on_postgresql(seed: int, clients: Clients, postgres: Postgres, tmp_path: Path) -> None:
    """A server on PostgreSQL comes through a schedule of disasters."""
    _carry_out(seed, postgres.new_database(), clients, tmp_path)


def _carry_out(seed: int, database: str | None, clients: Clients, folder: Path) -> None:
    server = start(folder / "data", database)
    try:
        schedule = Schedule(seed, server, clients, folder)
        try:
            schedule.carry_out()
        except BaseException:
            print("\n".join(schedule.log), schedule.weather.had)
            print((folder / "data.err").read_text()[-20_000:])
            raise
        print(seed, schedule.counts, schedule.weather.had)
    finally:
        server.stop()
