"""The statements that find a page of a list.

To put one together takes longer than SQLite needs to answer it, and who looks at a list asks for the same one again
and again: those of the latest lists are kept. What differs from page to page is a parameter: `most` rows, after
this `value` and `run`, the number of the `few` that pass, and the `keys` of those that are known to.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Join,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from worldflux.server.columns import Whole
from worldflux.server.query import sql
from worldflux.server.query.listing import Listing
from worldflux.server.query.order import Phase, phases
from worldflux.server.query.place import EVERY_STATE
from worldflux.server.tables import Real, runs

#: How a page is found: each run of the order is looked up, or compared with the keys of the few that pass what is
#: demanded of one thing, or the order is that of given keys.
Way = sql.Key | Literal["given"] | None

#: More than so many runs are not few, however many there are.
MAX_FEW = 16_000
#: So many of the newest runs are looked at first; when so many of them pass, enough will be met on the way.
SAMPLE, PLENTY = 128, 8

_LISTS = 32

RUN_KEY = select(runs.c.pk).where(
    runs.c.workspace_id == bindparam("workspace"), runs.c.client_run_id == bindparam("id")
)


class Led(Join):
    """A join that starts at its left side; only SQLite needs to be told."""

    inherit_cache = True


@compiles(Led, "sqlite")
def _led(join: Led, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    left, right, on = (
        compiler.process(part, **options)
        for part in (join.left, join.right, join.onclause)
        if part is not None
    )
    return f"{left} CROSS JOIN {right} ON {on}"


@compiles(Led)
def _plain(join: Led, compiler: Any, **options: Any) -> str:
    return str(compiler.visit_join(join, **options))


@lru_cache(maxsize=_LISTS)
def stretches(listing: Listing, sqlite: bool) -> tuple[Phase, ...]:
    """The stretches of a list's order."""
    needs = sql.needs(listing.node)
    return tuple(phases(listing.order, listing.place.workspace_id, needs, forced=sqlite))


@lru_cache(maxsize=_LISTS * 2)
def walk(listing: Listing, sqlite: bool, number: int, goes_on: bool, way: Way) -> Executable:
    """The keys of `most` runs of a stretch in its order, with what they are ordered by.

    Args:
        number: of the stretch.
        goes_on: after the run of the key `run`, which has this `value`.
        way: not to look up for each run whether it passes.
    """
    phase = stretches(listing, sqlite)[number]
    condition, source = _given_keys(phase, sqlite) if way == "given" else _source(listing, phase, way)
    # No more than what the indexes hold: looking up each run that does not pass would cost most.
    where = [*listing.base(looked_up=way == "given"), *condition.where, *phase.where]
    most, run = _given("most", Integer()), _given("run", Whole())
    if phase.value is None:
        if goes_on:
            where.append(phase.key < run)
        return select(phase.key).select_from(source).where(*where).order_by(phase.key.desc()).limit(most)
    descending = listing.order.descending
    if goes_on:
        value = _given("value", Real() if phase.type is float else Text())
        here, there = tuple_(phase.value, phase.key), tuple_(value, run)
        where.append(here < there if descending else here > there)
    order = (phase.value.desc(), phase.key.desc()) if descending else (phase.value, phase.key)
    query = select(phase.key, phase.value).select_from(source).where(*where)
    return query.order_by(*order).limit(most)


def _given(name: str, type_: Any) -> BindParameter[Any]:
    return bindparam(name, type_=type_)


def _source(listing: Listing, phase: Phase, few: sql.Key | None) -> tuple[sql.Condition, FromClause]:
    """The tables of a stretch, and what its runs must fulfil.

    A forced stretch starts at the table whose order is walked, and asks for each run there whether it
    passes: there is no other way that a database without statistics could mistake for a better one.
    """
    place = listing.place.workspace_id
    forced = phase.table if phase.forced else None
    run = None if forced is None and few is None else phase.key
    condition = sql.condition(listing.node, place, phase.shared, run, few)
    if few is not None:
        # `IS TRUE` has a database put the keys together, compare, and not make a join of it.
        condition.where.append(phase.key.in_(_keys(listing, few)).is_(true()))
    if forced is not None:
        # The sum keeps it from starting at `runs`.
        return condition, forced.join(runs, phase.key + 0 == runs.c.pk)
    source = condition.source()
    for table, on in phase.joins:
        source = source.join(table, on)
    return condition, source


