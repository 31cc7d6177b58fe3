"""Which metrics, parameters and tags the runs of a place have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from worldflux.server.query.fields import Known
from worldflux.server.query.page import Listing
from worldflux.server.query.place import SHOWN, Place
from worldflux.server.tables import run_metrics, run_params, run_tags, runs

#: The newest so many runs are looked at; what only older ones have is not listed.
MAX_RUNS = 10_000
#: Most names of one kind.
MAX_NAMES = 2000


def columns(connection: Connection, place: Place) -> dict[str, Any]:
    """Names with the number of runs that have them; for parameters also how many values there are.

    Returns:
        metrics, params, tags: by number of runs, then by name; `runs`: how many were looked at;
        `is_exact`: whether those are all.
    """
    newest = (
        select(runs.c.pk)
        .where(*Listing(place, states=SHOWN).base())
        .order_by(runs.c.created_at.desc(), runs.c.pk.desc())
        .limit(MAX_RUNS + 1)
    )
    keys = newest.cte("newest")
    seen = connection.execute(select(func.count()).select_from(keys)).scalar_one()
    found: dict[str, Any] = {"runs": min(seen, MAX_RUNS), "is_exact": seen <= MAX_RUNS}
    for kind, table, name in (
        ("metrics", run_metrics, run_metrics.c.name),
        ("params", run_params, run_params.c.name),
        ("tags", run_tags, run_tags.c.tag),
    ):
        counted = [name.label("name"), func.count().label("runs")]
        if table is run_params:
            counted.append(func.count(table.c.text.distinct()).label("distinct"))
        query = (
            select(*counted)
            .select_from(table.join(keys, keys.c.pk == table.c.run_pk))
            .where(table.c.workspace_id + 0 == place.workspace_id)
            .group_by(name)
            .order_by(func.count().desc(), name)
            .limit(MAX_NAMES)
        )
        found[kind] = [
            {str(key): value for key, value in row._mapping.items()} for row in connection.execute(query)
        ]
    return found


def known(connection: Connection, place: Place) -> Known:
    """The names that the newest hundred runs have, to find out which one was meant."""
    newest = (
        select(runs.c.pk)
        .where(*Listing(place, states=SHOWN).base())
        .order_by(runs.c.created_at.desc(), runs.c.pk.desc())
        .limit(100)
    )
    keys = list(connection.execute(newest).scalars())
    names = [
        list(
            connection.execute(
                select(table.c.name)
                .where(table.c.run_pk.in_(keys), table.c.workspace_id + 0 == place.workspace_id)
                .distinct()
                .limit(MAX_NAMES)
            ).scalars()
        )
        for table in (run_metrics, run_params)
    ]
    return Known(*names)
