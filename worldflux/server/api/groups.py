"""Runs in groups, and the columns that their table can have."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from worldflux.server.api.answer import Slug, Words, described, reply
from worldflux.server.api.runs import Reader, State, listing
from worldflux.server.core import CoreDep
from worldflux.server.problems import not_found
from worldflux.server.query import columns as names
from worldflux.server.query import groups as grouping
from worldflux.server.query.budget import limited
from worldflux.server.query.faults import OrderError
from worldflux.server.query.place import Place
from worldflux.server.query.rows import split

router = APIRouter(tags=["runs"])

MAX_METRICS = 20


@router.get("/api/runs/groups", responses=described("Groups of runs."))
def group_runs(
    request: Request,
    core: CoreDep,
    who: Reader,
    by: Annotated[str, Query(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")],
    project: Slug = None,
    metric: Words = "",
    filter: Words = "",
    state: State = None,
) -> Response:
    """The runs of a filter by one to four fields, with mean and interval of some metrics in each group."""
    fields, metrics = grouping.parse_keys(by), split(metric)
    if len(metrics) > MAX_METRICS:
        raise OrderError(f"metric: there are at most {MAX_METRICS}", "ask for fewer")
    with core.db.read() as connection, limited(connection):
        place = Place.of(who)
        found = place if project is None else place.narrowed(connection, project)
        if found is None:
            raise not_found("project")
        chosen = listing(connection, found, filter, state=state)
        document = grouping.groups(connection, chosen, fields, metrics)
    return reply(request, document)


@router.get("/api/runs/columns", responses=described("Names of metrics, parameters and tags."))
def list_columns(request: Request, core: CoreDep, who: Reader, project: Slug = None) -> Response:
    """The metrics, parameters and tags that runs have, with how many have them."""
    with core.db.read() as connection, limited(connection):
        place = Place.of(who)
        found = place if project is None else place.narrowed(connection, project)
        if found is None:
            raise not_found("project")
        document = names.columns(connection, found)
    return reply(request, document)
