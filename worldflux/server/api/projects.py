"""Projects of a workspace: where runs are filed. Sync makes them by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from worldflux.manifest.model import is_run_id, utc_now
from worldflux.server import audit, bodies
from worldflux.server.api.workspaces import SLUG
from worldflux.server.auth import Principal, require
from worldflux.server.core import CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import projects, runs

router = APIRouter(prefix="/api/projects", tags=["projects"])

Reader = Annotated[Principal, Depends(require("runs:read", shares=True))]
Writer = Annotated[Principal, Depends(require("runs:write"))]

#: Several lines for people.
TEXT = r"^[^\x00]*$"


class NewProject(BaseModel):
    """A project to be made."""

    model_config = ConfigDict(extra="forbid")

    slug: str = Field(max_length=64, pattern=SLUG)
    description: str = Field(default="", max_length=10000, pattern=TEXT)


class ProjectChange(BaseModel):
    """What to change; fields that are not there stay. `baseline_run` null: none."""

    model_config = ConfigDict(extra="forbid")

    description: str = Field(default="", max_length=10000, pattern=TEXT)
    archived: bool = False
    baseline_run: str | None = Field(default=None, max_length=36, pattern=TEXT)


@router.get("")
def list_projects(core: CoreDep, who: Reader) -> dict[str, Any]:
    """The workspace's projects with their numbers of runs, by name; of a shared project only that one."""
    with core.db.read() as connection:
        return {"projects": [shown(dict(row)) for row in connection.execute(_query(who)).mappings()]}


@router.post("", status_code=201, openapi_extra=bodies.described(NewProject))
def make_project(
    core: CoreDep, who: Writer, order: Annotated[NewProject, bodies.strict(NewProject)]
) -> dict[str, Any]:
    """Make a project."""
    try:
        with core.db.write() as connection:
            connection.execute(
                projects.insert().values(
                    workspace_id=who.workspace_id, slug=order.slug, description=order.description,
                    created_at=utc_now(),
                )
            )  # fmt: skip
            audit.record(core.db, connection, who.workspace_id, who.id, "project.create", order.slug)
            return shown(_row(connection, who, order.slug))
    except IntegrityError:
        raise Problem(409, "exists", "there is a project of this name", "choose another slug") from None


@router.get("/{slug}")
def one_project(core: CoreDep, who: Reader, slug: str) -> dict[str, Any]:
    """One project."""
    with core.db.read() as connection:
        return shown(_row(connection, who, slug))


@router.patch("/{slug}", openapi_extra=bodies.described(ProjectChange))
def change_project(
    core: CoreDep, who: Writer, slug: str, change: Annotated[ProjectChange, bodies.strict(ProjectChange)]
) -> dict[str, Any]:
    """Describe or archive a project, or name its baseline run."""
    values = change.model_dump(exclude_unset=True)
    with core.db.write() as connection:
        row = _row(connection, who, slug)
        if values.get("baseline_run") is not None:
            _check_baseline(connection, row["pk"], values["baseline_run"])
        if values:
            connection.execute(update(projects).where(projects.c.pk == row["pk"]).values(**values))
            audit.record(
                core.db, connection, who.workspace_id, who.id, "project.change", slug, fields=sorted(values)
            )
        return shown(_row(connection, who, slug))


@router.delete("/{slug}", status_code=204, response_class=Response)
def delete_project(core: CoreDep, who: Writer, slug: str) -> Response:
    """Delete a project that no run was ever filed in; others can be archived.

    A project with runs, also with deleted ones, keeps their tombstones and its ledger.
    """
    with core.db.write() as connection:
        row = _row(connection, who, slug)
        if connection.execute(select(runs.c.pk).where(runs.c.project_id == row["pk"]).limit(1)).first():
            raise Problem(
                409,
                "not-empty",
                "the project has runs, or remembers deleted ones",
                'archive it: {"archived": true}',
            )
        connection.execute(delete(projects).where(projects.c.pk == row["pk"]))
        audit.record(core.db, connection, who.workspace_id, who.id, "project.delete", slug)
    return Response(status_code=204)


def _check_baseline(connection: Connection, project_pk: int, run_id: str) -> None:
    query = select(runs.c.pk).where(
        runs.c.project_id == project_pk, runs.c.client_run_id == run_id, runs.c.state != "gone"
    )
    if not is_run_id(run_id) or connection.execute(query).first() is None:
        raise Problem(422, "invalid", "baseline_run: there is no such run in this project", "")


def _query(who: Principal) -> Any:
    counted = (
        select(func.count())
        .where(runs.c.project_id == projects.c.pk, runs.c.state.in_(("active", "archived")))
        .scalar_subquery()
    )
    newest = (
        select(func.max(runs.c.created_at))
        .where(runs.c.project_id == projects.c.pk, runs.c.state == "active")
        .scalar_subquery()
    )
    query = (
        select(projects, counted.label("runs"), newest.label("newest"))
        .where(projects.c.workspace_id == who.workspace_id)
        .order_by(projects.c.slug)
    )
    if who.kind == "share":
        # A share of one run shows no project at all.
        query = query.where(projects.c.pk == (who.project_id or -1))
    return query


def _row(connection: Connection, who: Principal, slug: str) -> Mapping[str, Any]:
    row = connection.execute(_query(who).where(projects.c.slug == bodies.path_text(slug))).mappings().first()
    if row is None:
        raise not_found("project")
    return dict(row)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A project as the outside sees it."""
    names = ("slug", "description", "baseline_run", "archived", "created_at", "runs", "newest")
    return {name: row[name] for name in names}
