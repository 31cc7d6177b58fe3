"""Answers of the reading endpoints, and the kinds of parameters they take."""

from __future__ import annotations

import gzip
import re
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import Path, Query, Request
from sqlalchemy import Connection, select
from starlette.responses import Response

from worldflux.manifest.model import is_run_id
from worldflux.server.auth import Principal
from worldflux.server.problems import Problem, not_found
from worldflux.server.query.place import SHOWN, Place
from worldflux.server.tables import runs

#: A body shorter than this is not worth compressing.
_SMALL = 1400
_NO_NUL = r"^[^\x00]*$"
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?(?:,|$)")

RunId = Annotated[str, Path(description="client_run_id of the run", max_length=64)]
Slug = Annotated[str | None, Query(description="slug of a project", max_length=64, pattern=_NO_NUL)]
Words = Annotated[str, Query(max_length=4000, pattern=_NO_NUL)]


def reply(request: Request, document: Any, status: int = 200) -> Response:
    """A JSON document; compressed for a client that says it can read that."""
    body = orjson.dumps(document)
    headers = {"Vary": "Accept-Encoding"}
    if len(body) > _SMALL and accepts_gzip(request):
        body = gzip.compress(body, 1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers, media_type="application/json")


def plain(row: Any) -> dict[str, Any]:
    """A row as a dictionary; its names as plain strings, which is what orjson takes."""
    return {str(name): value for name, value in row._mapping.items()}


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes gzip; `gzip;q=0` says that it does not."""
    said = _GZIP.search(request.headers.get("accept-encoding", ""))
    return said is not None and (said[1] is None or float(said[1]) > 0)


def attachment(name: str) -> str:
    """A Content-Disposition that saves a file under this name, made harmless (RFC 6266)."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(char for char in last if char.isprintable() and not 0xD800 <= ord(char) <= 0xDFFF)
    kept = kept.strip(". ")[:200] or "download"
    plain = "".join(char if char.isascii() and char not in '"\\%;' else "_" for char in kept)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(kept, safe='')}"


def seen_run(connection: Connection, who: Principal, run_id: str) -> Any:
    """The row of a run that somebody may see: pk, state, project_id and client_run_id.

    Raises:
        Problem: 404 when there is none, 410 when it was deleted for good.
    """
    place = Place.of(who)
    row = None
    if is_run_id(run_id):
        query = select(runs.c.pk, runs.c.state, runs.c.project_id, runs.c.client_run_id, runs.c.workspace_id)
        row = connection.execute(query.where(runs.c.client_run_id == run_id, *place.limits())).first()
    if row is None or (place.shared and row.state not in SHOWN):
        raise not_found("run")
    if row.state == "gone":
        raise gone()
    return row


def gone() -> Problem:
    """The answer about a run of which only the tombstone is left."""
    return Problem(
        410, "deleted", "this run was deleted, and purged from the trash", "sync it again from where it ran"
    )


def described(text: str, *, media: str = "application/json", schema: Any = None) -> dict[int | str, Any]:
    """What OpenAPI says about a good answer."""
    return {200: {"description": text, "content": {media: {"schema": schema or {"type": "object"}}}}}
