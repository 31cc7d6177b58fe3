"""One page of a list of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, and_, func, select, tuple_

from worldflux.server.query import cursor as cursors
from worldflux.server.query import sql
from worldflux.server.query.cursor import Cursor
from worldflux.server.query.faults import CursorError
from worldflux.server.query.nodes import EVERY, Node
from worldflux.server.query.order import NEWEST, Order, Phase, phases
from worldflux.server.query.place import SHOWN, Place
from worldflux.server.tables import Real, runs

#: Up to here rows are counted one by one; beyond it `total` is this and not exact.
MAX_TOTAL = 20_000
#: The same on PostgreSQL, where there may be millions: plain, and when each is looked up in another table. With
#: several of these, fewer runs pass all and as many more are looked at: it is divided by the square of their number.
MAX_TOTAL_MANY = 10_000
MAX_TOTAL_JOINED = 1000
MAX_LIMIT = 500


@dataclass(frozen=True)
class Listing:
    """What is asked for.

    Attributes:
        states: of `place.STATES`.
        live: only runs that run now.
        text: what the request said, for the cursor.
    """

    place: Place
    node: Node = EVERY
    order: Order = NEWEST
    states: tuple[str, ...] = ("active",)
    live: bool = False
    text: str = ""

    @property
    def fingerprint(self) -> str:
        place = self.place
        return cursors.fingerprint(
            [
                place.workspace_id,
                place.project_id,
                place.run_id,
                self.text,
                str(self.order),
                self.states,
                self.live,
            ]
        )

    def base(self) -> list[ColumnElement[bool]]:
        """What holds for each listed run, beside the filter."""
        found = self.place.limits()
        states = [state for state in self.states if not self.place.shared or state in SHOWN]
        found.append(runs.c.state == states[0] if len(states) == 1 else runs.c.state.in_(states))
        if self.live:
            found.append(and_(runs.c.status == "running", runs.c.lost.is_not(True)))
        return found


@dataclass
class Page:
    """Keys of the listed runs, and what comes next."""

    keys: list[int] = field(default_factory=list)
    next: str | None = None
    total: int = 0
    is_exact: bool = True


def page(connection: Connection, listing: Listing, limit: int, cursor: str | None = None) -> Page:
    """The first page, or the one after a cursor.

    Raises:
        CursorError: the cursor is damaged, or of another list.
    """
    after = None if cursor is None else cursors.decode(cursor, listing.fingerprint)
    found: list[tuple[int, int, Any]] = []
    for number, phase, last in _remaining(connection, listing, after):
        wanted = limit + 1 - len(found)
        rows = connection.execute(_query(listing, phase, last).limit(wanted)).all()
        found.extend((row[0], number, row[1] if phase.value is not None else None) for row in rows)
        if len(found) > limit:
            break
    more, found = len(found) > limit, found[:limit]
    result = Page([row[0] for row in found])
    if after is not None:
        result.total, result.is_exact = after.total, after.is_exact
    elif more:
        total, result.is_exact = count(connection, listing)
        result.total = max(total, limit + 1)
    else:
        result.total = len(found)
    if more:
        key, number, value = found[-1]
        run = connection.execute(select(runs.c.client_run_id).where(runs.c.pk == key)).scalar_one()
        last_row = Cursor(listing.fingerprint, number, value, run, result.total, result.is_exact)
        result.next = last_row.encode()
    return result


def count(connection: Connection, listing: Listing, most: int | None = None) -> tuple[int, bool]:
    """How many runs there are, and whether that is all: beyond `most` nobody counts."""
    condition = sql.condition(listing.node, listing.place.workspace_id)
    if most is None:
        most = MAX_TOTAL_JOINED // len(condition.joins) ** 2 if condition.joins else MAX_TOTAL_MANY
        if connection.dialect.name == "sqlite":
            most = MAX_TOTAL
    query = select(runs.c.pk).select_from(condition.source()).where(*listing.base(), *condition.where)
    counted = connection.execute(
        select(func.count()).select_from(query.limit(most + 1).subquery())
    ).scalar_one()
    return min(counted, most), counted <= most


def keys(connection: Connection, listing: Listing, most: int) -> list[int]:
    """The keys of the newest runs of a list, at most so many."""
    condition = sql.condition(listing.node, listing.place.workspace_id)
    query = select(runs.c.pk).select_from(condition.source()).where(*listing.base(), *condition.where)
    newest = query.order_by(runs.c.created_at.desc(), runs.c.pk.desc()).limit(most)
    return list(connection.execute(newest).scalars())


def _remaining(
    connection: Connection, listing: Listing, after: Cursor | None
) -> Iterator[tuple[int, Phase, tuple[Any, int] | None]]:
    """The stretches of the order from the cursor on, the first with the place to go on after."""
    needs = sql.condition(listing.node, listing.place.workspace_id).required
    forced = connection.dialect.name == "sqlite"
    stretches = phases(listing.order, listing.place.workspace_id, needs, forced=forced)
    last: tuple[Any, int] | None = None
    if after is not None:
        query = select(runs.c.pk).where(
            runs.c.workspace_id == listing.place.workspace_id, runs.c.client_run_id == after.run
        )
        key = connection.execute(query).scalar()
        if key is None or after.phase >= len(stretches):
            raise CursorError("the cursor's run is not there", "start again without `cursor`")
        last = (_typed(after.value, stretches[after.phase]), key)
    for number, phase in enumerate(stretches):
        if after is None or number >= after.phase:
            yield number, phase, last
            last = None


def _typed(value: object, phase: Phase) -> object:
    if phase.value is None:
        return None
    if phase.type is float and isinstance(value, int | float):
        return float(value)
    if phase.type is str and isinstance(value, str):
        return value
    raise CursorError("the cursor is damaged", "start again without `cursor`")


def _query(listing: Listing, phase: Phase, last: tuple[Any, int] | None) -> Any:
    condition, source = _source(listing, phase)
    # No more than what the indexes hold: looking up each run that does not pass would cost most.
    columns: Sequence[ColumnElement[Any]] = [phase.key]
    where = [*listing.base(), *condition.where, *phase.where]
    if phase.value is None:
        if last is not None:
            where.append(phase.key < last[1])
        return select(*columns).select_from(source).where(*where).order_by(phase.key.desc())
    if last is not None:
        where.append(_after(phase, listing.order.descending, last))
    first, second = (
        (phase.value.desc(), phase.key.desc()) if listing.order.descending else (phase.value, phase.key)
    )
    return select(*columns, phase.value).select_from(source).where(*where).order_by(first, second)


def _source(listing: Listing, phase: Phase) -> tuple[sql.Condition, FromClause]:
    """The tables of a stretch, and what its runs must fulfil.

    A forced stretch starts at the table whose order is walked, and asks for each run there whether it
    passes: there is no other way that a database without statistics could mistake for a better one.
    """
    place = listing.place.workspace_id
    if phase.table is None or not phase.forced:
        condition = sql.condition(listing.node, place, phase.shared)
        source = condition.source()
        for table, on in phase.joins:
            source = source.join(table, on)
        return condition, source
    condition = sql.condition(listing.node, place, phase.shared, phase.table.c.run_pk)
    # The sum keeps it from starting at `runs`.
    return condition, phase.table.join(runs, phase.table.c.run_pk + 0 == runs.c.pk)


def _after(phase: Phase, descending: bool, last: tuple[Any, int]) -> ColumnElement[bool]:
    from sqlalchemy import literal

    assert phase.value is not None
    value = literal(last[0], Real()) if phase.type is float else literal(last[0])
    here, there = tuple_(phase.value, phase.key), tuple_(value, literal(last[1], runs.c.pk.type))
    return here < there if descending else here > there
