"""What people change about runs: names, notes, tags, stars, the archive and the trash.

Every change is recorded in the audit log within its own transaction. Nothing here touches a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection, delete, func, select, update
from starlette.responses import Response

from worldflux.manifest.model import is_run_id, utc_now
from worldflux.server import audit, bodies
from worldflux.server.api.answer import RunId, described, gone, reply, seen_run
from worldflux.server.api.runs import detail
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import projects, run_tags, runs

router = APIRouter(tags=["runs"])

Writer = Annotated[Principal, Depends(require("runs:write"))]

MAX_TAGS = 64
MAX_BULK = 1000

_LABEL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
Label = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=512, pattern=_LABEL)]
Tag = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=_LABEL)]
Notes = Annotated[str, StringConstraints(strict=True, max_length=16384, pattern=r"^[^\x00]*$")]


class Change(BaseModel):
    """What is to be different; what is not there stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Label | None = None
    notes: Notes | None = None
    tags: Annotated[list[Tag], Field(max_length=MAX_TAGS)] | None = None
    starred: bool | None = None
    archived: bool | None = None
    baseline: bool | None = None


class Bulk(BaseModel):
    """One action on many runs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(min_length=1, max_length=MAX_BULK)
    ]
    action: Literal["tag", "untag", "archive", "unarchive", "delete", "restore", "star", "unstar"]
    value: Tag | None = None

    @model_validator(mode="after")
    def _value_fits(self) -> Bulk:
        if (self.value is not None) != (self.action in ("tag", "untag")):
            raise ValueError("`value` is the tag of `tag` and `untag`, and of nothing else")
        return self


@router.patch(
    "/api/runs/{id}", responses=described("The run as it is now."), openapi_extra=bodies.described(Change)
)
def change_run(
    request: Request, core: CoreDep, who: Writer, id: RunId, change: Annotated[Change, bodies.strict(Change)]
) -> Response:
    """Rename, annotate, tag, star, archive a run or make it its project's baseline."""
    asked = change.model_dump(exclude_none=True)
    with core.db.write() as connection:
        run = _locked(connection, who, id)
        if "archived" in asked and run.state == "trash":
            raise Problem(409, "deleted", "this run is in the trash", "restore it first")
        values: dict[str, Any] = {name: asked[name] for name in ("notes", "starred") if name in asked}
        if "name" in asked:
            values |= {"name": asked["name"], "renamed": True}
        if "archived" in asked:
            values["state"] = "archived" if asked["archived"] else "active"
        if "tags" in asked:
            values["retagged"] = True
            _retag(connection, who, run.pk, asked["tags"])
        if "baseline" in asked:
            _pin(connection, who, run, asked["baseline"])
        if values:
            _set(connection, who, [run.pk], values)
        if asked:
            # The words themselves stay out of the log: notes may hold anything.
            shown = {name: value for name, value in asked.items() if name != "notes"}
            audit.record(
                core.db, connection, who.workspace_id, who.id, "run.change", id,
                changed=sorted(asked), **{f"to_{name}": value for name, value in shown.items()},
            )  # fmt: skip
        return reply(request, detail(connection, who, run))


@router.delete("/api/runs/{id}", responses=described("The run is in the trash."))
def delete_run(request: Request, core: CoreDep, who: Writer, id: RunId) -> Response:
    """Move a run to the trash, from where `restore` brings it back until it is purged."""
    return _move(request, core, who, id, "delete")


@router.post("/api/runs/{id}/restore", responses=described("The run is no longer in the trash."))
def restore_run(request: Request, core: CoreDep, who: Writer, id: RunId) -> Response:
    """Take a run out of the trash."""
    return _move(request, core, who, id, "restore")


def _move(request: Request, core: Core, who: Principal, run_id: str, action: str) -> Response:
    with core.db.write() as connection:
        run = _locked(connection, who, run_id)
        if _ACTIONS[action](connection, who, [run], None):
            audit.record(core.db, connection, who.workspace_id, who.id, f"run.{action}", run_id)
        state = connection.execute(select(runs.c.state).where(runs.c.pk == run.pk)).scalar()
    return reply(request, {"id": run_id, "state": state})


@router.post(
    "/api/runs/bulk",
    responses=described("How many runs were changed, and which are not there."),
    openapi_extra=bodies.described(Bulk),
)
def change_runs(
    request: Request, core: CoreDep, who: Writer, bulk: Annotated[Bulk, bodies.strict(Bulk)]
) -> Response:
    """One action on up to a thousand runs, all in one transaction."""
    asked = list(dict.fromkeys(bulk.ids))
    with core.db.write() as connection:
        query = (
            select(runs.c.pk, runs.c.state, runs.c.client_run_id)
            .where(
                runs.c.workspace_id == who.workspace_id,
                runs.c.client_run_id.in_([each for each in asked if is_run_id(each)]),
                runs.c.state != "gone",
            )
            .order_by(runs.c.pk)
        )
        found = list(connection.execute(query.with_for_update()))
        changed = _ACTIONS[bulk.action](connection, who, found, bulk.value)
        if changed:
            target = changed[0] if len(changed) == 1 else f"{len(changed)} runs"
            more = {} if bulk.value is None else {"value": bulk.value}
            audit.record(
                core.db,
                connection,
                who.workspace_id,
                who.id,
                f"run.{bulk.action}",
                target,
                runs=changed,
                **more,
            )
    there = {run.client_run_id for run in found}
    return reply(request, {"changed": len(changed), "missing": [each for each in asked if each not in there]})


