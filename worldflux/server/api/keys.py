"""API keys of a workspace: made, shown once, rotated, revoked. Nobody gives away more than they have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from worldflux.manifest.model import utc_now
from worldflux.server import audit, bodies, keys
from worldflux.server.auth import Principal, require
from worldflux.server.core import CoreDep
from worldflux.server.problems import Problem, not_found

router = APIRouter(prefix="/api/api-keys", tags=["api keys"])

Admin = Annotated[Principal, Depends(require("keys:admin"))]

#: Text for people: one line, and something on it.
LABEL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"


class KeyOrder(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=LABEL)
    scopes: list[str] = Field(default=list(keys.DEFAULT_SCOPES), min_length=1, max_length=len(keys.SCOPES))
    expires_days: int = Field(default=keys.DEFAULT_DAYS, ge=1, le=keys.MAX_DAYS)


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(default=86400, ge=0, le=7 * 86400)
    expires_days: int = Field(default=keys.DEFAULT_DAYS, ge=1, le=keys.MAX_DAYS)


@router.get("")
def list_keys(core: CoreDep, who: Admin) -> dict[str, Any]:
    """The workspace's keys, newest first; of each its last four characters."""
    with core.db.read() as connection:
        return {"keys": [shown(row) for row in keys.of_workspace(connection, who.workspace_id)]}


@router.post("", status_code=201, openapi_extra=bodies.described(KeyOrder))
def make_key(
    core: CoreDep, who: Admin, order: Annotated[KeyOrder, bodies.strict(KeyOrder)]
) -> dict[str, Any]:
    """Make a key; the answer is the only one that has its text."""
    check_scopes(who, order.scopes)
    with core.db.write() as connection:
        made = keys.create(
            connection, who.workspace_id, order.name, order.scopes,
            expires_at=keys.after_days(order.expires_days), created_by=who.id,
        )  # fmt: skip
        audit.record(
            core.db, connection, who.workspace_id, who.id, "key.create", made.public_id,
            name=made.name, scopes=list(made.scopes), expires_at=made.expires_at,
        )  # fmt: skip
        return {**shown(_row(connection, who.workspace_id, made.public_id)), "token": made.token}


@router.delete("/{key_id}")
def revoke_key(core: CoreDep, who: Admin, key_id: str) -> dict[str, Any]:
    """Make a key worthless from now on; a second time changes nothing."""
    with core.db.write() as connection:
        row = _row(connection, who.workspace_id, key_id)
        keys.revoke(connection, row, utc_now())
        if row["revoked_at"] is None or row["revoked_at"] > utc_now():
            audit.record(
                core.db, connection, who.workspace_id, who.id, "key.revoke", key_id, name=row["name"]
            )
        return shown(_row(connection, who.workspace_id, key_id))


@router.post("/{key_id}/rotate", status_code=201, openapi_extra=bodies.described(Rotation))
def rotate_key(
    core: CoreDep, who: Admin, key_id: str, how: Annotated[Rotation, bodies.strict(Rotation)]
) -> dict[str, Any]:
    """A new key with the name and scopes of an old one, which stays good for the overlap."""
    end = keys.stamp(datetime.now(timezone.utc) + timedelta(seconds=how.overlap_seconds))
    with core.db.write() as connection:
        row = _row(connection, who.workspace_id, key_id)
        if row["revoked_at"] is not None:
            raise Problem(409, "revoked", "this key was revoked or rotated already", "make a new one")
        check_scopes(who, row["scopes"].split())
        made = keys.create(
            connection, who.workspace_id, row["name"], row["scopes"].split(),
            expires_at=keys.after_days(how.expires_days), created_by=who.id,
        )  # fmt: skip
        keys.revoke(connection, row, end)
        audit.record(
            core.db,
            connection,
            who.workspace_id,
            who.id,
            "key.rotate",
            key_id,
            to=made.public_id,
            old_until=end,
        )
        return {**shown(_row(connection, who.workspace_id, made.public_id)), "token": made.token}


def check_scopes(who: Principal, scopes: list[str]) -> None:
    """Refuse scopes that are none, and those that the giver has not.

    Raises:
        Problem: 422 or 403, with the scopes.
    """
    unknown = keys.unknown_scopes(scopes)
    if unknown:
        raise Problem(422, "scope", "there is a scope that is none", f"one of {' '.join(keys.SCOPES)}")
    for scope in scopes:
        who.need(scope)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A key as others may see it."""
    names = ("name", "last4", "created_at", "created_by", "expires_at", "last_used_at", "revoked_at")
    return {"id": row["public_id"], "scopes": row["scopes"].split(), **{name: row[name] for name in names}}


def _row(connection: Connection, workspace_id: int, key_id: str) -> Mapping[str, Any]:
    row = keys.named(connection, workspace_id, key_id)
    if row is None:
        raise not_found("key")
    return row
