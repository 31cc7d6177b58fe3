"""What this project has seen of each server's ledgers, so that a rewritten history is noticed.

`.worldflux/ledger.json` holds, for each server and project, the newest head that was shown and the key
it was signed with. A later head has to be signed by the same key and to have grown from it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.evidence import merkle
from worldflux.evidence.note import Checkpoint, NoteError, Verifier
from worldflux.evidence.proof import LedgerProof, ProofError
from worldflux.manifest.storage import write_bytes_atomic

FILE = "ledger.json"
_FORMAT = 1


class Rewritten(RefusedError):
    """A server's ledger is not what it was: entries were changed or taken back, or its key was exchanged."""

    code = "ledger-rewritten"


@dataclass(frozen=True)
class Head:
    """A ledger as it was seen once; `key` is what its checkpoints are checked with."""

    origin: str
    size: int
    root: str
    key: str
    checkpoint: str


class Heads:
    """The remembered heads of one project folder."""

    def __init__(self, state_dir: Path) -> None:
        """`state_dir`: the project's `.worldflux`."""
        self.path = state_dir / FILE

    def known(self, server: str, project: str) -> Head | None:
        """The newest head that was seen; None when none was.

        Raises:
            WorldFluxError: the file is damaged. It is not forgotten silently, for that would hide a
                rewritten history.
        """
        found = self._read().get(f"{server} {project}")
        return None if found is None else Head(**found)

    def see(
        self,
        server: str,
        project: str,
        document: Mapping[str, Any],
        consistency: Callable[[int, int], Sequence[str]],
    ) -> Head:
        """Take in a head that a server shows, and remember it.

        Args:
            server: its origin.
            document: what `GET /api/sync/ledger-head` answered.
            consistency: (old size, new size) -> the base64 steps that `GET /api/sync/consistency` answers.

        Raises:
            Rewritten: it has not grown from the head that was seen before, or another key signed it.
            WorldFluxError: the answer is no signed head.
        """
        seen, before = _head(document), self.known(server, project)
        if before is not None:
            _grown(before, seen, server, project, consistency)
        if before is None or seen.size >= before.size:
            heads = self._read()
            heads[f"{server} {project}"] = vars(seen).copy()
            text = json.dumps({"format": _FORMAT, "heads": heads}, indent=1, sort_keys=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(self.path, text.encode() + b"\n")
        return seen

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            document = json.loads(self.path.read_bytes())
            heads: dict[str, dict[str, Any]] = document["heads"]
            for value in heads.values():
                Head(**value)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise WorldFluxError(
                f"{self.path} is damaged: it holds what was seen of the servers' ledgers",
                "bring it back from a copy; after removing it the next head is believed unseen",
                code="ledger-memory",
            ) from None
        return heads


def check_proof(text: str, head: Head, run_id: str, manifest_sha256: str) -> LedgerProof:
    """A proof that a server gives for a run, held against the ledger that is known.

    Raises:
        WorldFluxError: it does not prove that the run stands in that ledger.
    """
    try:
        proof = LedgerProof.parse(text)
        proof.check({"run_id": run_id, "manifest_sha256": manifest_sha256})
        if not Verifier.parse(head.key).verifies(proof.note):
            raise ProofError("the checkpoint is not signed by the ledger's key")
    except (ProofError, NoteError) as error:
        raise WorldFluxError(
            f"the server's proof for run {run_id} does not hold: {error}",
            "do not rely on the ledger of this server",
            code="ledger-proof",
        ) from None
    return proof


def _head(document: Mapping[str, Any]) -> Head:
    try:
        note, key = str(document["checkpoint"]), str(document["key"])
        verifier, checkpoint = Verifier.parse(key), Checkpoint.parse(note)
        if checkpoint.origin != verifier.name or not verifier.verifies(note):
            raise NoteError("it is not signed with its own key")
        if (checkpoint.size, checkpoint.root.hex()) != (document["size"], document["root"]):
            raise NoteError("it is about another head")
    except (KeyError, NoteError) as error:
        raise WorldFluxError(
            f"the server's ledger head is not a signed checkpoint: {error}",
            "check the server's address and version",
            code="protocol",
        ) from None
    return Head(checkpoint.origin, checkpoint.size, checkpoint.root.hex(), key, note)


def _grown(
    before: Head, seen: Head, server: str, project: str, consistency: Callable[[int, int], Sequence[str]]
) -> None:
    where = f"the ledger of project {project} on {server}"
    details = {"before": vars(before).copy(), "now": vars(seen).copy()}
    hint = (
        "Keep .worldflux/ledger.json: its checkpoint is signed and shows what the server said before. "
        "Ask whoever runs the server whether it was restored from an older backup."
    )
    if seen.key != before.key:
        raise Rewritten(f"{where} is signed by another key than before", hint, details=details)
    if seen.size < before.size:
        raise Rewritten(f"{where} has {seen.size} entries, it had {before.size}", hint, details=details)
    if before.size == seen.size:
        path: list[bytes] = []
    else:
        try:
            path = [base64.b64decode(step, validate=True) for step in consistency(before.size, seen.size)]
        except (binascii.Error, ValueError, TypeError):
            path = [b""]
    old, new = bytes.fromhex(before.root), bytes.fromhex(seen.root)
    if not merkle.proves_consistency(before.size, seen.size, old, new, path):
        raise Rewritten(
            f"{where} has not grown from what it was: entries were changed", hint, details=details
        )
