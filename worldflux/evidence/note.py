"""Signed notes and checkpoints of transparency logs, as C2SP writes them (signed-note, tlog-checkpoint).

A note is text, a blank line, and one line `— NAME BASE64` for each signature, over the text with its last
newline. A checkpoint is a note of three lines: origin, size, root.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

_ED25519 = 1
_MARK = "\u2014 "


class NoteError(ValueError):
    """A text is no note, checkpoint or key of the form that is written here; the message says why."""


@dataclass(frozen=True)
class Verifier:
    """A log's public key: `NAME+HASH+BASE64` as text."""

    name: str
    key_hash: int
    key: bytes

    @classmethod
    def of(cls, name: str, key: bytes) -> Verifier:
        """The verifier of an Ed25519 key of 32 bytes.

        Raises:
            NoteError: the name can not stand in a note.
        """
        if not name or any(c.isspace() or c == "+" for c in name) or len(key) != 32:
            raise NoteError("a log's name has neither spaces nor +, and its key has 32 bytes")
        digest = hashlib.sha256(name.encode() + b"\n" + bytes([_ED25519]) + key).digest()
        return cls(name, int.from_bytes(digest[:4], "big"), key)

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The verifier that `str` wrote.

        Raises:
            NoteError: it is none, of another kind of key, or damaged.
        """
        match = re.fullmatch(r"([^\s+]{1,512})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", text)
        if match is None:
            raise NoteError("a log's key has the form NAME+HASH+BASE64")
        data = base64.b64decode(match[3])
        if len(data) != 33 or data[0] != _ED25519:
            raise NoteError("the log's key is no Ed25519 key")
        verifier = cls.of(match[1], data[1:])
        if verifier.key_hash != int(match[2], 16):
            raise NoteError("the log's key does not fit its own hash")
        return verifier

    def __str__(self) -> str:
        data = base64.b64encode(bytes([_ED25519]) + self.key).decode()
        return f"{self.name}+{self.key_hash:08x}+{data}"

    def verifies(self, note: str) -> bool:
        """Whether the note carries a signature by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        text, signatures = split(note)
        for name, data in signatures:
            if name != self.name or data[:4] != self.key_hash.to_bytes(4, "big"):
                continue
            try:
                Ed25519PublicKey.from_public_bytes(self.key).verify(data[4:], text.encode())
            except InvalidSignature:
                return False
            return True
        return False


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: who keeps it, how many entries it has, and the RFC 6962 root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """The checkpoint that a note states; the signature is not looked at.

        Raises:
            NoteError: it states none.
        """
        text, _ = split(note)
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]):
            raise NoteError("the note is no checkpoint")
        root = _decode(lines[2])
        if len(root) != 32:
            raise NoteError("the checkpoint's root has no 32 bytes")
        return cls(lines[0], int(lines[1]), root)


def split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text with its last newline, and (name, key hash and signature) of each signature.

    Raises:
        NoteError: it is no note.
    """
    head, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in note):
        raise NoteError("it is no signed note")
    found = []
    for line in tail[:-1].split("\n"):
        name, space, data = line.removeprefix(_MARK).partition(" ")
        if not line.startswith(_MARK) or not space or not name:
            raise NoteError("a line of the note's signatures has another form")
        raw = _decode(data)
        if len(raw) < 5:
            raise NoteError("a signature of the note is too short")
        found.append((name, raw))
    return head + "\n", found


def signed(text: str, name: str, key_hash: int, signature: bytes) -> str:
    """The note of a text that ends with a newline, with one signature."""
    data = base64.b64encode(key_hash.to_bytes(4, "big") + signature).decode()
    return f"{text}\n{_MARK}{name} {data}\n"


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("a field that holds base64 does not decode") from None
