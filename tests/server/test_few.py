"""Pages found from the few runs that pass: the same runs as by a walk, and found so when it is quicker."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nightly import WHOLE
from run_rows import Row, add, following, project, workspace
from sqlalchemy import Connection, event, text

from worldflux.server import migrations
from worldflux.server.db import Database, connect
from worldflux.server.query import rare, sql
from worldflux.server.query.budget import limited
from worldflux.server.query.fields import Type
from worldflux.server.query.kinds import settled
from worldflux.server.query.listing import Listing
from worldflux.server.query.order import parse as order
from worldflux.server.query.page import count, page
from worldflux.server.query.parser import parse
from worldflux.server.query.place import Place

MANY = 20_000
MADE = """
INSERT INTO runs (pk, workspace_id, project_id, client_run_id, name, recipe, task, status, claimed_status, created_at,
  received_at, updated_at)
SELECT i, {workspace}, {project}, CAST(i AS TEXT), 'run', 'r', 'train', 'succeeded', 'succeeded',
  CAST(1000000 + i AS TEXT), '', '' FROM {series}
"""
METRIC = """
INSERT INTO run_metrics (run_pk, workspace_id, name, value, kind)
SELECT i, {workspace}, '{name}', (i * {step}) % {many} / {many}.0, 'finite' FROM {series}
"""
PARAM = """
INSERT INTO run_params (run_pk, workspace_id, name, text, number)
SELECT i, {workspace}, 'p', CAST(i % 200 AS TEXT), i % 200 FROM {series}
"""


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str | None]
) -> Iterator[Database]:
    """A database of each kind, with some runs of many sorts in the workspace `sorts`, and those of another."""
    db = connect(tmp_path_factory.mktemp("few"), database_url())
    migrations.upgrade(db)
    with db.write() as connection:
        dice = random.Random(7)
        for place in ("theirs", "sorts"):
            add(connection, workspace(connection, place), [_any_row(dice) for _ in range(150)])
    yield db
    db.close()


def _any_row(dice: random.Random) -> Row:
    metrics = {name: dice.choice([0.0, 0.1, 0.1, 2.0, math.inf, math.nan]) for name in "mno"}
    params = {"x": dice.randint(0, 3), "word": dice.choice("abc")}
    return Row(
        {"name": dice.choice("abc"), "created_at": f"2026-11-0{dice.randint(1, 3)}T00:00:00.000+00:00",
         "state": dice.choice(["active", "active", "archived"]), "cost_usd": dice.choice([None, 0.1, 0.2])},
        project=dice.choice("pq"),
        metrics={name: value for name, value in metrics.items() if dice.random() < 0.8},
        params={name: value for name, value in params.items() if dice.random() < 0.8},
        tags=[tag for tag in ("t", "u") if dice.random() < 0.5],
    )  # fmt: skip


def pages(db: Database, listing: Listing, size: int) -> tuple[list[int], set[tuple[int, bool]]]:
    """All keys of a list, page by page, and what was said of its total."""
    found: list[int] = []
    totals, cursor = set(), None
    while True:
        with db.read() as connection:
            one = page(connection, listing, size, cursor)
            cursor = following(connection, one)
        found += one.keys
        totals.add((one.total, one.is_exact))
        if cursor is None:
            return found, totals


#: How lists are ordered, and what is asked for.
SORTS = ("", "created", "metrics.m", "-metrics.o", "params.x", "-params.word", "-cost", "name")
WORDS = (
    "metrics.m > 0", "metrics.m in [0.1, 2] and metrics.n < 1", "tags has t and params.x = 2",
    "params.word = b and not metrics.o = 2", "metrics.m >= 0 and metrics.m < 2 and (tags has u or name = a)",
    "metrics.m = Infinity and params.x >= 1 and params.word > a", "tags has t and tags has u and not archived",
    "metrics.m > 5 and metrics.m < 3 and tags has t",
)  # fmt: skip
#: All pairs nightly; here each order with three questions, and each question in three orders.
PAIRS = [
    (words, sort) for at, words in enumerate(WORDS) for by, sort in enumerate(SORTS)
    if WHOLE or (by - at) % 8 in (0, 2, 5)
]  # fmt: skip


@pytest.mark.parametrize(("words", "sort"), PAIRS)
def test_the_same_runs_whichever_way(
    database: Database, words: str, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginning with those that pass, comparing with their keys and looking each up give the same pages."""
    with database.read() as connection:
        place = connection.execute(text("SELECT pk FROM workspaces WHERE slug = 'sorts'")).scalar_one()
        node = settled(connection, place, parse(words))
        demands = sql.indexed(node, place)
        counts = {
            key: len(connection.execute(rows.keys(sql.literal(1000))).all()) for key, rows in demands.items()
        }
    assert set(demands) == sql.needs(node)
    listing = Listing(Place(place), node, order(sort))
    monkeypatch.setattr(rare, "few", lambda *_: None)
    expected, _ = pages(database, listing, 20)
    for key, number in counts.items():
        if key == (listing.order.field.type, listing.order.field.name):
            continue
        for way, most_sorted in (("each", 500), ("walk", 500), ("walk", 0)):
            few = rare.Few(key, number, way)
            monkeypatch.setattr(rare, "few", lambda *_, few=few: few)
            monkeypatch.setattr("worldflux.server.query.page.MAX_SORTED", most_sorted)
            found, totals = pages(database, listing, 20)
            assert found == expected, (key, way, most_sorted)
            assert totals == {(len(expected), True)}, (key, way, most_sorted)


