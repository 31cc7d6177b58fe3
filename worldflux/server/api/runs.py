"""Runs: the list, one of them, and its manifest."""

from __future__ import annotations

import json
import zlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection, select
from starlette.responses import Response

from worldflux.errors import WorldFluxError
from worldflux.manifest.io import MAX_BYTES
from worldflux.server.api.answer import RunId, Slug, Words, described, reply, seen_run
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import not_found
from worldflux.server.query import order, parser
from worldflux.server.query.budget import limited
from worldflux.server.query.columns import known
from worldflux.server.query.faults import QueryError
from worldflux.server.query.kinds import settled
from worldflux.server.query.page import MAX_LIMIT, Listing, page
from worldflux.server.query.place import SHOWN, Place
from worldflux.server.query.rows import MAX_COLUMNS, Columns, param, rows
from worldflux.server.query.sql import mentions
from worldflux.server.tables import run_params, runs, streams

router = APIRouter(tags=["runs"])

Reader = Annotated[Principal, Depends(require("runs:read", shares=True))]
State = Annotated[
    Literal["active", "archived", "trash"] | None,
    Query(description="which runs; `active` unless the filter says `archived`"),
]


def listing(
    connection: Connection,
    place: Place,
    text: str,
    sort: str = "",
    state: str | None = None,
    live: bool = False,
) -> Listing:
    """What the parameters of a request ask for.

    Raises:
        QueryError: the filter or the order can not be read; the hint knows the names that runs have.
    """
    try:
        node, by = parser.parse(text), order.parse(sort)
    except QueryError:
        names = known(connection, place)
        node, by = parser.parse(text, known=names), order.parse(sort, names)
    if state is None:
        states = SHOWN if mentions(node, "archived") else ("active",)
    else:
        states = (state,)
    return Listing(place, settled(connection, place.workspace_id, node), by, states, live, text)


@router.get("/api/runs", responses=described("A page of runs."))
def list_runs(
    request: Request,
    core: CoreDep,
    who: Reader,
    project: Slug = None,
    filter: Words = "",
    sort: Words = "",
    cursor: Annotated[str | None, Query(max_length=8000)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    columns: Words = "",
    state: State = None,
    live: bool = False,
) -> Response:
    """A page of runs, newest first unless `sort` says otherwise."""
    chosen = Columns.parse(columns)
    with core.db.read() as connection, limited(connection):
        place = Place.of(who)
        found = place if project is None else place.narrowed(connection, project)
        if found is None:
            raise not_found("project")
        one = page(connection, listing(connection, found, filter, sort, state, live), limit, cursor or None)
        listed = rows(connection, found, one.keys, chosen)
    next_ = one.next(listed[-1]["id"]) if listed else None
    return reply(request, {"runs": listed, "next": next_, "total": one.total, "total_is_exact": one.is_exact})


@router.get("/api/runs/{id}", responses=described("A run."))
def show_run(request: Request, core: CoreDep, who: Reader, id: RunId) -> Response:
    """One run, with all its metrics and parameters."""
    with core.db.read() as connection, limited(connection):
        run = seen_run(connection, who, id)
        return reply(request, detail(connection, who, run))


def detail(connection: Connection, who: Principal, run: Any) -> dict[str, Any]:
    """A run as `GET /api/runs/{id}` shows it."""
    (row,) = rows(connection, Place.of(who), [run.pk], Columns())
    params = select(run_params.c.name, run_params.c.text, run_params.c.number).where(
        run_params.c.run_pk == run.pk, run_params.c.workspace_id == who.workspace_id
    )
    named = connection.execute(params.order_by(run_params.c.name).limit(MAX_COLUMNS * 5))
    row["params"] = {name: param(text, number) for name, text, number in named}
    kept = select(streams.c.name, streams.c.length).where(
        streams.c.run_pk == run.pk, streams.c.workspace_id == who.workspace_id
    )
    row["streams"] = dict(connection.execute(kept.order_by(streams.c.name)).tuples().all())
    r = runs.c
    more = connection.execute(
        select(
            r.manifest_sha256, r.manifest_bytes, r.withheld, r.torn, r.ledger_seq, r.signature, r.state, r.final,
            r.deleted_at, r.updated_at, r.parent_id, r.exit_code, r.stored_bytes,
        ).where(r.pk == run.pk, r.workspace_id == who.workspace_id)
    ).one()  # fmt: skip
    row |= {
        name: more._mapping[name]
        for name in (
            "manifest_sha256", "manifest_bytes", "state", "deleted_at", "updated_at", "parent_id", "exit_code",
            "stored_bytes",
        )
    }  # fmt: skip
    row["final"], row["signature"] = bool(more.final), bool(more.signature)
    row["withheld"], row["torn"] = json.loads(more.withheld), json.loads(more.torn)
    row["ledger"] = None if more.ledger_seq is None else {"seq": more.ledger_seq}
    return row


@router.get("/api/runs/{id}/manifest", responses=described("The bytes of manifest.json."))
def show_manifest(core: CoreDep, who: Reader, id: RunId) -> Response:
    """The manifest, byte for byte as it was synced."""
    data, digest = manifest_of(core, who, id)
    return Response(data, headers={"X-Manifest-SHA256": digest}, media_type="application/json")


def manifest_of(core: Core, who: Principal, run_id: str) -> tuple[bytes, str]:
    """A run's manifest and its digest.

    Raises:
        Problem: 404 when there is no such run, or only streams of it came so far.
        WorldFluxError: what is stored is damaged.
    """
    with core.db.read() as connection:
        run = seen_run(connection, who, run_id)
        query = select(runs.c.manifest, runs.c.manifest_sha256).where(
            runs.c.pk == run.pk, runs.c.workspace_id == who.workspace_id
        )
        packed, digest = connection.execute(query).one()
    if packed is None:
        raise not_found("manifest")
    try:
        return zlib.decompressobj().decompress(packed, MAX_BYTES + 1), digest
    except zlib.error:
        raise WorldFluxError(
            "the stored manifest is damaged", "restore the server's data from a backup", code="damaged"
        ) from None
