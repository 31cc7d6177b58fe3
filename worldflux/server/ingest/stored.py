"""Streams as they are stored: chunks in a row, each packed in the database or a blob of its own."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from worldflux.server.tables import chunks

if TYPE_CHECKING:
    from worldflux.server.blobs import BlobStore


def read(
    connection: Connection,
    store: BlobStore,
    workspace_id: int,
    run_pk: int,
    stream: str,
    start: int,
    length: int,
) -> bytes:
    """The bytes [start, start + length) of a stream, or as many of them as there are."""
    parts = []
    for offset, body in _chunks(connection, store, workspace_id, run_pk, stream, start, start + length):
        parts.append(body[max(0, start - offset) : start + length - offset])
    return b"".join(parts)


def _chunks(
    connection: Connection,
    store: BlobStore,
    workspace_id: int,
    run_pk: int,
    stream: str,
    start: int,
    end: int,
) -> Iterator[tuple[int, bytes]]:
    found = connection.execute(
        select(chunks.c.offset, chunks.c.length, chunks.c.sha256, chunks.c.body)
        .where(chunks.c.workspace_id == workspace_id, chunks.c.run_pk == run_pk, chunks.c.stream == stream)
        .where(chunks.c.offset < end, chunks.c.offset + chunks.c.length > start)
        .order_by(chunks.c.offset)
    )
    for row in found:
        if row.body is not None:
            yield row.offset, zlib.decompress(row.body)
        else:
            with store.open(workspace_id, row.sha256) as file:
                yield row.offset, file.read()


class Digests:
    """The state of SHA-256 at the end of streams that grow, so that each byte is hashed once.

    A cache only: what is not in it is read again.
    """

    MOST = 2000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, str, int], hashlib._Hash] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, run_pk: int, stream: str, length: int, sha256: str) -> hashlib._Hash | None:
        """The state after `length` bytes, to be changed freely; None when it is not known."""
        if length == 0:
            return hashlib.sha256()
        with self._lock:
            state = self._known.get((run_pk, stream, length))
        return state.copy() if state is not None and state.hexdigest() == sha256 else None

    def put(self, run_pk: int, stream: str, length: int, state: hashlib._Hash) -> None:
        """Remember the state after `length` bytes."""
        with self._lock:
            self._known[run_pk, stream, length] = state
            while len(self._known) > self.MOST:
                self._known.popitem(last=False)
