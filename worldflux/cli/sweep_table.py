"""A sweep on a terminal: one table that is drawn over itself while the sweep goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from worldflux.cli import render

if TYPE_CHECKING:
    from worldflux.cli.sweep_job import JobEnded

REFRESHES_PER_SECOND = 4
MAX_FAILED = 8
BAR_WIDTH = 60
#: Lines of the terminal that belong to the head of the table and to what stood there before.
HEAD_LINES = 8
COLORS = {
    "succeeded": "green",
    "running": "cyan",
    "recording": "cyan",
    "waiting": "dim",
    "failed": "red",
    "timeout": "red",
}
ORDER = (
    "succeeded", "failed", "timeout", "refused", "cancelled", "interrupted", "running", "recording", "waiting",
)  # fmt: skip


@dataclass
class Progress:
    """What is known of a sweep's jobs at a moment. All times are `time.monotonic` seconds.

    Attributes:
        labels: job id -> what is shown of it, for all jobs.
        parallel: runs at the same time.
        statuses: job id -> status of its newest run; jobs that did not start are not in it.
        reasons: job id -> why it did not succeed.
        since: job id -> when its run began, for those whose command may still run.
        lasted: job id -> seconds of its run, for those whose record is still being written.
        took: seconds of each run that succeeded.
        failed_took: seconds of each other run.
        usd: estimated cost of the runs that ended, so far as it is known.
    """

    labels: Mapping[str, str]
    parallel: int
    begun: float
    statuses: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    lasted: dict[str, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    failed_took: list[float] = field(default_factory=list)
    usd: float = 0.0

    def started(self, job_id: str, now: float) -> None:
        self.statuses[job_id] = "running"
        self.since[job_id] = now
        self.reasons.pop(job_id, None)

    def over(self, job_id: str, now: float) -> None:
        """The command has ended; another one may run in its place."""
        if job_id in self.since:
            self.lasted[job_id] = now - self.since.pop(job_id)
            self.statuses[job_id] = "recording"

    def ended(self, job_id: str, status: str, reason: str, usd: float | None, now: float) -> None:
        self.over(job_id, now)
        self.statuses[job_id] = status
        self.usd += usd or 0.0
        took = self.took if status == "succeeded" else self.failed_took
        took.append(self.lasted.pop(job_id, 0.0))
        if status != "succeeded":
            self.reasons[job_id] = reason

    def counts(self) -> dict[str, int]:
        """Status -> number of jobs, `waiting` among them, in the order to be shown."""
        found = dict.fromkeys(ORDER, 0)
        for job_id in self.labels:
            status = self.statuses.get(job_id, "waiting")
            found[status] = found.get(status, 0) + 1
        return {status: count for status, count in found.items() if count}

    def left(self, now: float) -> float | None:
        """Seconds until all is done, if what is to come takes as long as what was; None before any end.

        Runs that succeeded tell how long one takes; the others only when there is none of those.
        """
        known = self.took or self.failed_took
        if not known:
            return None
        each = sum(known) / len(known)
        waiting = self.counts().get("waiting", 0)
        work = waiting * each + sum(max(0.0, each - (now - began)) for began in self.since.values())
        return work / max(1, min(self.parallel, waiting + len(self.since)))


class SweepTable:
    """Draws `Progress`. `told` may be called while it is being drawn."""

    def __init__(
        self,
        progress: Progress,
        limit_usd: float | None,
        committed_usd: Callable[[], float],
        console: Console,
    ) -> None:
        self.progress, self.console = progress, console
        self.stopping: Callable[[], bool] = lambda: False
        self._limit, self._committed = limit_usd, committed_usd
        self._lock = threading.Lock()

    def told(self, job_id: str, ended: JobEnded | None) -> None:
        """How a run of a job ended; None says that it began."""
        now = time.monotonic()
        with self._lock:
            if ended is None:
                self.progress.started(job_id, now)
            else:
                usd = ended.record.manifest.cost["estimate_usd"] if ended.record else None
                self.progress.ended(job_id, ended.status, ended.reason, usd, now)

    def over(self, job_id: str) -> None:
        """The command of a job has ended, its record is still to be written."""
        with self._lock:
            self.progress.over(job_id, time.monotonic())

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the table is on the screen; its last state stays there."""
        live = Live(get_renderable=self.draw, console=self.console, refresh_per_second=REFRESHES_PER_SECOND)
        with live:
            yield

    def draw(self) -> RenderableType:
        with self._lock:
            now = time.monotonic()
            parts: list[Text] = [self._head(now), self._bar(), self._rows(now)]
        return Group(*parts)

    def _head(self, now: float) -> Text:
        head = Text(no_wrap=True, overflow="ellipsis")
        for status, count in self.progress.counts().items():
            head.append(f"{count} {status}", COLORS.get(status, "yellow")).append("  ")
        head.append(f" {render.duration(now - self.progress.begun)}")
        left = self.progress.left(now)
        running = len(self.progress.since)
        if self.stopping() and running:
            head.append(f", stopping; Ctrl-C again ends the {running} running at once", "yellow")
        elif left is not None and left > 0:
            head.append(f", about {render.duration(left)} left")
        money = self._money()
        return head.append(f"  {money}" if money else "")

    def _money(self) -> str:
        """What was spent, and of a budget what is spent or set aside; empty for a sweep without money."""
        if self._limit is not None:
            return f"{self._committed():.2f} of {self._limit:.2f} USD spent or set aside"
        return f"{self.progress.usd:.2f} USD" if self.progress.usd else ""

    def _bar(self) -> Text:
        """A line of full and empty marks; rich's own bar has no end of line."""
        full, empty = "━─" if self.console.encoding.lower().startswith("utf") else "#-"
        done = sum(1 for status in self.progress.statuses.values() if status not in ("running", "recording"))
        width = min(self.console.width, BAR_WIDTH)
        filled = width * done // max(1, len(self.progress.labels))
        return Text(full * filled, "green", no_wrap=True).append(empty * (width - filled), "dim")

    def _rows(self, now: float) -> Text:
        """Running jobs with their time and the newest that did not succeed, as many as there is room for."""
        failed = list(self.progress.reasons)
        room = max(2, self.console.height - HEAD_LINES)
        shown_failed = failed[-min(MAX_FAILED, max(1, room // 2)) :]
        shown_running = list(self.progress.since)[: max(1, room - len(shown_failed))]
        rows = [
            ("running", self._label(job_id), render.duration(now - self.progress.since[job_id]))
            for job_id in shown_running
        ]
        if len(self.progress.since) > len(shown_running):
            rows.append(("", f"and {len(self.progress.since) - len(shown_running)} more", ""))
        if len(failed) > len(shown_failed):
            rows.append(("", f"{len(failed) - len(shown_failed)} earlier ones", ""))
        for job_id in shown_failed:
            reason = render.safe_line(self.progress.reasons[job_id].partition("\n")[0])
            rows.append((self.progress.statuses[job_id], self._label(job_id), reason))
        return self._aligned(rows)

    def _label(self, job_id: str) -> str:
        return render.safe_line(self.progress.labels[job_id])

    def _aligned(self, rows: Sequence[tuple[str, str, str]]) -> Text:
        """Three columns; the first stays whole however narrow the terminal is, the second takes half at most."""
        first = max((len(row[0]) for row in rows), default=0)
        second = min(max((cell_len(row[1]) for row in rows), default=0), self.console.width // 2)
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, (status, label, more) in enumerate(rows):
            text.append("\n" if number else "").append(status.ljust(first), COLORS.get(status, "yellow"))
            text.append(f"  {set_cell_size(label, second)}  {more}")
        return text


def labels(overrides: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Job id -> its overrides without those that all jobs have, and without the sweep's own."""
    everywhere = (
        set.intersection(*(set(texts) for texts in overrides.values())) if len(overrides) > 1 else set()
    )
    return {
        job_id: " ".join(t for t in texts if t not in everywhere and not t.startswith("sweep.")) or "the job"
        for job_id, texts in overrides.items()
    }
