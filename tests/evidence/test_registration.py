"""The ledger's layer: a proof is about this record, leads to a checkpoint, and the checkpoint is somebody's word."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence_lab import RUN_ID, make_package
from package_changes import relist

from worldflux.errors import WorldFluxError
from worldflux.evidence import layout, merkle
from worldflux.evidence.heads import Heads, Rewritten
from worldflux.evidence.keys import SigningKey
from worldflux.evidence.note import Checkpoint, Verifier, signed
from worldflux.evidence.proof import LedgerProof, ProofError
from worldflux.evidence.repack import with_proof
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import Report, verify_path
from worldflux.manifest import io

ORIGIN = "runs.example.org/lab/acme"


class Log:
    """A ledger in memory, with the key of its keeper."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin, self.bodies = origin, list[bytes]()
        self.private = Ed25519PrivateKey.generate()
        self.verifier = Verifier.of(origin, self.private.public_key().public_bytes_raw())

    def add(self, **fields: Any) -> int:
        seq = len(self.bodies)
        entry = {"v": 1, "seq": seq, "prev": "00" * 32, "kind": "run.committed", "run_id": RUN_ID, "attempt": 1,
                 "manifest_sha256": "ab" * 32, "at": "2026-11-21T04:00:00.000+00:00", **fields}  # fmt: skip
        self.bodies.append(io.canonical(entry))
        return seq

    @property
    def leaves(self) -> list[bytes]:
        return [merkle.leaf_hash(body) for body in self.bodies]

    def note(self, size: int | None = None) -> str:
        size = len(self.bodies) if size is None else size
        text = Checkpoint(self.origin, size, merkle.tree_hash(self.leaves[:size])).text()
        return signed(text, self.origin, self.verifier.key_hash, self.private.sign(text.encode()))

    def proof(self, seq: int) -> LedgerProof:
        path = merkle.inclusion_proof(seq, len(self.bodies), lambda a, b: merkle.tree_hash(self.leaves[a:b]))
        return LedgerProof(self.bodies[seq], seq, path, self.note())

    def head(self, size: int | None = None) -> dict[str, Any]:
        size = len(self.bodies) if size is None else size
        root = merkle.tree_hash(self.leaves[:size]).hex()
        return {"size": size, "root": root, "checkpoint": self.note(size), "key": str(self.verifier)}

    def consistency(self, old: int, new: int) -> Sequence[str]:
        path = merkle.consistency_proof(old, new, lambda a, b: merkle.tree_hash(self.leaves[a:b]))
        return [base64.b64encode(step).decode() for step in path]


@pytest.fixture
def log(run_folder: Path) -> Log:
    """A ledger with the run's record at place 2 of 5."""
    made = Log()
    sha256 = hashlib.sha256((run_folder / "manifest.json").read_bytes()).hexdigest()
    for index in range(5):
        made.add(**({"manifest_sha256": sha256} if index == 2 else {"run_id": f"other {index}"}))
    return made


def judged(run_folder: Path, tmp_path: Path, key: SigningKey, proof: str, ledgers: list[Verifier]) -> Report:
    make_package(run_folder, tmp_path / "with", key, proof=proof)
    return verify_path(tmp_path / "with", Trust(signers=[key.public], ledgers=ledgers))


def test_a_proof_is_checked_offline(run_folder: Path, tmp_path: Path, key: SigningKey, log: Log) -> None:
    """Place, size and time are told; without the ledger's key nothing is claimed."""
    report = judged(run_folder, tmp_path, key, log.proof(2).text(), [log.verifier])
    assert report.layer("ledger").status == "pass" and report.state == "verified"
    assert report.registration is not None
    assert (report.registration.seq, report.registration.size, report.registration.origin) == (2, 5, ORIGIN)
    stranger = verify_path(tmp_path / "with", Trust(signers=[key.public]))
    assert stranger.layer("ledger").status == "unknown" and stranger.state == "verified"


def test_a_proof_can_be_added_later_without_a_key(
    run_folder: Path, tmp_path: Path, key: SigningKey, log: Log
) -> None:
    """The signed archive gains the proof, every other byte of its files stays, and it is still verified."""
    built = make_package(run_folder, tmp_path / "plain.zip", key, archive=True)
    sha256 = with_proof(tmp_path / "plain.zip", tmp_path / "more.zip", log.proof(2).text())
    assert hashlib.sha256((tmp_path / "more.zip").read_bytes()).hexdigest() == sha256 != built.sha256
    report = verify_path(tmp_path / "more.zip", Trust(signers=[key.public], ledgers=[log.verifier]))
    assert report.state == "verified" and report.layer("ledger").status == "pass"
    make_package(run_folder, tmp_path / "whole.zip", key, archive=True, proof=log.proof(2).text())
    assert (tmp_path / "whole.zip").read_bytes() == (tmp_path / "more.zip").read_bytes()


