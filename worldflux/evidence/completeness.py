"""Layer 3: every file that is promised is there and is what it was, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

from worldflux.errors import WorldFluxError
from worldflux.evidence import bag, layout
from worldflux.evidence.crate import outside_id
from worldflux.evidence.package import Digest
from worldflux.evidence.reading import Layer, Reading
from worldflux.manifest.model import Manifest


def check_completeness(reading: Reading) -> Layer:
    """The bag against its lists, and `data/` against the digests that the manifest states."""
    layer = Layer("completeness")
    for path, problem in reading.unreadable.items():
        layer.fault(path, problem)
    payload = {path for path in reading.package.sizes if path.startswith(layout.DATA)}
    _listed(reading, layer, layout.PAYLOAD_LIST, payload)
    _listed(reading, layer, layout.TAG_LIST, bag.tag_files(reading.package.sizes))
    _oxum(reading, layer)
    outside = _against_manifest(reading, layer)
    count = len(payload)
    left = f"; {outside} outside by digest" if outside else ""
    layer.summary = f"{count} files{left}" if not layer.faults else "files are missing, changed or added"
    return layer


def recorded(manifest: Manifest) -> Iterator[tuple[str, str, bool]]:
    """(path, sha256, whether it has to be kept) of every file of the run that the manifest digests."""
    yield manifest.config["path"], manifest.config["sha256"], True
    lock = manifest.environment["lock"] if manifest.environment is not None else None
    if lock is not None and "path" in lock:
        yield lock["path"], lock["sha256"], True
    diff = manifest.git.get("diff") if manifest.git is not None else None
    if diff is not None:
        yield diff["path"], diff["sha256"], True
    if manifest.series is not None:
        yield manifest.series["path"], manifest.series["sha256"], True
    for log in manifest.logs:
        yield log["path"], log["sha256"], True
    for artifact in manifest.artifacts:
        yield artifact["path"], artifact["sha256"], artifact["commit"]


def check_run_files(reading: Reading) -> Layer:
    """The files of a run folder against the digests in its manifest."""
    layer = Layer("completeness")
    for path, problem in reading.unreadable.items():
        layer.fault(path, problem)
    if reading.manifest is not None:
        for path, sha256, kept in recorded(reading.manifest):
            found = reading.payload.get(path)
            if found is not None and found.sha256 != sha256:
                layer.fault(path, "has another digest than the manifest records")
            elif found is None and kept:
                layer.fault(path, "the manifest records it, and it is missing")
    layer.summary = "its files are what was recorded" if not layer.faults else "files are missing or changed"
    return layer


def _listed(reading: Reading, layer: Layer, path: str, expected: set[str]) -> None:
    """The files of one list: all there, all with the digest it states, none beside them."""
    if not reading.has(path):
        return
    try:
        listed = bag.read_listing(reading.text(path))
    except (bag.BagError, WorldFluxError):
        return  # the layer of shape says so
    for name in sorted(listed.keys() - expected):
        problem = "is listed there and missing" if not reading.has(name) else "is listed in the wrong place"
        layer.fault(name, f"{problem} ({path})")
    for name in sorted(expected - listed.keys()):
        layer.fault(name, f"is not listed in {path}")
    for name in sorted(expected & listed.keys()):
        if name in reading.digests and reading.digests[name].sha256 != listed[name]:
            layer.fault(name, f"has another digest than {path} states")


def _oxum(reading: Reading, layer: Layer) -> None:
    if not reading.has(layout.BAG_INFO):
        return
    try:
        stated = bag.oxum(reading.text(layout.BAG_INFO))
    except WorldFluxError:
        return
    sizes = [each.size for each in reading.payload.values()]
    if stated is not None and stated != (sum(sizes), len(sizes)):
        layer.fault(layout.BAG_INFO, "its Payload-Oxum counts other files")


def _against_manifest(reading: Reading, layer: Layer) -> int:
    """What the manifest digests is there with that digest, or said to be outside; returns how many are."""
    if reading.manifest is None:
        return 0
    payload, outside = reading.payload, _said_outside(reading)
    count = 0
    for path, sha256, kept in recorded(reading.manifest):
        found = payload.get(path)
        if found is not None:
            _same(found, sha256, path, layer)
        elif kept and outside.get(path) == sha256:
            count += 1
        elif kept:
            layer.fault(
                layout.DATA + path, "the manifest records it, and it is neither here nor said to be outside"
            )
    return count


def _same(found: Digest, sha256: str, path: str, layer: Layer) -> None:
    if found.sha256 != sha256:
        layer.fault(layout.DATA + path, "has another digest than the manifest records")


def _said_outside(reading: Reading) -> dict[str, str]:
    """Path -> sha256 of the files that the crate names as not in the package."""
    try:
        graph = reading.json(layout.DATA + layout.CRATE)["@graph"]
        entities = [each for each in graph if isinstance(each, dict)]
    except (WorldFluxError, KeyError, TypeError):
        return {}
    return {
        str(each.get("name")): str(each.get("sha256"))
        for each in entities
        if each.get("@id") == outside_id(str(each.get("name")))
    }
