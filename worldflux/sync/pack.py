"""Frames of a run, and runs that travel together in one bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from worldflux.sync import blobs, spans
from worldflux.sync.beneath import Unreadable
from worldflux.sync.plan import FileChanged, Options, RunPlan
from worldflux.sync.spans import Changed
from worldflux.sync.wire import Frame, Limits, frame

#: Bundles are closed at this size: large enough that the server's commit is shared by many
#: runs, small enough that a cut connection costs little.
BUNDLE_BYTES = 2 * 2**20

#: They do not become smaller than this, however little something on the way takes.
LEAST_BUNDLE_BYTES = 64 * 1024

#: The largest part of a stream in one frame.
PART_BYTES = 1 << 20


@dataclass
class Bundle:
    """Runs whose frames are sent and committed together."""

    plans: list[RunPlan] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    bytes: int = 0

    def fits(self, frames: list[Frame], limits: Limits) -> bool:
        """Whether these frames may come along."""
        size = sum(each.size for each in frames)
        most = min(BUNDLE_BYTES, limits.bundle_bytes)
        return self.bytes + size <= most and len(self.frames) + len(frames) <= limits.bundle_frames

    def add(self, plan: RunPlan, frames: list[Frame]) -> None:
        self.plans.append(plan)
        self.frames += frames
        self.bytes += sum(each.size for each in frames)

    def halves(self) -> tuple[Bundle, Bundle]:
        """The same runs in two bundles, to find the one that the server does not take."""
        middle = (len(self.plans) + 1) // 2
        parts = (Bundle(), Bundle())
        for index, plan in enumerate(self.plans):
            own = [each for each in self.frames if each.run == plan.run_id]
            parts[index >= middle].add(plan, own)
        return parts


def is_short(plan: RunPlan, limits: Limits) -> bool:
    """Whether all that is to be sent of a run, but for large artifacts, goes into one bundle."""
    small = sum(blob.bytes for blob in plan.blobs if blob.bytes <= limits.inline_blob_bytes)
    size = plan.stream_bytes + small + len(plan.snapshot.data) + 1024 * (len(plan.blobs) + 8)
    return size <= min(BUNDLE_BYTES, limits.bundle_bytes) // 2 and len(plan.blobs) < limits.bundle_frames // 4


def frames_of(plan: RunPlan, options: Options, limits: Limits) -> Iterator[Frame]:
    """All frames of a run in order: streams, small artifacts, and the record last.

    Raises:
        FileChanged: a file is not what it was when the run was looked at.
    """
    snapshot = plan.snapshot
    restore = True if plan.state.status == "deleted" else None
    for span in plan.spans:
        yield from _stream_frames(plan, span, options, restore, limits)
    for blob in plan.blobs:
        if blob.bytes <= limits.inline_blob_bytes:
            try:
                data = blobs.read_small(snapshot.folder, blob)
            except Changed as error:
                raise FileChanged(plan.run_id, blob.path, str(error)) from None
            yield frame(plan.run_id, "blob", data, restore=restore)
    if plan.manifest:
        yield frame(
            plan.run_id,
            "manifest",
            snapshot.data,
            final=snapshot.final,
            streams={
                span.stream.name: {"bytes": span.end, "sha256": span.sha256, "torn": span.torn}
                for span in plan.spans
                if span.end or span.torn or span.stream.name in plan.state.streams
            },
            withheld=list(options.withheld),
            project=options.project,
            restore=restore,
        )


def _stream_frames(
    plan: RunPlan, span: spans.Span, options: Options, restore: bool | None, limits: Limits
) -> Iterator[Frame]:
    most = min(PART_BYTES, limits.bundle_bytes // 2)
    try:
        for start, end in spans.chunks(plan.snapshot.folder, span, most):
            yield frame(
                plan.run_id,
                "stream",
                spans.read_part(plan.snapshot.folder, span, start, end),
                stream=span.stream.name,
                offset=start,
                project=options.project or plan.snapshot.project,
                restore=restore,
            )
    except (Changed, Unreadable) as error:
        raise FileChanged(plan.run_id, span.stream.path, str(error)) from None
