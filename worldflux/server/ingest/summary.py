"""What the server holds of runs, in few words: what a client needs to send only the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from worldflux.server import blobs
from worldflux.server.db import Database
from worldflux.server.tables import run_artifacts, runs, streams


def states(db: Database, workspace_id: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run id -> status (`absent`, `open`, `final`, `deleted`), digest, streams, committed blobs that are missing."""
    found: dict[str, dict[str, Any]] = {
        name: {"status": "absent", "manifest_sha256": None, "streams": {}, "missing_blobs": []}
        for name in names
    }
    c = runs.c
    with db.read() as connection:
        query = select(c.pk, c.client_run_id, c.state, c.final, c.claimed_status, c.manifest_sha256).where(
            c.workspace_id == workspace_id, c.client_run_id.in_(names)
        )
        by_pk: dict[int, dict[str, Any]] = {}
        for row in connection.execute(query).all():
            state = found[row.client_run_id]
            deleted = row.state in ("trash", "gone")
            state["status"] = "deleted" if deleted else "final" if row.final else "open"
            state["manifest_sha256"] = row.manifest_sha256
            by_pk[row.pk] = state
        if by_pk:
            held = select(streams.c.run_pk, streams.c.name, streams.c.length, streams.c.sha256).where(
                streams.c.workspace_id == workspace_id, streams.c.run_pk.in_(list(by_pk))
            )
            for run_pk, name, length, sha256 in connection.execute(held):
                by_pk[run_pk]["streams"][name] = {"bytes": length, "sha256": sha256}
            _missing(connection, workspace_id, by_pk)
    return found


def _missing(connection: Any, workspace_id: int, by_pk: dict[int, dict[str, Any]]) -> None:
    query = select(run_artifacts.c.run_pk, run_artifacts.c.sha256).where(
        run_artifacts.c.workspace_id == workspace_id,
        run_artifacts.c.run_pk.in_(list(by_pk)),
        run_artifacts.c.committed.is_(True),
    )
    wanted = [(row.run_pk, row.sha256) for row in connection.execute(query)]
    stored = blobs.present(connection, workspace_id, list({sha256 for _, sha256 in wanted}))
    for run_pk, sha256 in wanted:
        missing = by_pk[run_pk]["missing_blobs"]
        if sha256 not in stored and sha256 not in missing:
            missing.append(sha256)
