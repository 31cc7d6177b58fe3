"""Workspaces: one sees its own; who runs the server makes others and sets their quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from worldflux.manifest.model import utc_now
from worldflux.manifest.names import PROJECT_NAME
from worldflux.server import audit, bodies, keys
from worldflux.server.api.keys import LABEL
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.ingest.store import used_bytes
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import runs, workspaces

router = APIRouter(tags=["workspaces"])

Reader = Annotated[Principal, Depends(require("runs:read"))]
Keeper = Annotated[Principal, Depends(require("keys:admin"))]
Admin = Annotated[Principal, Depends(require("admin"))]

SLUG = f"^{PROJECT_NAME}$"
_LARGEST = 2**53 - 1
_Quota = Annotated[int | None, Field(ge=0, le=_LARGEST)]
_Days = Annotated[int | None, Field(ge=1, le=36500)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Housekeeping(_Form):
    """What a workspace decides itself; null is the server's default."""

    name: str | None = Field(default=None, max_length=200, pattern=LABEL)
    retention_days: _Days = None
    trash_days: _Days = None


class Allowance(Housekeeping):
    """What the server's keeper decides; null is no limit."""

    quota_bytes: _Quota = None
    quota_runs: _Quota = None


class NewWorkspace(Allowance):
    """A workspace to be made."""

    slug: str = Field(max_length=64, pattern=SLUG)


@router.get("/api/workspace")
def own_workspace(core: CoreDep, who: Reader) -> dict[str, Any]:
    """The workspace of the key: its usage, quotas and retention."""
    with core.db.read() as connection:
        return shown(connection, core, _row(connection, workspaces.c.pk == who.workspace_id))


@router.patch("/api/workspace", openapi_extra=bodies.described(Housekeeping))
def change_own(
    core: CoreDep, who: Keeper, change: Annotated[Housekeeping, bodies.strict(Housekeeping)]
) -> dict[str, Any]:
    """Change the name and for how long runs are kept; fields that are not there stay."""
    return _change(core, who, workspaces.c.pk == who.workspace_id, change)


@router.get("/api/workspaces")
def list_workspaces(core: CoreDep, who: Admin) -> dict[str, Any]:
    """All workspaces of the server."""
    with core.db.read() as connection:
        rows = connection.execute(select(workspaces).order_by(workspaces.c.slug)).mappings().all()
        return {"workspaces": [shown(connection, core, dict(row)) for row in rows]}


@router.post("/api/workspaces", status_code=201, openapi_extra=bodies.described(NewWorkspace))
def make_workspace(
    core: CoreDep, who: Admin, order: Annotated[NewWorkspace, bodies.strict(NewWorkspace)]
) -> dict[str, Any]:
    """Make a workspace with a first key, which the answer shows this once."""
    try:
        with core.db.write() as connection:
            made = connection.execute(
                workspaces.insert().values(
                    created_at=utc_now(), **{**order.model_dump(), "name": order.name or order.slug}
                )
            ).inserted_primary_key
            assert made is not None
            scopes = [scope for scope in keys.SCOPES if scope != "admin"]
            key = keys.create(connection, made[0], "first key", scopes, created_by=who.id)
            for workspace_id in (who.workspace_id, made[0]):
                audit.record(core.db, connection, workspace_id, who.id, "workspace.create", order.slug)
            row = _row(connection, workspaces.c.pk == made[0])
            return {**shown(connection, core, row), "key": {"id": key.public_id, "token": key.token}}
    except IntegrityError:
        raise Problem(409, "exists", "there is a workspace of this name", "choose another slug") from None


@router.patch("/api/workspaces/{slug}", openapi_extra=bodies.described(Allowance))
def change_workspace(
    core: CoreDep, who: Admin, slug: str, change: Annotated[Allowance, bodies.strict(Allowance)]
) -> dict[str, Any]:
    """Change a workspace's quotas and housekeeping; fields that are not there stay."""
    return _change(core, who, workspaces.c.slug == bodies.path_text(slug), change)


def _change(core: Core, who: Principal, which: Any, change: Housekeeping) -> dict[str, Any]:
    values = change.model_dump(exclude_unset=True)
    if values.get("name", "") is None:
        raise Problem(422, "invalid", "name: must be text", "see /openapi.json")
    with core.db.write() as connection:
        row = _row(connection, which)
        if values:
            connection.execute(update(workspaces).where(workspaces.c.pk == row["pk"]).values(**values))
            audit.record(core.db, connection, row["pk"], who.id, "workspace.change", row["slug"], **values)
        return shown(connection, core, _row(connection, workspaces.c.pk == row["pk"]))


def shown(connection: Connection, core: Core, row: Mapping[str, Any]) -> dict[str, Any]:
    """A workspace with its usage."""
    count = connection.execute(
        select(func.count()).where(runs.c.workspace_id == row["pk"], runs.c.state != "gone")
    ).scalar_one()
    trash_days = core.settings.trash_days if row["trash_days"] is None else row["trash_days"]
    return {
        "slug": row["slug"], "name": row["name"], "created_at": row["created_at"],
        "usage": {"runs": count, "bytes": used_bytes(connection, row["pk"])},
        "quotas": {"runs": row["quota_runs"], "bytes": row["quota_bytes"]},
        "retention_days": row["retention_days"], "trash_days": trash_days,
    }  # fmt: skip


def _row(connection: Connection, which: Any) -> Mapping[str, Any]:
    row = connection.execute(select(workspaces).where(which)).mappings().first()
    if row is None:
        raise not_found("workspace")
    return dict(row)
