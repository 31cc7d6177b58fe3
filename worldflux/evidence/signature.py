"""Layer 4: who vouches for the package, and that it is this package that they vouch for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.evidence import dsse, keys, layout, statements
from worldflux.evidence.keys import PublicKey
from worldflux.evidence.reading import FAIL, NONE, PASS, UNKNOWN, Layer, Reading
from worldflux.evidence.trust import Trust

_STATEMENTS = (layout.RUN_STATEMENT, layout.PAYLOAD_STATEMENT)


@dataclass(frozen=True)
class Signer:
    """Who signed.

    Attributes:
        key_id: sha256 of the public key's PEM form; empty for a keyless signature.
        name: what the verifying person calls the key, or the certificate's identity.
        trusted: the verifying person said so.
    """

    key_id: str
    name: str
    trusted: bool


def check_signature(reading: Reading, trust: Trust) -> tuple[Layer, Signer | None]:
    """Both statements: signed by one trusted key, and about exactly these files."""
    layer = Layer("signature")
    there = [path for path in _STATEMENTS if reading.has(path)]
    if not there:
        layer.status, layer.summary = NONE, "unsigned: nobody vouches for it"
        return layer, None
    for path in _STATEMENTS:
        if path not in there:
            layer.fault(path, "is missing, though the other statement is signed")
    bundles: dict[str, dsse.Bundle] = {}
    for path in there:
        try:
            bundles[path] = dsse.decode(reading.json(path))
            _about(path, dsse.statement_of(bundles[path], path), reading, layer)
        except (ValueError, WorldFluxError) as error:
            layer.fault(path, str(error).splitlines()[0])
    signer = _signed(bundles, reading, trust, layer)
    _summarize(layer, signer)
    return layer, signer


def _summarize(layer: Layer, signer: Signer | None) -> None:
    if layer.status == FAIL:
        layer.summary = "the signature does not hold for these files"
    elif layer.status == PASS and signer is not None:
        layer.summary = f"signed by {signer.name or signer.key_id[:16]}"


def _signed(
    bundles: Mapping[str, dsse.Bundle], reading: Reading, trust: Trust, layer: Layer
) -> Signer | None:
    if not bundles:
        return None
    if any(bundle.certificate for bundle in bundles.values()):
        return _keyless(bundles, trust, layer)
    key_ids = {bundle.key_id for bundle in bundles.values()}
    if len(key_ids) != 1:
        layer.fault(layout.PAYLOAD_STATEMENT, "the two statements are signed by different keys")
        return None
    key_id = key_ids.pop()
    known = next((key for key in trust.signers if key.key_id == key_id), None)
    key = known or _enclosed(reading, key_id)
    if key is None:
        layer.fault(layout.SIGNER, f"is not the key {key_id[:16]} that the statements name")
        return None
    for path, bundle in bundles.items():
        if not key.verifies(bundle.signature, dsse.pae(bundle.payload)):
            layer.fault(path, "the signature is not of this statement")
    if layer.status == FAIL:
        return None
    signer = Signer(key_id, known.name if known is not None else "", known is not None)
    if known is None:
        layer.status = UNKNOWN
        layer.summary = f"signed by a key that you do not trust: {key_id}"
    return signer


def _enclosed(reading: Reading, key_id: str) -> PublicKey | None:
    """The key that came along: shows that the signature is whole, never whose it is."""
    if not reading.has(layout.SIGNER):
        return None
    try:
        key = keys.public_of(reading.bytes_of(layout.SIGNER))
    except WorldFluxError:
        return None
    return key if key.key_id == key_id else None


def _keyless(bundles: Mapping[str, dsse.Bundle], trust: Trust, layer: Layer) -> Signer | None:
    from worldflux.evidence import keyless

    if len(bundles) != len(_STATEMENTS) or not all(bundle.certificate for bundle in bundles.values()):
        layer.fault(layout.PAYLOAD_STATEMENT, "only one of the two statements is signed with a certificate")
        return None
    identity = keyless.identity_of(next(iter(bundles.values())))
    try:
        for path, bundle in bundles.items():
            problem = keyless.verify(bundle, trust.identities)
            if problem:
                layer.fault(path, problem)
    except keyless.NotAvailable as error:
        layer.status, layer.summary = UNKNOWN, str(error)
        return Signer("", identity, False)
    return None if layer.status == FAIL else Signer("", identity, True)


def _about(path: str, statement: Mapping[str, Any], reading: Reading, layer: Layer) -> None:
    """A signed statement says what is in the package, no less and no more."""
    if path == layout.PAYLOAD_STATEMENT:
        _about_payload(path, statement, reading, layer)
    else:
        _about_run(path, statement, reading, layer)


def _about_payload(path: str, statement: Mapping[str, Any], reading: Reading, layer: Layer) -> None:
    digests = {name: each.sha256 for name, each in reading.payload.items()}
    try:
        resources = statement["predicate"]["resources"]
        listed = {each["name"]: each["digest"] for each in resources}
        subject = statement["subject"][0]["digest"]["sha256"]
        kinds = {each["algorithm"] for each in resources}
        if not all(isinstance(name, str) for name in listed):
            raise TypeError
    except (KeyError, TypeError, IndexError):
        layer.fault(path, "does not list files and digests")
        return
    if len(resources) != len(listed) or kinds != {"sha256"}:
        layer.fault(path, "lists a file twice, or with another kind of digest")
    for name in sorted(listed.keys() - digests.keys()):
        layer.fault(layout.DATA + name, "is signed for and missing")
    for name in sorted(digests.keys() - listed.keys()):
        layer.fault(layout.DATA + name, "is not signed for")
    for name in sorted(digests.keys() & listed.keys()):
        if digests[name] != listed[name]:
            layer.fault(layout.DATA + name, "is not what was signed")
    if layer.status != FAIL and subject != statements.payload_digest(digests):
        layer.fault(path, "its subject is not the digest of its files")


def _about_run(path: str, statement: Mapping[str, Any], reading: Reading, layer: Layer) -> None:
    manifest, found = reading.manifest, reading.payload.get(layout.MANIFEST)
    if manifest is None or found is None:
        layer.fault(path, "there is no manifest that it could be about")
        return
    subjects = {each["path"]: each["sha256"] for each in manifest.artifacts if each["commit"]}
    subjects[layout.MANIFEST] = found.sha256
    try:
        signed = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
        build, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
        said = {
            "run": details["metadata"]["invocationId"],
            "runner": details["builder"]["id"],
            "recipe": build["externalParameters"]["recipe"],
            "overrides": build["externalParameters"]["overrides"],
            "configuration": build["internalParameters"]["config_sha256"],
        }
    except (KeyError, TypeError):
        layer.fault(path, "is no provenance of a run")
        return
    right = {
        "run": manifest.client_run_id,
        "runner": statements.builder(manifest),
        "recipe": manifest.recipe["name"],
        "overrides": manifest.config["overrides"],
        "configuration": manifest.config["sha256"],
    }
    for key in right:
        if said[key] != right[key]:
            layer.fault(path, f"its {key} is not the manifest's")
    if signed != subjects or len(statement["subject"]) != len(subjects):
        layer.fault(path, "its subjects are not the manifest and the committed artifacts")
