"""People who sign in with a password: argon2id, one time for right and wrong, and ever longer waits.

A name nobody has costs a guess as much as one somebody has, and gets the same answer. After some wrong
passwords the next try has to wait; the count is in the database, so that it holds for all workers.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, select, update

from worldflux.errors import UsageError
from worldflux.manifest.model import utc_now
from worldflux.server import keys
from worldflux.server.core import Core
from worldflux.server.problems import Problem
from worldflux.server.tables import memberships, settings, users, workspaces

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LOGIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
SHORTEST, LONGEST = 12, 256

#: Wrong passwords of one name from one address before it has to wait, and of one name from anywhere.
FREE_TRIES, FREE_TRIES_ANYWHERE = 5, 50
LONGEST_WAIT = 900.0
#: Counts older than this are forgotten.
FORGET_SECONDS = 86400.0

#: A hash takes 64 MiB: more of them at a time could be used to fill the memory.
_hashing = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class User:
    """Somebody who signed in.

    Attributes:
        workspaces: pk, slug and scopes of each workspace they are a member of, by slug.
    """

    pk: int
    login: str
    name: str
    workspaces: tuple[tuple[int, str, str], ...]


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher, Type

    return PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1, type=Type.ID)


@lru_cache(maxsize=1)
def _nobody() -> str:
    """The hash that a password for a name nobody has is compared with."""
    return _hasher().hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    """The argon2id hash of a new password.

    Raises:
        UsageError: it is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"a password has {SHORTEST} to {LONGEST} characters",
            "a few words in a row do well",
            code="password",
        )
    with _hashing:
        return _hasher().hash(password)


def check_login(login: str) -> str:
    """A login in its one form, lower case.

    Raises:
        UsageError: it is none.
    """
    lowered = login.strip().lower()
    if not LOGIN.fullmatch(lowered):
        raise UsageError(
            "a login has letters, digits and . _ @ + - only, at most 64",
            "ada, or ada@example.org",
            code="login",
        )
    return lowered


def create(connection: Connection, login: str, name: str, password_hash: str | None) -> int:
    """Make a user, or find the one of this login; the pk. Writes no audit record."""
    known = connection.execute(select(users.c.pk).where(users.c.login == login)).scalar()
    if known is not None:
        return int(known)
    made = connection.execute(
        users.insert().values(login=login, name=name, password_hash=password_hash, created_at=utc_now())
    )
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def join(connection: Connection, user_pk: int, workspace_id: int, scopes: Iterable[str]) -> None:
    """Make a user a member of a workspace, or change what the member may do."""
    leave(connection, user_pk, workspace_id)
    wanted = set(scopes)
    ordered = " ".join(scope for scope in keys.SCOPES if scope in wanted)
    connection.execute(
        memberships.insert().values(user_pk=user_pk, workspace_id=workspace_id, scopes=ordered)
    )


def leave(connection: Connection, user_pk: int, workspace_id: int) -> bool:
    """Take a member out of a workspace; whether there was one."""
    of = (memberships.c.user_pk == user_pk, memberships.c.workspace_id == workspace_id)
    return connection.execute(delete(memberships).where(*of)).rowcount > 0


def set_password(connection: Connection, user_pk: int, password_hash: str) -> None:
    """Give a user a new password."""
    connection.execute(update(users).where(users.c.pk == user_pk).values(password_hash=password_hash))


def members(connection: Connection, workspace_id: int) -> list[dict[str, Any]]:
    """The members of a workspace, by login."""
    rows = connection.execute(
        select(users, memberships.c.scopes)
        .join(memberships, memberships.c.user_pk == users.c.pk)
        .where(memberships.c.workspace_id == workspace_id)
        .order_by(users.c.login)
    ).mappings()
    return [
        {
            "login": row["login"], "name": row["name"], "scopes": row["scopes"].split(),
            "created_at": row["created_at"], "disabled_at": row["disabled_at"],
            "has_password": row["password_hash"] is not None,
        }
        for row in rows
    ]  # fmt: skip


