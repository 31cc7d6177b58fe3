"""Making, listing and ending shares."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection, select, update
from starlette.responses import Response

from worldflux.manifest.model import utc_now
from worldflux.server import audit, bodies, keys, shares
from worldflux.server.api.answer import described, plain, reply, seen_run
from worldflux.server.api.changes import Label, Writer
from worldflux.server.auth import Principal, require
from worldflux.server.core import CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.query.place import SHOWN
from worldflux.server.tables import projects, runs
from worldflux.server.tables import shares as table

router = APIRouter(tags=["shares"])

DEFAULT_DAYS = 7.0
MAX_DAYS = 365
#: A share that nobody asked an end for has one; more than this in a workspace is a mistake.
MAX_SHARES = 1000

Slug = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]


class NewShare(BaseModel):
    """What to share, and for how long."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: Annotated[str, StringConstraints(max_length=64)] | None = None
    project: Slug | None = None
    name: Label | None = None
    days: Annotated[float, Field(gt=0, le=MAX_DAYS)] = DEFAULT_DAYS

    @model_validator(mode="after")
    def _one_thing(self) -> NewShare:
        if (self.run is None) == (self.project is None):
            raise ValueError("name either a `run` or a `project`")
        return self


@router.post(
    "/api/shares",
    status_code=201,
    responses={201: described("The share, with its token.")[200]},
    openapi_extra=bodies.described(NewShare),
)
def make_share(
    request: Request, core: CoreDep, who: Writer, new: Annotated[NewShare, bodies.strict(NewShare)]
) -> Response:
    """Let whoever has the token read one run or one project until it expires."""
    for scope in sorted(shares.SCOPES):
        who.need(scope)
    expires_at = keys.after_days(new.days)
    with core.db.write() as connection:
        live = _listed(connection, who)
        if len(live) >= MAX_SHARES:
            raise Problem(
                409, "too-many-shares", f"there are {MAX_SHARES} shares already", "end some of them"
            )
        thing: dict[str, int]
        if new.run is not None:
            run = seen_run(connection, who, new.run)
            if run.state not in SHOWN:
                raise Problem(409, "deleted", "this run is in the trash", "restore it first")
            thing = {"run_pk": run.pk}
        else:
            thing = {"project_id": _project(connection, who, str(new.project))}
        token, public_id = shares.create(
            connection,
            who,
            name=new.name or "",
            expires_at=expires_at,
            **thing,
        )
        target = {"run": new.run} if new.run is not None else {"project": new.project}
        audit.record(
            core.db, connection, who.workspace_id, who.id, "share.create", public_id,
            expires_at=expires_at, **target,
        )  # fmt: skip
        (shown,) = [each for each in _listed(connection, who) if each["id"] == public_id]
    path = f"/s/{token}"
    url = (core.settings.public_url or str(request.base_url)).rstrip("/") + path
    return reply(request, {**shown, "token": token, "url": url}, 201)


@router.get("/api/shares", responses=described("The shares that are open."))
def list_shares(
    request: Request, core: CoreDep, who: Annotated[Principal, Depends(require("runs:read"))]
) -> Response:
    """The shares of this workspace that are neither over nor ended; their tokens are stored nowhere."""
    with core.db.read() as connection:
        return reply(request, {"shares": _listed(connection, who)})


@router.delete("/api/shares/{id}", responses=described("The share is over."))
def end_share(
    request: Request,
    core: CoreDep,
    who: Writer,
    id: Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")],
) -> Response:
    """End a share now. Ending it again changes nothing."""
    with core.db.write() as connection:
        own = table.c.workspace_id == who.workspace_id, table.c.public_id == id
        row = connection.execute(select(table.c.revoked_at).where(*own).with_for_update()).first()
        if row is None:
            raise not_found("share")
        revoked_at = row.revoked_at
        if revoked_at is None:
            revoked_at = utc_now()
            connection.execute(update(table).where(*own).values(revoked_at=revoked_at))
            audit.record(core.db, connection, who.workspace_id, who.id, "share.revoke", id)
    return reply(request, {"id": id, "revoked_at": revoked_at})


def _project(connection: Connection, who: Principal, slug: str) -> int:
    query = select(projects.c.pk).where(projects.c.workspace_id == who.workspace_id, projects.c.slug == slug)
    found = connection.execute(query).scalar()
    if found is None:
        raise not_found("project")
    return int(found)


def _listed(connection: Connection, who: Principal) -> list[dict[str, Any]]:
    query = (
        select(
            table.c.public_id.label("id"), table.c.name, table.c.last4, table.c.created_by, table.c.created_at,
            table.c.expires_at, projects.c.slug.label("project"), runs.c.client_run_id.label("run"),
        )
        .outerjoin(projects, projects.c.pk == table.c.project_id)
        .outerjoin(runs, runs.c.pk == table.c.run_pk)
        .where(
            table.c.workspace_id == who.workspace_id, table.c.revoked_at.is_(None),
            table.c.expires_at > keys.stamp(datetime.now(timezone.utc)),
        )
        .order_by(table.c.created_at.desc(), table.c.pk.desc())
    )  # fmt: skip
    return [plain(row) for row in connection.execute(query)]
