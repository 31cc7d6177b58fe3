"""Pages of runs: every order, ties, what has no value, and runs that come and go in between."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from filter_oracle import COLUMN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nightly import times
from run_rows import Row, add, following, number, param_text, workspace
from sqlalchemy import delete, update

from worldflux.manifest.model import new_run_id
from worldflux.server import migrations
from worldflux.server.db import Database, connect
from worldflux.server.query.cursor import Cursor, decode
from worldflux.server.query.faults import CursorError, OrderError
from worldflux.server.query.fields import Type
from worldflux.server.query.order import Order
from worldflux.server.query.order import parse as order
from worldflux.server.query.page import Listing, count, page
from worldflux.server.query.parser import parse
from worldflux.server.query.place import Place
from worldflux.server.tables import runs

DEFAULTS = {"name": "run", "recipe": "r", "attempt": 1, "created_at": "2026-11-01T00:00:00.000+00:00"}


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str | None]
) -> Iterator[Database]:
    """A database with its tables, of each kind."""
    db = connect(tmp_path_factory.mktemp("db"), database_url())
    migrations.upgrade(db)
    yield db
    db.close()


def walk(db: Database, listing: Listing, size: int) -> list[int]:
    """All keys of a list, page by page, each in a transaction of its own."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        with db.read() as connection:
            one = page(connection, listing, size, cursor)
            cursor = following(connection, one)
        found += one.keys
        assert len(one.keys) == size or cursor is None
        if cursor is None:
            return found


def expected(by: Order, rows: list[tuple[int, Row]]) -> list[int]:
    """The keys in order, as the rules say it: values, then what has none, newest first."""

    def value(row: Row) -> tuple[int, Any]:
        """In which stretch of the order a run is, and its place in there."""
        if by.field.type is Type.METRIC:
            found = row.metrics.get(by.field.name)
            return (2, 0) if found is None else (1, 0) if math.isnan(found) else (0, found)
        if by.field.type is Type.PARAM:
            if by.field.name not in row.params:
                return 2, 0
            found = row.params[by.field.name]
            size = number(found)
            return (0, size) if size is not None else (1, param_text(found).encode())
        if by.field.name == "project":
            return 0, row.project.encode()
        column = COLUMN.get(by.field.name, by.field.name)
        found = row.facts.get(column, DEFAULTS.get(column))
        if found is None:
            return 2, 0
        return 0, found.encode() if isinstance(found, str) else float(found)

    ordered: list[int] = []
    for stretch in range(3):
        here = [(value(row)[1], key) for key, row in rows if value(row)[0] == stretch]
        aged = stretch == 2 or (stretch == 1 and by.field.type is Type.METRIC)
        here.sort(reverse=by.descending or aged)
        ordered += [key for _, key in here]
    return ordered


text = st.sampled_from(["", "a", "A", "b", "é", "日本", "😀", "z" * 40, "a b", "%"])
rows = st.builds(
    Row,
    facts=st.fixed_dictionaries(
        {
            "name": text,
            "recipe": text,
            "adapter": st.none() | text,
            "attempt": st.integers(1, 3),
            "duration_seconds": st.none() | st.sampled_from([0.0, 0.1, 1e-300, 3600.0]),
            "cost_usd": st.none() | st.sampled_from([0.0, 0.1]),
            "finished_at": st.none() | st.sampled_from(["2026-11-01T00:00:00.000+00:00"]),
        }
    ),
    project=st.sampled_from(["p", "Q"]),
    metrics=st.dictionaries(
        st.sampled_from(["m", "n"]), st.sampled_from([0.0, -0.0, 0.1, 1e300, math.inf, -math.inf, math.nan])
    ),
    params=st.dictionaries(st.sampled_from(["x"]), text | st.integers(-1, 2) | st.booleans() | st.none()),
)
FIELDS = ["created", "name", "recipe", "adapter", "attempt", "duration", "cost", "finished", "project", "metrics.m",
          "params.x"]  # fmt: skip


