"""Whose signatures count in a workspace: public keys under names of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select

from worldflux.errors import WorldFluxError
from worldflux.evidence.verify import PublicKey, Trust, public_of
from worldflux.server.problems import Problem
from worldflux.server.tables import settings

if TYPE_CHECKING:
    from worldflux.server.db import Database

_TRUSTED = "trusted-key"


def trust_of(connection: Connection, workspace_id: int) -> Trust:
    """Whose signatures count in a workspace."""
    return Trust(signers=[public_of(pem.encode(), name) for name, pem in trusted(connection, workspace_id)])


def trusted(connection: Connection, workspace_id: int) -> list[tuple[str, str]]:
    """(name, PEM) of a workspace's trusted keys, by name."""
    prefix = _row(workspace_id, "")
    query = select(settings.c.name, settings.c.value).where(
        settings.c.name >= prefix, settings.c.name < prefix + "\U0010ffff"
    )
    return [
        (row.name[len(prefix) :], row.value) for row in connection.execute(query.order_by(settings.c.name))
    ]


def trust_key(
    db: Database, connection: Connection, workspace_id: int, name: str, pem: str, *, replace: bool = False
) -> tuple[PublicKey, PublicKey | None]:
    """Let a key's signatures count in a workspace from now on.

    Args:
        replace: put it in the place of another key that has this name.

    Returns:
        The key, and the one that had its name before: itself when it was trusted already.

    Raises:
        Problem: 422, it is no public key; 409, another key has this name and is not to be replaced.
    """
    try:
        key = public_of(pem.encode(), name)
    except WorldFluxError as error:
        raise Problem(422, "key", error.problem, error.hint) from None
    # What is decided here must hold when it is written, also beside another who adds under the name.
    db.lock(connection, [_row(workspace_id, "")])
    row = _row(workspace_id, name)
    held = connection.execute(select(settings.c.value).where(settings.c.name == row)).scalar()
    before = None if held is None else public_of(held.encode(), name)
    if before is not None and before.key_id != key.key_id and not replace:
        raise Problem(
            409, "key-exists", f"another key is trusted as `{name}`: {before.key_id}",
            "ask with ?replace=true to put this key in its place, or choose another name",
            key_id=before.key_id,
        )  # fmt: skip
    connection.execute(
        db.insert(settings)
        .values(name=row, value=key.pem)
        .on_conflict_do_update(index_elements=["name"], set_={"value": key.pem})
    )
    return key, before


def distrust_key(db: Database, connection: Connection, workspace_id: int, name: str) -> bool:
    """Let it count no longer; whether it did."""
    db.lock(connection, [_row(workspace_id, "")])
    gone = connection.execute(delete(settings).where(settings.c.name == _row(workspace_id, name)))
    return gone.rowcount > 0


def _row(workspace_id: int, name: str) -> str:
    return f"{_TRUSTED}/{int(workspace_id)}/{name}"
