"""What the engine tells while it works; the CLI turns it into lines or a live display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Observer(Protocol):
    """Told about one run, from the thread that carries it out."""

    def started(self, run_id: str, folder: Path, recipe: str, runtime: str) -> None:
        """The run has a folder and a manifest."""

    def stage(self, name: str) -> None:
        """A stage begins: preflight, env, run, collect or manifest."""

    def log(self, path: Path) -> None:
        """The command is about to start; its output is appended to this file."""

    def ended(self) -> None:
        """The command has ended; its record is still to be written. Not every runtime can tell."""

    def note(self, text: str) -> None:
        """Something worth a line, such as a warning."""

    def progress(self, text: str) -> None:
        """What the stage is busy with; told only when it takes time."""


class Silent:
    """Tells nobody."""

    def started(self, run_id: str, folder: Path, recipe: str, runtime: str) -> None: ...

    def progress(self, text: str) -> None: ...

    def stage(self, name: str) -> None: ...

    def log(self, path: Path) -> None: ...

    def ended(self) -> None: ...

    def note(self, text: str) -> None: ...


class Quiet(Silent):
    """Tells only that the command has ended."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def ended(self) -> None:
        self._ended()
