"""Lines of a log: by number, or those that hold a text. Works through logs of any length piece by piece."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from worldflux.server.streams import terminal
from worldflux.server.streams.content import Chunk, Stream

#: Most lines and most bytes of lines in one answer.
MAX_LINES = 5000
MAX_BYTES = 4 * 1024 * 1024
#: A line that is longer than this is searched in parts.
_LONG = 1024 * 1024
#: A search gives back what it has after this many seconds.
SECONDS = 10.0
#: How much of a line that matches is shown.
_SHOWN = 2000


@dataclass
class Lines:
    """Some lines of a log.

    Attributes:
        start: number of the first, from 0.
        total: how many lines the log has by now; a last one without an end counts.
    """

    lines: list[str] = field(default_factory=list)
    start: int = 0
    total: int = 0


class _Counts:
    """How many lines end in a piece, by the piece's digest, so that it stays true for ever."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, stream: Stream, chunk: Chunk) -> int:
        with self._lock:
            found = self._known.get(chunk.sha256)
            if found is not None:
                self._known.move_to_end(chunk.sha256)
                return found
        parts = stream.read(chunk.offset, chunk.offset + chunk.length)
        found = sum(part.count(b"\n") for part in parts)
        with self._lock:
            self._known[chunk.sha256] = found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found


_counts = _Counts(20_000)


def lines(stream: Stream, start: int, count: int, *, colours: bool = False) -> Lines:
    """Lines from number `start` on.

    Args:
        start: from 0; a negative one counts from the end, -1 is the last line.
        count: how many at most; fewer come when they are long.
        colours: as in `terminal.line`.
    """
    pieces = stream.chunks()
    ended = [_counts.of(stream, piece) for piece in pieces]
    total = sum(ended)
    if stream.length and not _ends_line(stream):
        total += 1
    start = max(total + start, 0) if start < 0 else start
    result = Lines(start=start, total=total)
    if start >= total or count <= 0:
        return result
    at, before = 0, 0
    for piece, inside in zip(pieces, ended, strict=True):
        if before + inside >= start:
            at = piece.offset
            break
        before += inside
    _collect(stream, at, start - before, min(count, MAX_LINES), colours, result)
    return result


def _ends_line(stream: Stream) -> bool:
    return b"".join(stream.read(stream.length - 1)) == b"\n"


def _collect(stream: Stream, at: int, skip: int, count: int, colours: bool, result: Lines) -> None:
    """Read on from byte `at`, leave `skip` lines out, take `count`."""
    size, carry, cut = 0, b"", False
    for part in stream.read(at):
        begin = 0
        while begin < len(part):
            end = part.find(b"\n", begin)
            piece = part[begin:] if end < 0 else part[begin:end]
            if not skip and not cut:
                carry += piece[: _LONG - len(carry)]
                cut = len(carry) >= _LONG
            if end < 0:
                break
            begin = end + 1
            if skip:
                skip -= 1
                continue
            result.lines.append(terminal.line(carry, colours=colours))
            size += len(result.lines[-1])
            carry, cut = b"", False
            if len(result.lines) >= count or size > MAX_BYTES:
                return
    if carry and not skip:
        result.lines.append(terminal.line(carry, colours=colours))


@dataclass
class Found:
    """What a search came upon.

    Attributes:
        matches: line (number from 0), offset (of the line's first byte) and text of each line.
        next: byte to go on from when there may be more; None at the end.
        line: number of the line at `next`.
    """

    matches: list[dict[str, int | str]] = field(default_factory=list)
    next: int | None = None
    line: int = 0


def search(
    stream: Stream, text: str, limit: int, *, at: int = 0, line: int = 0, cased: bool = False
) -> Found:
    """Lines that hold a text; plain search, so its time grows with the log only.

    Args:
        text: at least one character; A to Z match in either case unless `cased`.
        at, line: where to begin: the first byte of a line, and that line's number.
    """
    wanted = text.encode("utf-8") if cased else text.encode("utf-8").lower()
    result, deadline = Found(line=line), time.monotonic() + SECONDS
    carry, base = b"", at
    for part in stream.read(at):
        block = carry + part
        end = block.rfind(b"\n") + 1
        if not end and len(block) < _LONG:
            carry = block
            continue
        # A line without an end that is this long is looked at in parts that overlap.
        whole = end or len(block) - len(wanted) + 1
        if _scan(block[: end or len(block)], base, wanted, limit, cased, result):
            return result
        carry, base = block[whole:], base + whole
        if time.monotonic() > deadline:
            result.next = base
            return result
    if carry:
        _scan(carry, base, wanted, limit, cased, result)
    return result


def _scan(block: bytes, base: int, wanted: bytes, limit: int, cased: bool, result: Found) -> bool:
    """Find lines in a block; true when there are as many as were asked for."""
    text = block if cased else block.lower()
    at, begin, number = 0, 0, result.line
    while (hit := text.find(wanted, at)) >= 0:
        number += block.count(b"\n", begin, hit)
        begin = block.rfind(b"\n", 0, hit) + 1
        if len(result.matches) >= limit:
            result.next, result.line = base + begin, number
            return True
        end = block.find(b"\n", hit)
        end = len(block) if end < 0 else end
        first = begin if hit - begin < _SHOWN // 2 else hit - _SHOWN // 2
        shown = terminal.line(block[first : min(end, first + _SHOWN)])
        if not result.matches or result.matches[-1]["line"] != number:
            result.matches.append({"line": number, "offset": base + begin, "text": shown})
        at = end
    result.line = number + block.count(b"\n", begin)
    return False