def member(connection: Connection, workspace_id: int, login: str) -> int | None:
    """The pk of a member of a workspace; None when nobody there has this login."""
    found = connection.execute(
        select(users.c.pk)
        .join(memberships, memberships.c.user_pk == users.c.pk)
        .where(memberships.c.workspace_id == workspace_id, users.c.login == login)
    ).scalar()
    return None if found is None else int(found)


def verify(core: Core, login: str, password: str, address: str) -> User | None:
    """Who has this login and this password; None for anybody else, whatever was wrong.

    Raises:
        Problem: 429: too many wrong tries; says after how many seconds the next may be made.
    """
    lowered = login.strip().lower()[:200]
    doors = [(f"signin/{keys.digest(f'{lowered}|{address}')[:32]}", FREE_TRIES),
             (f"signin/{keys.digest(lowered)[:32]}", FREE_TRIES_ANYWHERE)]  # fmt: skip
    # Counted before the password is looked at: many tries at once are not fewer tries.
    with core.db.write() as connection:
        core.db.lock(connection, [door for door, _ in doors])
        wait = max(_wait(connection, door, free) for door, free in doors)
        if wait <= 0:
            for door, _ in doors:
                _count(core, connection, door, 1)
        row = connection.execute(select(users).where(users.c.login == lowered)).mappings().first()
    if wait > 0:
        raise Problem(
            429, "too-many-requests", "too many wrong passwords for this login",
            f"try again in {int(wait) + 1} seconds", headers={"Retry-After": str(int(wait) + 1)},
        )  # fmt: skip
    stored = row["password_hash"] if row is not None and row["disabled_at"] is None else None
    right = _matches(stored or _nobody(), password[: LONGEST + 1]) and stored is not None
    if not right or row is None:
        return None
    with core.db.write() as connection:
        core.db.lock(connection, [door for door, _ in doors])
        connection.execute(delete(settings).where(settings.c.name == doors[0][0]))
        _count(core, connection, doors[1][0], -1)
        found = connection.execute(
            select(workspaces.c.pk, workspaces.c.slug, memberships.c.scopes)
            .join(memberships, memberships.c.workspace_id == workspaces.c.pk)
            .where(memberships.c.user_pk == row["pk"])
            .order_by(workspaces.c.slug)
        ).all()
    return User(row["pk"], row["login"], row["name"], tuple((pk, slug, scopes) for pk, slug, scopes in found))


def _matches(stored: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    with _hashing:
        try:
            return _hasher().verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def _wait(connection: Connection, door: str, free: int) -> float:
    """Seconds until the next try may be made."""
    tries, last = _tries(connection, door)
    if tries < free:
        return 0.0
    return last + min(LONGEST_WAIT, 2.0 ** min(tries - free + 1, 20)) - time.time()


def _tries(connection: Connection, door: str) -> tuple[int, float]:
    value = connection.execute(select(settings.c.value).where(settings.c.name == door)).scalar()
    if value is None:
        return 0, 0.0
    found = json.loads(value)
    if time.time() - found["last"] > FORGET_SECONDS:
        return 0, 0.0
    return int(found["tries"]), float(found["last"])


def _count(core: Core, connection: Connection, door: str, more: int) -> None:
    tries, last = _tries(connection, door)
    value = json.dumps({"tries": max(0, tries + more), "last": time.time() if more > 0 else last})
    statement = core.db.insert(settings).values(name=door, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def forget_tries(connection: Connection) -> None:
    """Drop counts that no longer hold anybody back."""
    rows = connection.execute(select(settings).where(settings.c.name.like("signin/%"))).all()
    old = [name for name, value in rows if time.time() - json.loads(value)["last"] > FORGET_SECONDS]
    for name in old:
        connection.execute(delete(settings).where(settings.c.name == name))