@pytest.fixture(scope="module", params=[False, True], ids=["unknown sizes", "known sizes"])
def many(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: Callable[[], str | None],
    request: pytest.FixtureRequest,
) -> Iterator[Database]:
    """A database of each kind with many runs, each with two metrics and a parameter, with and without statistics."""
    db = connect(tmp_path_factory.mktemp("many"), database_url())
    migrations.upgrade(db)
    series = (
        f"(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<{MANY}) SELECT i FROM s)"
        if db.is_sqlite
        else f"generate_series(1, {MANY}) AS i"
    )
    with db.write() as connection:
        if not db.is_sqlite:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        place = workspace(connection, "many")
        assert place == 1
        words = {"series": series, "workspace": place, "many": MANY}
        made = [MADE.format(**words, project=project(connection, place, "p")), PARAM.format(**words)]
        made += [METRIC.format(**words, name=name, step=step) for name, step in (("m", 7919), ("n", 104729))]
        for statement in made:
            connection.exec_driver_sql(statement.replace("%", "%%") if not db.is_sqlite else statement)
    if request.param:
        db.optimize()
        if not db.is_sqlite:
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
    yield db
    db.close()


def knows_sizes(db: Database) -> bool:
    """Whether PostgreSQL has statistics of the runs."""
    with db.read() as connection:
        return bool(
            connection.execute(text("SELECT count(*) FROM pg_stats WHERE tablename = 'runs'")).scalar_one()
        )


def plan_of(db: Database, listing: Listing) -> str:
    """What the database does for a page, without what it does to learn how many pass."""
    found: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        finds = "ORDER BY" in statement and "count(*)" not in statement
        if finds or "group_array" in statement or "array_agg" in statement:
            if db.is_sqlite:
                driver = connection.connection.driver_connection
                found.extend(row[3] for row in driver.execute("EXPLAIN QUERY PLAN " + statement, parameters))
            else:
                with connection.connection.driver_connection.cursor() as own:
                    own.execute("EXPLAIN " + statement, parameters)
                    found.extend(row[0] for row in own.fetchall())

    event.listen(db.engine, "before_cursor_execute", explain)
    try:
        with db.read() as connection, limited(connection):
            assert len(page(connection, listing, 100).keys) == 100
    finally:
        event.remove(db.engine, "before_cursor_execute", explain)
    return "\n".join(found)


def asked(words: str, sort: str = "") -> Listing:
    return Listing(Place(1), parse(words), order(sort))


@pytest.mark.parametrize("sort", ["", "metrics.n"])
def test_very_few_are_begun_with(many: Database, sort: str) -> None:
    """When 120 of 20,000 pass, only those are looked at: no walk along all runs, on either database."""
    listing = asked("metrics.m < 0.006", sort)
    with many.read() as connection:
        found = rare.few(connection, listing, 100)
        assert found == rare.Few((Type.METRIC, "m"), 120, "each")
        assert count(connection, listing, few=found) == (120, True)
    plan = plan_of(many, listing)
    assert "ix_run_metrics_value" in plan, plan
    assert "ix_runs_page" not in plan, plan
    if many.is_sqlite:
        assert "SEARCH runs USING INTEGER PRIMARY KEY" in plan, plan


