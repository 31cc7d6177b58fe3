"""How many runs a list is said to have, where an index that knows nothing of their states is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from run_rows import Row, add, following, project, workspace
from sqlalchemy import Connection, event

from worldflux.server import migrations
from worldflux.server.db import Database, connect
from worldflux.server.query import page as pages
from worldflux.server.query import rare
from worldflux.server.query.kinds import settled
from worldflux.server.query.listing import Listing
from worldflux.server.query.order import parse as order
from worldflux.server.query.page import count, page
from worldflux.server.query.parser import parse
from worldflux.server.query.place import Place

STATES = ("active", "active", "active", "archived", "trash", "gone")
ONE_DEMAND = (
    "metrics.m < 0.5", "metrics.m > 0.1 and metrics.m < 0.8", "metrics.m in [0.25, 0.5]", "tags has t",
    "params.p = 3", "params.word >= b", "(metrics.m < 0.5)",
)  # fmt: skip
MORE_DEMANDS = (
    "metrics.m < 0.5 and tags has t", "metrics.m < 0.5 and not archived", "tags in [t, u]", "tags has t or tags has u",
    "metrics.m < 0.5 and name = odd", "metrics.m = NaN", "not metrics.m < 0.5", "params.p ~ 3", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str | None]
) -> Iterator[Database]:
    """A database of each kind with runs in all states, and as many of another workspace."""
    db = connect(tmp_path_factory.mktemp("totals"), database_url())
    migrations.upgrade(db)
    with db.write() as connection:
        for slug in ("theirs", "counted"):
            add(connection, workspace(connection, slug), [_row(number) for number in range(120)])
    yield db
    db.close()


def _row(number: int) -> Row:
    return Row(
        {"state": STATES[number % 6], "name": "odd" if number % 2 else "even"},
        project="p" if number % 5 else "q",
        metrics={"m": number % 8 / 8} if number % 7 else {"m": float("nan")},
        params={"p": number % 4, "word": "abc"[number % 3]},
        tags=[tag for tag, every in (("t", 2), ("u", 3)) if number % every == 0],
    )


def listings(connection: Connection, words: str) -> Iterator[Listing]:
    """Lists of all that a workspace has, and of less."""
    place = workspace(connection, "counted")
    node, least = settled(connection, place, parse(words)), order("metrics.m")
    both = ("active", "archived")
    yield from (Listing(Place(place), node), Listing(Place(place), node, least))
    yield from (Listing(Place(place), node, states=both), Listing(Place(place), node, states=("trash",)))
    yield Listing(Place(place, project_id=project(connection, place, "q")), node)
    yield Listing(Place(place), node, live=True)
    # A share shows no trash.
    yield Listing(Place(place, shared=True), node, states=(*both, "trash"))


def every_key(connection: Connection, listing: Listing) -> tuple[list[int], set[tuple[int, bool]]]:
    """The keys of a list page by page, and what each page said of their number."""
    found: list[int] = []
    said, cursor = set(), None
    while True:
        one = page(connection, listing, 7, cursor)
        found += one.keys
        said.add((one.total, one.is_exact))
        cursor = following(connection, one)
        if cursor is None:
            return found, said


@pytest.mark.parametrize("most_hidden", [500, 3], ids=["few hidden", "many hidden"])
@pytest.mark.parametrize("words", [*ONE_DEMAND, *MORE_DEMANDS])
def test_a_total_is_that_of_the_listed_runs(
    database: Database, words: str, most_hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs in the trash, tombstones, archived ones and those of others pass too, and are not counted."""
    monkeypatch.setattr(pages, "MAX_HIDDEN", most_hidden)
    with database.read() as connection:
        for listing in listings(connection, words):
            expected, said = every_key(connection, listing)
            assert said == {(len(expected), True)}, listing
            few = rare.few(connection, listing, 7)
            for known in (few, None):
                assert count(connection, listing, few=known) == (len(expected), True), (listing, known)
                most = len(expected) // 2
                if most:
                    assert count(connection, listing, most, known) == (most, False), (listing, known)


@pytest.mark.parametrize("words", ONE_DEMAND[:4])
def test_beyond_a_bound_a_total_is_the_bound(
    database: Database, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound itself is said, and that there are more, though some of those in the index are not listed."""
    monkeypatch.setattr(rare, "few", lambda *_: None)
    for name in ("MAX_TOTAL", "MAX_TOTAL_MANY", "MAX_TOTAL_JOINED"):
        monkeypatch.setattr(pages, name, 10)
    with database.read() as connection:
        one = page(connection, Listing(Place(workspace(connection, "counted")), parse(words)), 7)
    assert (one.total, one.is_exact) == (10, False)


def counting(db: Database, listing: Listing) -> list[str]:
    """The statements that count a list whose few runs are known."""
    found: list[str] = []

    def keep(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        found.append(statement)

    with db.read() as connection:
        few = rare.few(connection, listing, 7)
        event.listen(db.engine, "before_cursor_execute", keep)
        try:
            count(connection, listing, few=few)
        finally:
            event.remove(db.engine, "before_cursor_execute", keep)
    return found


@pytest.mark.parametrize("words", ONE_DEMAND)
def test_one_demand_is_counted_once(database: Database, words: str) -> None:
    """What was counted to find the page is the total, but for what is hidden: no run is looked up for it."""
    with database.read() as connection:
        place = workspace(connection, "counted")
        node = settled(connection, place, parse(words))
    statements = counting(database, Listing(Place(place), node))
    assert len(statements) == 1 and " JOIN " not in statements[0], statements
    # Nobody counted what a list is ordered by.
    statements = counting(database, Listing(Place(place), node, order("metrics.m")))
    assert len(statements) == (2 if "metrics.m" in words else 1), statements
    assert not any(" JOIN " in each for each in statements), statements
