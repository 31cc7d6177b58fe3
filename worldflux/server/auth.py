"""Who asks, and may they? Every route but a short public list depends on `require`.

A credential is a bearer token or the dashboard's session cookie. The kinds live in modules of their
own (`RESOLVERS`) with one function each:

    def principal(core: Core, request: Request, token: str) -> Principal | None

which answers None for a credential that is unknown, expired or revoked.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from worldflux.server import keys
from worldflux.server.core import Core, core_of
from worldflux.server.problems import Problem, unauthorized

#: Start of a bearer token -> module whose `principal` knows it.
RESOLVERS = {"wfx_": "worldflux.server.auth", "wfs_": "worldflux.server.shares"}

#: The dashboard's cookie, and the module whose `principal` knows it (and checks X-CSRF-Token).
SESSION_COOKIE = "wf_session"
SESSION_MODULE = "worldflux.server.sessions"

#: A key's `last_used_at` is written no more often than this.
TOUCH_SECONDS = 60.0

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9_]{20,100})")


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        workspace_id: the one workspace whose rows they may see; every query filters by it.
        workspace: its slug.
        kind: `key`, `session` or `share`.
        id: public id of the key or share, login of the user; for the audit log.
        name: for people.
        scopes: what they may do.
        run_id: a share of one run: its client_run_id; nothing else may be seen.
        project_id: a share of one project.
        details: what the credential's own endpoint shows (expiry, last four characters).
    """

    workspace_id: int
    workspace: str
    kind: str
    id: str
    name: str
    scopes: frozenset[str]
    run_id: str | None = None
    project_id: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def may(self, scope: str) -> bool:
        """Whether the scope is theirs."""
        return scope in self.scopes

    def need(self, scope: str) -> None:
        """Refuse who has not the scope.

        Raises:
            Problem: 403, with the name of the scope.
        """
        if scope not in self.scopes:
            raise Problem(
                403, "forbidden", f"this needs the scope {scope}", "ask for a key with it", scope=scope
            )


def require(scope: str | None, *, shares: bool = False) -> Callable[[Request], Principal]:
    """A dependency that lets in who has a scope: `who: Annotated[Principal, Depends(require("runs:read"))]`.

    Args:
        scope: one of `keys.SCOPES`; None lets in every valid credential.
        shares: also let in share tokens. The endpoint then obeys `run_id` and `project_id` itself.
    """
    if scope is not None and scope not in keys.SCOPES:
        raise ValueError(f"no scope: {scope}")

    def principal(request: Request) -> Principal:
        who = identify(request)
        if who.kind == "share" and not shares:
            raise unauthorized()
        if scope is not None:
            who.need(scope)
        return who

    principal.scope = scope  # type: ignore[attr-defined]
    principal.shares = shares  # type: ignore[attr-defined]
    return principal


def identify(request: Request) -> Principal:
    """Who sent this request; remembered on `request.state.principal` for the access log.

    Raises:
        Problem: 401, the same for every kind of wrong credential.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    core = core_of(request)
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise unauthorized()
    who: Principal | None = None
    if headers:
        match = _BEARER.fullmatch(headers[0])
        module = RESOLVERS.get(match[1][:4]) if match else None
        if match and module:
            who = _resolver(module)(core, request, match[1])
    elif (cookie := request.cookies.get(SESSION_COOKIE)) is not None and len(cookie) <= 200:
        who = _resolver(SESSION_MODULE)(core, request, cookie)
    if who is None:
        raise unauthorized()
    request.state.principal = who
    return who


def _resolver(module: str) -> Callable[[Core, Request, str], Principal | None]:
    try:
        found: Callable[[Core, Request, str], Principal | None] = importlib.import_module(module).principal
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return lambda *_: None
    return found


def principal(core: Core, request: Request, token: str) -> Principal | None:
    """Who an API key stands for."""
    with core.db.read() as connection:
        row = keys.find(connection, token)
    if row is None:
        return None
    if not core.db.is_writing and _is_due(row["pk"]):
        # Reading goes on when nothing can be written.
        with contextlib.suppress(Problem), core.db.write() as connection:
            keys.touch(connection, row["pk"])
    details = {"expires_at": keys.ends_at(row), "last4": row["last4"], "created_at": row["created_at"]}
    return Principal(
        row["workspace_id"], row["workspace"], "key", row["public_id"], row["name"],
        frozenset(row["scopes"].split()), details=details,
    )  # fmt: skip


_touched: dict[int, float] = {}


def _is_due(pk: int) -> bool:
    now = time.monotonic()
    if now - _touched.get(pk, -TOUCH_SECONDS) < TOUCH_SECONDS:
        return False
    if len(_touched) > 10_000:
        _touched.clear()
    _touched[pk] = now
    return True
