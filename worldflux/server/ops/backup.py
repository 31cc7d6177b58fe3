"""Backups of a server on SQLite: one folder with the database and every blob it speaks of.

Taken while the server runs. The database is copied first, in one state; blobs do not change, and one that is
removed while it is copied was garbage in a later state than the copied one, which is then found out.
A PostgreSQL database is backed up with its own tools; the blobs are here all the same.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from worldflux import __version__
from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest.model import utc_now
from worldflux.manifest.storage import write_bytes_atomic
from worldflux.server import blobs as store_module
from worldflux.server import db as db_module
from worldflux.server import migrations
from worldflux.server.blobs import BlobStore, DiskBlobs
from worldflux.server.db import Database
from worldflux.server.tables import blobs

#: Written last: a folder without it is no backup.
MARK = "worldflux-backup.json"


@dataclass(frozen=True)
class Copied:
    """What a backup or a restore copied."""

    blobs: int
    bytes: int
    database: bool


def backup(db: Database, store: BlobStore, target: Path) -> Copied:
    """Copy everything into a new folder, durable on return.

    Raises:
        UsageError: the folder is not empty.
        WorldFluxError: a blob is missing, or the disk is full.
    """
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty", "name a new folder for each backup", code="backup")
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        if db.is_sqlite:
            _copy_database(db, target / db_module.FILE)
            copy = db_module.connect(target)
            try:
                copied = _copy_blobs(copy, store, DiskBlobs(target))
            finally:
                copy.close()
        else:
            copied = _copy_blobs(db, store, DiskBlobs(target))
    except OSError as error:
        raise WorldFluxError(
            f"{target}: {error.strerror}", "free some space, then make the backup anew", code="storage"
        ) from None
    facts = {
        "made_at": utc_now(), "version": __version__, "migration": migrations.HEAD, "database": db.is_sqlite,
        "blobs": copied[0], "bytes": copied[1],
    }  # fmt: skip
    write_bytes_atomic(target / MARK, json.dumps(facts).encode() + b"\n", mode=0o600)
    return Copied(*copied, db.is_sqlite)


def restore(source: Path, folder: Path) -> Copied:
    """Make a data folder from a backup; the server starts from it as from its own.

    Raises:
        UsageError: no whole backup, a backup without a database, or a data folder that has one already.
    """
    try:
        facts: dict[str, Any] = json.loads((source / MARK).read_bytes())
    except (OSError, ValueError):
        raise UsageError(
            f"{source} is no whole backup: {MARK} is missing", "worldflux server backup DIR", code="backup"
        ) from None
    if not facts.get("database"):
        raise UsageError(
            f"{source} has blobs only: the database was PostgreSQL",
            f"restore the database with pg_restore, and copy {source / 'blobs'} into the data folder",
            code="backup",
        )
    if (folder / db_module.FILE).exists():
        raise UsageError(
            f"{folder} has a database already", "restore into a new folder: --data DIR", code="backup"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copytree(source / "blobs", folder / "blobs", dirs_exist_ok=True)
    # The database comes last: without it the folder is empty in the server's eyes.
    temporary = folder / f"{db_module.FILE}.restoring"
    shutil.copyfile(source / db_module.FILE, temporary)
    _sync(temporary)
    os.replace(temporary, folder / db_module.FILE)
    store_module.sync_folder(folder)
    return Copied(int(facts["blobs"]), int(facts["bytes"]), True)


def _copy_database(db: Database, target: Path) -> None:
    with db.sqlite_cursor() as cursor:
        cursor.execute("VACUUM INTO ?", (str(target),))
    os.chmod(target, 0o600)
    _sync(target)


def _copy_blobs(db: Database, store: BlobStore, target: DiskBlobs) -> tuple[int, int]:
    count = size = 0
    for workspace_id, sha256, length in _live(db):
        try:
            source = store.open(workspace_id, sha256)
        except FileNotFoundError:
            raise WorldFluxError(
                f"the blob {sha256} is missing",
                "worldflux server gc may run at the same time: try again",
                code="blob",
            ) from None
        temporary = target.staging / f"{sha256}.tmp"
        with source, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        target.take(workspace_id, sha256, temporary)
        count, size = count + 1, size + length
    return count, size


def _live(db: Database) -> Iterator[tuple[int, str, int]]:
    with db.read() as connection:
        rows = connection.execute(
            select(blobs.c.workspace_id, blobs.c.sha256, blobs.c.bytes).where(blobs.c.dying.is_(False))
        ).all()
    for row in rows:
        yield row.workspace_id, row.sha256, row.bytes


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
