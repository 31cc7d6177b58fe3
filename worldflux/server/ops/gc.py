"""Garbage: old runs go to the trash, old trash is purged, and bytes that nobody refers to are given back.

A purged run leaves a tombstone, so that a sync of it is told rather than taken in anew. A blob goes in two
steps, each a transaction: it is marked, after which nobody can refer to it, then its bytes are removed with
its row. A crash in between leaves a marked row, which counts as missing and is finished the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select, update

from worldflux.manifest.model import utc_now
from worldflux.server import audit, ledger
from worldflux.server.blobs import BlobStore, gate_name
from worldflux.server.db import Database
from worldflux.server.keys import stamp
from worldflux.server.settings import Settings
from worldflux.server.tables import (
    blobs,
    chunks,
    projects,
    run_artifacts,
    run_metrics,
    run_params,
    run_tags,
    runs,
    sessions,
    shares,
    signatures,
    streams,
    workspaces,
)

#: Runs or blobs in one transaction, so that writers wait for a moment only.
BATCH = 200

#: What of a run is removed when it is purged.
_CHILDREN = (run_metrics, run_params, run_tags, run_artifacts, streams, chunks, signatures)


@dataclass
class Collected:
    """What was given back, or in a rehearsal would be.

    Attributes:
        expired: runs that went to the trash by their workspace's retention.
        purged: runs that were removed from the trash; `bytes` counts what they had in the database, too.
        blobs: blobs that nobody referred to.
        leftovers: uploads nobody went on with, and files that no row speaks of.
    """

    expired: int = 0
    purged: int = 0
    blobs: int = 0
    bytes: int = 0
    leftovers: int = 0


def collect(settings: Settings, db: Database, store: BlobStore, *, dry_run: bool = False) -> Collected:
    """Collect all garbage of all workspaces. May be interrupted at any point, and run by several at once.

    Args:
        dry_run: only count. Blobs of runs that would be purged are then not counted.
    """
    done = Collected()
    with db.read() as connection:
        spaces = [dict(row) for row in connection.execute(select(workspaces)).mappings()]
    for space in spaces:
        if space["retention_days"] is not None:
            _expire(db, space, done, dry_run)
        days = settings.trash_days if space["trash_days"] is None else space["trash_days"]
        _purge(db, space, _ago(days * 86400.0), done, dry_run)
        _blobs(db, store, space["pk"], _ago(settings.gc_grace_seconds), done, dry_run)
        if not dry_run:
            done.leftovers += _orphans(db, store, space["pk"], settings.gc_grace_seconds)
    if not dry_run:
        done.leftovers += store.sweep()
        _forget_credentials(db)
        shrink(db)
    return done


def purge(db: Database, workspace_id: int, names: Sequence[str]) -> int:
    """Remove runs of the trash for good, whatever their age; how many. Their blobs go with the next `collect`."""
    with db.read() as connection:
        query = _trash(workspace_id).where(runs.c.client_run_id.in_(names))
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return sum(_purge_batch(db, workspace_id, batch, Collected()) for batch in _batches(rows))


def _ago(seconds: float) -> str:
    return stamp(datetime.now(timezone.utc) - timedelta(seconds=seconds))


def _batches(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _expire(db: Database, space: dict[str, Any], done: Collected, dry_run: bool) -> None:
    """To the trash with what is older than the workspace keeps, but for starred runs and baselines."""
    kept = select(projects.c.baseline_run).where(
        projects.c.workspace_id == space["pk"], projects.c.baseline_run.is_not(None)
    )
    old = and_(
        runs.c.workspace_id == space["pk"], runs.c.state.in_(("active", "archived")),
        runs.c.received_at < _ago(space["retention_days"] * 86400.0), runs.c.starred.is_(False),
        runs.c.client_run_id.not_in(kept), runs.c.status.not_in(("queued", "running")),
    )  # fmt: skip
    with db.read() as connection:
        found = list(connection.execute(select(runs.c.pk).where(old)).scalars())
    done.expired += len(found)
    for batch in [] if dry_run else _batches(found):
        with db.write() as connection:
            connection.execute(
                update(runs).where(runs.c.pk.in_(batch), old).values(state="trash", deleted_at=utc_now())
            )
            audit.record(
                db, connection, space["pk"], "server", "run.expire", f"{len(batch)} runs", count=len(batch)
            )


def _trash(workspace_id: int) -> Any:
    c = runs.c
    return select(
        c.pk, c.client_run_id, c.project_id, c.attempt, c.manifest_sha256, c.stored_bytes, c.ledger_seq
    ).where(c.workspace_id == workspace_id, c.state == "trash")


def _purge(db: Database, space: dict[str, Any], before: str, done: Collected, dry_run: bool) -> None:
    with db.read() as connection:
        query = _trash(space["pk"]).where(runs.c.deleted_at < before)
        rows = [dict(row) for row in connection.execute(query).mappings()]
    if dry_run:
        done.purged += len(rows)
        done.bytes += sum(row["stored_bytes"] for row in rows)
        return
    for batch in _batches(rows):
        _purge_batch(db, space["pk"], batch, done)


def _purge_batch(db: Database, workspace_id: int, rows: list[dict[str, Any]], done: Collected) -> int:
    with db.write() as connection:
        db.lock(connection, [f"run:{workspace_id}:{row['client_run_id']}" for row in rows])
        # Somebody may have restored one in the meantime.
        query = _trash(workspace_id).where(runs.c.pk.in_([row["pk"] for row in rows]))
        still = [dict(row) for row in connection.execute(query).mappings()]
        if not still:
            return 0
        pks, now = [row["pk"] for row in still], utc_now()
        for table in _CHILDREN:
            connection.execute(
                delete(table).where(table.c.run_pk.in_(pks), table.c.workspace_id == workspace_id)
            )
        connection.execute(delete(shares).where(shares.c.run_pk.in_(pks)))
        connection.execute(
            update(runs).where(runs.c.pk.in_(pks)).values(
                state="gone", purged_at=now, manifest=None, stored_bytes=0, notes="", error_message=None, name=""
            )
        )  # fmt: skip
        _bury(db, connection, still, now)
        audit.record(
            db, connection, workspace_id, "server", "run.purge", f"{len(still)} runs",
            runs=[row["client_run_id"] for row in still],
        )  # fmt: skip
    done.purged += len(still)
    done.bytes += sum(row["stored_bytes"] for row in still)
    return len(still)


def _bury(db: Database, connection: Connection, rows: list[dict[str, Any]], now: str) -> None:
    """The ledger remembers what it had, and that it was removed."""
    known = [row for row in rows if row["ledger_seq"] is not None]
    db.lock(connection, [f"ledger:{row['project_id']}" for row in known])
    for row in sorted(known, key=lambda row: (row["project_id"], row["pk"])):
        ledger.append(
            connection, row["project_id"], "run.tombstoned", row["client_run_id"], row["attempt"],
            row["manifest_sha256"], now,
        )  # fmt: skip


def _unused() -> Any:
    """No artifact, piece of a stream or evidence of any run, also of a deleted one, refers to the blob."""
    b = blobs.c
    return and_(
        ~exists().where(run_artifacts.c.workspace_id == b.workspace_id, run_artifacts.c.sha256 == b.sha256),
        ~exists().where(
            chunks.c.workspace_id == b.workspace_id, chunks.c.sha256 == b.sha256, chunks.c.body.is_(None)
        ),
        ~exists().where(
            signatures.c.workspace_id == b.workspace_id, signatures.c.sha256 == b.sha256, signatures.c.body.is_(None)
        ),
    )  # fmt: skip


def _blobs(
    db: Database, store: BlobStore, workspace_id: int, before: str, done: Collected, dry_run: bool
) -> None:
    garbage = and_(
        blobs.c.workspace_id == workspace_id,
        or_(blobs.c.dying.is_(True), and_(blobs.c.stored_at < before, _unused())),
    )
    with db.read() as connection:
        found = connection.execute(select(blobs.c.sha256, blobs.c.bytes).where(garbage)).all()
    if dry_run:
        done.blobs += len(found)
        done.bytes += sum(row.bytes for row in found)
        return
    for batch in _batches(list(found)):
        names = [row.sha256 for row in batch]
        with db.write() as connection:
            db.lock(connection, [gate_name(workspace_id)])
            connection.execute(
                update(blobs).where(blobs.c.sha256.in_(names), garbage).values(dying=True)
            )  # fmt: skip
        removed = _remove(db, store, workspace_id, names)
        done.blobs += len(removed)
        done.bytes += sum(removed)


def _remove(db: Database, store: BlobStore, workspace_id: int, names: list[str]) -> list[int]:
    """Take away the bytes and rows of marked blobs; the sizes of those that were still marked."""
    with db.write() as connection:
        db.lock(connection, [gate_name(workspace_id)])
        marked = connection.execute(
            select(blobs.c.sha256, blobs.c.bytes).where(
                blobs.c.workspace_id == workspace_id, blobs.c.sha256.in_(names), blobs.c.dying.is_(True)
            )
        ).all()
        for row in marked:
            store.remove(workspace_id, row.sha256)
        if marked:
            connection.execute(
                delete(blobs).where(
                    blobs.c.workspace_id == workspace_id, blobs.c.sha256 == bindparam("the_sha256")
                ),
                [{"the_sha256": row.sha256} for row in marked],
            )
    return [row.bytes for row in marked]


def _orphans(db: Database, store: BlobStore, workspace_id: int, grace: float) -> int:
    """Remove files that no row speaks of: a writer was killed between the two."""
    count = 0
    old = [stored.sha256 for stored in store.stored(workspace_id) if stored.age_seconds > grace]
    for batch in _batches(old):
        with db.write() as connection:
            db.lock(connection, [gate_name(workspace_id)])
            known = set(
                connection.execute(
                    select(blobs.c.sha256).where(
                        blobs.c.workspace_id == workspace_id, blobs.c.sha256.in_(batch)
                    )
                ).scalars()
            )
            for sha256 in batch:
                if sha256 not in known:
                    store.remove(workspace_id, sha256)
                    count += 1
    return count


def _forget_credentials(db: Database) -> None:
    """Sessions and shares that ended a month ago are of no use to anybody."""
    month_ago = _ago(30 * 86400.0)
    with db.write() as connection:
        connection.execute(delete(sessions).where(sessions.c.expires_at < utc_now()))
        connection.execute(delete(shares).where(shares.c.expires_at < month_ago))


def shrink(db: Database) -> None:
    """Give the database's empty pages back to the disk, when they are worth it."""
    if not db.is_sqlite:
        return
    with db.sqlite_cursor() as cursor:
        free, pages = (_number(cursor, name) for name in ("freelist_count", "page_count"))
        if free > 1000 and free * 5 > pages:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                cursor.execute(statement)
                cursor.fetchall()


def _number(cursor: Any, pragma: str) -> int:
    cursor.execute(f"PRAGMA {pragma}")
    return int(cursor.fetchall()[0][0])
