"""API keys: how they are made, what they may do, and what of them is stored.

A key is `wfx_`, 33 characters of 192 random bits, and a checksum of six; the database holds its
SHA-256 only. A fast hash is right here: nobody can guess 192 bits, and it is needed at each request.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from worldflux.manifest.model import utc_now
from worldflux.manifest.secret_vendors import BASE62, worldflux_checksum
from worldflux.server.tables import api_keys, workspaces

SCOPES = (
    "runs:read", "runs:write", "artifacts:read", "artifacts:write", "keys:admin", "audit:read", "admin",
)  # fmt: skip

#: What a key may do when nobody says otherwise.
DEFAULT_SCOPES = SCOPES[:4]

DEFAULT_DAYS = 90
MAX_DAYS = 365


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only moment at which its text is known.

    Attributes:
        token: the key itself; shown once, stored nowhere.
    """

    token: str
    public_id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: str | None

    def __repr__(self) -> str:
        return f"<NewKey {self.public_id}>"


def token(prefix: str = "wfx_") -> str:
    """A new random key: prefix, 33 characters, checksum of six."""
    number, digits = int.from_bytes(secrets.token_bytes(24), "big"), ""
    for _ in range(33):
        number, digit = divmod(number, 62)
        digits += BASE62[digit]
    head = prefix + digits
    return head + worldflux_checksum(head)


def public_id(prefix: str) -> str:
    """A name for the outside that says nothing: `key_` and twelve characters."""
    return prefix + "".join(secrets.choice(BASE62) for _ in range(12))


def digest(text: str) -> str:
    """What of a key is stored and looked up."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Those that are no scopes, in their order."""
    return [scope for scope in scopes if scope not in SCOPES]


def after_days(days: float) -> str:
    """The time so many days from now, in the manifest's form."""
    return stamp(datetime.now(timezone.utc) + timedelta(days=days))


def stamp(moment: datetime) -> str:
    """A time in the manifest's form."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def create(
    connection: Connection,
    workspace_id: int,
    name: str,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    *,
    expires_at: str | None = None,
    created_by: str | None = None,
) -> NewKey:
    """Make a key in a workspace, within the caller's transaction. Writes no audit record."""
    text, ordered = token(), tuple(scope for scope in SCOPES if scope in set(scopes))
    made = NewKey(text, public_id("key_"), name, ordered, expires_at)
    connection.execute(
        api_keys.insert().values(
            workspace_id=workspace_id, public_id=made.public_id, name=name, hash=digest(text),
            last4=text[-4:], scopes=" ".join(ordered), created_at=utc_now(), created_by=created_by,
            expires_at=expires_at,
        )
    )  # fmt: skip
    return made


def of_workspace(connection: Connection, workspace_id: int) -> list[Mapping[str, Any]]:
    """Rows of all keys of a workspace, newest first."""
    query = (
        select(api_keys)
        .where(api_keys.c.workspace_id == workspace_id)
        .order_by(api_keys.c.created_at.desc(), api_keys.c.pk.desc())
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def named(connection: Connection, workspace_id: int, key_id: str) -> Mapping[str, Any] | None:
    """The row of a workspace's key; None when it has no such key."""
    query = select(api_keys).where(api_keys.c.workspace_id == workspace_id, api_keys.c.public_id == key_id)
    row = connection.execute(query).mappings().first() if is_public_id(key_id) else None
    return None if row is None else dict(row)


def revoke(connection: Connection, row: Mapping[str, Any], at: str) -> None:
    """Let a key end at a time; one that ends sooner stays as it is. Writes no audit record."""
    if row["revoked_at"] is None or row["revoked_at"] > at:
        connection.execute(update(api_keys).where(api_keys.c.pk == row["pk"]).values(revoked_at=at))


def ends_at(row: Mapping[str, Any]) -> str | None:
    """When a key stops to be good, by its expiry or because it was revoked; None for never."""
    return min(filter(None, (row["expires_at"], row["revoked_at"])), default=None)


def workspace_pk(connection: Connection, slug: str) -> int | None:
    """The workspace of that name; None when there is none."""
    found: int | None = connection.execute(select(workspaces.c.pk).where(workspaces.c.slug == slug)).scalar()
    return found


#: Put together once: every request asks it.
_FIND = (
    select(api_keys, workspaces.c.slug.label("workspace"))
    .join(workspaces, workspaces.c.pk == api_keys.c.workspace_id)
    .where(api_keys.c.hash == bindparam("hashed"))
)


def find(connection: Connection, text: str) -> Mapping[str, Any] | None:
    """The row of a key that is valid now, with its workspace's slug as `workspace`; else None."""
    hashed = digest(text)
    row = connection.execute(_FIND, {"hashed": hashed}).mappings().first()
    if row is None or not secrets.compare_digest(row["hash"], hashed):
        return None
    if row["revoked_at"] is not None and row["revoked_at"] <= utc_now():
        return None
    if row["expires_at"] is not None and row["expires_at"] <= utc_now():
        return None
    return dict(row)


def touch(connection: Connection, pk: int) -> None:
    """Note that a key was used."""
    connection.execute(update(api_keys).where(api_keys.c.pk == pk).values(last_used_at=utc_now()))


def is_public_id(text: str) -> bool:
    """Whether a text has the form of `public_id`; what has not is in no table and need not be asked for."""
    return text.isascii() and text.replace("_", "").isalnum() and len(text) <= 40
