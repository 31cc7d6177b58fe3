"""The first start: a workspace and one key that may do everything, made once whoever comes first."""

from __future__ import annotations

from sqlalchemy import Connection, select

from worldflux.manifest.model import utc_now
from worldflux.server import keys
from worldflux.server.db import Database
from worldflux.server.tables import settings, workspaces

WORKSPACE = "default"
_DONE = "first-key"


def open_once(db: Database) -> keys.NewKey | None:
    """Make the first workspace and key; None when somebody has done so before, at whatever time."""
    with db.read() as connection:
        if _is_done(connection):
            return None
    with db.write() as connection:
        db.lock(connection, [_DONE])
        if _is_done(connection):
            return None
        made = utc_now()
        workspace = connection.execute(
            workspaces.insert().values(slug=WORKSPACE, name="Default", created_at=made)
        ).inserted_primary_key
        assert workspace is not None
        key = keys.create(connection, workspace[0], "first admin key", keys.SCOPES, created_by="server")
        connection.execute(settings.insert().values(name=_DONE, value=key.public_id))
        return key


def _is_done(connection: Connection) -> bool:
    return connection.execute(select(settings.c.value).where(settings.c.name == _DONE)).first() is not None
