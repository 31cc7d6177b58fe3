"""The members of a workspace: who they are, what they may do, their passwords."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select
from starlette.responses import Response

from worldflux.server import audit, bodies, keys, sessions, users
from worldflux.server.api.keys import check_scopes
from worldflux.server.auth import Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem, not_found
from worldflux.server.tables import users as users_table

router = APIRouter(tags=["users"])

Reader = Annotated[Principal, Depends(require("runs:read"))]
Admin = Annotated[Principal, Depends(require("keys:admin"))]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewMember(_Body):
    """Somebody to let in; a login that exists keeps its password and only becomes a member."""

    login: str = Field(max_length=200)
    name: str = Field("", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    password: str | None = Field(None, max_length=1000)
    scopes: list[str] = Field(list(keys.DEFAULT_SCOPES), max_length=20)


class MemberChange(_Body):
    """What to change of a member."""

    scopes: list[str] = Field(max_length=20)


class Password(_Body):
    """The own password: the old one, too."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


@router.get("/api/users")
def list_members(core: CoreDep, who: Reader) -> dict[str, Any]:
    """The members of this workspace."""
    with core.db.read() as connection:
        return {"users": users.members(connection, who.workspace_id)}


@router.post("/api/users", status_code=201, openapi_extra=bodies.described(NewMember))
def add_member(
    core: CoreDep, who: Admin, body: Annotated[NewMember, bodies.strict(NewMember)]
) -> dict[str, Any]:
    """Let somebody in. Nobody can give more than they have themselves."""
    login = users.check_login(body.login)
    check_scopes(who, body.scopes)
    hashed = None if body.password is None else users.hash_password(body.password)
    with core.db.write() as connection:
        known = connection.execute(select(users_table.c.pk).where(users_table.c.login == login)).scalar()
        if known is None and hashed is None:
            raise Problem(422, "password", "a new login needs a first password", "send `password`")
        pk = users.create(connection, login, body.name, hashed)
        users.join(connection, pk, who.workspace_id, body.scopes)
        _note(core, connection, who, "user.join", login, scopes=body.scopes)
        return next(each for each in users.members(connection, who.workspace_id) if each["login"] == login)


@router.patch("/api/users/{login}", openapi_extra=bodies.described(MemberChange))
def change_member(
    core: CoreDep, who: Admin, login: str, body: Annotated[MemberChange, bodies.strict(MemberChange)]
) -> dict[str, Any]:
    """Change what a member may do in this workspace."""
    check_scopes(who, body.scopes)
    with core.db.write() as connection:
        pk = users.member(connection, who.workspace_id, bodies.path_text(login))
        if pk is None:
            raise not_found("member")
        now = next(each for each in users.members(connection, who.workspace_id) if each["login"] == login)
        check_scopes(who, now["scopes"])
        users.join(connection, pk, who.workspace_id, body.scopes)
        _note(core, connection, who, "user.change", login, scopes=body.scopes)
        return next(each for each in users.members(connection, who.workspace_id) if each["login"] == login)


@router.delete("/api/users/{login}", status_code=204, response_class=Response)
def remove_member(core: CoreDep, who: Admin, login: str) -> Response:
    """Take a member out of this workspace; its sessions here end at once."""
    with core.db.write() as connection:
        pk = users.member(connection, who.workspace_id, bodies.path_text(login))
        if pk is None:
            raise not_found("member")
        users.leave(connection, pk, who.workspace_id)
        _note(core, connection, who, "user.leave", login)
    return Response(status_code=204)


@router.post("/api/session/password", status_code=204, openapi_extra=bodies.described(Password))
def change_password(
    core: CoreDep,
    request: Request,
    who: Annotated[Principal, Depends(require(None))],
    body: Annotated[Password, bodies.strict(Password)],
) -> Response:
    """Give the own login a new password; all other sessions of it end."""
    session = who.details.get("session")
    if not isinstance(session, sessions.Session) or session.login is None:
        raise Problem(
            422, "password", "only who signed in with a password has one", "sign in with a password"
        )
    address = request.client.host if request.client else ""
    user = users.verify(core, session.login, body.old, address)
    if user is None:
        raise Problem(422, "password", "the old password is wrong", "try again")
    hashed = users.hash_password(body.new)
    with core.db.write() as connection:
        users.set_password(connection, user.pk, hashed)
        sessions.close_others(connection, user.pk, session.hash)
        _note(core, connection, who, "user.password", session.login)
    return Response(status_code=204)


def _note(core: Core, connection: Connection, who: Principal, action: str, login: str, **detail: Any) -> None:
    audit.record(core.db, connection, who.workspace_id, who.id, action, login, **detail)