def _given_keys(phase: Phase, sqlite: bool) -> tuple[sql.Condition, FromClause]:
    """The tables of a stretch, beginning with given keys of runs that pass the filter."""
    if sqlite:
        keys = func.json_each(_given("keys", Text())).table_valued("value", name="given")
    else:
        array = func.unnest(_given("keys", ARRAY(Whole())))
        keys = array.table_valued("value", name="given").render_derived()
    source: FromClause = Led(keys, runs, runs.c.pk == keys.c.value)
    for table, on in phase.joins:
        source = Led(source, table, on)
    return sql.Condition(), source


def _keys(listing: Listing, key: sql.Key) -> Select[int]:
    """The keys of the runs that pass what is demanded of one key, all of them: the limit is for the planner."""
    return sql.indexed(listing.node, listing.place.workspace_id)[key].keys(_given("few", Integer()))


@lru_cache(maxsize=_LISTS)
def each(listing: Listing, sqlite: bool, key: sql.Key) -> Executable:
    """How many runs there are, and their keys all in one: each of the `few` that pass one demand is looked at."""
    few = _keys(listing, key).subquery("few")
    condition = sql.condition(listing.node, listing.place.workspace_id, None, few.c.run_pk, key)
    source = Led(few, runs, runs.c.pk == few.c.run_pk)
    keys = func.json_group_array(runs.c.pk) if sqlite else func.array_agg(runs.c.pk)
    where = [*listing.base(looked_up=True), *condition.where]
    return select(func.count(), keys).select_from(source).where(*where)


@lru_cache(maxsize=_LISTS)
def total(listing: Listing) -> Select[int]:
    """How many runs there are, counted up to `most`."""
    condition = sql.condition(listing.node, listing.place.workspace_id)
    query = select(runs.c.pk).select_from(condition.source()).where(*listing.base(), *condition.where)
    return select(func.count()).select_from(query.limit(_given("most", Integer())).subquery())


@lru_cache(maxsize=_LISTS)
def passing(listing: Listing) -> Select[int] | None:
    """How many runs of the workspace pass a filter, counted up to `few`, whatever states they are in.

    None when that says nothing: the filter demands more than an index holds together, or the list has other limits.
    """
    rows = sql.alone(listing.node, listing.place.workspace_id) if listing.is_whole else None
    if rows is None:
        return None
    return select(func.count()).select_from(rows.keys(_given("few", Integer())).subquery())


@lru_cache(maxsize=_LISTS)
def hidden(listing: Listing) -> Select[int, int]:
    """How many runs are in states that are not listed, up to `most`; and how many of these pass the filter."""
    place = listing.place
    rows = sql.alone(listing.node, place.workspace_id)
    assert rows is not None
    others = [state for state in EVERY_STATE if state not in listing.seen_states]
    looked_at = (
        select(runs.c.pk)
        .where(*place.limits(), runs.c.state.in_(others))
        .limit(_given("most", Integer()))
        .subquery()
    )
    passing = func.count().filter(rows.of(looked_at.c.pk))
    return select(func.count(), passing).select_from(looked_at)


@lru_cache(maxsize=_LISTS)
def census(listing: Listing) -> tuple[list[sql.Key], Executable] | None:
    """What a filter demands, and how many runs there are at most and how many pass each demand.

    Where many pass it is not how many, but less than zero: how many do of the newest `SAMPLE`. None when nothing is
    demanded that an index holds together, but for what the list is ordered by: to walk that is to begin there.
    """
    place, order = listing.place, listing.order
    found = sql.indexed(listing.node, place.workspace_id)
    found.pop((order.field.type, order.field.name), None)
    if not found or place.run_id is not None:
        return None
    newest = (
        select(runs.c.pk)
        .where(*place.limits(), runs.c.state == listing.states[0])
        .order_by(runs.c.created_at.desc(), runs.c.pk.desc())
        .limit(SAMPLE)
        .subquery()
    )
    met = [
        select(func.count())
        .select_from(newest)
        .where(rows.of(newest.c.pk))
        .scalar_subquery()
        .label(f"met{number}")
        for number, rows in enumerate(found.values())
    ]
    # The offset keeps a database from working these out wherever they are named.
    size = select(func.max(runs.c.pk)).scalar_subquery().label("size")
    seen = select(size, *met).offset(0).subquery("seen")
    numbers: list[ColumnElement[int]] = [seen.c.size]
    for number, rows in enumerate(found.values()):
        own = seen.c[f"met{number}"]
        every = select(func.count()).select_from(rows.keys(literal(MAX_FEW + 1)).subquery()).scalar_subquery()
        many = and_(own >= PLENTY, own * seen.c.size > SAMPLE * MAX_FEW)
        # A database works out only the branch that it takes.
        numbers.append(case((many, -own), else_=every))
    return list(found), select(*numbers)
