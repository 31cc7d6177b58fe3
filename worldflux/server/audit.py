"""The audit log: who did what, one hash chain for each workspace, written with the change itself.

A record's hash covers the hash before it, so a record that is changed, dropped or put in later breaks the
chain from there on. Details are names and numbers: never a key, a token or a password.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from worldflux.manifest.model import utc_now
from worldflux.server.tables import audit_log

if TYPE_CHECKING:
    from worldflux.server.db import Database

#: What stands before the first record.
GENESIS = hashlib.sha256(b"worldflux-audit/v1").hexdigest()


def record(
    db: Database,
    connection: Connection,
    workspace_id: int,
    actor: str,
    action: str,
    target: str,
    **detail: Any,
) -> None:
    """Append one record, within the transaction of the change it tells of.

    Args:
        actor: public id of a key or share, login of a user, or `server`.
        action: noun and verb, such as `key.create`.
        target: what was changed, by the name that the outside knows.
        detail: more about it; JSON values, no secrets.
    """
    db.lock(connection, [f"audit:{workspace_id}"])
    last = connection.execute(
        select(audit_log.c.seq, audit_log.c.hash)
        .where(audit_log.c.workspace_id == workspace_id)
        .order_by(audit_log.c.seq.desc())
        .limit(1)
    ).first()
    row = {
        "workspace_id": workspace_id, "seq": last.seq + 1 if last else 1, "at": utc_now(), "actor": actor,
        "action": action, "target": target,
        "detail": json.dumps(detail, sort_keys=True, ensure_ascii=True, allow_nan=False),
        "prev": last.hash if last else GENESIS,
    }  # fmt: skip
    connection.execute(audit_log.insert().values(**row, hash=digest(row)))


def digest(row: Mapping[str, Any]) -> str:
    """The hash of a record: SHA-256 of its other fields as canonical JSON."""
    covered = {name: row[name] for name in ("seq", "at", "actor", "action", "target", "detail", "prev")}
    text = json.dumps(covered, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def faults(connection: Connection, workspace_id: int) -> Iterator[str]:
    """What is wrong with a workspace's chain; nothing when it is whole."""
    expected, prev = 1, GENESIS
    query = select(audit_log).where(audit_log.c.workspace_id == workspace_id).order_by(audit_log.c.seq)
    for row in connection.execution_options(yield_per=500).execute(query).mappings():
        if row["seq"] != expected:
            yield f"record {expected} is missing"
            expected = row["seq"]
        elif row["prev"] != prev:
            yield f"record {expected} does not follow the one before it"
        if digest(row) != row["hash"]:
            yield f"record {row['seq']} was changed"
        expected, prev = row["seq"] + 1, row["hash"]
