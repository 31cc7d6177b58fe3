"""Artifacts: which a run has, and their bytes.

Bytes are found by digest, never by a name that somebody chose, and are sent so that a browser neither
runs them nor guesses what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy import and_, select
from starlette.responses import Response, StreamingResponse

from worldflux.server.api.answer import RunId, attachment, described, reply, seen_run
from worldflux.server.api.runs import Reader
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import blobs, run_artifacts

router = APIRouter(tags=["artifacts"])

ArtifactReader = Annotated[Principal, Depends(require("artifacts:read", shares=True))]

#: Most artifacts in one answer; a manifest lists no more.
MAX_ARTIFACTS = 10_000
_BLOCK = 256 * 1024

#: Kinds of content that a browser can only look at.
_SAFE = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "video/mp4", "video/webm",
        "video/ogg", "audio/mpeg", "audio/ogg", "audio/wav", "application/json", "text/plain", "text/csv",
    }
)  # fmt: skip
#: These become plain text, whatever language they are in; none of them is a document to a browser.
_AS_TEXT = frozenset(
    {
        "text/markdown", "text/x-python", "text/yaml", "application/yaml", "application/x-yaml", "text/x-diff",
        "application/toml", "text/tab-separated-values", "application/jsonl", "application/x-ndjson",
    }
)  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@router.get("/api/runs/{id}/artifacts", responses=described("The artifacts that the manifest lists."))
def list_artifacts(request: Request, core: CoreDep, who: Reader, id: RunId) -> Response:
    """The artifacts of a run; `present` tells whether their bytes are here."""
    a = run_artifacts.c
    with core.db.read() as connection:
        run = seen_run(connection, who, id)
        stored = and_(
            blobs.c.workspace_id == a.workspace_id, blobs.c.sha256 == a.sha256, blobs.c.dying.is_(False)
        )
        query = (
            select(a.path, a.sha256, a.bytes, a.media_type, a.committed, blobs.c.sha256.label("stored"))
            .select_from(run_artifacts.outerjoin(blobs, stored))
            .where(a.run_pk == run.pk, a.workspace_id == who.workspace_id)
            .order_by(a.path)
            .limit(MAX_ARTIFACTS)
        )
        rows = connection.execute(query).all()
    listed = [
        {
            "path": row.path, "sha256": row.sha256, "bytes": row.bytes, "media_type": row.media_type,
            "commit": bool(row.committed), "present": row.stored is not None,
        }
        for row in rows
    ]  # fmt: skip
    return reply(request, {"artifacts": listed})


@router.get(
    "/api/runs/{id}/artifacts/{sha256}",
    responses={
        **described(
            "The bytes.", media="application/octet-stream", schema={"type": "string", "format": "binary"}
        ),
        206: {"description": "The bytes of the Range."},
        304: {"description": "The client has them already."},
        416: {"description": "The Range lies outside."},
    },
)
def show_artifact(
    request: Request,
    core: CoreDep,
    who: ArtifactReader,
    id: RunId,
    sha256: Annotated[str, Path(max_length=64)],
    download: Annotated[str, Query(max_length=255, description="name of the file to save")] = "",
) -> Response:
    """The bytes of an artifact of this run, whole or one Range of them."""
    found = _artifact(core, who, id, sha256)
    headers = {
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(download or found.path.rpartition("/")[2]),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    if f'"{sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end = 0, found.bytes
    asked = request.headers.get("range")
    if asked is not None and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        chosen = _chosen(asked, found.bytes)
        if chosen is not None:
            start, end = chosen
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.bytes}"
    headers["Content-Length"] = str(end - start)
    try:
        file = core.blobs.open(who.workspace_id, sha256, start)
    except FileNotFoundError:
        raise not_found("artifact") from None
    return StreamingResponse(
        _blocks(file, end - start), 206 if "Content-Range" in headers else 200, headers,
        media_type=media_type(found.media_type),
    )  # fmt: skip


def _artifact(core: Core, who: Principal, run_id: str, sha256: str) -> Any:
    a = run_artifacts.c
    with core.db.read() as connection:
        run = seen_run(connection, who, run_id)
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise not_found("artifact")
        stored = and_(
            blobs.c.workspace_id == a.workspace_id, blobs.c.sha256 == a.sha256, blobs.c.dying.is_(False)
        )
        row = connection.execute(
            select(a.path, a.media_type, blobs.c.bytes)
            .select_from(run_artifacts.join(blobs, stored))
            .where(a.run_pk == run.pk, a.workspace_id == who.workspace_id, a.sha256 == sha256)
            .order_by(a.path)
            .limit(1)
        ).first()
    if row is None:
        raise not_found("artifact")
    return row


def media_type(claimed: str) -> str:
    """The Content-Type for bytes that somebody says are of a kind: a harmless kind, or just bytes."""
    kind = claimed.partition(";")[0].strip().lower()
    if kind in _AS_TEXT:
        kind = "text/plain"
    if kind not in _SAFE:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _chosen(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a Range; None when it is to be ignored (RFC 9110, 14.2).

    Raises:
        Problem: 416 when no byte lies in it.
    """
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Problem(
            416, "range", "no byte of the artifact lies in this range",
            headers={"Content-Range": f"bytes */{size}"},
        )  # fmt: skip
    return start, end


def _blocks(file: BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block
