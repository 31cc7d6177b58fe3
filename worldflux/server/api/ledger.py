"""A project's ledger: its signed head, and that it only grew."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection, select
from starlette.responses import Response

from worldflux.server import ledger
from worldflux.server.api.answer import described, reply
from worldflux.server.auth import Principal, require
from worldflux.server.checkpoints import checkpoint_key
from worldflux.server.core import CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.query.place import Place
from worldflux.server.tables import projects

router = APIRouter(tags=["ledger"])

Reader = Annotated[Principal, Depends(require("runs:read", shares=True))]
Project = Annotated[str, Query(max_length=64, pattern=r"^[^\x00]*$", description="slug of a project")]
Size = Annotated[int, Query(ge=0, le=2**53)]


def checkpoint_of(core: Any, connection: Connection, who: Principal, project_id: int) -> dict[str, Any]:
    """Head and checkpoint of a project's ledger, as `GET /api/sync/ledger-head` answers."""
    slug = connection.execute(
        select(projects.c.slug).where(
            projects.c.pk == project_id, projects.c.workspace_id == who.workspace_id
        )
    ).scalar_one()
    head = ledger.head(connection, who.workspace_id, project_id)
    key = checkpoint_key(core.settings)
    origin = key.origin(who.workspace, slug)
    return {
        "origin": origin,
        "project": slug,
        "size": head.size,
        "chain": head.chain,
        "root": head.root,
        "checkpoint": key.sign(origin, head.size, bytes.fromhex(head.root)),
        "key": key.verifier(origin),
    }


@router.get("/api/sync/ledger-head", responses=described("Head and signed checkpoint of a ledger."))
def ledger_head(request: Request, core: CoreDep, who: Reader, project: Project) -> Response:
    """How long a project's ledger is, and its root, signed."""
    with core.db.read() as connection:
        document = checkpoint_of(core, connection, who, _project(connection, who, project))
    return reply(request, document)


@router.get("/api/sync/consistency", responses=described("An RFC 6962 consistency proof."))
def consistency(
    request: Request,
    core: CoreDep,
    who: Reader,
    project: Project,
    from_: Annotated[int, Query(ge=0, le=2**53, alias="from")],
    to: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """That the ledger of now, or of `to` entries, begins with the ledger as it was with `from` entries."""
    with core.db.read() as connection:
        project_id = _project(connection, who, project)
        size = ledger.head(connection, who.workspace_id, project_id).size
        end = size if to is None else to
        if not from_ <= end <= size:
            raise Problem(
                409, "ledger-size", f"the ledger has {size} entries", "ask for the head again", size=size
            )
        path = ledger.consistency(connection, project_id, from_, end) if 0 < from_ < end else []
    proof = [base64.b64encode(step).decode() for step in path]
    return reply(request, {"project": project, "from": from_, "to": end, "proof": proof})


def _project(connection: Connection, who: Principal, slug: str) -> int:
    found = Place.of(who).narrowed(connection, slug)
    if found is None or found.project_id is None or who.run_id is not None:
        raise not_found("project")
    return found.project_id
