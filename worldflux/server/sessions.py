"""Sessions of the dashboard: a cookie that scripts can not read, and a token that other sites can not know."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from sqlalchemy import Connection, delete, select, update

from worldflux.manifest.model import utc_now
from worldflux.server import keys
from worldflux.server.auth import Principal
from worldflux.server.core import Core
from worldflux.server.problems import Problem
from worldflux.server.tables import api_keys, memberships, sessions, users, workspaces

#: A session ends after this many days, and after so many without a request.
DAYS = 14
IDLE_DAYS = 2
#: `last_seen_at` is written no more often than this.
SEEN_DAYS = 5 / 1440

SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Session:
    """A session that holds now.

    Attributes:
        scopes: those of its key or membership at this moment.
        csrf: what unsafe requests carry in X-CSRF-Token.
        login: of the user; None for a session that a key opened.
        key: public id, name and last four characters of that key.
    """

    hash: str
    workspace_id: int
    workspace: str
    scopes: tuple[str, ...]
    csrf: str
    expires_at: str
    login: str | None
    name: str
    key: dict[str, str] | None

    def shown(self) -> dict[str, Any]:
        """As the dashboard's modules see it."""
        user = None if self.login is None else {"login": self.login, "name": self.name}
        return {
            "workspace": self.workspace, "scopes": list(self.scopes), "csrf": self.csrf,
            "expires_at": self.expires_at, "user": user, "key": self.key,
        }  # fmt: skip


def open_session(
    connection: Connection, workspace_id: int, *, user_pk: int | None = None, api_key_pk: int | None = None
) -> str:
    """Begin a session of a user or a key; what the cookie holds. Writes no audit record."""
    cookie, now = keys.token("wfc_"), utc_now()
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    connection.execute(
        sessions.insert().values(
            hash=keys.digest(cookie), workspace_id=workspace_id, user_pk=user_pk, api_key_pk=api_key_pk,
            scopes="", csrf=secrets.token_urlsafe(24), created_at=now, last_seen_at=now,
            expires_at=keys.after_days(DAYS),
        )
    )  # fmt: skip
    return cookie


def close(connection: Connection, hashed: str) -> None:
    """End a session."""
    connection.execute(delete(sessions).where(sessions.c.hash == hashed))


def close_others(connection: Connection, user_pk: int, keep: str = "") -> None:
    """End all sessions of a user, but for one: after a new password."""
    connection.execute(delete(sessions).where(sessions.c.user_pk == user_pk, sessions.c.hash != keep))


def find(core: Core, cookie: str) -> Session | None:
    """The session of a cookie; None when it is unknown or over, or when its key or user no longer counts."""
    if not cookie.startswith("wfc_") or len(cookie) > 100:
        return None
    now, hashed = utc_now(), keys.digest(cookie)
    with core.db.read() as connection:
        row = connection.execute(
            select(
                sessions, workspaces.c.slug, users.c.login, users.c.name.label("user_name"), users.c.disabled_at,
                memberships.c.scopes.label("member_scopes"), api_keys.c.public_id, api_keys.c.name.label("key_name"),
                api_keys.c.last4, api_keys.c.scopes.label("key_scopes"), api_keys.c.revoked_at,
                api_keys.c.expires_at.label("key_expires_at"),
            )
            .join(workspaces, workspaces.c.pk == sessions.c.workspace_id)
            .outerjoin(users, users.c.pk == sessions.c.user_pk)
            .outerjoin(
                memberships,
                (memberships.c.user_pk == sessions.c.user_pk)
                & (memberships.c.workspace_id == sessions.c.workspace_id),
            )
            .outerjoin(api_keys, api_keys.c.pk == sessions.c.api_key_pk)
            .where(sessions.c.hash == hashed, sessions.c.expires_at > now)
        ).mappings().first()  # fmt: skip
    if row is None or row["last_seen_at"] <= keys.after_days(-IDLE_DAYS):
        return None
    scopes = _scopes(dict(row), now)
    if scopes is None:
        return None
    if row["last_seen_at"] <= keys.after_days(-SEEN_DAYS):
        with core.db.write() as connection:
            connection.execute(update(sessions).where(sessions.c.hash == hashed).values(last_seen_at=now))
    key = None
    if row["public_id"] is not None:
        key = {"id": row["public_id"], "name": row["key_name"], "last4": row["last4"]}
    return Session(
        hashed, row["workspace_id"], row["slug"], tuple(scopes.split()), row["csrf"], row["expires_at"],
        row["login"], row["user_name"] or row["key_name"] or "", key,
    )  # fmt: skip


def _scopes(row: dict[str, Any], now: str) -> str | None:
    """What the session may do now; None when whom it stands for may do nothing."""
    if row["login"] is not None:
        scopes: str | None = row["member_scopes"]
        return scopes if row["disabled_at"] is None else None
    if row["public_id"] is None or (row["revoked_at"] is not None and row["revoked_at"] <= now):
        return None
    if row["key_expires_at"] is not None and row["key_expires_at"] <= now:
        return None
    return str(row["key_scopes"])


def check_origin(core: Core, request: Request) -> None:
    """Refuse what another site made a browser send.

    Raises:
        Problem: 403.
    """
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    allowed = {f"{request.url.scheme}://{host}"}
    if core.settings.public_url:
        public = urlsplit(core.settings.public_url)
        allowed.add(f"{public.scheme}://{public.netloc}")
    site = request.headers.get("sec-fetch-site")
    if (origin is not None and origin not in allowed) or (
        site is not None and site not in ("same-origin", "none")
    ):
        raise Problem(403, "origin", "this request comes from another site", "open the dashboard itself")


def principal(core: Core, request: Request, token: str) -> Principal | None:
    """Who a session's cookie stands for.

    Raises:
        Problem: 403 for an unsafe request from another site or without the session's token.
    """
    session = find(core, token)
    if session is None:
        return None
    if request.method not in SAFE:
        check_origin(core, request)
        sent = request.headers.get("x-csrf-token", "")
        if not secrets.compare_digest(sent.encode(), session.csrf.encode()):
            raise Problem(403, "csrf", "the page's token is missing or old", "load the page again")
    who = session.login or (session.key or {}).get("id", "")
    return Principal(
        session.workspace_id, session.workspace, "session", who, session.name, frozenset(session.scopes),
        details={"session": session},
    )  # fmt: skip
