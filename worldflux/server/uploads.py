"""Resumable uploads: the bytes so far lie in a file; its length is the offset at which to go on.

A finished upload is hashed again from the disk before anybody may refer to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worldflux.server import blobs
from worldflux.server.blobs import BlobStore, gate_name, raise_full, register
from worldflux.server.db import Database
from worldflux.server.problems import Problem


@dataclass(frozen=True)
class Progress:
    """How far an upload is."""

    offset: int
    complete: bool


@dataclass
class Uploads:
    """Uploads of one server: parts lie in a folder of its disk, finished ones go to the store."""

    folder: Path
    store: BlobStore
    db: Database

    def _part(self, workspace_id: int, sha256: str) -> Path:
        return self.folder / f"{int(workspace_id)}-{sha256}.part"

    def progress(self, workspace_id: int, sha256: str) -> Progress | None:
        """How far an upload is; None when nothing of it is there."""
        with self.db.read() as connection:
            stored = blobs.present(connection, workspace_id, [sha256])
        if stored:
            return Progress(stored[sha256], True)
        return (
            Progress(self.received(workspace_id, sha256), False)
            if self._has_part(workspace_id, sha256)
            else None
        )

    def received(self, workspace_id: int, sha256: str) -> int:
        """Bytes of an upload that is not finished; 0 when there is none."""
        try:
            return self._part(workspace_id, sha256).stat().st_size
        except FileNotFoundError:
            return 0

    def _has_part(self, workspace_id: int, sha256: str) -> bool:
        return self._part(workspace_id, sha256).is_file()

    def append(self, workspace_id: int, sha256: str, offset: int, total: int, data: bytes) -> Progress:
        """Add bytes at their offset; when the last ones came, check and publish the blob.

        Raises:
            Problem: 409 with the true offset, or while another request writes; 422 when the whole has not
                the digest, after which it starts from nothing; 507 when the disk is full.
        """
        known = self.progress(workspace_id, sha256)
        if known is not None and known.complete:
            return known
        path = self._part(workspace_id, sha256)
        with _alone(path) as descriptor:
            have = os.fstat(descriptor).st_size
            if offset != have:
                raise wrong_offset(have)
            if have + len(data) > total:
                raise Problem(422, "upload-length", "more bytes than Upload-Length states", "start again")
            _write(descriptor, have, data)
            if have + len(data) < total:
                return Progress(have + len(data), False)
            self._finish(workspace_id, sha256, total, path, descriptor)
        return Progress(total, True)

    def _finish(self, workspace_id: int, sha256: str, total: int, path: Path, descriptor: int) -> None:
        if _digest(descriptor) != sha256:
            path.unlink(missing_ok=True)
            raise Problem(
                422, "digest", "the bytes do not have the digest they were sent under", "send it from its start",
                headers={"Upload-Offset": "0"}, offset=0,
            )  # fmt: skip
        self.store.take(workspace_id, sha256, path)
        with self.db.write() as connection:
            self.db.lock(connection, [gate_name(workspace_id)], shared=True)
            register(self.db, connection, self.store, workspace_id, {sha256: total})


def wrong_offset(offset: int) -> Problem:
    """What a client is told that goes on at the wrong place."""
    return Problem(
        409, "offset", "the upload goes on at another offset", "go on at Upload-Offset",
        headers={"Upload-Offset": str(offset)}, offset=offset,
    )  # fmt: skip


@contextmanager
def _alone(path: Path) -> Iterator[int]:
    """The file, opened and locked for this request, also against other workers."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise_full(error)
        raise
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_flight(os.fstat(descriptor).st_size) from None
        # Whoever had the lock before may have published or dropped the file.
        if os.fstat(descriptor).st_nlink == 0 or not _is_same(path, descriptor):
            raise _in_flight(0)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _in_flight(offset: int) -> Problem:
    return Problem(
        409, "in-flight", "another request uploads this very blob", "ask for the offset, then go on",
        headers={"Upload-Offset": str(offset), "Retry-After": "1"}, offset=offset,
    )  # fmt: skip


def _write(descriptor: int, have: int, data: bytes) -> None:
    try:
        view, position = memoryview(data), have
        while view:
            written = os.pwrite(descriptor, view, position)
            view, position = view[written:], position + written
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, have)
        raise_full(error)
        raise


def _digest(descriptor: int) -> str:
    digest, position = hashlib.sha256(), 0
    while block := os.pread(descriptor, 1 << 20, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()
