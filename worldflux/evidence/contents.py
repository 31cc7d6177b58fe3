"""What of a run folder goes into its package, and what stays outside by digest."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from worldflux.errors import WorldFluxError
from worldflux.evidence import layout

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest

#: Artifacts above this stay outside unless the caller says otherwise, in bytes.
DEFAULT_LIMIT = 2 * 1024**3

_MEDIA_TYPES = {
    "config.yaml": "application/yaml",
    "overrides.yaml": "application/yaml",
    "requirements.lock": "text/plain",
    "source.diff": "text/x-diff",
    "metrics.jsonl": "application/jsonl",
}


@dataclass(frozen=True)
class Item:
    """A file that is packed.

    Attributes:
        path: below the run folder, and below `data/`.
        role: manifest, config, environment, source, metrics, log or artifact.
        sha256, size: what the manifest says of it; None where it says nothing.
    """

    path: str
    role: str
    media_type: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class LeftOut:
    """A file that the manifest vouches for and the package does not carry."""

    path: str
    role: str
    media_type: str
    sha256: str
    size: int | None
    reason: str


@dataclass
class Contents:
    """Both lists, ordered by path."""

    items: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def contents(
    folder: Path, manifest: Manifest, *, limit: int = DEFAULT_LIMIT, exclude: Sequence[str] = ()
) -> Contents:
    """What belongs into the package of a run that has ended.

    Args:
        limit: artifacts with more bytes stay outside.
        exclude: patterns (`logs/*`, `artifacts/big.bin`, `source.diff`) of files that stay outside.
            The manifest can not be left out.

    Raises:
        WorldFluxError: a file that the manifest lists is gone; code `evidence-missing`.
    """
    found = Contents()
    missing = []
    for item in _wanted(folder, manifest):
        reason = _why_outside(item, limit, exclude)
        if not reason:
            if is_regular(folder / item.path):
                found.items.append(item)
            elif item.sha256 is not None:
                missing.append(item.path)
        elif item.sha256 is not None:
            found.left_out.append(
                LeftOut(item.path, item.role, item.media_type, item.sha256, item.size, reason)
            )
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise WorldFluxError(
            f"the run recorded {shown}, and the file is no longer in {folder}",
            f"put it back, or leave it outside by its digest: --exclude {missing[0]}",
            code="evidence-missing",
        )
    found.items.sort(key=lambda item: item.path)
    found.left_out.sort(key=lambda item: item.path)
    return found


def _why_outside(item: Item, limit: int, exclude: Sequence[str]) -> str:
    if item.role == "manifest":
        return ""
    if any(fnmatch.fnmatchcase(item.path, pattern) for pattern in exclude):
        return "left out on request"
    if item.role == "artifact" and item.size is not None and item.size > limit:
        return f"larger than {limit} bytes"
    return ""


def _wanted(folder: Path, manifest: Manifest) -> Iterator[Item]:
    """Everything the manifest names as the run's record, and the files beside it that it does not digest.

    A run that was interrupted lists no log and no series, yet both may be there.
    """
    yield Item(layout.MANIFEST, "manifest", "application/json")
    yield _item("config", manifest.config["path"], manifest.config["sha256"])
    seen = {manifest.config["path"]}
    environment = manifest.environment
    lock = environment["lock"] if environment is not None else None
    if lock is not None and "path" in lock:
        yield _item("environment", lock["path"], lock["sha256"])
        seen.add(lock["path"])
    git = manifest.git
    diff = git.get("diff") if git is not None else None
    if diff is not None:
        yield _item("source", diff["path"], diff["sha256"], diff["bytes"])
        seen.add(diff["path"])
    if manifest.series is not None:
        yield _item("metrics", manifest.series["path"], manifest.series["sha256"], manifest.series["bytes"])
        seen.add(manifest.series["path"])
    for log in manifest.logs:
        yield _item("log", log["path"], log["sha256"], log["bytes"])
        seen.add(log["path"])
    for artifact in manifest.artifacts:
        if artifact["commit"]:
            yield Item(
                artifact["path"], "artifact", artifact["media_type"], artifact["sha256"], artifact["bytes"]
            )
            seen.add(artifact["path"])
    for role, path in (
        ("config", "overrides.yaml"),
        ("environment", "requirements.lock"),
        ("source", "source.diff"),
        ("metrics", "metrics.jsonl"),
        ("log", f"logs/{manifest.client_run_id}.log"),
    ):
        if path not in seen and is_regular(folder / path):
            yield _item(role, path)


def _item(role: str, path: str, sha256: str | None = None, size: int | None = None) -> Item:
    default = "text/plain" if path.endswith(".log") else "application/octet-stream"
    return Item(path, role, _MEDIA_TYPES.get(path, default), sha256, size)


def is_regular(path: Path) -> bool:
    """Whether there is a file, and no link stands in its place."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path) -> BinaryIO:
    """The bytes of a regular file; a link in its place is not followed.

    Raises:
        OSError: it is something else, or can not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")