@settings(max_examples=times(15, 50), suppress_health_check=list(HealthCheck))
@given(
    st.lists(rows, max_size=12), st.lists(st.sampled_from(FIELDS), min_size=3, max_size=3), st.integers(1, 5)
)
def test_pages_together_are_the_whole_order(
    database: Database, made: list[Row], fields: list[str], size: int
) -> None:
    """Ties, NaN, infinities and runs without a value: every run once, where it belongs, on both databases."""
    with database.write() as connection:
        place = workspace(connection, "order")
        connection.execute(delete(runs).where(runs.c.workspace_id == place))
        keys = add(connection, place, made)
    for name in fields:
        for sign in ("", "-"):
            by = order(sign + name)
            found = walk(database, Listing(Place(place), order=by), size)
            assert found == expected(by, list(zip(keys, made, strict=True))), str(by)


@pytest.mark.parametrize(
    "sort", ["metrics.m", "-metrics.m", "params.x", "-params.x", "cost", "-cost", "name"]
)
def test_ties_and_what_is_missing(database: Database, sort: str) -> None:
    """The rules of order on one fixed list: equal values, NaN, none at all, numbers and texts."""
    made = [
        Row({"name": name, "cost_usd": cost}, metrics=metrics, params=params)
        for name, cost, metrics, params in (
            ("a", 1.0, {"m": 1.0}, {"x": 1}), ("a", None, {"m": math.nan}, {}), ("b", 1.0, {}, {"x": "1"}),
            ("a", 0.0, {"m": 1.0}, {"x": 1}), ("b", None, {"m": math.inf}, {"x": "z"}), ("c", 1.0, {}, {}),
            ("a", 1.0, {"m": math.nan}, {"x": 0.5}), ("a", 2.0, {"m": -math.inf}, {"x": True}),
        )
    ]  # fmt: skip
    with database.write() as connection:
        place = workspace(connection, f"ties{sort}")
        keys = add(connection, place, made)
    for size in (1, 3, 8):
        found = walk(database, Listing(Place(place), order=order(sort)), size)
        assert found == expected(order(sort), list(zip(keys, made, strict=True)))


def test_newest_first_unless_asked_otherwise(database: Database) -> None:
    """Without an order the newest run is on top; the total is counted once and goes along."""
    with database.write() as connection:
        place = workspace(connection, "newest")
        days = [f"2026-11-{day:02}T00:00:00.000+00:00" for day in (3, 1, 2)]
        third, first, second = add(connection, place, [Row({"created_at": day}) for day in days])
    with database.read() as connection:
        one = page(connection, Listing(Place(place)), 2)
        assert (one.keys, one.total, one.is_exact) == ([third, second], 3, True)
        two = page(connection, Listing(Place(place)), 2, following(connection, one))
        assert (two.keys, two.total, following(connection, two)) == ([first], 3, None)


@pytest.mark.parametrize("sort", ["-created", "metrics.m", "-metrics.m", "params.x", "name", "cost"])
def test_runs_that_come_and_go_move_no_others(database: Database, sort: str) -> None:
    """While somebody pages, new runs repeat none and deleted ones hide none, also the one last seen."""
    with database.write() as connection:
        place = workspace(connection, f"stable{sort}")
        made = [
            Row({"name": f"n{i % 3}"}, metrics={"m": float(i % 4)}, params={"x": i % 2}) for i in range(12)
        ]
        keys = add(connection, place, made)
    listing = Listing(Place(place), order=order(sort))
    whole = walk(database, listing, 100)
    with database.read() as connection:
        one = page(connection, listing, 5)
        cursor = following(connection, one)
    with database.write() as connection:
        extra = add(connection, place, [Row({"name": "n0"}, metrics={"m": 0.0}), Row(metrics={"m": 9.0})])
        gone = one.keys[-1]
        connection.execute(update(runs).where(runs.c.pk == gone).values(state="trash"))
        later = [key for key in whole if key not in one.keys][3]
        connection.execute(update(runs).where(runs.c.pk == later).values(state="gone"))
    rest: list[int] = []
    while cursor is not None:
        with database.read() as connection:
            two = page(connection, listing, 4, cursor)
            cursor = following(connection, two)
        rest += two.keys
    assert [key for key in rest if key not in extra] == [k for k in whole[5:] if k != later]
    assert len(set(rest)) == len(rest) and set(keys) >= set(rest) - set(extra)


