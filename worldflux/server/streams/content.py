"""The bytes of a stream, from the pieces in which they came."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from sqlalchemy import Connection, select

from worldflux.errors import WorldFluxError
from worldflux.server.tables import chunks, streams

#: Pieces are handed on in parts no longer than this.
PIECE = 256 * 1024
#: Largest piece kept unpacked at a time; a client can not send a longer one.
MAX_CHUNK = 16 * 1024 * 1024

#: Opens a blob by its digest, at a byte.
OpenBlob = Callable[[str, int], BinaryIO]


class Chunk(NamedTuple):
    """A piece as it came: where it stands, and the digest of its bytes."""

    pk: int
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Stream:
    """A stream of a run as it was when it was looked up; what is appended later is not in it.

    Attributes:
        name: `metrics`, or `log:` and the log's name.
        length: bytes.
    """

    connection: Connection
    run_pk: int
    name: str
    length: int
    open_blob: OpenBlob

    @classmethod
    def find(
        cls, connection: Connection, workspace_id: int, run_pk: int, name: str, open_blob: OpenBlob
    ) -> Stream | None:
        """The stream of a run; None when nothing of that name came yet."""
        query = select(streams.c.length).where(
            streams.c.run_pk == run_pk, streams.c.workspace_id == workspace_id, streams.c.name == name
        )
        length = connection.execute(query).scalar()
        return None if length is None else cls(connection, run_pk, name, length, open_blob)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, in parts; only the pieces they are in are read.

        Raises:
            WorldFluxError: a piece is missing or damaged.
        """
        end = self.length if end is None else min(end, self.length)
        at = max(start, 0)
        if at >= end:
            return
        for chunk in self.chunks(at, end):
            if chunk.offset > at:
                break
            last = min(end, chunk.offset + chunk.length) - chunk.offset
            for part in self._parts(chunk, at - chunk.offset, last):
                at += len(part)
                yield part
        if at < end:
            raise WorldFluxError(
                f"the stream {self.name} has a hole at byte {at}",
                "restore the server's data from a backup",
                code="damaged",
            )

    def chunks(self, start: int = 0, end: int | None = None) -> list[Chunk]:
        """The pieces that hold the bytes from `start` up to `end`, in their order."""
        end = self.length if end is None else end
        c = chunks.c
        query = (
            select(c.pk, c.offset, c.length, c.sha256)
            .where(
                c.run_pk == self.run_pk, c.stream == self.name, c.offset < end, c.offset + c.length > start
            )
            .order_by(c.offset)
        )
        return [Chunk(*row) for row in self.connection.execute(query)]

    def _parts(self, chunk: Chunk, start: int, end: int) -> Iterator[bytes]:
        body = self.connection.execute(select(chunks.c.body).where(chunks.c.pk == chunk.pk)).scalar_one()
        if body is None:
            yield from _from_blob(self.open_blob(chunk.sha256, start), end - start)
            return
        try:
            data = zlib.decompressobj().decompress(body, MAX_CHUNK)
        except zlib.error:
            raise WorldFluxError(f"a piece of the stream {self.name} is damaged", code="damaged") from None
        for at in range(start, min(end, len(data)), PIECE):
            yield data[at : min(at + PIECE, end)]


def _from_blob(file: BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (part := file.read(min(PIECE, left))):
            left -= len(part)
            yield part
