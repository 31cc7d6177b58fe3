"""Kinds of change to a package, by clumsy hands and by careful ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence_lab import RUN_ID, relist

from worldflux.evidence import dsse, layout, statements
from worldflux.evidence.crate import identifier
from worldflux.evidence.keys import SigningKey
from worldflux.manifest import io

MANIFEST = "data/manifest.json"
CRATE = "data/ro-crate-metadata.json"
LOG = f"data/logs/{RUN_ID}.log"
RUN, PAYLOAD, SIGNER = layout.RUN_STATEMENT, layout.PAYLOAD_STATEMENT, layout.SIGNER

SHAPE, MEANING, COMPLETE, SIGNATURE = "shape", "meaning", "completeness", "signature"
Change = Callable[[Path], None]


def replaced(name: str, old: bytes, new: bytes) -> Change:
    def change(package: Path) -> None:
        data = (package / name).read_bytes()
        assert old in data
        (package / name).write_bytes(data.replace(old, new, 1))

    return change


def written(name: str, data: bytes) -> Change:
    def change(package: Path) -> None:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(data)

    return change


def removed(*names: str) -> Change:
    def change(package: Path) -> None:
        for name in names:
            (package / name).unlink()

    return change


def record(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Edit the manifest and keep it canonical."""

    def change(package: Path) -> None:
        document = json.loads((package / MANIFEST).read_bytes())
        edit(document)
        (package / MANIFEST).write_bytes(io.canonical(document))

    return change


def crate(edit: Callable[[dict[str, dict[str, Any]]], object]) -> Change:
    """Edit the crate's entities, by @id."""

    def change(package: Path) -> None:
        document = json.loads((package / CRATE).read_bytes())
        entities = {each["@id"]: each for each in document["@graph"]}
        edit(entities)
        document["@graph"] = list(entities.values())
        (package / CRATE).write_bytes(io.canonical(document))

    return change


def forged(*changes: Change) -> Change:
    """The changes, with crate and checksums made to fit: what anybody can do without a key."""

    def change(package: Path) -> None:
        for each in changes:
            each(package)
        describe_anew(package)
        relist(package)

    return change


def relisted(*changes: Change) -> Change:
    """The changes, with the checksums of the bag made to fit."""

    def change(package: Path) -> None:
        for each in changes:
            each(package)
        relist(package)

    return change


def describe_anew(package: Path) -> None:
    """Let the crate describe the files as they are now."""
    document = json.loads((package / CRATE).read_bytes())
    for entity in document["@graph"]:
        for path in (package / "data").rglob("*"):
            name = path.relative_to(package / "data").as_posix()
            if path.is_file() and entity["@id"] == identifier(name):
                entity["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
                entity["contentSize"] = str(path.stat().st_size)
    (package / CRATE).write_bytes(io.canonical(document))


def bundle(name: str, edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(package: Path) -> None:
        document = json.loads((package / name).read_bytes())
        edit(document)
        (package / name).write_bytes(io.canonical(document))

    return change


def swap(one: str, other: str) -> Change:
    def change(package: Path) -> None:
        first, second = (package / one).read_bytes(), (package / other).read_bytes()
        (package / one).write_bytes(second)
        (package / other).write_bytes(first)

    return change


def renamed(old: str, new: str) -> Change:
    return lambda package: (package / old).rename(package / new) and None


def said_outside(package: Path) -> None:
    """Remove an artifact and claim in the crate that it was left out."""
    data = (package / "data/artifacts/videos.txt").read_bytes()
    document = json.loads((package / CRATE).read_bytes())
    entity = next(each for each in document["@graph"] if each["@id"] == "artifacts/videos.txt")
    entity |= {"@id": "#outside/artifacts/videos.txt", "@type": "CreativeWork"}
    text = json.dumps(document).replace(
        '{"@id": "artifacts/videos.txt"}', '{"@id": "#outside/artifacts/videos.txt"}'
    )
    document = json.loads(text)
    root = next(each for each in document["@graph"] if each["@id"] == "./")
    root["hasPart"] = [each for each in root["hasPart"] if "#outside" not in each["@id"]]
    assert data
    (package / CRATE).write_bytes(io.canonical(document))
    (package / "data/artifacts/videos.txt").unlink()
    relist(package)


def flipped(text: str) -> str:
    return ("A" if text[20] != "A" else "B").join([text[:20], text[21:]])


def sig(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["dsseEnvelope"]["signatures"][0]
    return found


def sign_anew(package: Path, key: SigningKey, claimed: str = "") -> None:
    """Sign a package folder with another key, as thoroughly as its maker did."""
    data = package / "data"
    digests = {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data.rglob("*")
        if path.is_file()
    }
    manifest = io.read(data / "manifest.json")
    committed = {each["path"]: each["sha256"] for each in manifest.artifacts if each["commit"]}
    for name, payload in (
        (RUN, statements.provenance(manifest, digests["manifest.json"], committed)),
        (PAYLOAD, statements.payload(digests)),
    ):
        signature = key.sign(dsse.pae(payload))
        (package / name).write_bytes(dsse.encode(payload, signature, claimed or key.public.key_id))
    (package / SIGNER).write_text(key.pem)
    relist(package)
