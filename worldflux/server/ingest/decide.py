"""The rules of sync: given what is held of a run and what came in, what becomes of it.

Every write has a name and a place, so the same bundle may come any number of times, from any number of
clients, and cut into other pieces: it changes nothing the second time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worldflux.server.ingest.bundle import Frame, Stated
from worldflux.server.ingest.prepare import Group, Manifest
from worldflux.server.ingest.verdict import Chunk, Held, StreamState, Verdict


@dataclass
class World:
    """What the rules may ask.

    Attributes:
        project: pk of the project with a slug; makes it.
        stored: bytes of a stream that is in the database: (run_pk, stream, start, length).
        pack: a stream's bytes as they are stored: the packed body, or None when they became a blob.
        hasher: SHA-256 of a stream up to its end.
        blobs: stored blobs among those that the bundle names.
        room: bytes that the workspace may still store; None is no limit.
        runs_left: the same for runs.
        now: by the server's clock.
    """

    project: Callable[[str], int]
    stored: Callable[[int, str, int, int], bytes]
    pack: Callable[[str, memoryview], bytes | None]
    hasher: Callable[[Held | None, str, StreamState], Any]
    blobs: dict[str, int]
    now: str
    room: int | None = None
    runs_left: int | None = None


class _Refused(Exception):
    """Nothing of this run is kept."""

    def __init__(self, status: int, outcome: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.outcome, self.code, self.detail = status, outcome, code, detail


def decide(group: Group, held: Held | None, world: World) -> Verdict:
    """What becomes of one run's frames. Reads only; `write.apply` does the rest."""
    verdict = Verdict(group.run, held=held, streams=dict(held.streams) if held else {})
    try:
        _admit(group, held, world)
        if held is not None and held.deleted:
            verdict.values["state"], verdict.values["deleted_at"] = "active", None
        for frame in group.streams:
            _append(verdict, frame, world)
        verdict.blobs.update({frame.sha256: len(frame.body) for frame in group.blobs})
        if group.manifest is not None:
            _commit(verdict, group.manifest, world)
        _settle(verdict, group, world)
    except _Refused as refusal:
        return verdict.refuse(refusal.status, refusal.outcome, refusal.code, refusal.detail)
    return verdict


def _admit(group: Group, held: Held | None, world: World) -> None:
    if group.invalid is not None:
        raise _Refused(422, "invalid", "manifest", group.invalid)
    if held is not None and held.deleted and not (group.restore and held.state == "trash"):
        words = "was purged from this server and can not come back" if held.state == "gone" else (
            "was deleted on this server; sync it with --restore to take it out of the trash"
        )  # fmt: skip
        raise _Refused(410, "deleted", "deleted", f"the run {words}")
    if world.room is not None and group.size > world.room:
        raise _Refused(507, "refused", "quota", "the workspace has no room left by its quota")
    if held is None and world.runs_left is not None and world.runs_left < 1:
        raise _Refused(507, "refused", "quota", "the workspace has as many runs as its quota allows")


def _append(verdict: Verdict, frame: Frame, world: World) -> None:
    stream = verdict.streams.get(frame.stream)
    if stream is None:
        stream = verdict.streams[frame.stream] = StreamState(changed=True)
    if frame.offset > stream.length or frame.stream in verdict.missing_streams:
        verdict.missing_streams[frame.stream] = stream.length
        return
    again = min(stream.length - frame.offset, len(frame.body))
    if again and _read(verdict, frame.stream, stream, frame.offset, again, world) != frame.body[:again]:
        raise _Refused(
            422, "conflict", "stream-differs", f"the stream {frame.stream} holds other bytes there"
        )
    if again == len(frame.body):
        return
    held = verdict.held
    if held is not None and held.closed and not _is_withheld(frame.stream, held.withheld):
        raise _Refused(422, "conflict", "final", f"the run has ended; its stream {frame.stream} can not grow")
    fresh = frame.body[again:]
    sha256 = hashlib.sha256(fresh).hexdigest() if again else frame.sha256
    _grow(verdict, frame.stream, stream, fresh, sha256, world)


def _grow(
    verdict: Verdict, name: str, stream: StreamState, fresh: memoryview, sha256: str, world: World
) -> None:
    hasher = stream.state or world.hasher(verdict.held, name, stream)
    hasher.update(fresh)
    body = world.pack(sha256, fresh)
    verdict.chunks.append(Chunk(name, stream.length, sha256, fresh, body))
    if body is None:
        verdict.blobs[sha256] = len(fresh)
    verdict.streams[name] = StreamState(
        stream.length + len(fresh), hasher.hexdigest(), hasher, stream.stored, True
    )


