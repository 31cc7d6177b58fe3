"""Is a running run alive? Judged by the server's own clock, from when it last heard of the run.

Silence is not an end: a run that was taken for lost comes back to life with its next word.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, select, update

from worldflux.manifest.model import utc_now
from worldflux.server.db import Database
from worldflux.server.keys import stamp
from worldflux.server.tables import runs


def beat(db: Database, workspace_id: int, names: Sequence[str]) -> dict[str, str]:
    """Note that runs are alive; run id -> `live`, `final`, `absent` or `deleted`."""
    with db.write() as connection:
        c = runs.c
        query = select(c.pk, c.client_run_id, c.state, c.claimed_status).where(
            c.workspace_id == workspace_id, c.client_run_id.in_(names)
        )
        found = {row.client_run_id: row for row in connection.execute(query)}
        told, live = dict.fromkeys(names, "absent"), []
        for name, row in found.items():
            if row.state in ("trash", "gone"):
                told[name] = "deleted"
            elif row.claimed_status in ("queued", "running"):
                told[name] = "live"
                live.append(row.pk)
            else:
                told[name] = "final"
        if live:
            connection.execute(
                update(runs)
                .where(c.workspace_id == workspace_id, c.pk.in_(live))
                .values(heartbeat_at=utc_now(), status=c.claimed_status, lost=False)
            )
    return told


def lose_silent(connection: Connection, silent_seconds: float) -> int:
    """Show running runs that were silent for longer as interrupted; how many."""
    cutoff = stamp(datetime.now(timezone.utc) - timedelta(seconds=silent_seconds))
    c = runs.c
    lost = connection.execute(
        update(runs)
        .where(c.claimed_status == "running", c.lost.is_(False), c.heartbeat_at < cutoff)
        .values(status="interrupted", lost=True)
    )
    return lost.rowcount


def sweep(db: Database, silent_seconds: float) -> int:
    """Look for silent runs; writes only when there are some."""
    cutoff = stamp(datetime.now(timezone.utc) - timedelta(seconds=silent_seconds))
    with db.read() as connection:
        query = select(runs.c.pk).where(
            runs.c.claimed_status == "running", runs.c.lost.is_(False), runs.c.heartbeat_at < cutoff
        )
        if connection.execute(query.limit(1)).first() is None:
            return 0
    with db.write() as connection:
        return lose_silent(connection, silent_seconds)
