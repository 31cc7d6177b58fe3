"""What vouches for a run: its signed statement with the ledger's proof, its evidence, and whose keys count."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from worldflux.server import audit, blobs, bodies, evidence, ledger, trust
from worldflux.server.api.answer import RunId, described, reply, seen_run
from worldflux.server.api.ledger import checkpoint_of
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import runs

router = APIRouter(tags=["evidence"])

Reader = Annotated[Principal, Depends(require("runs:read", shares=True))]
ArtifactReader = Annotated[Principal, Depends(require("artifacts:read", shares=True))]
Writer = Annotated[Principal, Depends(require("artifacts:write"))]
Keeper = Annotated[Principal, Depends(require("keys:admin"))]
KeyName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="what the key is called")]
#: Largest bundle that is kept: a statement about 100,000 artifacts has some 20 MB.
MAX_BUNDLE = 32 * 1024 * 1024
#: Largest archive that is taken as one body; a larger one goes as a blob, in parts.
MAX_ARCHIVE = 64 * 1024 * 1024


class ByDigest(BaseModel):
    """An archive whose bytes were uploaded as a blob."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Key(BaseModel):
    """A public key in PEM form."""

    pem: str = Field(max_length=4096)


@router.get("/api/runs/{id}/signature", responses=described("Bundle and ledger proof of a run."))
def signature(request: Request, core: CoreDep, who: Reader, id: RunId) -> Response:
    """The signed statement as it was sent, and the proof that the run stands in its project's ledger."""
    with core.db.read() as connection:
        run = _run(connection, who, id)
        row = evidence.kept(connection, run, "bundle")
        counting = trust.trust_of(connection, who.workspace_id)
        proof = _proof(core, connection, who, run)
    document = {
        "bundle": None if row is None else json.loads(row.body),
        "verdict": None if row is None else evidence.bundle_now(row, counting),
        **proof,
    }
    return reply(request, document)


@router.put("/api/runs/{id}/signature", responses=described("The verdict on the bundle."))
async def put_signature(request: Request, core: CoreDep, who: Writer, id: RunId) -> Response:
    """Keep a Sigstore bundle whose in-toto statement is about this run's record."""
    body = await bodies.read(request, MAX_BUNDLE)
    bodies.check_digest(request.headers.get("content-digest"), body, required=False)
    return reply(request, await run_in_threadpool(_keep_bundle, core, who, id, body))


@router.get("/api/runs/{id}/evidence", responses=described("The archive.", media="application/zip"))
def get_evidence(core: CoreDep, who: ArtifactReader, id: RunId) -> Response:
    """The evidence of a run, as one archive."""
    with core.db.read() as connection:
        row = evidence.kept(connection, _run(connection, who, id), "evidence")
    if row is None:
        raise not_found("evidence")
    try:
        file = core.blobs.open(who.workspace_id, row.sha256)
    except FileNotFoundError:
        raise not_found("evidence") from None

    def parts() -> Iterator[bytes]:
        with file:
            while part := file.read(1024 * 1024):
                yield part

    headers = {
        "Content-Disposition": f'attachment; filename="{id}.evidence.zip"',
        "Content-Length": str(row.bytes),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(row.sha256)).decode()}:",
    }
    return StreamingResponse(parts(), headers=headers, media_type="application/zip")


@router.put("/api/runs/{id}/evidence", responses=described("The verdict on the archive."))
async def put_evidence(request: Request, core: CoreDep, who: Writer, id: RunId) -> Response:
    """Keep an archive: judged now, and refused when it is about another run or another record of it.

    The body is the archive itself (`application/zip`), or `{"sha256": ...}` of a blob that was uploaded.
    """
    body = await bodies.read(request, MAX_ARCHIVE)
    bodies.check_digest(request.headers.get("content-digest"), body, required=False)
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/zip":
        sha256 = hashlib.sha256(body).hexdigest()
        await run_in_threadpool(_store, core, who, id, sha256, body)
    else:
        try:
            sha256 = ByDigest.model_validate_json(body).sha256
        except ValueError:
            raise Problem(
                422, "invalid", "the body is neither an archive nor the digest of one", "application/zip"
            ) from None
    return reply(request, await run_in_threadpool(_keep_archive, core, who, id, sha256))


@router.get("/api/runs/{id}/evidence/report", responses=described("The verdict on a run's evidence."))
def report(request: Request, core: CoreDep, who: Reader, id: RunId, fresh: bool = False) -> Response:
    """What the server found when the evidence came; with `fresh`, what it finds now.

    `state` is what the run counts as now, by the keys that are trusted now.
    """
    with core.db.read() as connection:
        run = _run(connection, who, id)
        row = evidence.kept(connection, run, "evidence")
        counting = trust.trust_of(connection, who.workspace_id)
    if row is None:
        raise not_found("evidence")
    verdict = json.loads(row.verdict)
    if fresh:
        verdict = evidence.judge(
            core.blobs,
            who.workspace_id,
            row.sha256,
            row.bytes,
            counting,
            run.client_run_id,
            run.manifest_sha256,
        )
    document = {"sha256": row.sha256, "bytes": row.bytes, "created_at": row.created_at, "state": run.evidence}
    return reply(request, {**document, "verdict": verdict})


@router.get("/api/trusted-keys", responses=described("The keys whose signatures count."))
def trusted_keys(request: Request, core: CoreDep, who: Reader) -> Response:
    """Whose signatures make evidence `verified` in this workspace."""
    with core.db.read() as connection:
        keys = trust.trust_of(connection, who.workspace_id).signers
    listed = [{"name": key.name, "key_id": key.key_id, "pem": key.pem} for key in keys]
    return reply(request, {"keys": listed})


