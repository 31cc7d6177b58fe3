"""Shares: tokens that let anybody read one run or one project for a while."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import Request
from sqlalchemy import Connection, select

from worldflux.manifest.model import utc_now
from worldflux.server import keys
from worldflux.server.auth import Principal
from worldflux.server.core import Core
from worldflux.server.query.place import SHOWN
from worldflux.server.tables import projects, runs, shares, workspaces

PREFIX = "wfs_"

#: What a share allows, and so what its maker must be allowed.
SCOPES = frozenset({"runs:read", "artifacts:read"})


def create(
    connection: Connection,
    who: Principal,
    *,
    name: str,
    expires_at: str,
    project_id: int | None = None,
    run_pk: int | None = None,
) -> tuple[str, str]:
    """Make a share, within the caller's transaction: its token, which is stored nowhere, and its public id."""
    token, public_id = keys.token(PREFIX), keys.public_id("share_")
    connection.execute(
        shares.insert().values(
            workspace_id=who.workspace_id, public_id=public_id, name=name, hash=keys.digest(token),
            last4=token[-4:], project_id=project_id, run_pk=run_pk, created_by=who.id, created_at=utc_now(),
            expires_at=expires_at,
        )
    )  # fmt: skip
    return token, public_id


def principal(core: Core, request: Request, token: str) -> Principal | None:
    """Who a share's token stands for: nobody once it is over, or when its run is deleted."""
    with core.db.read() as connection:
        row = find(connection, token)
    if row is None:
        return None
    return Principal(
        row.workspace_id, row.workspace, "share", row.public_id, row.name, SCOPES,
        run_id=row.client_run_id, project_id=row.project_id,
        details={"expires_at": row.expires_at, "project": row.project},
    )  # fmt: skip


def find(connection: Connection, token: str) -> Any:
    """The row of a share that is valid now, with `workspace`, `project` and `client_run_id`; else None."""
    hashed, now = keys.digest(token), utc_now()
    row = connection.execute(
        select(shares, workspaces.c.slug.label("workspace"), projects.c.slug.label("project"),
               runs.c.client_run_id, runs.c.state)
        .join(workspaces, workspaces.c.pk == shares.c.workspace_id)
        .outerjoin(projects, projects.c.pk == shares.c.project_id)
        .outerjoin(runs, runs.c.pk == shares.c.run_pk)
        .where(shares.c.hash == hashed)
    ).first()  # fmt: skip
    if row is None or not secrets.compare_digest(row.hash, hashed):
        return None
    if row.expires_at <= now or (row.revoked_at is not None and row.revoked_at <= now):
        return None
    # A share that is for neither would be for everything.
    if (row.run_pk is None) == (row.project_id is None):
        return None
    if row.run_pk is not None and row.state not in SHOWN:
        return None
    return row
