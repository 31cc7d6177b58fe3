"""One page of a list of runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from worldflux.server.query import cursor as cursors
from worldflux.server.query import rare, sql, statements
from worldflux.server.query.cursor import Cursor
from worldflux.server.query.faults import CursorError
from worldflux.server.query.listing import Listing as Listing
from worldflux.server.query.order import Phase
from worldflux.server.query.rare import Few
from worldflux.server.tables import runs

#: Up to here rows are counted one by one; beyond it `total` is this and not exact.
MAX_TOTAL = 20_000
#: The same on PostgreSQL, where there may be millions: plain, and when each is looked up in another table. With
#: several of these, fewer runs pass all and many more are looked at: it is divided by the fourth power of their number.
MAX_TOTAL_MANY = 10_000
MAX_TOTAL_JOINED = 1000
#: But where no more than so many runs pass one of them, each of these is looked at. When no more than so many are
#: left then, they are put in order themselves.
MAX_BEGUN, MAX_SORTED = 2000, 500
#: What passes the one demand of a filter is counted in an index, and those of so many archived or deleted runs that
#: pass it too are taken from that; when there are more of these, the listed runs are counted themselves.
MAX_HIDDEN = 500
MAX_LIMIT = 500


@dataclass
class Page:
    """Keys of the listed runs, and what comes next.

    Attributes:
        end: where it ends, but for the name of its last run; None when no more come.
    """

    keys: list[int] = field(default_factory=list)
    end: Cursor | None = None
    total: int = 0
    is_exact: bool = True

    def next(self, last_id: str) -> str | None:
        """The cursor of the next page, given the client_run_id of the last run; None when there is none."""
        return None if self.end is None else replace(self.end, run=last_id).encode()


def page(connection: Connection, listing: Listing, limit: int, cursor: str | None = None) -> Page:
    """The first page, or the one after a cursor.

    Raises:
        CursorError: the cursor is damaged, or of another list.
    """
    after = None if cursor is None else cursors.decode(cursor, listing.fingerprint)
    few = rare.few(connection, listing, limit)
    known, keys = _each(connection, listing, few, is_first=after is None) or (None, None)
    sqlite = connection.dialect.name == "sqlite"
    way: statements.Way = None
    if few is not None and few.way is not None:
        is_short = known is not None and (few.way == "each" or known <= MAX_SORTED)
        way = "given" if is_short else few.key
    values = {"few": few and few.count + 1, "keys": keys}
    found: list[tuple[int, int, Any]] = []
    for number, phase, last in _remaining(connection, listing, after):
        query = statements.walk(listing, sqlite, number, last is not None, way)
        place = {} if last is None else {"value": last[0], "run": last[1]}
        rows = connection.execute(query, values | place | {"most": limit + 1 - len(found)}).all()
        found.extend((row[0], number, row[1] if phase.value is not None else None) for row in rows)
        if len(found) > limit or len(found) == known:
            break
    more, found = len(found) > limit, found[:limit]
    result = Page([row[0] for row in found])
    if after is not None:
        result.total, result.is_exact = after.total, after.is_exact
    elif known is not None or not more:
        result.total = len(found) if known is None else known
    else:
        total, result.is_exact = count(connection, listing, few=few, least=limit + 1)
        result.total = max(total, limit + 1)
    if more:
        _, number, value = found[-1]
        result.end = Cursor(listing.fingerprint, number, value, "", result.total, result.is_exact)
    return result


def count(
    connection: Connection, listing: Listing, most: int | None = None, few: Few | None = None, least: int = 0
) -> tuple[int, bool]:
    """How many runs there are, and whether that is all: beyond `most` nobody counts.

    Args:
        few: what few runs pass, when that is known.
        least: so many are there; if `most` is no more than that, there is no need to count.
    """
    counted = _in_index(connection, listing, most, few)
    if counted is not None:
        return counted
    if most is None:
        most = _most(listing, connection.dialect.name == "sqlite")
    if most < least:
        return least, False
    found = connection.execute(statements.total(listing), {"most": most + 1}).scalar_one()
    return min(found, most), found <= most


def _each(
    connection: Connection, listing: Listing, few: Few | None, *, is_first: bool
) -> tuple[int, object] | None:
    """How many runs are listed, and their keys, where the few that pass one demand are looked at to learn that.

    That may be the quickest way to a page. Otherwise it is for the total, which the first page has to tell.
    """
    if few is None:
        return None
    if few.way != "each" and not (
        is_first and few.count <= MAX_BEGUN and statements.passing(listing) is None
    ):
        return None
    query = statements.each(listing, connection.dialect.name == "sqlite", few.key)
    number, keys = connection.execute(query, {"few": few.count + 1}).one()
    return number, keys or []


def _in_index(
    connection: Connection, listing: Listing, most: int | None, few: Few | None
) -> tuple[int, bool] | None:
    """The same, when an index holds those that pass and few of them are not listed; else None."""
    query = statements.passing(listing)
    if query is None:
        return None
    others, hidden = connection.execute(statements.hidden(listing), {"most": MAX_HIDDEN + 1}).one()
    if others > MAX_HIDDEN:
        return None
    if most is None:
        most = MAX_TOTAL if connection.dialect.name == "sqlite" else MAX_TOTAL_MANY
        most = most if few is None else few.count
    passing = connection.execute(query, {"few": most + hidden + 1}).scalar_one() if few is None else few.count
    return min(passing - hidden, most), passing - hidden <= most


def _most(listing: Listing, sqlite: bool) -> int:
    # What is demanded beyond the joins is rare.
    needs = min(len(sql.needs(listing.node)), 3)
    return MAX_TOTAL if sqlite else MAX_TOTAL_JOINED // needs**4 if needs else MAX_TOTAL_MANY


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
    stretches = statements.stretches(listing, connection.dialect.name == "sqlite")
    last: tuple[Any, int] | None = None
    if after is not None:
        named = {"workspace": listing.place.workspace_id, "id": after.run}
        key = connection.execute(statements.RUN_KEY, named).scalar()
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