@router.put("/api/trusted-keys/{name}", responses=described("The key."))
def put_trusted_key(
    request: Request,
    core: CoreDep,
    who: Keeper,
    name: KeyName,
    body: Annotated[Key, Body()],
    replace: Annotated[bool, Query(description="put it in place of another key of this name")] = False,
) -> Response:
    """Let a key's signatures count from now on, also those of evidence that is here already.

    The same key again changes nothing. Another key under a taken name is refused (409) unless `replace`.
    """
    with core.db.write() as connection:
        key, before = trust.trust_key(core.db, connection, who.workspace_id, name, body.pem, replace=replace)
        if before is None or before.key_id != key.key_id:
            detail = {"key_id": key.key_id} | ({} if before is None else {"replaced": before.key_id})
            audit.record(core.db, connection, who.workspace_id, who.id, "trusted-key.put", name, **detail)
    return reply(request, {"name": name, "key_id": key.key_id, "pem": key.pem})


@router.delete("/api/trusted-keys/{name}", responses=described("Whether it was trusted."))
def delete_trusted_key(request: Request, core: CoreDep, who: Keeper, name: KeyName) -> Response:
    """Let a key's signatures count no longer: what it made `verified` is `signed`."""
    with core.db.write() as connection:
        gone = trust.distrust_key(core.db, connection, who.workspace_id, name)
        if gone:
            audit.record(core.db, connection, who.workspace_id, who.id, "trusted-key.delete", name)
    return reply(request, {"name": name, "removed": gone})


def _run(connection: Connection, who: Principal, run_id: str) -> Any:
    """A run with a record: pk, workspace_id, project_id, client_run_id, manifest_sha256, evidence.

    Raises:
        Problem: 404 or 410 as for every run; 409 when no manifest was sent yet.
    """
    seen = seen_run(connection, who, run_id)
    r = runs.c
    row = connection.execute(
        select(
            r.pk, r.workspace_id, r.project_id, r.client_run_id, r.manifest_sha256, r.state, r.evidence
        ).where(r.pk == seen.pk, r.workspace_id == who.workspace_id)
    ).one()
    if row.manifest_sha256 is None:
        raise Problem(409, "no-record", "the run has no manifest yet", "worldflux sync")
    return row


def _proof(core: Core, connection: Connection, who: Principal, run: Any) -> dict[str, Any]:
    """The run's entry and its way to the newest checkpoint; nulls when the ledger has no such entry."""
    entry = ledger.newest_entry(connection, who.workspace_id, run.client_run_id, run.manifest_sha256)
    if entry is None:
        return {"proof": None, "key": None, "seq": None, "size": None}
    head = checkpoint_of(core, connection, who, entry.project_id)
    path = ledger.inclusion(connection, entry.project_id, entry.seq, head["size"])
    body = base64.b64encode(ledger.body_of(connection, entry)).decode()
    lines = ["c2sp.org/tlog-proof@v1", f"extra {body}", f"index {entry.seq}"]
    lines += [base64.b64encode(step).decode() for step in path]
    proof = "\n".join(lines) + "\n\n" + head["checkpoint"]
    return {"proof": proof, "key": head["key"], "seq": entry.seq, "size": head["size"]}


def _store(core: Core, who: Principal, run_id: str, sha256: str, body: bytes) -> None:
    """Make a blob of an archive that came as a body."""
    with core.db.read() as connection:
        _run(connection, who, run_id)
    core.blobs.put(who.workspace_id, sha256, body)
    with core.db.write() as connection:
        core.db.lock(connection, [blobs.gate_name(who.workspace_id)], shared=True)
        blobs.register(core.db, connection, core.blobs, who.workspace_id, {sha256: len(body)})


def _keep_archive(core: Core, who: Principal, run_id: str, sha256: str) -> dict[str, Any]:
    with core.db.read() as connection:
        run = _run(connection, who, run_id)
        size = blobs.present(connection, who.workspace_id, [sha256]).get(sha256)
        counting = trust.trust_of(connection, who.workspace_id)
    if size is None:
        raise Problem(
            409, "missing", "the archive's bytes are not here", "PATCH /api/sync/blobs first", blobs=[sha256]
        )
    verdict = evidence.judge(
        core.blobs, who.workspace_id, sha256, size, counting, run.client_run_id, run.manifest_sha256
    )
    with core.db.write() as connection:
        core.db.lock(connection, [blobs.gate_name(who.workspace_id)], shared=True)
        run = _run(connection, who, run_id)
        if sha256 not in blobs.present(connection, who.workspace_id, [sha256]):
            raise Problem(409, "missing", "the archive's bytes are gone", "upload them again", blobs=[sha256])
        if run.manifest_sha256 != verdict["manifest_sha256"]:
            raise Problem(409, "evidence-other", "the run's record has changed in between", "build it again")
        trust.hold(core.db, connection, who.workspace_id, shared=True)
        state = trust.state_now(connection, who.workspace_id, verdict)
        evidence.keep(core.db, connection, run, "evidence", sha256, size, verdict, state)
    return {"sha256": sha256, "bytes": size, "verdict": verdict}


def _keep_bundle(core: Core, who: Principal, run_id: str, body: bytes) -> dict[str, Any]:
    with core.db.read() as connection:
        run = _run(connection, who, run_id)
        counting = trust.trust_of(connection, who.workspace_id)
    verdict = evidence.judge_bundle(body, counting, run.manifest_sha256)
    with core.db.write() as connection:
        run = _run(connection, who, run_id)
        if run.manifest_sha256 != verdict["manifest_sha256"]:
            raise Problem(409, "evidence-other", "the run's record has changed in between", "sign it again")
        digest = hashlib.sha256(body).hexdigest()
        evidence.keep(core.db, connection, run, "bundle", digest, len(body), verdict, verdict["state"], body)
    return {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "verdict": verdict}
