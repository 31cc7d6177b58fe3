"""A run as it was in one moment: the bytes of its manifest, and what these say may leave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import FINAL_STATUSES
from worldflux.run.store import MANIFEST
from worldflux.sync.beneath import Unreadable, open_beneath, read_at
from worldflux.sync.wire import sha256_of

METRICS = "metrics"
METRICS_FILE = "metrics.jsonl"
LOG_NAME = "output"


@dataclass(frozen=True)
class Stream:
    """A file that grows: the log or the metrics.

    Attributes:
        name: on the wire, `metrics` or `log:NAME`.
        path: relative to the run's folder.
        bytes, sha256: as the manifest recorded it; None while nothing is recorded.
    """

    name: str
    path: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def is_log(self) -> bool:
        return self.name != METRICS


@dataclass(frozen=True)
class Committed:
    """An artifact whose bytes may leave."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Stamp:
    """What tells a replaced manifest from the one that was read, without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class Snapshot:
    """One run, read once.

    Attributes:
        data: the bytes of manifest.json, which are what is sent.
        owner: the process that writes the run; None when the record names none.
    """

    run_id: str
    folder: Path
    data: bytes
    sha256: str
    stamp: Stamp
    status: str
    project: str
    streams: tuple[Stream, ...]
    artifacts: tuple[Committed, ...]
    owner: Mapping[str, Any] | None

    @property
    def final(self) -> bool:
        return self.status in FINAL_STATUSES


def stamp_of(folder: Path) -> Stamp | None:
    """The stamp of a run's manifest as it is now; None when there is none."""
    try:
        return Stamp.of(os.stat(folder / MANIFEST, follow_symlinks=False))
    except OSError:
        return None


def read(folder: Path) -> Snapshot:
    """The run in a folder, whose name is its id.

    Raises:
        WorldFluxError: there is no manifest, it can not be read, or it belongs to another run.
    """
    where = f"{folder.name}/{MANIFEST}"
    try:
        with open_beneath(folder, MANIFEST) as file:
            stamp = Stamp.of(os.fstat(file))
            data = read_at(file, 0, io.MAX_BYTES + 1)
    except Unreadable as error:
        raise WorldFluxError(f"{where}: {error}", "worldflux runs list", code="manifest") from None
    document = io.parse(data, where)
    manifest = io.from_document(document, where)
    if manifest.client_run_id != folder.name:
        raise WorldFluxError(
            f"{where} is the record of run {manifest.client_run_id}: the folder was copied or renamed",
            f"give the folder the name of its run, or remove it: {folder}",
            code="manifest",
        )
    final = manifest.final
    try:
        streams = _streams(document, folder.name, final)
        artifacts = tuple(
            Committed(_text(each["path"]), _count(each["bytes"]), _text(each["sha256"]))
            for each in document["artifacts"]
            if each["commit"] is True
        )
        project = _text(manifest.run["project"])
    except (KeyError, TypeError) as error:
        raise WorldFluxError(
            f"{where}: a part has not the form of a manifest: {error}",
            "worldflux schema manifest",
            code="manifest",
        ) from None
    owner = manifest.run.get("owner")
    return Snapshot(
        manifest.client_run_id,
        folder,
        data,
        sha256_of(data),
        stamp,
        manifest.status,
        project,
        streams,
        artifacts if final else (),
        owner if isinstance(owner, dict) else None,
    )


def _streams(document: Mapping[str, Any], run_id: str, final: bool) -> tuple[Stream, ...]:
    """The streams of a run: what is recorded, and what a run that still goes on, or died, writes to.

    A record that is closed properly and names no log has none to show: what is beside it may be
    the reason why a guard refused the rest.
    """
    found: dict[str, Stream] = {}
    series = document["series"]
    if series is not None:
        found[METRICS] = Stream(
            METRICS, _text(series["path"]), _count(series["bytes"]), _text(series["sha256"])
        )
    for log in document["logs"]:
        name = f"log:{_text(log['name'])}"
        found[name] = Stream(name, _text(log["path"]), _count(log["bytes"]), _text(log["sha256"]))
    if not final or document["run"]["status"] == "interrupted":
        found.setdefault(METRICS, Stream(METRICS, METRICS_FILE))
        if not document["logs"]:
            found[f"log:{LOG_NAME}"] = Stream(f"log:{LOG_NAME}", f"logs/{run_id}.log")
    return tuple(found[name] for name in sorted(found))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text"[:80])
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no length"[:80])
    return value
