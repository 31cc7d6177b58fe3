"""What of a filter few runs pass, so that a page is better found from those few.

A page is a walk along its order until enough runs have passed. To look up for each of them whether it has the
metric, parameter or tag is quickest while many pass. When few do, the walk is long: then the keys of those that
pass are put together first, from an index, and the walk only compares keys; and when there are very few, these are
all looked at and sorted, and nothing is walked. A database would have to know how many pass, and its statistics
hardly can: they know the values of all metrics together, not those of each. So it is counted, up to a limit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from worldflux.server.query import sql, statements
from worldflux.server.query.listing import Listing

# What a run costs, in the time that it takes to look up whether one passes during a walk by age: to have its key put
# together with others, to have its key compared with those, to be looked at out of order and sorted. As measured with a
# million of them on PostgreSQL and ten thousand on SQLite, which has them nearer.
_PUT_TOGETHER, _COMPARED = 0.4, 0.3
_LOOKED_AT = {"postgresql": 8.0, "sqlite": 2.0}

#: Who looks at a list asks again soon, and for its next page. So long it is taken that many runs pass still; should
#: they have become few, a page takes longer to find, and is the same.
MANY_SECONDS = 5.0

_LISTS = 64
_many: WeakKeyDictionary[Engine, dict[Listing, float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Few:
    """What fewest runs pass, of all that a filter demands.

    Attributes:
        key: which metric, parameter or tag it is.
        count: how many pass, whatever else they are.
        way: how a page is found from there: by looking at each, or by comparing with them during a walk along the
            order; None when it is quicker not to.
    """

    key: sql.Key
    count: int
    way: Literal["each", "walk"] | None


def few(connection: Connection, listing: Listing, limit: int) -> Few | None:
    """What fewest runs pass of all that a filter demands; None when many pass each.

    What it says of them holds within the connection's transaction, which sees one state.

    Args:
        limit: runs of a page.
    """
    asked = statements.census(listing)
    many = _many.setdefault(connection.engine, {})
    if asked is None or time.monotonic() < many.get(listing, 0.0):
        return None
    size, *numbers = connection.execute(asked[1]).one()
    share, rare = 1.0, []
    for key, number in zip(asked[0], numbers, strict=True):
        share *= -number / statements.SAMPLE if number < 0 else max(number, 1) / max(size or 0, number, 1)
        if 0 <= number <= statements.MAX_FEW:
            rare.append((number, key))
    if not rare:
        if len(many) >= _LISTS:
            many.clear()
        many[listing] = time.monotonic() + MANY_SECONDS
        return None
    count, key = min(rare, key=lambda each: each[0])
    # As long as this if those that pass lie anywhere.
    walk = min(size or 0, limit / share)
    looked_at = count * _LOOKED_AT[connection.dialect.name]
    compared = count * _PUT_TOGETHER + walk * _COMPARED
    if min(looked_at, compared) >= walk:
        return Few(key, count, None)
    return Few(key, count, "each" if looked_at < compared else "walk")
