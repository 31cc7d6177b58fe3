"""Progress of a sync: bars on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worldflux.sync.progress import Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from worldflux.sync.outcome import Outcome
    from worldflux.sync.progress import Progress


@contextmanager
def sync_bar(*, quiet: bool) -> Iterator[Progress]:
    """What watches a sync for people; on stderr, so that stdout stays the answer.

    Args:
        quiet: show nothing, for `--json`.
    """
    from worldflux.cli.render import is_live

    if quiet or not is_live(sys.stderr):
        yield Silent()
        return
    with _bars() as progress:
        yield _Bars(progress)


def _bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[told]}", markup=False),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


class _Bars:
    """One bar for the runs, and one for each large artifact that is under way."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._runs: TaskID | None = None
        self._done = self._bad = self._total = 0
        self._blobs: dict[str, tuple[TaskID, int, int]] = {}

    def begin(self, runs: int) -> None:
        if self._runs is not None:
            self._progress.remove_task(self._runs)
        self._total, self._done, self._bad = runs, 0, 0
        self._runs = self._progress.add_task("runs", total=runs, told=f"0/{runs}")

    def settled(self, outcome: Outcome) -> None:
        self._done += 1
        self._bad += not outcome.good
        told = f"{self._done}/{self._total}" + (f", {self._bad} not synced" if self._bad else "")
        if self._runs is not None:
            self._progress.update(self._runs, completed=self._done, told=told)

    def blob(self, key: str, label: str, total: int) -> None:
        from worldflux.cli.render import safe_line, size

        task = self._progress.add_task(safe_line(label)[-24:], total=total, told=f"0/{size(total)}")
        with self._lock:
            self._blobs[key] = (task, 0, total)

    def advance(self, key: str, count: int) -> None:
        from worldflux.cli.render import size

        with self._lock:
            if key not in self._blobs:
                return
            task, done, total = self._blobs[key]
            self._blobs[key] = (task, done + count, total)
        self._progress.update(task, completed=done + count, told=f"{size(done + count)}/{size(total)}")

    def blob_done(self, key: str) -> None:
        with self._lock:
            found = self._blobs.pop(key, None)
        if found is not None:
            self._progress.remove_task(found[0])

    def end(self) -> None:
        if self._runs is not None:
            self._progress.stop_task(self._runs)
