"""Artifacts on their way: read once, hashed while they are sent, and never sent when they changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.errors import TemporaryError
from worldflux.sync.beneath import Missing, Unreadable, open_beneath, read_at
from worldflux.sync.client import BundleRefused
from worldflux.sync.spans import BLOCK, Changed

if TYPE_CHECKING:
    from worldflux.sync.client import Client
    from worldflux.sync.progress import Progress
    from worldflux.sync.snapshot import Committed

#: A part that took longer makes the next one half as large, a quick one twice.
SLOW_SECONDS = 10.0
QUICK_SECONDS = 2.0
LEAST_PART_BYTES = 256 * 1024
FIRST_PART_BYTES = 4 * 2**20

#: Answers in a row that bring a blob no further before it is given up.
MOST_STANDSTILLS = 8


def read_small(folder: Path, artifact: Committed) -> bytes:
    """The bytes of a small artifact, which are those that its record names.

    Raises:
        Changed: they are not, or it can not be read.
    """
    try:
        with open_beneath(folder, artifact.path) as file:
            _check_size(file, artifact)
            data = read_at(file, 0, artifact.bytes + 1)
    except Missing:
        raise Changed("it was recorded, and is gone") from None
    except Unreadable as error:
        raise Changed(str(error)) from None
    if len(data) != artifact.bytes or hashlib.sha256(data).hexdigest() != artifact.sha256:
        raise Changed("its bytes are not those that were recorded")
    return data


def upload(
    client: Client,
    folder: Path,
    artifact: Committed,
    offset: int,
    most: int,
    advance: Callable[[int], None] = lambda count: None,
) -> int:
    """Send a large artifact in parts, from where the server stands; returns the bytes that were sent.

    The last part is sent only when the digest of the whole file, its size and its time are
    those that they were at the beginning and that its record names.

    Args:
        offset: what the server said it has.
        most: the largest part that the server takes.

    Raises:
        Changed: the file is not what was recorded, or is written to while it is sent.
        TemporaryError: others send the same blob and it gets no further.
        BundleRefused: the server does not take it.
    """
    try:
        with open_beneath(folder, artifact.path) as file:
            _check_size(file, artifact)
            before = os.fstat(file)
            try:
                return _send(client, file, artifact, before, offset, most, advance)
            except BundleRefused as error:
                if error.reply.status != 422:
                    raise
            # Spoilt on the way, or begun by somebody else with other bytes: the server has dropped it.
            return _send(client, file, artifact, before, 0, most, advance)
    except Missing:
        raise Changed("it was recorded, and is gone") from None
    except Unreadable as error:
        raise Changed(str(error)) from None


def transfer(
    client: Client, progress: Progress, folder: Path, artifact: Committed, offset: int, most: int
) -> int:
    """`upload`, with its progress shown under the artifact's own name."""
    key = artifact.sha256
    progress.blob(key, artifact.path.rpartition("/")[2], artifact.bytes)
    try:
        return upload(client, folder, artifact, offset, most, partial(progress.advance, key))
    finally:
        progress.blob_done(key)


def _send(
    client: Client,
    file: int,
    artifact: Committed,
    before: os.stat_result,
    offset: int,
    most: int,
    advance: Callable[[int], None],
) -> int:
    digest, hashed, sent, standstills = hashlib.sha256(), 0, 0, 0
    size = min(most, FIRST_PART_BYTES)
    advance(offset)
    while True:
        if offset > artifact.bytes:
            raise TemporaryError("the server has more of a blob than there is", "sync again", code="server")
        if offset < hashed:
            digest, hashed = hashlib.sha256(), 0
        hashed = _feed(digest, file, hashed, offset)
        data = read_at(file, offset, min(size, artifact.bytes - offset))
        if len(data) < min(size, artifact.bytes - offset):
            raise Changed("it became shorter while it was sent")
        if offset + len(data) == artifact.bytes:
            _check_end(digest, data, file, before, artifact)
        begun = time.monotonic()
        try:
            there, complete = client.patch_blob(artifact.sha256, offset, artifact.bytes, data)
        except BundleRefused as error:
            # A proxy on the way may take less than the server does.
            if error.reply.status != 413 or len(data) <= LEAST_PART_BYTES:
                raise
            size = most = max(LEAST_PART_BYTES, len(data) // 4)
            continue
        took = time.monotonic() - begun
        if complete:
            advance(artifact.bytes - offset)
            return sent + len(data)
        standstills = 0 if there > offset else standstills + 1
        if standstills == MOST_STANDSTILLS:
            raise TemporaryError("a blob gets no further", "sync again", code="server")
        if there == offset + len(data):
            digest.update(data)
            hashed, sent = there, sent + len(data)
        advance(there - offset)
        offset = there
        if took < QUICK_SECONDS:
            size = min(most, size * 2)
        elif took > SLOW_SECONDS:
            size = max(min(LEAST_PART_BYTES, most), size // 2)


def _feed(digest: hashlib._Hash, file: int, start: int, end: int) -> int:
    """Hash what the server has already, up to `end`."""
    while start < end:
        piece = read_at(file, start, min(BLOCK, end - start))
        if not piece:
            raise Changed("it became shorter while it was sent")
        digest.update(piece)
        start += len(piece)
    return start


def _check_size(file: int, artifact: Committed) -> None:
    size = os.fstat(file).st_size
    if size != artifact.bytes:
        raise Changed(f"it has {size} bytes, and had {artifact.bytes} when it was recorded")


def _check_end(
    digest: hashlib._Hash, data: bytes, file: int, before: os.stat_result, artifact: Committed
) -> None:
    whole = digest.copy()
    whole.update(data)
    now = os.fstat(file)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise Changed("it was written to while it was sent")
    if whole.hexdigest() != artifact.sha256:
        raise Changed("its bytes are not those that were recorded")