@pytest.mark.parametrize("sort", ["", "-metrics.n"])
def test_few_are_compared_with_during_the_walk(many: Database, sort: str) -> None:
    """When 1,200 of 20,000 pass, their keys are put together once, and the order is walked, not sorted."""
    if not (many.is_sqlite or knows_sizes(many)):
        pytest.skip("PostgreSQL joins anyhow before it ever learnt the sizes, which takes it a minute")
    listing = asked("metrics.m < 0.06", sort)
    with many.read() as connection:
        found = rare.few(connection, listing, 100)
        assert found == rare.Few((Type.METRIC, "m"), 1200, "walk")
        assert count(connection, listing, few=found) == (1200, True)
    plan = plan_of(many, listing)
    assert ("LIST SUBQUERY" if many.is_sqlite else "hashed SubPlan") in plan, plan
    assert ("ix_run_metrics_value" if sort else "ix_runs_page") in plan, plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan and "Sort" not in plan, plan


def test_many_are_looked_up(many: Database) -> None:
    """When half of all pass, nothing is put together: enough are met on the way."""
    if not (many.is_sqlite or knows_sizes(many)):
        pytest.skip("PostgreSQL joins anyhow before it ever learnt the sizes, which takes it a minute")
    listing = asked("metrics.m < 0.5")
    with many.read() as connection:
        found = rare.few(connection, listing, 100)
    assert found is None or found.way is None
    plan = plan_of(many, listing)
    assert "SubPlan" not in plan and "LIST SUBQUERY" not in plan, plan


def test_of_several_the_rarest_counts(many: Database) -> None:
    """Of a metric that half have and a parameter that one of 200 has, the parameter is begun with."""
    with many.read() as connection:
        listing = Listing(Place(1), settled(connection, 1, parse("metrics.m < 0.5 and params.p = 7")))
        found = rare.few(connection, listing, 20)
        assert found == rare.Few((Type.PARAM, "p"), 100, "each")
        one = page(connection, listing, 20)
        assert (one.total, one.is_exact) == count(connection, listing, most=100) and one.is_exact


def statements_of(db: Database, listing: Listing) -> list[str]:
    """What is asked for a page of 100."""
    found: list[str] = []

    def keep(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        found.append(statement)

    event.listen(db.engine, "before_cursor_execute", keep)
    try:
        with db.read() as connection:
            page(connection, listing, 100)
    finally:
        event.remove(db.engine, "before_cursor_execute", keep)
    return found


def test_that_many_pass_is_known_for_a_while(many: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page does not ask again how many pass, a later one does; how many few are is always asked."""
    now = [1000.0]
    monkeypatch.setattr("worldflux.server.query.rare.time.monotonic", lambda: now[0])
    common, seldom = asked("metrics.m < 0.95"), asked("metrics.m < 0.006")
    asks = {
        (name, second): sum("AS seen" in each for each in statements_of(many, listing))
        for second in range(2)
        for name, listing in (("common", common), ("seldom", seldom))
    }
    assert asks == {("common", 0): 1, ("seldom", 0): 1, ("common", 1): 0, ("seldom", 1): 1}
    now[0] += rare.MANY_SECONDS + 0.1
    assert any("AS seen" in each for each in statements_of(many, common))


@pytest.mark.parametrize(
    "words", ["metrics.m = NaN", "params.p ~ 7", "params.p", "metrics.m < 1 or tags has t"]
)
def test_what_no_index_holds_together_is_not_counted(many: Database, words: str) -> None:
    """A pattern, a NaN and an `or` would have to look at all rows to be counted; they are looked up run by run."""
    with many.read() as connection:
        node = settled(connection, 1, parse(words if words != "params.p" else "params.p != null"))
        assert rare.few(connection, Listing(Place(1), node), 100) is None


def test_one_run_needs_no_count(many: Database) -> None:
    """Where only one run may be seen, as through a share, nothing is counted."""
    with many.read() as connection:
        assert rare.few(connection, Listing(Place(1, run_id="7"), parse("metrics.m < 0.006")), 100) is None
