"""Every text is searched for secrets before it is packed, every other file for the values that are known."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Protocol

#: A text up to this is judged as one document, a longer one in pieces, in bytes.
WHOLE = 8 * 1024 * 1024
#: What two pieces share, so that a secret on their border stands whole in one of them; in bytes.
OVERLAP = 64 * 1024


class Gate(Protocol):
    """Refuses what carries a secret; `worldflux.manifest.secrets.Gate` is one."""

    def refuse(self, data: bytes, what: str) -> None:
        """Raise when the bytes, a text, hold a secret by value or by looks."""

    def refuse_values(self, data: bytes, what: str) -> None:
        """Raise when the bytes, of any kind, hold a value that is known to be secret."""


def screen(stream: BinaryIO, what: str, gate: Gate) -> None:
    """Read a file to its end in constant memory and let the gate judge it.

    A piece that is UTF-8 without NUL is a text. What is compressed or encoded in a way of its own
    is not looked into.

    Raises:
        RefusedError: it carries a secret; the message has the file and the rule, never the value.
    """
    for piece, text in _pieces(stream):
        if text:
            gate.refuse(piece, what)
        elif piece.count(0) != len(piece):  # what a sparse file lacks holds no secret
            gate.refuse_values(piece, what)


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    tail = b""
    while fresh := stream.read(WHOLE):
        piece = tail + fresh
        yield piece, _is_text(piece, at_start=not tail)
        if len(fresh) < WHOLE:
            return
        tail = piece[-OVERLAP:]
        if not tail.strip(b"\0"):
            tail = b""


def _is_text(piece: bytes, *, at_start: bool) -> bool:
    if b"\0" in piece:
        return False
    if not at_start:  # the cut may have gone through a character
        piece = piece.lstrip(bytes(range(0x80, 0xC0)))
    try:
        codecs.getincrementaldecoder("utf-8")().decode(piece)
    except UnicodeDecodeError:
        return False
    return True
