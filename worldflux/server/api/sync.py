"""The sync API: every write has a name and a place, so every request may be sent again."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from worldflux import __version__
from worldflux.manifest.model import RUN_ID, is_run_id, utc_now
from worldflux.server import blobs, bodies, heartbeats
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.ingest import store, summary
from worldflux.server.ingest.bundle import MEDIA_TYPE
from worldflux.server.problems import Problem

router = APIRouter(prefix="/api/sync", tags=["sync"])

#: Runs or blobs that one question may name.
MOST_NAMES = 1000

#: Bundles that a worker takes in at a time: one is checked and packed while another is written. Each takes about
#: six times its size of memory meanwhile, and more of them would only wait for one another.
MOST_WRITERS = 2

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")

Anyone = Annotated[Principal, Depends(require(None))]
Reader = Annotated[Principal, Depends(require("runs:read"))]
Writer = Annotated[Principal, Depends(require("runs:write"))]
Uploader = Annotated[Principal, Depends(require("artifacts:write"))]


_BYTES = {"type": "string", "format": "binary"}


def _list_of(field: str, pattern: str) -> dict[str, Any]:
    """What OpenAPI says about a body that names things; see `_names`."""
    names = {"type": "array", "maxItems": MOST_NAMES, "items": {"type": "string", "pattern": pattern}}
    schema = {"type": "object", "required": [field], "properties": {field: names}}
    return bodies.described_as("application/json", schema)


@router.get("")
def hello(core: CoreDep, who: Anyone) -> dict[str, Any]:
    """Who the key is, and what the server takes."""
    settings = core.settings
    return {
        "api": 1,
        "workspace": who.workspace,
        "key": {
            "id": who.id, "name": who.name, "scopes": sorted(who.scopes),
            "expires_at": who.details.get("expires_at"), "last4": who.details.get("last4"),
        },
        "limits": {
            "bundle_bytes": settings.bundle_bytes, "bundle_frames": settings.bundle_frames,
            "patch_bytes": settings.patch_bytes, "blob_bytes": settings.blob_bytes,
            "inline_blob_bytes": settings.inline_blob_bytes,
        },
        "heartbeat_seconds": settings.heartbeat_seconds,
        "server": {"version": __version__, "time": utc_now()},
    }  # fmt: skip


@router.post("/state", openapi_extra=_list_of("runs", f"^{RUN_ID}$"))
async def state(request: Request, core: CoreDep, who: Reader) -> dict[str, Any]:
    """What the server holds of runs: `{"runs": [id, ...]}`, at most 1000."""
    names = _names(await bodies.document(request), "runs", is_run_id)
    return {"runs": await run_in_threadpool(summary.states, core.db, who.workspace_id, names)}


@router.post("/heartbeat", openapi_extra=_list_of("runs", f"^{RUN_ID}$"))
async def heartbeat(request: Request, core: CoreDep, who: Writer) -> dict[str, Any]:
    """These runs are alive: `{"runs": [id, ...]}`, at most 1000."""
    names = _names(await bodies.document(request), "runs", is_run_id)
    return {"runs": await run_in_threadpool(heartbeats.beat, core.db, who.workspace_id, names)}


@router.post("/bundle", openapi_extra=bodies.described_as(MEDIA_TYPE, _BYTES))
async def bundle(request: Request, core: CoreDep, who: Writer) -> Response:
    """Store frames of runs, in one transaction. 200 when every run is fine, else 207."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise Problem(415, "media-type", "the body must be a bundle", f"Content-Type: {MEDIA_TYPE}")
    most = core.settings.bundle_bytes
    body = await bodies.read(request, most)
    return await to_thread.run_sync(_store, core, who, request.headers, body, most, limiter=_writers())


@cache
def _writers() -> CapacityLimiter:
    """Threads that bundles may have, so that reading does not wait behind them."""
    return CapacityLimiter(MOST_WRITERS)


