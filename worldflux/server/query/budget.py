"""A limit on how long one question may keep the database busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from worldflux.server.problems import Problem

#: A list or a search of runs may take this long.
SECONDS = 5.0
#: How many steps of SQLite's machine lie between two looks at the clock: well below a millisecond.
_STEPS = 20_000

# Starting workers and compiling take longer than a page is meant to, and a plan that was made without the values
# of a filter knows nothing of how many runs pass it.
_SET = text(
    "SELECT set_config('statement_timeout', :most, true), set_config('jit', 'off', true),"
    " set_config('max_parallel_workers_per_gather', '0', true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)


@contextmanager
def limited(connection: Connection, seconds: float = SECONDS) -> Iterator[Connection]:
    """Run the block's statements within a time, all together on SQLite and each on PostgreSQL.

    Raises:
        Problem: 503 when they took longer; says how to ask for less.
    """
    if connection.dialect.name == "sqlite":
        with _watched(connection, seconds):
            yield connection
        return
    try:
        connection.execute(_SET, {"most": str(max(int(seconds * 1000), 1))})
        yield connection
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == "57014":
            raise too_slow() from None
        raise


@contextmanager
def _watched(connection: Connection, seconds: float) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    end = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except DBAPIError as error:
        if "interrupted" in str(error.orig):
            raise too_slow() from None
        raise
    finally:
        driver.set_progress_handler(None, 0)


def too_slow() -> Problem:
    """What is answered when a question took too long."""
    return Problem(
        503, "too-slow", "this took the database too long",
        "narrow it: one project, a time such as `created > -7d`, or fewer columns", headers={"Retry-After": "5"},
    )  # fmt: skip
