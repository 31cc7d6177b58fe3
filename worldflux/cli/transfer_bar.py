"""Progress of an import: bars on a terminal, a line a phase elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from worldflux.catalog.transfer import Progress


@contextmanager
def transfer_bar(*, quiet: bool) -> Iterator[Progress]:
    """What watches an import for people; on stderr, so that stdout stays the answer.

    Args:
        quiet: show nothing, for `--json`.
    """
    from worldflux.catalog.transfer import Silent

    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield _lines()
    else:
        with _bars() as progress:
            yield _Bars(progress)


def _bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[files]}"),
        console=Console(file=sys.stderr),
    )


class _Bars:
    """One bar a phase."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._task: TaskID | None = None
        self._done = self._files = 0

    def begin(self, label: str, files: int, total_bytes: int) -> None:
        self._done, self._files = 0, files
        self._task = self._progress.add_task(label, total=total_bytes, files=f"0/{files} files")

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)

    def finished(self, path: str) -> None:
        with self._lock:
            self._done += 1
        if self._task is not None:
            self._progress.update(self._task, files=f"{self._done}/{self._files} files")

    def end(self) -> None:
        if self._task is not None:
            self._progress.stop_task(self._task)


def _lines() -> Progress:
    """One line a phase, for logs."""
    from worldflux.catalog.transfer import Silent

    class Lines(Silent):
        def begin(self, label: str, files: int, total_bytes: int) -> None:
            print(f"{label}: {files} files, {total_bytes / 1e6:.1f} MB", file=sys.stderr, flush=True)

    return Lines()
