"""That a run stands in a server's ledger: C2SP tlog-proof files, checked without the server."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldflux.evidence import merkle
from worldflux.evidence.note import Checkpoint, NoteError
from worldflux.manifest import io

_HEADER = "c2sp.org/tlog-proof@v1"
#: A path through a tree of 2^53 entries has this many steps.
_LONGEST_PATH = 64


class ProofError(ValueError):
    """A text is no proof, or does not prove what it should; the message says why."""


@dataclass(frozen=True)
class LedgerProof:
    """One entry of a ledger and its way to a signed head.

    Attributes:
        body: the entry's canonical JSON, which the leaf is the hash of.
        index: from 0.
        path: the audit path.
        note: the checkpoint as the server signed it.
    """

    body: bytes
    index: int
    path: Sequence[bytes]
    note: str

    def text(self) -> str:
        """The tlog-proof file; the entry stands in its `extra` line."""
        lines = [_HEADER, f"extra {base64.b64encode(self.body).decode()}", f"index {self.index}"]
        lines += [base64.b64encode(step).decode() for step in self.path]
        return "\n".join(lines) + "\n\n" + self.note

    @classmethod
    def parse(cls, text: str) -> LedgerProof:
        """The proof that `text` wrote.

        Raises:
            ProofError: it is none.
        """
        head, gap, note = text.partition("\n\n")
        lines = head.split("\n")
        if not gap or lines[0] != _HEADER or len(lines) < 3 or not lines[1].startswith("extra "):
            raise ProofError("it is no tlog-proof with an entry")
        index = re.fullmatch(r"index (0|[1-9][0-9]{0,15})", lines[2])
        if index is None or len(lines) - 3 > _LONGEST_PATH:
            raise ProofError("the proof has no index, or too long a path")
        path = [_decode(line) for line in lines[3:]]
        if any(len(step) != 32 for step in path):
            raise ProofError("a step of the proof has no 32 bytes")
        return cls(_decode(lines[1][6:]), int(index[1]), path, note)

    def checkpoint(self) -> Checkpoint:
        """The head that the path leads to.

        Raises:
            ProofError: the note states none.
        """
        try:
            return Checkpoint.parse(self.note)
        except NoteError as error:
            raise ProofError(str(error)) from None

    def entry(self) -> dict[str, Any]:
        """The ledger's entry.

        Raises:
            ProofError: it is no JSON object, or not in canonical form.
        """
        from worldflux.errors import WorldFluxError

        try:
            entry = io.parse(self.body, "the ledger's entry")
            if io.canonical(entry) != self.body:
                raise ProofError("the ledger's entry is not canonical JSON")
        except WorldFluxError as error:
            raise ProofError(error.problem) from None
        return entry

    def check(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        """The entry, once it is shown to stand under the checkpoint and to say what is expected.

        Args:
            expected: fields and their values. The checkpoint's signature is the caller's business.

        Raises:
            ProofError: it does not.
        """
        entry, checkpoint = self.entry(), self.checkpoint()
        for name, value in expected.items():
            if entry.get(name) != value:
                raise ProofError(f"the ledger's entry is about another {name}")
        if entry.get("seq") != self.index:
            raise ProofError("the ledger's entry names another place than its proof")
        leaf = merkle.leaf_hash(self.body)
        if not merkle.proves_inclusion(self.index, checkpoint.size, leaf, self.path, checkpoint.root):
            raise ProofError("the entry does not stand under the checkpoint")
        return entry


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError("a field of the proof that holds base64 does not decode") from None