def test_a_filter_and_its_order_share_a_metric(database: Database) -> None:
    """Ordered by the metric that is filtered by, and only those runs that have it."""
    with database.write() as connection:
        place = workspace(connection, "shared")
        values = [0.3, 0.1, math.nan, 0.2, math.inf, None]
        keys = add(connection, place, [Row(metrics={} if v is None else {"m": v}) for v in values])
    listing = Listing(Place(place), parse("metrics.m > 0.1 and not metrics.m > 1000"), order("metrics.m"))
    assert walk(database, listing, 1) == [keys[3], keys[0]]


def test_counting_stops(database: Database) -> None:
    """Beyond a bound the total is the bound, and is said to be no exact one."""
    with database.write() as connection:
        place = workspace(connection, "counted")
        add(connection, place, [Row() for _ in range(6)])
    with database.read() as connection:
        assert count(connection, Listing(Place(place)), most=5) == (5, False)
        assert count(connection, Listing(Place(place)), most=6) == (6, True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("loss", "no field `loss`"),
        ("-tags", "has no order"),
        ("archived", "has no order"),
        ("--name", "no field `-name`"),
        ("metrics.", "no field"),
        ("x" * 300, "no field"),
    ],
)
def test_what_is_no_order(text: str, problem: str) -> None:
    """An order that can not be is refused, with the nearest one."""
    with pytest.raises(OrderError) as caught:
        order(text)
    assert problem in caught.value.problem and caught.value.hint


def damaged() -> Iterator[str]:
    """Cursors that nobody was given."""
    good = ["list", 0, "2026", new_run_id(), 5, True]

    def packed(parts: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")

    yield from ("", "x", "!!!!", "a" * 9000, packed([]), packed({}), packed([1]), packed("x"), packed(None))
    for place, value in (
        (0, 7), (1, -1), (1, True), (1, "0"), (2, True), (2, {}), (2, ["nan"]), (2, [1]), (2, "a\0"), (2, "\ud800"),
        (2, 10**400), (3, "x"), (3, 5), (4, -5), (4, "5"), (5, 1), (1, 2**60),
    ):  # fmt: skip
        yield packed([1, *good[:place], value, *good[place + 1 :]])
    yield packed([2, *good])
    yield packed([1, *good, 0])
    yield base64.urlsafe_b64encode(b'[1,"list",0,NaN,"' + new_run_id().encode() + b'",5,true]').decode()
    yield base64.urlsafe_b64encode(b"[" * 2000).decode()


@pytest.mark.parametrize("text", list(damaged()), ids=lambda text: text[:30])
def test_a_damaged_cursor_is_refused(text: str) -> None:
    """Whatever is given as a cursor ends in a clear refusal."""
    with pytest.raises(CursorError):
        decode(text, "list")


def test_a_cursor_belongs_to_its_list(database: Database) -> None:
    """A cursor of another filter, order, state or workspace is refused, not misread."""
    with database.write() as connection:
        place = workspace(connection, "fingerprint")
        add(connection, place, [Row() for _ in range(3)])
    here, by = Place(place), order("name")
    listing = Listing(here, order=by)
    others = [
        Listing(here),
        Listing(here, order=order("-name")),
        Listing(Place(place + 1), order=by),
        Listing(here, parse("lost"), by, text="lost"),
        Listing(here, order=by, states=("trash",)),
        Listing(here, order=by, live=True),
    ]
    with database.read() as connection:
        cursor = following(connection, page(connection, listing, 1))
        assert cursor is not None
        for other in others:
            with pytest.raises(CursorError):
                page(connection, other, 1, cursor)
        run = decode(cursor, listing.fingerprint).run
        for forged in (
            Cursor(listing.fingerprint, 0, "a", new_run_id(), 3, True),
            Cursor(listing.fingerprint, 0, 5.0, run, 3, True),
            Cursor(listing.fingerprint, 7, "a", run, 3, True),
        ):
            with pytest.raises(CursorError):
                page(connection, listing, 1, forged.encode())


@given(st.floats(allow_nan=False) | st.text() | st.none())
def test_a_cursor_keeps_its_value(value: float | str | None) -> None:
    """What a page ended with comes back to the last bit."""
    if isinstance(value, str) and "\0" in value:
        return
    run = new_run_id()
    found = decode(Cursor("f", 1, value, run, 9, False).encode(), "f")
    assert found == Cursor("f", 1, value, run, 9, False)
