"""Curves: what a run logged while it ran, thinned out for a screen or whole as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from worldflux.manifest.numbers import not_finite_name
from worldflux.server.api.answer import RunId, Words, described, reply, seen_run
from worldflux.server.api.runs import Reader
from worldflux.server.api.stream import opened
from worldflux.server.auth import Principal
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem
from worldflux.server.query.rows import split
from worldflux.server.streams.points import MAX_SERIES, Asked, Named, Since, names_of, points, series

router = APIRouter(tags=["series"])

Step = Annotated[int | None, Query(ge=-(2**53), le=2**53)]
After = Annotated[
    str,
    Query(
        description="`next` of the answer before about the same `names`: only what came since",
        max_length=1000,
        pattern=r"^([0-9]{1,15}(\.[0-9]{1,15}){0,50})?$",
    ),
]
_ROWS = 2000


@router.get("/api/runs/{id}/metrics", responses=described("Series by name."))
def show_series(
    request: Request,
    core: CoreDep,
    who: Reader,
    id: RunId,
    names: Words = "",
    max_points: Annotated[int, Query(ge=2, le=20_000)] = 2000,
    from_step: Step = None,
    to_step: Step = None,
    after: After = "",
) -> Response:
    """The series of a run; one that has more points than asked for is thinned out to means with their range.

    An answer has a `next`. Given as `after`, with the same `names`, only what came since is read and answered:
    whoever follows a run asks for each point once, and without names learns of series that are new. Points
    without a step are numbered on for named series only.
    """
    chosen = list(dict.fromkeys(split(names)))
    if len(chosen) > MAX_SERIES:
        raise Problem(
            422, "invalid", f"names: at most {MAX_SERIES} series are given at a time", "ask for fewer"
        )
    since = _since(after, chosen)
    asked = Asked(frozenset(chosen) if chosen else None, max_points, from_step, to_step, since)
    try:
        with opened(core, who, id, "metrics") as (stream, final):
            if since.start > stream.length:
                raise _bad_after()
            found, more, since = series(stream, asked)
            read = stream.length
    except Problem as problem:
        if problem.status != 404:
            raise
        with core.db.read() as connection:
            seen_run(connection, who, id)
        found, more, read, final = {}, False, 0, False
    document = {
        "series": {name: one.to_json() for name, one in found.items()},
        "more": more,
        "bytes": read,
        "final": final,
        "next": since.text(chosen),
    }
    return reply(request, document)


@router.get("/api/runs/{id}/metrics/names", responses=described("Names of series."))
def show_names(
    request: Request,
    core: CoreDep,
    who: Reader,
    id: RunId,
    match: Annotated[str, Query(description="text in the name, in any case", max_length=255)] = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    after: Annotated[str, Query(description="`next` of the answer before", pattern="^[0-9]{0,15}$")] = "",
) -> Response:
    """The names of a run's series, all of which are looked through; `total` counts also those beyond `limit`.

    With the `next` of an answer as `after`: those that have got points since.
    """
    since = _since(after, [])
    try:
        with opened(core, who, id, "metrics") as (stream, final):
            if since.start > stream.length:
                raise _bad_after()
            found = names_of(stream, match, limit, since)
    except Problem as problem:
        if problem.status != 404:
            raise
        with core.db.read() as connection:
            seen_run(connection, who, id)
        found, final = Named([], 0, True, Since()), False
    document = {
        "names": found.names, "total": found.total, "total_is_exact": found.is_exact, "final": final,
        "next": found.next.text([]),
    }  # fmt: skip
    return reply(request, document)


def _since(after: str, names: list[str]) -> Since:
    if not after:
        return Since()
    try:
        return Since.parse(after, names)
    except ValueError:
        raise _bad_after() from None


def _bad_after() -> Problem:
    return Problem(
        422, "invalid", "after: is not the `next` of an answer about these names", "ask without it"
    )


@router.get(
    "/api/runs/{id}/metrics.csv",
    responses=described("Every point.", media="text/csv", schema={"type": "string"}),
)
def download_series(
    core: CoreDep,
    who: Reader,
    id: RunId,
    name: Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")] = "",
) -> Response:
    """Every point of one series, or of all when no `name` is given, as CSV (RFC 4180)."""
    with opened(core, who, id, "metrics"):
        pass  # what is missing is said before the answer begins
    headers = {"Content-Disposition": f'attachment; filename="metrics-{id}.csv"'}
    return StreamingResponse(_csv(core, who, id, name), headers=headers, media_type="text/csv; charset=utf-8")


def _csv(core: Core, who: Principal, run_id: str, name: str) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["step", "value"] if name else ["name", "step", "value"])
    count = 0
    with opened(core, who, run_id, "metrics") as (stream, _):
        for each, value, step in points(stream):
            if name and each != name:
                continue
            shown = repr(value) if value - value == 0 else not_finite_name(value)
            at = "" if step is None else step
            writer.writerow([at, shown] if name else [_text(each), at, shown])
            count += 1
            if count % _ROWS == 0:
                yield out.getvalue()
                out.seek(0)
                out.truncate()
    yield out.getvalue()


def _text(name: str) -> str:
    """A name that a spreadsheet takes for a text, not for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name