def _store(core: Core, who: Principal, headers: Any, body: bytes, most: int) -> Response:
    import orjson

    bodies.check_digest(headers.get("content-digest"), body)
    results = store.store(core, who, bodies.unpack(headers.get("content-encoding"), body, most))
    status = 200 if all(result["status"] == 200 for result in results) else 207
    return Response(orjson.dumps({"results": results}), status, media_type="application/json")


@router.post("/blobs", openapi_extra=_list_of("sha256", "^[0-9a-f]{64}$"))
async def missing_blobs(request: Request, core: CoreDep, who: Uploader) -> dict[str, Any]:
    """Which of these blobs are still to be sent, and from where on: `{"sha256": [digest, ...]}`, at most 1000."""
    names = _names(await bodies.document(request), "sha256", lambda name: bool(_SHA256.fullmatch(name)))
    return {"missing": await run_in_threadpool(_missing, core, who.workspace_id, names)}


def _missing(core: Core, workspace_id: int, names: list[str]) -> list[dict[str, Any]]:
    with core.db.read() as connection:
        stored = blobs.present(connection, workspace_id, names)
    if stored:
        with core.db.write() as connection:
            blobs.touch(connection, workspace_id, list(stored))
    absent = [name for name in names if name not in stored]
    return [{"sha256": name, "offset": core.uploads.received(workspace_id, name)} for name in absent]


@router.head("/blobs/{sha256}")
def blob_offset(sha256: str, core: CoreDep, who: Uploader) -> Response:
    """How much of a blob is there: Upload-Offset and Upload-Complete."""
    progress = core.uploads.progress(who.workspace_id, _digest(sha256))
    if progress is None:
        raise Problem(404, "not-found", "nothing of this blob is there", "send it from offset 0")
    return Response(headers=_progress(progress.offset, progress.complete))


@router.patch("/blobs/{sha256}", openapi_extra=bodies.described_as("application/octet-stream", _BYTES))
async def patch_blob(sha256: str, request: Request, core: CoreDep, who: Uploader) -> Response:
    """Add bytes to a blob at Upload-Offset; the blob is published when it has Upload-Length bytes."""
    name = _digest(sha256)
    offset, total = _number(request, "upload-offset"), _number(request, "upload-length")
    if total > core.settings.blob_bytes:
        raise bodies.too_large(core.settings.blob_bytes)
    body = await bodies.read(request, core.settings.patch_bytes)
    return await run_in_threadpool(_append, core, who, name, offset, total, body, request.headers)


def _append(
    core: Core, who: Principal, name: str, offset: int, total: int, body: bytes, headers: Any
) -> Response:
    import orjson

    bodies.check_digest(headers.get("content-digest"), body)
    with core.db.read() as connection:
        room, _ = store.quota(connection, who.workspace_id)
    if room is not None and total > room:
        raise Problem(
            507, "quota", "the workspace has no room left by its quota", "ask whoever runs the server"
        )
    progress = core.uploads.append(who.workspace_id, name, offset, total, body)
    told = {"offset": progress.offset, "complete": progress.complete}
    return Response(
        orjson.dumps(told),
        headers=_progress(progress.offset, progress.complete),
        media_type="application/json",
    )


def _progress(offset: int, complete: bool) -> dict[str, str]:
    return {"Upload-Offset": str(offset), "Upload-Complete": "?1" if complete else "?0"}


def _digest(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise Problem(422, "invalid", "the address names no SHA-256 in lower-case hexadecimal digits", "")
    return text


def _number(request: Request, name: str) -> int:
    values = request.headers.getlist(name)
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        raise Problem(400, "header", f"the header {name.title()} is not one number", f"{name.title()}: 0")
    return int(values[0])


def _names(document: dict[str, Any], field: str, fits: Any) -> list[str]:
    names = document.get(field)
    if not isinstance(names, list) or len(names) > MOST_NAMES:
        raise Problem(422, "invalid", f"`{field}` must be a list of at most {MOST_NAMES} names", "")
    if not all(isinstance(name, str) and fits(name) for name in names):
        raise Problem(422, "invalid", f"`{field}` holds something that is no such name", "")
    return list(dict.fromkeys(names))
