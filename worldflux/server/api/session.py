"""Signing in to the dashboard, by key or by password, and out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from worldflux.server import audit, bodies, keys, sessions, users
from worldflux.server.auth import SESSION_COOKIE, Principal, require
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import Problem

router = APIRouter(tags=["session"])

Anyone = Annotated[Principal, Depends(require(None))]


class SignIn(BaseModel):
    """A key, or a login with its password; `workspace` for who is a member of several."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: str | None = Field(None, max_length=200)
    login: str | None = Field(None, max_length=200)
    password: str | None = Field(None, max_length=1000)
    workspace: str | None = Field(None, max_length=64)


@router.get("/api/session")
def show(who: Anyone) -> dict[str, Any]:
    """Who is signed in, and the token that unsafe requests carry."""
    return _session(who).shown()


@router.post("/api/session", status_code=201, openapi_extra=bodies.described(SignIn))
def sign_in(core: CoreDep, request: Request, body: Annotated[SignIn, bodies.strict(SignIn)]) -> Response:
    """Begin a session; its cookie is set, and no script can read it."""
    sessions.check_origin(core, request)
    if body.key is not None and body.login is None and body.password is None:
        cookie = _by_key(core, body.key.strip())
    elif body.key is None and body.login is not None and body.password is not None:
        cookie = _by_password(core, request, body)
    else:
        raise Problem(422, "invalid", "send a key, or a login and a password", "sign in on the page /login")
    found = sessions.find(core, cookie)
    assert found is not None
    answer = JSONResponse(found.shown(), 201, headers={"Cache-Control": "no-store"})
    answer.set_cookie(
        SESSION_COOKIE, cookie, max_age=sessions.DAYS * 86400, path="/", httponly=True, samesite="lax",
        secure=_is_https(core, request),
    )  # fmt: skip
    return answer


@router.delete("/api/session", status_code=204)
def sign_out(core: CoreDep, request: Request, who: Anyone) -> Response:
    """End this session."""
    with core.db.write() as connection:
        sessions.close(connection, _session(who).hash)
    answer = Response(status_code=204)
    answer.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")
    return answer


def _is_https(core: Core, request: Request) -> bool:
    """Whether browsers reach this server over TLS, also through a proxy that ends it."""
    public = core.settings.public_url or ""
    return request.url.scheme == "https" or public.startswith("https://")


def _session(who: Principal) -> sessions.Session:
    found = who.details.get("session")
    if not isinstance(found, sessions.Session):
        raise Problem(404, "not-found", "this credential is no session", "sign in on the page /login")
    return found


def _by_key(core: Core, key: str) -> str:
    with core.db.write() as connection:
        row = keys.find(connection, key)
        if row is None:
            raise _refused("this key is not valid here", "make one: worldflux server key create")
        keys.touch(connection, row["pk"])
        name, workspace = row["public_id"], row["workspace_id"]
        audit.record(core.db, connection, workspace, name, "session.open", name, by="key")
        return sessions.open_session(connection, row["workspace_id"], api_key_pk=row["pk"])


def _by_password(core: Core, request: Request, body: SignIn) -> str:
    address = request.client.host if request.client else ""
    user = users.verify(core, body.login or "", body.password or "", address)
    if user is None:
        raise _refused("login or password is wrong", "somebody with the scope admin can set a new password")
    fits = [each for each in user.workspaces if body.workspace in (None, "", each[1])]
    if not fits:
        raise _refused("this login is no member of that workspace", "ask for a membership")
    pk, _, _ = fits[0]
    with core.db.write() as connection:
        audit.record(core.db, connection, pk, user.login, "session.open", user.login, by="password")
        return sessions.open_session(connection, pk, user_pk=user.pk)


def _refused(detail: str, hint: str) -> Problem:
    return Problem(401, "unauthorized", detail, hint)
