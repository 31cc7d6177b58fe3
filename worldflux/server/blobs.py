"""Blobs: bytes addressed by workspace and SHA-256, never by a name that a client gave.

A row of `blobs` that is not `dying` promises that the bytes are there. So the bytes come first (on the
disk, renamed into place, folder synced), then the row; and gc marks the row before it takes the bytes.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from sqlalchemy import Connection, select, update

from worldflux.manifest.model import utc_now
from worldflux.server.db import Database, busy, storage_full
from worldflux.server.tables import blobs

if TYPE_CHECKING:
    from worldflux.server.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}")

#: Names in one `IN (...)`; SQLite takes 32766.
BATCH = 5000


class Stored(NamedTuple):
    """A blob that the store holds, as gc sees it."""

    sha256: str
    bytes: int
    age_seconds: float


class BlobStore(Protocol):
    """Where bytes are kept. Every method may be called from several threads and processes at once."""

    def put(self, workspace_id: int, sha256: str, data: bytes) -> None:
        """Keep bytes whose digest the caller has checked; durable on return.

        Raises:
            Problem: 507 when there is no room.
        """

    def take(self, workspace_id: int, sha256: str, path: Path) -> None:
        """Keep a whole file, whose digest was checked and which is synced; the file is then gone.

        Raises:
            Problem: 507 when there is no room.
        """

    def holds(self, workspace_id: int, sha256: str) -> bool:
        """Whether the bytes are there."""

    def open(self, workspace_id: int, sha256: str, start: int = 0) -> BinaryIO:
        """The bytes from `start` on, to be read in order and closed.

        Raises:
            FileNotFoundError: they are not there.
        """

    def remove(self, workspace_id: int, sha256: str) -> None:
        """Forget the bytes; nothing happens when they are gone already."""

    def stored(self, workspace_id: int) -> Iterator[Stored]:
        """Every blob of a workspace."""

    def sweep(self) -> int:
        """Remove what killed writers left behind; how many things."""


class DiskBlobs:
    """A store in a folder of the local disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blobs"
        self.staging = folder / "uploads"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.staging.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, workspace_id: int, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a digest")
        return self.folder / str(int(workspace_id)) / sha256[:2] / sha256

    def put(self, workspace_id: int, sha256: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        if self.holds(workspace_id, sha256):
            return
        temporary = self.staging / f"{os.urandom(8).hex()}.tmp"
        try:
            write_synced(temporary, data)
            self._publish(workspace_id, sha256, temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise_full(error)
            raise

    def take(self, workspace_id: int, sha256: str, path: Path) -> None:
        """See `BlobStore.take`."""
        try:
            self._publish(workspace_id, sha256, path)
        except OSError as error:
            raise_full(error)
            raise

    def _publish(self, workspace_id: int, sha256: str, path: Path) -> None:
        final = self._path(workspace_id, sha256)
        if not final.parent.is_dir():
            final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(final.parent.parent)
            sync_folder(self.folder)
        os.replace(path, final)
        sync_folder(final.parent)

    def holds(self, workspace_id: int, sha256: str) -> bool:
        """See `BlobStore.holds`."""
        return self._path(workspace_id, sha256).is_file()

    def open(self, workspace_id: int, sha256: str, start: int = 0) -> BinaryIO:
        """See `BlobStore.open`."""
        file = self._path(workspace_id, sha256).open("rb")
        file.seek(start)
        return file

    def remove(self, workspace_id: int, sha256: str) -> None:
        """See `BlobStore.remove`."""
        self._path(workspace_id, sha256).unlink(missing_ok=True)

    def stored(self, workspace_id: int) -> Iterator[Stored]:
        """See `BlobStore.stored`."""
        now = time.time()
        for path in sorted((self.folder / str(int(workspace_id))).glob("??/*")):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            if _SHA256.fullmatch(path.name):
                yield Stored(path.name, facts.st_size, max(0.0, now - facts.st_mtime))

    def sweep(self) -> int:
        """See `BlobStore.sweep`."""
        return sweep_staging(self.staging)


def open_store(settings: Settings) -> BlobStore:
    """The store that the settings name.

    Raises:
        UsageError: `blobs` is no `s3://bucket/prefix`, or `s3_endpoint` no URL.
        WorldFluxError: S3 is chosen, and what it takes is not installed.
    """
    if settings.blobs is None:
        return DiskBlobs(settings.folder)
    from worldflux.server.blob_s3 import S3Blobs  # boto3 is large and only needed here

    return S3Blobs(settings.blobs, settings.folder, settings.s3_endpoint)


def write_synced(path: Path, data: bytes) -> None:
    """Make a new file with these bytes, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def raise_full(error: OSError) -> None:
    """Turn a full disk into the answer that says so; other errors are left to the caller."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise storage_full() from error


#: Uploads that nobody went on with, and what killed writers left.
STALE_SECONDS = 7 * 86400.0
STALE_TEMPORARY_SECONDS = 3600.0


def sweep_staging(folder: Path) -> int:
    """Remove forgotten uploads; how many."""
    count = 0
    for path in folder.iterdir():
        limit = STALE_TEMPORARY_SECONDS if path.suffix == ".tmp" else STALE_SECONDS
        try:
            if time.time() - path.stat().st_mtime > limit:
                path.unlink()
                count += 1
        except FileNotFoundError:
            continue
    return count


def present(connection: Connection, workspace_id: int, names: list[str]) -> dict[str, int]:
    """Those of the digests whose bytes are stored: sha256 -> bytes."""
    found: dict[str, int] = {}
    for start in range(0, len(names), BATCH):
        query = select(blobs.c.sha256, blobs.c.bytes).where(
            blobs.c.workspace_id == workspace_id,
            blobs.c.sha256.in_(names[start : start + BATCH]),
            blobs.c.dying.is_(False),
        )
        found.update((row.sha256, row.bytes) for row in connection.execute(query))
    return found


def gate_name(workspace_id: int) -> str:
    """What `Database.lock` takes: shared by whoever refers to blobs, alone by gc."""
    return f"blobs:{workspace_id}"


def register(
    db: Database, connection: Connection, store: BlobStore, workspace_id: int, sizes: Mapping[str, int]
) -> None:
    """Say in the database that blobs are stored; `gate_name` is locked and the bytes were put before.

    Raises:
        Problem: 503 when gc took the bytes in the meantime; the client sends them again.
    """
    known = present(connection, workspace_id, list(sizes))
    fresh = [sha256 for sha256 in sizes if sha256 not in known]
    if not all(store.holds(workspace_id, sha256) for sha256 in fresh):
        raise busy()
    if fresh:
        now = utc_now()
        rows = [
            {"workspace_id": workspace_id, "sha256": sha256, "bytes": sizes[sha256], "stored_at": now}
            for sha256 in fresh
        ]
        statement = db.insert(blobs)
        statement = statement.on_conflict_do_update(
            index_elements=["workspace_id", "sha256"], set_={"dying": False, "stored_at": now}
        )
        connection.execute(statement, rows)


def touch(connection: Connection, workspace_id: int, names: list[str]) -> None:
    """Give blobs that a client is about to refer to their grace from gc anew."""
    for start in range(0, len(names), BATCH):
        connection.execute(
            update(blobs)
            .where(blobs.c.workspace_id == workspace_id, blobs.c.sha256.in_(names[start : start + BATCH]))
            .where(blobs.c.dying.is_(False))
            .values(stored_at=utc_now())
        )
