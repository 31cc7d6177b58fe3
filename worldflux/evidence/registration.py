"""Layer 5: a server's ledger has the run, so that its record can not be exchanged in secret."""

from __future__ import annotations

from dataclasses import dataclass

from worldflux.errors import WorldFluxError
from worldflux.evidence import layout
from worldflux.evidence.proof import LedgerProof, ProofError
from worldflux.evidence.reading import NONE, UNKNOWN, Layer, Reading
from worldflux.evidence.trust import Trust

#: What an entry says of a run whose record was taken in.
COMMITTED = ("run.committed", "run.superseded")


@dataclass(frozen=True)
class Registration:
    """Where the run stands: in which log, at which place, since when by the server's clock."""

    origin: str
    seq: int
    size: int
    at: str
    trusted: bool


def check_ledger(reading: Reading, trust: Trust) -> tuple[Layer, Registration | None]:
    """The enclosed proof: about this manifest, under a checkpoint, signed by a ledger that is trusted."""
    layer = Layer("ledger")
    if not reading.has(layout.LEDGER_PROOF):
        layer.status, layer.summary = NONE, "no proof that a server has it"
        return layer, None
    try:
        registration = _registration(reading, trust)
    except (ProofError, WorldFluxError) as error:
        layer.fault(layout.LEDGER_PROOF, str(error).splitlines()[0])
        layer.summary = "the proof does not hold for this run"
        return layer, None
    place = f"entry {registration.seq} of {registration.size} in {registration.origin}"
    if registration.trusted:
        layer.summary = f"{place}, taken in {registration.at}"
    else:
        layer.status = UNKNOWN
        layer.summary = f"{place}, by a ledger whose key you do not trust"
    return layer, registration


def _registration(reading: Reading, trust: Trust) -> Registration:
    manifest, found = reading.manifest, reading.payload.get(layout.MANIFEST)
    if manifest is None or found is None:
        raise ProofError("there is no manifest that the proof could be about")
    proof = LedgerProof.parse(reading.text(layout.LEDGER_PROOF))
    entry = proof.check(
        {
            "run_id": manifest.client_run_id,
            "manifest_sha256": found.sha256,
            "attempt": manifest.run["attempt"],
        }
    )
    if entry.get("kind") not in COMMITTED:
        raise ProofError("the ledger's entry does not say that the run was taken in")
    checkpoint = proof.checkpoint()
    known = [each for each in trust.ledgers if each.name == checkpoint.origin]
    trusted = any(each.verifies(proof.note) for each in known)
    if known and not trusted:
        raise ProofError("the checkpoint is not signed by the ledger's key that you trust")
    return Registration(checkpoint.origin, proof.index, checkpoint.size, str(entry.get("at", "")), trusted)