def _locked(connection: Connection, who: Principal, run_id: str) -> Any:
    """A run that nobody else changes until the transaction ends.

    Raises:
        Problem: 404 or 410, as for reading.
    """
    run = seen_run(connection, who, run_id)
    query = select(runs.c.pk, runs.c.state, runs.c.project_id, runs.c.client_run_id)
    row = connection.execute(
        query.where(runs.c.pk == run.pk, runs.c.workspace_id == who.workspace_id).with_for_update()
    ).first()
    if row is None:
        raise not_found("run")
    if row.state == "gone":
        raise gone()
    return row


def _set(connection: Connection, who: Principal, keys: Sequence[int], values: dict[str, Any]) -> None:
    connection.execute(
        update(runs)
        .where(runs.c.pk.in_(keys), runs.c.workspace_id == who.workspace_id)
        .values(**values, updated_at=utc_now())
    )


def _retag(connection: Connection, who: Principal, key: int, tags: Sequence[str]) -> None:
    connection.execute(
        delete(run_tags).where(run_tags.c.run_pk == key, run_tags.c.workspace_id == who.workspace_id)
    )
    rows = [{"run_pk": key, "workspace_id": who.workspace_id, "tag": tag} for tag in dict.fromkeys(tags)]
    if rows:
        connection.execute(run_tags.insert(), rows)


def _pin(connection: Connection, who: Principal, run: Any, baseline: bool) -> None:
    statement = update(projects).where(
        projects.c.pk == run.project_id, projects.c.workspace_id == who.workspace_id
    )
    if not baseline:
        statement = statement.where(projects.c.baseline_run == run.client_run_id)
    connection.execute(statement.values(baseline_run=run.client_run_id if baseline else None))


Action = Callable[[Connection, Principal, Sequence[Any], str | None], list[str]]


def _states(before: tuple[str, ...], after: str) -> Action:
    def move(connection: Connection, who: Principal, found: Sequence[Any], _: str | None) -> list[str]:
        moved = [run for run in found if run.state in before]
        if moved:
            deleted = utc_now() if after == "trash" else None
            _set(connection, who, [run.pk for run in moved], {"state": after, "deleted_at": deleted})
        return [run.client_run_id for run in moved]

    return move


def _stars(on: bool) -> Action:
    def star(connection: Connection, who: Principal, found: Sequence[Any], _: str | None) -> list[str]:
        if found:
            _set(connection, who, [run.pk for run in found], {"starred": on})
        return [run.client_run_id for run in found]

    return star


def _tag(connection: Connection, who: Principal, found: Sequence[Any], value: str | None) -> list[str]:
    keys = [run.pk for run in found]
    own = run_tags.c.run_pk.in_(keys), run_tags.c.workspace_id == who.workspace_id
    tagged = set(connection.execute(select(run_tags.c.run_pk).where(*own, run_tags.c.tag == value)).scalars())
    fresh = [run for run in found if run.pk not in tagged]
    many = select(run_tags.c.run_pk).where(*own).group_by(run_tags.c.run_pk).having(func.count() >= MAX_TAGS)
    full = set(connection.execute(many).scalars())
    if any(run.pk in full for run in fresh):
        raise Problem(422, "too-many-tags", f"a run has at most {MAX_TAGS} tags", "take one off first")
    if fresh:
        rows = [{"run_pk": run.pk, "workspace_id": who.workspace_id, "tag": value} for run in fresh]
        connection.execute(run_tags.insert(), rows)
        _set(connection, who, [run.pk for run in fresh], {"retagged": True})
    return [run.client_run_id for run in fresh]


def _untag(connection: Connection, who: Principal, found: Sequence[Any], value: str | None) -> list[str]:
    own = (
        run_tags.c.run_pk.in_([run.pk for run in found]), run_tags.c.workspace_id == who.workspace_id,
        run_tags.c.tag == value,
    )  # fmt: skip
    tagged = set(connection.execute(select(run_tags.c.run_pk).where(*own)).scalars())
    if tagged:
        connection.execute(delete(run_tags).where(*own))
        _set(connection, who, sorted(tagged), {"retagged": True})
    return [run.client_run_id for run in found if run.pk in tagged]


_ACTIONS: dict[str, Action] = {
    "tag": _tag,
    "untag": _untag,
    "archive": _states(("active",), "archived"),
    "unarchive": _states(("archived",), "active"),
    "delete": _states(("active", "archived"), "trash"),
    "restore": _states(("trash",), "active"),
    "star": _stars(True),
    "unstar": _stars(False),
}
