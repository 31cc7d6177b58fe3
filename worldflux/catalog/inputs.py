"""A run's inputs, found and checked before it starts, as the manifest keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.catalog.journal import Done, digest_of
from worldflux.catalog.reference import Reference, is_reference, parse
from worldflux.catalog.shelf import Berth, Shelf, contents_digest
from worldflux.errors import RefusedError, UsageError

_URI = re.compile(r"[a-z][a-z0-9+.-]*:\S+\Z")


@dataclass(frozen=True)
class Located:
    """One input.

    Attributes:
        manifest: its entry under `inputs` of the manifest.
        path: where its files are on this machine; None when it is only named.
    """

    manifest: dict[str, Any]
    path: Path | None


def verify(
    inputs: Iterable[Mapping[str, str]],
    *,
    home: Path | None = None,
    base: Path | None = None,
    full: bool = False,
) -> list[dict[str, Any]]:
    """The inputs as manifest entries, each file checked. Arguments and errors as `locate`."""
    return [found.manifest for found in locate(inputs, home=home, base=base, full=full)]


def locate(
    inputs: Iterable[Mapping[str, str]],
    *,
    home: Path | None = None,
    base: Path | None = None,
    full: bool = False,
) -> list[Located]:
    """Find every input and check it.

    Imports are pinned: the manifest gets commit and digest. A file whose size, times and inode are
    those of its last check is taken as unchanged; any other is read again. Local files are
    digested. Anything else (a simulator, a URI) is named as it was written.

    Args:
        inputs: mappings with `role` and `ref`, as a recipe has them.
        home: the folder of `$WORLDFLUX_HOME`; None takes it from the environment.
        base: folder that relative paths start at.
        full: read every byte again.

    Raises:
        UsageError: an import is named that is not there, or only its metadata is.
        RefusedError: a file is not what was imported.
    """
    shelf = Shelf.at(home)
    return [_one(shelf, item["role"], item["ref"], base or Path(), full) for item in inputs]


def _one(shelf: Shelf, role: str, ref: str, base: Path, full: bool) -> Located:
    if is_reference(ref):
        return _imported(shelf, role, parse(ref), full)
    path = base / ref
    if not _URI.match(ref) and path.exists():
        return _local(role, ref, path)
    if _URI.match(ref):
        return Located({"role": role, "uri": ref}, None)
    if ref.startswith((".", "/", "~")):
        raise UsageError(f"the input `{ref}` does not exist", f"looked at {path}", code="input_missing")
    return Located({"role": role, "ref": ref}, None)


def _imported(shelf: Shelf, role: str, reference: Reference, full: bool) -> Located:
    berth = shelf.find(reference)
    record = berth.entry() if berth is not None else None
    if berth is None or record is None:
        hint = f"import it first: worldflux import {reference}"
        raise UsageError(f"the input {reference} is not imported", hint, code="input_missing")
    if record["selection"]["meta_only"]:
        hint = f"import the rest: worldflux import {reference}"
        raise UsageError(
            f"of the input {reference} only the metadata is imported", hint, code="input_missing"
        )
    done = berth.done()
    for file in done:
        _check(berth, file, reference, full)
    prefix = "datasets/" if reference.kind == "dataset" else ""
    manifest: dict[str, Any] = {
        "role": role,
        "name": record["repo"],
        "ref": str(reference),
        "revision": record["commit"],
        "sha256": contents_digest(done),
        "bytes": sum(file.size for file in done),
        "files": len(done),
    }
    if "endpoint" in record["origin"]:
        manifest["uri"] = f"hf://{prefix}{record['repo']}@{record['commit']}"
    if record["license"]:
        manifest["license"] = record["license"]
    if record["facts"].get("codebase_version"):
        manifest["version"] = record["facts"]["codebase_version"]
    return Located(manifest, berth.files)


def _check(berth: Berth, file: Done, reference: Reference, full: bool) -> None:
    path = berth.files / file.path
    try:
        status = path.stat()
        same = file.unchanged(status) and not full
        if not same:
            same = status.st_size == file.size and digest_of(path, file.size)[0] == file.sha256
            if same:
                berth.journal.add(
                    Done(
                        file.path, file.size, file.sha256, file.git_oid,
                        status.st_mtime_ns, status.st_ctime_ns, status.st_ino,
                    )
                )  # fmt: skip
    except OSError:
        same = False
    if not same:
        raise RefusedError(
            f"the input {reference} is not what was imported: {file.path} was changed or removed",
            f"bring it again: worldflux import {reference}",
            code="input_changed",
            details={"path": str(path)},
        )


def _local(role: str, ref: str, path: Path) -> Located:
    if path.is_file():
        size = path.stat().st_size
        sha256, _ = digest_of(path, size)
        return Located({"role": role, "ref": ref, "sha256": sha256, "bytes": size, "files": 1}, path)
    found = []
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        size = file.stat().st_size
        sha256, _ = digest_of(file, size)
        found.append(Done(file.relative_to(path).as_posix(), size, sha256, None, 0, 0, 0))
    total = sum(file.size for file in found)
    manifest = {
        "role": role,
        "ref": ref,
        "sha256": contents_digest(found),
        "bytes": total,
        "files": len(found),
    }
    return Located(manifest, path)
