"""Which bytes of a growing file leave: whole lines beyond what the server holds."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worldflux.sync.beneath import Missing, Unreadable, open_beneath, read_at

if TYPE_CHECKING:
    from pathlib import Path

    from worldflux.sync.snapshot import Stream
    from worldflux.sync.wire import Held

BLOCK = 1 << 20

#: Streams up to this are read once and kept until they are sent.
KEPT_BYTES = 256 * 1024

#: A last line that is longer is never taken for one that is still being written.
LONGEST_LINE = 1 << 20

_EMPTY = hashlib.sha256().hexdigest()


class Changed(Exception):
    """A file is not what its record says; the message says how."""


class Diverged(Exception):
    """The server holds other bytes than this copy; the message says how."""


@dataclass(frozen=True)
class Span:
    """What leaves of one stream.

    Attributes:
        offset, end: the bytes to send.
        sha256: digest of all bytes up to `end`.
        torn: the file has more, but no whole line.
        data: the bytes to send, when they are few.
    """

    stream: Stream
    offset: int
    end: int
    sha256: str
    torn: bool
    data: bytes | None = None

    @property
    def bytes(self) -> int:
        return self.end - self.offset


def measure(folder: Path, stream: Stream, held: Held | None, *, closed: bool) -> Span:
    """Find the part of a stream to send, and prove that the server's part is the same.

    Args:
        held: what the server has of it.
        closed: the run has ended, so that a log that ends without a line's end is whole.

    Raises:
        Changed: the file differs from its record, or is gone.
        Diverged: the server's part differs from this file, or is longer.
        Unreadable: the file can not be read.
    """
    have = held.bytes if held is not None else 0
    try:
        with open_beneath(folder, stream.path) as file:
            size = os.fstat(file).st_size
            if stream.bytes is not None and size < stream.bytes:
                raise Changed(f"it has {size} bytes, and had {stream.bytes} when it was recorded")
            limit = size if stream.bytes is None else stream.bytes
            if limit <= KEPT_BYTES:
                data = read_at(file, 0, limit)
                return _of_bytes(stream, data, limit, have, held, closed)
            return _of_file(stream, file, limit, have, held, closed)
    except Missing:
        if stream.bytes:
            raise Changed("it was recorded, and is gone") from None
        if have:
            raise Diverged(f"the server holds {have} bytes, and there is no such file here") from None
        return Span(stream, 0, 0, _EMPTY, False, b"")


def _of_bytes(stream: Stream, data: bytes, limit: int, have: int, held: Held | None, closed: bool) -> Span:
    if len(data) < limit:
        raise Changed("it became shorter while it was read")
    if stream.sha256 is not None and hashlib.sha256(data).hexdigest() != stream.sha256:
        raise Changed("its bytes are not those that were recorded")
    end = _end(stream, data, 0, limit, closed)
    if have > end:
        raise Diverged(f"the server holds {have} bytes, this copy {end}")
    if held is not None and have and hashlib.sha256(data[:have]).hexdigest() != held.sha256:
        raise Diverged(f"its first {have} bytes are others on the server")
    whole = hashlib.sha256(data[:end]).hexdigest()
    return Span(stream, have, end, whole, end < limit, data[have:end])


def _of_file(stream: Stream, file: int, limit: int, have: int, held: Held | None, closed: bool) -> Span:
    """As `_of_bytes`, in constant memory."""
    start = max(0, limit - LONGEST_LINE)
    tail = read_at(file, start, limit - start)
    end = _end(stream, tail, start, limit, closed)
    if have > end:
        raise Diverged(f"the server holds {have} bytes, this copy {end}")
    marks = sorted({have, end, limit if stream.sha256 is not None else end})
    digests: dict[int, str] = {}
    digest, position = hashlib.sha256(), 0
    for mark in marks:
        while position < mark:
            piece = read_at(file, position, min(BLOCK, mark - position))
            if not piece:
                raise Changed("it became shorter while it was read")
            digest.update(piece)
            position += len(piece)
        digests[mark] = digest.hexdigest()
    if stream.sha256 is not None and digests[limit] != stream.sha256:
        raise Changed("its bytes are not those that were recorded")
    if held is not None and have and digests[have] != held.sha256:
        raise Diverged(f"its first {have} bytes are others on the server")
    return Span(stream, have, end, digests[end], end < limit)


def _end(stream: Stream, tail: bytes, start: int, limit: int, closed: bool) -> int:
    """Where the last whole line ends; `tail` begins at `start` and goes up to `limit`."""
    if not tail or tail.endswith(b"\n"):
        return limit
    if stream.is_log and closed and stream.sha256 is not None:
        return limit
    line = tail.rfind(b"\n") + 1
    if line == 0 and start > 0:
        return limit  # longer than any line is waited for
    if not stream.is_log and closed and _is_row(tail[line:]):
        return limit
    return start + line


def _is_row(line: bytes) -> bool:
    """Whether a last line without an end is a whole metric all the same."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "name" in row and "value" in row


def chunks(folder: Path, span: Span, most: int) -> list[tuple[int, int]]:
    """The span in parts of at most `most` bytes, each up to the end of a line where there is one.

    Raises:
        Unreadable: the file can not be read any more.
    """
    if span.bytes <= most:
        return [(span.offset, span.end)] if span.bytes else []
    parts, position = [], span.offset
    with open_beneath(folder, span.stream.path) as file:
        while span.end - position > most:
            look = min(most, LONGEST_LINE)
            tail = read_at(file, position + most - look, look)
            line = tail.rfind(b"\n")
            step = most - look + line + 1 if line >= 0 else most
            parts.append((position, position + step))
            position += step
    parts.append((position, span.end))
    return parts


def read_part(folder: Path, span: Span, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of the stream.

    Raises:
        Changed: the file has become shorter.
        Unreadable: it can not be read.
    """
    if span.data is not None:
        return span.data[start - span.offset : end - span.offset]
    try:
        with open_beneath(folder, span.stream.path) as file:
            data = read_at(file, start, end - start)
    except Unreadable as error:
        raise Changed(str(error)) from None
    if len(data) < end - start:
        raise Changed("it became shorter while it was sent")
    return data
