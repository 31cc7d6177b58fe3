"""Everything that can be done for a bundle before the database is asked: checks, packing, blobs to disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worldflux.manifest.secret_vendors import is_worldflux_key
from worldflux.server.ingest import reading, rows
from worldflux.server.ingest.bundle import Frame

#: Fast, and text still shrinks to a fifth.
LEVEL = 1

#: A piece of a stream that is larger when packed is kept as a blob.
MAX_INLINE = 256 * 1024


@dataclass
class Manifest:
    """A manifest that passed every check, with its rows.

    Attributes:
        claims: stream name -> (bytes, sha256) as the manifest itself records it.
        needed: committed artifacts: sha256 -> bytes.
    """

    frame: Frame
    packed: bytes
    columns: rows.Row
    metrics: list[rows.Row]
    params: list[rows.Row]
    tags: list[str]
    artifacts: list[rows.Row]
    claims: dict[str, tuple[int, str]]
    needed: dict[str, int]
    status: str
    project: str


@dataclass
class Group:
    """The frames of one run in a bundle.

    Attributes:
        invalid: why its manifest is none; nothing of the run is then stored.
        restore: some frame asks to take the run out of the trash.
    """

    run: str
    streams: list[Frame] = field(default_factory=list)
    blobs: list[Frame] = field(default_factory=list)
    manifest: Manifest | None = None
    invalid: str | None = None
    restore: bool = False
    project: str | None = None

    @property
    def size(self) -> int:
        """Bytes that came for this run."""
        parts = [*self.streams, *self.blobs, *([self.manifest.frame] if self.manifest else [])]
        return sum(len(frame.body) for frame in parts)


def groups(frames: Sequence[Frame]) -> list[Group]:
    """The frames by run, in the order of the runs' first frames, with manifests read and checked."""
    found: dict[str, Group] = {}
    for frame in frames:
        group = found.setdefault(frame.run, Group(frame.run))
        group.restore = group.restore or frame.restore
        group.project = frame.project or group.project
        if frame.part == "stream":
            group.streams.append(frame)
        elif frame.part == "blob":
            group.blobs.append(frame)
        else:
            _take_manifest(group, frame)
    return list(found.values())


def _take_manifest(group: Group, frame: Frame) -> None:
    try:
        group.manifest = _manifest(frame)
    except reading.Invalid as error:
        group.invalid = str(error)


def _manifest(frame: Frame) -> Manifest:
    data = bytes(frame.body)
    document = reading.read(data)
    if document["client_run_id"] != frame.run:
        raise reading.Invalid("the manifest is of another run than its frame says")
    if frame.final and not reading.is_final(document):
        raise reading.Invalid("the frame says final, but the run of this manifest goes on")
    if _holds_key(data):
        raise reading.Invalid("the manifest holds a WorldFlux API key: revoke it, then take it out")
    claims = {f"log:{log['name']}": (log["bytes"], log["sha256"]) for log in document["logs"]}
    if document["series"]:
        claims["metrics"] = (document["series"]["bytes"], document["series"]["sha256"])
    found = list(rows.artifacts(document))
    return Manifest(
        frame, zlib.compress(data, LEVEL), rows.columns(document), list(rows.metrics(document)),
        list(rows.params(document)), rows.tags(document), found, claims,
        {row["sha256"]: row["bytes"] for row in found if row["committed"]},
        document["run"]["status"], document["run"]["project"],
    )  # fmt: skip


def pack(frames: Sequence[Frame], put: Callable[[str, bytes], None]) -> dict[str, bytes | None]:
    """The pieces of streams as they are stored: sha256 -> packed body, or None for what was `put` as a blob."""
    packed: dict[str, bytes | None] = {}
    for frame in frames:
        if frame.part == "blob":
            put(frame.sha256, bytes(frame.body))
        elif frame.part == "stream" and frame.body:
            packed[frame.sha256] = pack_one(frame.sha256, bytes(frame.body), put)
    return packed


def pack_one(sha256: str, data: bytes, put: Callable[[str, bytes], None]) -> bytes | None:
    """One piece of a stream as it is stored; see `pack`."""
    body = zlib.compress(data, LEVEL)
    if len(body) <= MAX_INLINE:
        return body
    put(sha256, data)
    return None


def _holds_key(data: bytes) -> bool:
    """Whether the bytes hold an API key of a server like this one.

    Other secrets are the client's to judge: only there is it known which look-alikes a project allows.
    """
    start = data.find(b"wfx_")
    while start >= 0:
        if is_worldflux_key(data[start : start + 43].decode("latin-1")):
            return True
        start = data.find(b"wfx_", start + 1)
    return False
