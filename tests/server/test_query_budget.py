"""A question that takes too long is ended, and only that question."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from worldflux.server.db import connect
from worldflux.server.problems import Problem
from worldflux.server.query.budget import limited

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {}) SELECT count(*) FROM n"
SLOW = {"sqlite": COUNT.format(10**9), "postgresql": "SELECT pg_sleep(60)"}


def test_a_slow_question_is_ended(tmp_path: Path, database_url: Callable[[], str | None]) -> None:
    """503 with a way to ask for less, in good time; the connection serves the next question."""
    db = connect(tmp_path, database_url(), pool=1)
    began = time.monotonic()
    with pytest.raises(Problem) as caught, db.read() as connection, limited(connection, 0.3):
        connection.execute(text(SLOW[db.engine.dialect.name]))
    assert time.monotonic() - began < 10
    assert (caught.value.status, caught.value.code) == (503, "too-slow")
    assert "narrow" in caught.value.hint and "Retry-After" in caught.value.headers
    with db.read() as connection, limited(connection, 5):
        assert connection.execute(text("SELECT 1")).scalar() == 1
    db.close()


def test_the_limit_ends_with_the_question(tmp_path: Path, database_url: Callable[[], str | None]) -> None:
    """Work on the same connection after it is not ended by an old clock."""
    db = connect(tmp_path, database_url(), pool=1)
    with db.read() as connection:
        with limited(connection, 0.05):
            connection.execute(text("SELECT 1"))
        time.sleep(0.1)
    with db.read() as connection:
        assert connection.execute(text(COUNT.format(300_000))).scalar() == 300_000
    db.close()
