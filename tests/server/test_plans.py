"""How SQLite goes about a page, which is what makes it quick: also before it ever learnt the tables' sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from run_rows import Row, add, workspace
from sqlalchemy import Connection, event

from worldflux.server import migrations
from worldflux.server.db import Database, connect
from worldflux.server.query.order import parse as order
from worldflux.server.query.page import Listing, page
from worldflux.server.query.parser import parse
from worldflux.server.query.place import Place
from worldflux.server.query.rows import Columns, rows


@pytest.fixture(scope="module", params=[False, True], ids=["unknown sizes", "known sizes"])
def database(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A SQLite database with some runs, with and without statistics."""
    db = connect(tmp_path_factory.mktemp("plans"))
    migrations.upgrade(db)
    with db.write() as connection:
        made = [
            Row(metrics={"m": n / 7, "n": 1.0}, params={"x": n, "y": "a"}, tags=["t"]) for n in range(300)
        ]
        add(connection, workspace(connection, "plans"), made)
    if request.param:
        db.optimize()
    yield db
    db.close()


def steps(db: Database, listing: Listing) -> list[str]:
    """What the database does, step by step, for a page and its rows."""
    found: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            driver = connection.connection.driver_connection
            found.extend(row[3] for row in driver.execute("EXPLAIN QUERY PLAN " + statement, parameters))

    event.listen(db.engine, "before_cursor_execute", explain)
    try:
        with db.read() as connection:
            one = page(connection, listing, 20)
            assert (
                len(rows(connection, listing.place, one.keys, Columns(None, ("x",)))) == len(one.keys) == 20
            )
    finally:
        event.remove(db.engine, "before_cursor_execute", explain)
    return found


@pytest.mark.parametrize("sort", ["", "metrics.m", "-metrics.m", "-params.x"])
@pytest.mark.parametrize("words", ["", "metrics.m > 1", "params.y = a and metrics.n = 1"])
def test_an_order_is_walked_not_sorted(database: Database, sort: str, words: str) -> None:
    """Orders by age, metric and parameter come from an index; no run is looked at that is not needed."""
    if words and not sort:
        pytest.skip("where to start is for the database to weigh")
    found = steps(database, Listing(Place(1), parse(words), order(sort)))
    # Of the same number those of the same age are few; anything more would be a sort of all runs.
    sorts = [step for step in found if "TEMP B-TREE FOR ORDER BY" in step]
    assert not sorts, found
    assert not [step for step in found if step.startswith("SCAN runs")], found


def test_what_belongs_to_the_rows_is_found_by_run(database: Database) -> None:
    """Metrics, parameters and tags of a page are looked up run by run, not by going through the workspace's."""
    found = steps(database, Listing(Place(1)))
    for table in ("run_metrics", "run_params", "run_tags"):
        assert [step for step in found if step.startswith(f"SEARCH {table} USING PRIMARY KEY (run_pk=?")], (
            found
        )
        assert not [step for step in found if table in step and "workspace_id=?" in step], found
