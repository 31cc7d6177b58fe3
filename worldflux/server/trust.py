"""Whose signatures count in a workspace: public keys under names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Text, delete, literal_column, select, update

from worldflux.errors import WorldFluxError
from worldflux.evidence.verify import PublicKey, Trust, public_of
from worldflux.server.problems import Problem
from worldflux.server.tables import runs, settings, signatures

if TYPE_CHECKING:
    from worldflux.server.db import Database

_TRUSTED = "trusted-key"
#: The signer in a verdict on an archive, NULL when nobody signed; by whether the database is SQLite.
_SIGNER = {
    True: "json_extract(verdict, '$.signer.key_id')",
    False: "CAST(verdict AS json) #>> '{signer,key_id}'",
}


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
    hold(db, connection, workspace_id)
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
    _follow(db, connection, workspace_id)
    return key, before


def distrust_key(db: Database, connection: Connection, workspace_id: int, name: str) -> bool:
    """Let it count no longer; whether it did."""
    hold(db, connection, workspace_id)
    gone = (
        connection.execute(delete(settings).where(settings.c.name == _row(workspace_id, name))).rowcount > 0
    )
    if gone:
        _follow(db, connection, workspace_id)
    return gone


def hold(db: Database, connection: Connection, workspace_id: int, *, shared: bool = False) -> None:
    """Until the transaction ends nobody changes whose signatures count, but for who has it alone."""
    db.lock(connection, [_row(workspace_id, "")], shared=shared)


def state_now(connection: Connection, workspace_id: int, verdict: Mapping[str, Any]) -> str:
    """What evidence with a verdict is by the keys that are trusted now, whichever were when it was judged."""
    state, signer = str(verdict["state"]), verdict["signer"]
    if state not in ("signed", "verified"):
        return state
    known = {key.key_id for key in trust_of(connection, workspace_id).signers}
    return "verified" if signer["key_id"] in known else "signed"


def _follow(db: Database, connection: Connection, workspace_id: int) -> None:
    """Give all runs the state that the keys say now, so that lists, filters and counts have it for nothing."""
    signer = literal_column(_SIGNER[db.is_sqlite], Text())
    known = [key.key_id for key in trust_of(connection, workspace_id).signers]
    s, r = signatures.c, runs.c
    # In both states the package holds: they differ only in whether its signer is trusted.
    for before, after, those in (
        ("verified", "signed", signer.not_in(known)),
        ("signed", "verified", signer.in_(known)),
    ):
        signed = select(s.run_pk).where(s.workspace_id == workspace_id, s.kind == "evidence", those)
        connection.execute(
            update(runs)
            .where(r.workspace_id == workspace_id, r.evidence == before, r.pk.in_(signed))
            .values(evidence=after)
        )


def _row(workspace_id: int, name: str) -> str:
    return f"{_TRUSTED}/{int(workspace_id)}/{name}"
