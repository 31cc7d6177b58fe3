"""What would leave for one run: every range of bytes, decided before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.sync import spans
from worldflux.sync.beneath import Unreadable
from worldflux.sync.snapshot import Committed, Snapshot
from worldflux.sync.spans import Changed, Diverged, Span
from worldflux.sync.wire import Held, RunState

if TYPE_CHECKING:
    from worldflux.manifest.io import SecretGate


@dataclass(frozen=True)
class Options:
    """How a sync goes about its runs.

    Attributes:
        project: file the runs under this project; each run's own when None.
        logs: send log lines.
        force: bring back runs that were deleted on the server.
        reread: read again what the journal says has not changed.
        jobs: transfers at the same time.
    """

    project: str | None = None
    logs: bool = True
    force: bool = False
    reread: bool = False
    jobs: int = 4

    @property
    def withheld(self) -> tuple[str, ...]:
        return () if self.logs else ("logs",)


@dataclass(frozen=True)
class RunPlan:
    """One run, what the server holds of it, and what is to be sent.

    Attributes:
        spans: of the streams; those that have nothing to send are among them.
        blobs: committed artifacts that the server does not have.
        manifest: whether the record is to be sent.
    """

    snapshot: Snapshot
    state: RunState
    spans: tuple[Span, ...]
    blobs: tuple[Committed, ...] = ()
    manifest: bool = True

    @property
    def run_id(self) -> str:
        return self.snapshot.run_id

    @property
    def needed(self) -> bool:
        """Whether there is anything to send."""
        return self.manifest or bool(self.blobs) or any(span.bytes for span in self.spans)

    @property
    def stream_bytes(self) -> int:
        return sum(span.bytes for span in self.spans)

    @property
    def bytes(self) -> int:
        """Everything that would leave, without what stands around it."""
        return (
            self.stream_bytes
            + sum(blob.bytes for blob in self.blobs)
            + (len(self.snapshot.data) if self.manifest else 0)
        )

    @property
    def torn(self) -> tuple[str, ...]:
        return tuple(span.stream.name for span in self.spans if span.torn)

    def ranges(self) -> Iterator[dict[str, Any]]:
        """Every range of bytes that would leave, in the order in which it would."""
        for span in self.spans:
            if span.bytes:
                yield _range(span.stream.name, span.stream.path, span.offset, span.end)
        for blob in self.blobs:
            yield _range("artifact", blob.path, 0, blob.bytes)
        if self.manifest:
            yield _range("manifest", "manifest.json", 0, len(self.snapshot.data))


def _range(part: str, path: str, start: int, end: int) -> dict[str, Any]:
    return {"part": part, "path": path, "start": start, "end": end}


class RunConflict(RefusedError):
    """The server holds a run of this id with other content; neither side is changed."""

    code = "conflict"


class RunDeleted(RefusedError):
    """The run was deleted on the server, and stays so until somebody asks for it."""

    code = "deleted"

    def __init__(self, run_id: str, detail: str = "") -> None:
        super().__init__(
            detail or "the run was deleted on the server",
            f"to bring it back: worldflux sync --force {run_id}; to be done with it, remove its folder here",
        )


class FileChanged(WorldFluxError):
    """A file of the run is not what its record says."""

    code = "changed"

    def __init__(self, run_id: str, path: str, why: str) -> None:
        super().__init__(
            f"{run_id}/{path}: {why}",
            "put the recorded file back, or run it again; a file that is still written to: sync later",
        )


def plan_run(
    snapshot: Snapshot, state: RunState, options: Options, gate: SecretGate, missing: Mapping[str, int] | None
) -> RunPlan:
    """Decide what of a run is to be sent.

    Args:
        state: what the server holds.
        gate: asked about the exact bytes of the manifest before anything leaves.
        missing: blobs that the server does not have; None when it was not asked, then all are sent.

    Raises:
        RunDeleted: it was deleted there, and `options.force` is not set.
        RunConflict: the server holds another final record, or other bytes of a stream.
        FileChanged: a log or the metrics differ from what is recorded.
        SecretRefused: the manifest carries a secret.
    """
    if state.status == "deleted":
        if not options.force:
            raise RunDeleted(snapshot.run_id)
        state = RunState("deleted", None, {})
    same = state.manifest_sha256 == snapshot.sha256
    if not same:
        gate.refuse(snapshot.data, f"{snapshot.run_id}/manifest.json")
    found = tuple(_spans(snapshot, state, options))
    blobs: dict[str, Committed] = {}
    for artifact in snapshot.artifacts:
        if same and state.status == "final":
            wanted = artifact.sha256 in state.missing_blobs
        else:
            wanted = missing is None or artifact.sha256 in missing
        if wanted:
            blobs.setdefault(artifact.sha256, artifact)
    manifest = not same or bool(blobs) or any(span.bytes for span in found)
    return RunPlan(snapshot, state, found, tuple(blobs.values()), manifest)


def _spans(snapshot: Snapshot, state: RunState, options: Options) -> Iterator[Span]:
    # What the server holds whole need not be read, and may be gone here.
    there = state.status == "final" and state.manifest_sha256 == snapshot.sha256
    for stream in snapshot.streams:
        if stream.is_log and not options.logs:
            continue
        held = state.streams.get(stream.name)
        if held == Held(stream.bytes or 0, stream.sha256 or "") and there and not options.reread:
            yield Span(stream, held.bytes, held.bytes, held.sha256, False)
            continue
        try:
            yield spans.measure(snapshot.folder, stream, held, closed=snapshot.final)
        except (Changed, Unreadable) as error:
            raise FileChanged(snapshot.run_id, stream.path, str(error)) from None
        except Diverged as error:
            raise RunConflict(
                f"{stream.path}: {error}",
                "another copy of this run was synced; compare: worldflux runs list --remote",
            ) from None
