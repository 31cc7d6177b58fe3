"""One run on the screen: its stages with times, its log as it is written, its outcome."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from worldflux.cli import render

if TYPE_CHECKING:
    from worldflux.run.engine import RunRecord

POLL_SECONDS = 0.05
MAX_LINE = 16 * 1024


class Console:
    """Prints plain lines, coloured on a terminal. An `Observer`."""

    def __init__(self, stream: TextIO | None = None, *, show_log: bool = True) -> None:
        self.stream = stream or sys.stdout
        self.show_log = show_log
        self._begun = time.monotonic()
        self._tail: _Tail | None = None
        self._lock = threading.Lock()

    def started(self, run_id: str, folder: Path, recipe: str, runtime: str) -> None:
        self._say(f"run {run_id}  recipe {recipe}  runtime {runtime}")

    def stage(self, name: str) -> None:
        if self._tail is not None:
            self._tail.stop()
            self._tail = None
        elapsed = f"{time.monotonic() - self._begun:7.1f}s"
        self._say(f"{render.paint(elapsed, '2', self.stream)}  {name}")

    def log(self, path: Path) -> None:
        if self.show_log:
            self._tail = _Tail(path, self._log_line)

    def ended(self) -> None: ...

    def note(self, text: str) -> None:
        self._say(f"{render.paint('warning:', '33', self.stream)} {render.safe_line(text)}")

    def progress(self, text: str) -> None:
        bar = render.paint("|", "2", self.stream)
        self._say(f"          {bar} {render.paint(render.safe_line(text), '2', self.stream)}")

    def _log_line(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode("utf-8", "backslashreplace")
        bar = render.paint("|", "2", self.stream)
        self._say(f"          {bar} {render.safe_line(text, color=render.use_color(self.stream))}")

    def _say(self, text: str) -> None:
        with self._lock:
            print(
                text.encode(self.stream.encoding or "utf-8", "replace").decode(
                    self.stream.encoding or "utf-8"
                ),
                file=self.stream,
                flush=True,
            )


class _Tail:
    """Follows a file that grows, line by line, until `stop`; the end without newline comes last."""

    def __init__(self, path: Path, line: object) -> None:
        self._path, self._line = path, line
        self._ended = threading.Event()
        self._rest = b""
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._path.exists() and not self._ended.wait(POLL_SECONDS):
            pass
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            while True:
                ended = self._ended.is_set()
                while chunk := stream.read(65536):
                    self._feed(chunk)
                if ended:
                    break
                self._ended.wait(POLL_SECONDS)
        if self._rest:
            self._line(self._rest)  # type: ignore[operator]

    def _feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line)  # type: ignore[operator]
        if len(self._rest) > MAX_LINE:
            self._line(self._rest)  # type: ignore[operator]
            self._rest = b""


def summary(record: RunRecord) -> str:
    """The end of a run for people: status, metrics with intervals, where the record is."""
    manifest = record.manifest
    run = manifest.run
    code = {"succeeded": "32;1", "failed": "31;1", "timeout": "31;1"}.get(manifest.status, "33;1")
    lines = [
        f"{render.paint(manifest.status, code, sys.stdout)} in {render.duration(run['duration_seconds'])}"
    ]
    if run["error"]:
        lines.append(f"  {render.safe_line(run['error']['message'])}")
        if run["error"]["hint"]:
            lines.append(f"  {render.safe_line(run['error']['hint'])}")
    width = max((len(name) for name in manifest.metrics), default=0)
    for name, metric in list(manifest.metrics.items())[:40]:
        lines.append(f"  {name.ljust(width)}  {describe_metric(metric)}")
    if len(manifest.metrics) > 40:
        lines.append(f"  ... and {len(manifest.metrics) - 40} more metrics")
    for artifact in manifest.artifacts[:8]:
        lines.append(f"  {record.folder / artifact['path']}")
    lines.append(f"manifest: {record.folder / 'manifest.json'}")
    return "\n".join(lines)


def describe_metric(metric: object) -> str:
    """`0.84 pellets`, or `0.84 (42 of 50, 95% 0.71 to 0.92)` for a success rate."""
    assert isinstance(metric, dict)
    text = render.number(metric["value"]) + (f" {metric['unit']}" if metric.get("unit") else "")
    interval = metric.get("interval")
    if interval:
        level = f"{interval['level']:.0%}"
        low, high = interval["low"], interval["high"]
        text += f"  ({metric['k']} of {metric['n']}, {level} interval {low:.3f} to {high:.3f})"
    return text