def forgeries(log: Log) -> dict[str, str]:
    """Texts that must not pass for a proof of the run."""
    good = log.proof(2)
    body = json.loads(good.body)
    text = good.text()
    lines = text.split("\n")
    other = Log()
    other.bodies = list(log.bodies)
    renamed = Log("runs.example.org/lab/else")
    renamed.bodies = list(log.bodies)
    tombstone = Log()
    tombstone.private, tombstone.verifier = log.private, log.verifier
    tombstone.add(kind="run.tombstoned", manifest_sha256=body["manifest_sha256"])

    def with_body(**fields: Any) -> str:
        return LedgerProof(io.canonical({**body, **fields}), 2, good.path, good.note).text()

    return {
        "another entry": log.proof(3).text(),
        "another place": text.replace("index 2", "index 3"),
        "another run": with_body(run_id="x"),
        "another record": with_body(manifest_sha256="00" * 32),
        "another attempt": with_body(attempt=2),
        "another time": with_body(at="2020-01-01T00:00:00.000+00:00"),
        "another number inside": with_body(seq=1),
        "body that is not canonical": LedgerProof(good.body + b" ", 2, good.path, good.note).text(),
        "a step less": "\n".join([*lines[:3], *lines[4:]]),
        "a step more": "\n".join([*lines[:3], lines[3], *lines[3:]]),
        "another checkpoint": LedgerProof(good.body, 2, good.path, log.note(4)).text(),
        "another keeper": LedgerProof(good.body, 2, good.path, other.note()).text(),
        "a tombstone": tombstone.proof(0).text(),
        "no signature": text.rpartition("\n— ")[0] + "\n",
        "no entry": "\n".join([lines[0], *lines[2:]]),
        "no base64": text.replace(lines[3], "????"),
        "nothing": "",
        "noise": "proof!",
    }


NAMES = [
    "another entry", "another place", "another run", "another record", "another attempt", "another time",
    "another number inside", "body that is not canonical", "a step less", "a step more", "another checkpoint",
    "another keeper", "a tombstone", "no signature", "no entry", "no base64", "nothing", "noise",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_forged_proofs_fail(name: str, run_folder: Path, tmp_path: Path, key: SigningKey, log: Log) -> None:
    """Each is caught by the ledger's layer alone."""
    texts = forgeries(log)
    assert set(texts) == set(NAMES)
    report = judged(run_folder, tmp_path, key, texts[name], [log.verifier])
    assert {layer.name for layer in report.layers if layer.status == "fail"} == {"ledger"}


def test_a_proof_of_the_old_record_fails_for_an_edited_one(package: Path, log: Log, trust: Trust) -> None:
    """An edited manifest does not inherit the place of the genuine one, checksums or not."""
    (package / layout.LEDGER_PROOF).write_text(log.proof(2).text())
    manifest = package / "data/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"value":0.5', b'"value":0.9'))
    relist(package)
    trust.ledgers.append(log.verifier)
    failed = {layer.name for layer in verify_path(package, trust).layers if layer.status == "fail"}
    assert {"ledger", "signature"} <= failed


def test_proofs_survive_their_text(log: Log) -> None:
    """Writing and reading gives the same proof."""
    for seq in range(5):
        proof = log.proof(seq)
        assert LedgerProof.parse(proof.text()) == proof


def test_heads_are_remembered_and_only_grow(tmp_path: Path, log: Log) -> None:
    """A longer head with its proof is taken in; a shorter one, a forked one and another key are refused."""
    heads = Heads(tmp_path)
    for size in (1, 1, 3, 5):
        heads.see("https://s", "acme", log.head(size), log.consistency)
    with pytest.raises(Rewritten, match="it had 5"):
        heads.see("https://s", "acme", log.head(4), log.consistency)
    fork = Log()
    fork.private, fork.verifier = log.private, log.verifier
    fork.bodies = [*log.bodies[:4], *log.bodies[:3]]
    with pytest.raises(Rewritten, match="entries were changed"):
        heads.see("https://s", "acme", fork.head(), fork.consistency)
    same_size = fork.head(5)
    with pytest.raises(Rewritten, match="entries were changed"):
        heads.see("https://s", "acme", same_size, fork.consistency)
    other = Log()
    other.bodies = log.bodies
    with pytest.raises(Rewritten, match="another key"):
        heads.see("https://s", "acme", other.head(), other.consistency)
    known = Heads(tmp_path).known("https://s", "acme")
    assert known is not None and (known.size, known.root) == (5, log.head()["root"])
    assert Heads(tmp_path).known("https://other", "acme") is None


@pytest.mark.parametrize("answer", [[], ["!"], ["AAAA"], None])
def test_a_growth_that_is_not_proved_is_not_believed(answer: Any, tmp_path: Path, log: Log) -> None:
    """No proof, noise and a wrong proof are all a rewritten history."""
    heads = Heads(tmp_path)
    heads.see("s", "acme", log.head(3), log.consistency)
    with pytest.raises(Rewritten):
        heads.see("s", "acme", log.head(5), lambda old, new: answer)


def test_a_head_that_is_not_signed_is_none(tmp_path: Path, log: Log) -> None:
    """Root, size, signature and key of a head belong together."""
    good = log.head()
    for change in (
        {"size": 4}, {"root": "00" * 32}, {"key": str(Log().verifier)}, {"key": "x"}, {"checkpoint": "x"},
        {"checkpoint": good["checkpoint"].replace("\n5\n", "\n6\n"), "size": 6},
    ):  # fmt: skip
        with pytest.raises(WorldFluxError, match="not a signed checkpoint"):
            Heads(tmp_path).see("s", "acme", {**good, **change}, log.consistency)
    with pytest.raises(WorldFluxError):
        Heads(tmp_path).see("s", "acme", {}, log.consistency)
    assert not (tmp_path / "ledger.json").exists()


def test_a_damaged_memory_is_not_forgotten_silently(tmp_path: Path, log: Log) -> None:
    """Whoever can damage the file must not thereby make a rewritten ledger look new."""
    heads = Heads(tmp_path)
    heads.see("s", "acme", log.head(), log.consistency)
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(WorldFluxError, match="damaged"):
        heads.see("s", "acme", log.head(2), log.consistency)


def test_an_entry_that_is_no_object_is_refused(log: Log) -> None:
    """The entry is canonical JSON and nothing else."""
    with pytest.raises(ProofError):
        LedgerProof(b"[]", 0, [], log.note()).entry()
