"""The folder of runs: create, list, find, and settle what a dead process left open.

Manifests are the truth. Run ids are time-ordered, so a listing needs no index: the newest runs
are the last names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import Manifest, new_run_id
from worldflux.run.machine import owner_alive
from worldflux.run.outcome import Ending

if TYPE_CHECKING:
    from worldflux.manifest.parts import Error

MANIFEST = "manifest.json"
#: How a run ended of which nothing more is known.
LOST = Ending(
    "interrupted",
    None,
    "interrupted",
    "the process that recorded this run ended before the run did",
    "run it again",
)
RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True)
class StoredRun:
    """One run on disk. `problem` says why the manifest can not be read; then it is None."""

    run_id: str
    folder: Path
    manifest: Manifest | None
    problem: str = ""


def create(runs_dir: Path, run_id: str | None = None) -> tuple[str, Path]:
    """A new run folder that nobody else has: its id and path.

    Args:
        run_id: an id that was given out before; a new one by default.

    Raises:
        WorldFluxError: the folder can not be made (read-only, disk full).
    """
    try:
        run_id = run_id or new_run_id()
        folder = runs_dir / run_id
        try:
            folder.mkdir()
        except FileNotFoundError:
            runs_dir.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        return run_id, folder
    except OSError as error:
        raise WorldFluxError(
            f"the run's folder can not be made in {runs_dir}: {error.strerror}",
            "choose another place with runs_dir=PATH, or free some space",
            code="runs_dir",
        ) from None


def run_ids(runs_dir: Path) -> list[str]:
    """Ids of all runs, newest first."""
    try:
        return sorted((name for name in os.listdir(runs_dir) if RUN_ID.match(name)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorldFluxError(
            f"{runs_dir} can not be read: {error.strerror}", "check the folder's permissions"
        ) from None


def load(runs_dir: Path, run_id: str, *, settle: bool = True) -> StoredRun:
    """One run. A run that says it is running, and whose process is gone, is settled first."""
    folder = runs_dir / run_id
    try:
        manifest = io.read(folder / MANIFEST)
    except WorldFluxError as error:
        return StoredRun(run_id, folder, None, error.problem)
    if settle and not manifest.final and _abandoned(manifest):
        _interrupt(folder, manifest)
    return StoredRun(run_id, folder, manifest)


def newest(runs_dir: Path, limit: int | None = None) -> Iterator[StoredRun]:
    """Runs, newest first; reads no more manifests than are taken."""
    for run_id in run_ids(runs_dir)[:limit]:
        yield load(runs_dir, run_id)


def find(runs_dir: Path, wanted: str, *, settle: bool = True) -> StoredRun:
    """The run that `wanted` means: an id, the start or the end of one, `last`, or `last~2`.

    Raises:
        UsageError: no run, or more than one, is meant.
    """
    ids = run_ids(runs_dir)
    if not ids:
        raise UsageError("there are no runs yet", "worldflux run")
    if wanted == "last" or wanted.startswith("last~"):
        back = int(wanted[5:]) if wanted[5:].isdigit() else 0
        if back >= len(ids):
            raise UsageError(f"there are only {len(ids)} runs", "worldflux runs list")
        return load(runs_dir, ids[back], settle=settle)
    wanted = wanted.rstrip("/").rpartition("/")[2].lower()
    matches = [run_id for run_id in ids if wanted and (run_id.startswith(wanted) or run_id.endswith(wanted))]
    if len(matches) == 1:
        return load(runs_dir, matches[0], settle=settle)
    if matches:
        shown = ", ".join(matches[:4])
        raise UsageError(f"`{wanted}` means {len(matches)} runs: {shown}", "type more characters of the id")
    raise UsageError(f"there is no run `{wanted}` in {runs_dir}", "worldflux runs list")


def _abandoned(manifest: Manifest) -> bool:
    owner = manifest.run["owner"]
    return owner is not None and owner_alive(owner) is False


def _alive(manifest: Manifest) -> bool:
    owner = manifest.run["owner"]
    return owner is not None and owner_alive(owner) is True


def supersede(runs_dir: Path, run_id: str, ending: Ending | None = None) -> None:
    """Close the record of a run whose job has ended or is being started again, wherever it ran.

    Whoever calls this knows that the earlier process has ended; one that still lives on this
    machine is left alone. `ending`: what else is known; `interrupted` when nothing is.
    """
    manifest = load(runs_dir, run_id).manifest
    if manifest is None or manifest.final or _alive(manifest):
        return
    _interrupt(runs_dir / run_id, manifest, ending or LOST)


def _interrupt(folder: Path, manifest: Manifest, ending: Ending = LOST) -> None:
    """Close the record of a run whose process died, and end what it left running.

    The record is written only where that is possible; a read-only folder is reported just the same.
    """
    from worldflux.runtime.environment import remove_temporary

    mark = manifest.extensions.get("worldflux.run-mark")
    if isinstance(mark, str):
        from worldflux.runtime.process import end_survivors

        end_survivors(mark)
    remove_temporary(folder)
    io.sweep(folder)
    error: Error = {"code": ending.code, "message": ending.message, "hint": ending.hint}
    manifest.finish(ending.status, exit_code=ending.exit_code, error=error)
    try:
        io.write(folder / MANIFEST, manifest)
    except WorldFluxError:
        return