def _read(verdict: Verdict, name: str, stream: StreamState, start: int, length: int, world: World) -> bytes:
    """Bytes of a stream, part of which may be of this very bundle."""
    parts: list[bytes | memoryview] = []
    if start < stream.stored and verdict.held is not None:
        parts.append(world.stored(verdict.held.pk, name, start, min(length, stream.stored - start)))
    for chunk in verdict.chunks:
        if chunk.stream == name and chunk.offset < start + length:
            parts.append(chunk.raw[max(0, start - chunk.offset) : start + length - chunk.offset])
    return b"".join(parts)


def _commit(verdict: Verdict, manifest: Manifest, world: World) -> None:
    frame, held = manifest.frame, verdict.held
    same = held is not None and held.manifest_sha256 == frame.sha256
    if held is not None and same and not _adds(held, frame):
        return
    if held is not None and held.closed and not same:
        raise _Refused(
            422,
            "conflict",
            "conflict",
            "the server holds this run with another ending; its id can not be used twice",
        )
    if frame.final:
        _check_streams(verdict, manifest)
        sizes = {**world.blobs, **verdict.blobs}
        verdict.missing_blobs = [sha for sha in manifest.needed if sha not in sizes]
        for sha256, size in manifest.needed.items():
            if sizes.get(sha256, size) != size:
                raise _Refused(
                    422, "invalid", "artifact-size", "an artifact has not the size that is recorded"
                )
    if not verdict.missing_blobs and not verdict.missing_streams:
        verdict.accepted = manifest


def _adds(held: Held, frame: Frame) -> bool:
    """Whether the manifest that is held already now comes with more behind it."""
    if frame.final and not held.final:
        return True
    return frame.final and set(frame.withheld) < set(held.withheld)


def _check_streams(verdict: Verdict, manifest: Manifest) -> None:
    frame = manifest.frame
    for name, (size, _) in manifest.claims.items():
        if name not in frame.streams and size and not _is_withheld(name, frame.withheld):
            verdict.missing_streams.setdefault(name, verdict.streams.get(name, StreamState()).length)
    for name, stated in frame.streams.items():
        have = verdict.streams.get(name, StreamState())
        if have.length < stated.bytes:
            verdict.missing_streams[name] = have.length
        elif (have.length, have.sha256) != (stated.bytes, stated.sha256):
            raise _Refused(
                422, "conflict", "stream-differs", f"the stream {name} is not the one that is stated"
            )
        _check_claim(name, stated, manifest)


def _check_claim(name: str, stated: Stated, manifest: Manifest) -> None:
    claim = manifest.claims.get(name)
    if claim is not None and not stated.torn and claim != (stated.bytes, stated.sha256):
        raise _Refused(
            422, "invalid", "stream-differs", f"the stream {name} is not the one that the manifest names"
        )


def _is_withheld(name: str, withheld: tuple[str, ...]) -> bool:
    return name in withheld or (name.startswith("log:") and "logs" in withheld)


def _settle(verdict: Verdict, group: Group, world: World) -> None:
    """Outcome and columns, once it is known that the run is kept."""
    manifest, held = verdict.accepted, verdict.held
    changed = any(stream.changed for stream in verdict.streams.values())
    verdict.fresh = held is None
    verdict.outcome = "stored" if held is None else "updated"
    if held is None:
        verdict.project_id = world.project(group.project or (manifest or _any(group)).project)
    elif manifest is None and not changed and not verdict.values:
        verdict.outcome = "unchanged"
    if verdict.missing_blobs or verdict.missing_streams:
        verdict.status, verdict.outcome, verdict.code = 409, "incomplete", "incomplete"
        verdict.detail = "something is missing; what came is kept"
    if manifest is not None:
        verdict.values.update(_columns(manifest, held, world.now))
    elif held is None:
        verdict.values.update(_unnamed(world.now))
    claimed = verdict.values.get("claimed_status") or (held.claimed_status if held else "running")
    if claimed == "running" and not (held is not None and held.closed):
        verdict.values.update(heartbeat_at=world.now, status=claimed, lost=False)
    if verdict.writes and not (held is not None and verdict.outcome == "unchanged"):
        verdict.values["updated_at"] = world.now


def _any(group: Group) -> Manifest:
    if group.manifest is None:
        raise _Refused(422, "invalid", "project", "the first frames of a run must name its project")
    return group.manifest


def _columns(manifest: Manifest, held: Held | None, now: str) -> dict[str, object]:
    frame = manifest.frame
    values: dict[str, object] = dict(manifest.columns)
    if held is not None and held.renamed:
        del values["name"]
    values.update(
        status=manifest.status, claimed_status=manifest.status, lost=False, final=frame.final,
        manifest=manifest.packed, manifest_sha256=frame.sha256, manifest_bytes=len(frame.body),
        withheld=json.dumps(sorted(frame.withheld)),
        torn=json.dumps(sorted(name for name, stated in frame.streams.items() if stated.torn)),
    )  # fmt: skip
    return values


def _unnamed(now: str) -> dict[str, object]:
    """A run of which only streams came yet: it is going on somewhere."""
    return {"claimed_status": "running", "status": "running", "created_at": now}
