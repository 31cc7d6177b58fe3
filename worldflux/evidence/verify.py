"""Judge a package without the network, layer by layer, trusting nothing in it.

What each layer can know: `shape` and `meaning` find mistakes, `completeness` finds damage; whoever edits a
package can make all three pass again. Only `signature` finds an edit, and only `ledger` finds that a signer
has exchanged the record afterwards. None of them makes what a run claims true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from worldflux.errors import WorldFluxError
from worldflux.evidence import dsse, layout
from worldflux.evidence.completeness import check_completeness, check_run_files
from worldflux.evidence.keys import PublicKey, public_of
from worldflux.evidence.meaning import check_meaning, check_numbers
from worldflux.evidence.package import FolderPackage, Package, Refused, RunPackage
from worldflux.evidence.reading import FAIL, NONE, PASS, UNKNOWN, Layer, Reading, parse_large, read
from worldflux.evidence.registration import Registration, check_ledger
from worldflux.evidence.shape import check_manifest_shape, check_shape
from worldflux.evidence.signature import Signer, check_signature
from worldflux.evidence.trust import Trust
from worldflux.evidence.zip_reader import ZipPackage

__all__ = [
    "PublicKey", "Report", "Trust", "public_of", "verify_bundle", "verify_package", "verify_path", "verify_zip",
]  # fmt: skip

Progress = Callable[[str, int, int], None]


@dataclass
class Report:
    """What a package came to.

    Attributes:
        kind: `folder`, `zip`, or `run` for a run folder that was never packed.
        run_id, manifest_sha256: empty when there is no manifest.
        layers: in the order of `layout.LAYERS`.
    """

    where: str
    kind: str
    run_id: str
    manifest_sha256: str
    layers: list[Layer] = field(default_factory=list)
    signer: Signer | None = None
    registration: Registration | None = None

    @property
    def state(self) -> str:
        """`invalid`; `verified`: signed by somebody trusted; `signed`: by somebody unknown; `unsigned`."""
        if any(layer.status == FAIL for layer in self.layers):
            return "invalid"
        return {PASS: "verified", UNKNOWN: "signed"}.get(self.layer("signature").status, "unsigned")

    def layer(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    def to_json(self) -> dict[str, Any]:
        """The report as data."""
        return {
            "where": self.where,
            "kind": self.kind,
            "state": self.state,
            "run_id": self.run_id,
            "manifest_sha256": self.manifest_sha256,
            "layers": [
                {
                    "name": layer.name,
                    "status": layer.status,
                    "summary": layer.summary,
                    "faults": [{"where": each.where, "problem": each.problem} for each in layer.faults],
                }
                for layer in self.layers
            ],
            "signer": None if self.signer is None else vars(self.signer).copy(),
            "ledger": None if self.registration is None else vars(self.registration).copy(),
            "means": self.means(),
        }

    def means(self) -> list[str]:
        """What follows from this report, and what does not; sentences for people."""
        said = []
        if self.state == "invalid":
            said.append("Do not rely on it: see the faults of each layer.")
        elif self.state == "verified" and self.signer is not None:
            said.append(
                f"Whoever holds the key of {self.signer.name} vouches for these files, and no byte of data/ "
                "has changed since. That does not prove that what the run measured is true, on which "
                "machine it ran, or when it was signed."
            )
        elif self.state == "signed":
            said.append("The signature is whole, but you have not said that you trust whoever made it.")
        else:
            said.append("Nobody vouches for it: anybody could have made or changed it and its checksums.")
        if self.registration is not None and self.layer("ledger").status == PASS:
            said.append(
                "The ledger's keeper had this very record then. That does not prove that the keeper shows "
                "everybody the same ledger: compare checkpoints."
            )
        return said


def verify_path(path: Path, trust: Trust, progress: Progress | None = None) -> Report:
    """Judge a package folder, an archive, or a run folder.

    Raises:
        Refused: it is none of these, or an archive that must not be followed.
    """
    if path.is_dir() and not (path / layout.BAGIT).exists() and (path / layout.MANIFEST).exists():
        return _verify_run(RunPackage(path), progress)
    if not path.exists():
        raise Refused(str(path), "there is no such file or folder")
    package: Package = FolderPackage(path) if path.is_dir() else ZipPackage(path)
    try:
        return verify_package(package, trust, progress)
    finally:
        package.close()


def verify_zip(source: BinaryIO, trust: Trust, where: str = "the archive") -> Report:
    """Judge an archive in an open file, which is closed.

    Raises:
        Refused: it is an archive that must not be followed, or none.
    """
    package = ZipPackage(source, where)
    try:
        return verify_package(package, trust)
    finally:
        package.close()


def verify_bundle(body: bytes, trust: Trust, manifest_sha256: str) -> Signer:
    """Who signed a statement about a manifest, by the bundle alone.

    A signature by a key that is not trusted can not be checked without that key, so the signer is then
    only who the bundle says it is.

    Raises:
        Refused: it is no bundle, its statement is not about this manifest, or a trusted key's signature is
            not of it.
    """
    where = "the bundle"
    try:
        bundle = dsse.decode(parse_large(body, where))
        statement = dsse.statement_of(bundle, where)
        digests = [each["digest"].get("sha256") for each in statement["subject"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(where, str(error)) from None
    if manifest_sha256 not in digests:
        raise Refused(where, "its statement is not about this run's manifest")
    known = next((key for key in trust.signers if bundle.key_id and key.key_id == bundle.key_id), None)
    if known is None:
        return Signer(bundle.key_id, "", False)
    if not known.verifies(bundle.signature, dsse.pae(bundle.payload)):
        raise Refused(where, "the signature is not of its statement")
    return Signer(known.key_id, known.name, True)


def verify_package(package: Package, trust: Trust, progress: Progress | None = None) -> Report:
    """Judge opened files; each is read once, in constant memory."""
    reading = read(package, progress)
    signature, signer = check_signature(reading, trust)
    ledger, registration = check_ledger(reading, trust)
    layers = [check_shape(reading), check_meaning(reading), check_completeness(reading), signature, ledger]
    return Report(package.where, package.kind, *_identity(reading), layers, signer, registration)


def _verify_run(package: RunPackage, progress: Progress | None) -> Report:
    """A run folder against its own manifest: there is nothing else that it could be held against."""
    reading = read(package, progress)
    shape, meaning = Layer("shape"), Layer("meaning")
    data = reading.bytes_of(layout.DATA + layout.MANIFEST)
    try:
        from worldflux.manifest import io

        check_manifest_shape(io.parse(data, layout.MANIFEST), data, layout.MANIFEST, shape)
    except WorldFluxError as error:
        shape.fault(layout.MANIFEST, error.problem)
    if reading.manifest is not None:
        check_numbers(reading.manifest, meaning)
    shape.summary = "the manifest fits its schema" if not shape.faults else "the manifest has the wrong form"
    meaning.summary = "its numbers fit together" if not meaning.faults else "its numbers contradict"
    layers = [
        shape,
        meaning,
        check_run_files(reading),
        Layer("signature", NONE, "not packed, so nobody vouches for it"),
        Layer("ledger", NONE, "not packed"),
    ]
    return Report(package.where, package.kind, *_identity(reading), layers)


def _identity(reading: Reading) -> tuple[str, str]:
    found = reading.payload.get(layout.MANIFEST)
    run_id = reading.manifest.client_run_id if reading.manifest is not None else ""
    return run_id, found.sha256 if found is not None else ""
