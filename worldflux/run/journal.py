"""Runs of a sweep that other processes carry out: cluster jobs, workers of another launcher.

The sweep's ledger has one writer. A worker, maybe on another machine, instead appends the ids of
the runs that it starts to a file of the job's own, `runs/.sweeps/<sweep_id>/<job_id>`, before the
run's folder exists. A batch system runs one process of a job at a time, so no two write to one
file, also on file systems whose locks and appends do not hold across machines.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from worldflux.errors import WorldFluxError
from worldflux.manifest.model import new_run_id
from worldflux.run import store
from worldflux.run.ledger import FOLDER


@dataclass(frozen=True)
class Attempt:
    """A run that begins: its id, its number from 1, and the runs that the job had before."""

    run_id: str
    number: int
    earlier: tuple[str, ...]


def begin(runs_dir: Path, sweep_id: str, job_id: str) -> Attempt:
    """Note that a run of a job begins, and close the records that earlier ones left open.

    Raises:
        WorldFluxError: the note can not be written.
    """
    earlier = _earlier(runs_dir, sweep_id, job_id)
    run_id = new_run_id()
    folder = runs_dir / FOLDER / sweep_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / job_id, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # A line of its own even behind a torn one.
            os.write(handle, b"\n" + run_id.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise WorldFluxError(
            f"{folder} can not be written: {error.strerror}",
            "the project's folder must be shared with the machine that the job runs on",
            code="journal",
        ) from None
    for each in earlier:
        store.supersede(runs_dir, each)
    return Attempt(run_id, len(earlier) + 1, earlier)


def succeeded(runs_dir: Path, sweep_id: str, job_id: str) -> store.StoredRun | None:
    """The run of a job that succeeded; None when none did."""
    for run_id in _earlier(runs_dir, sweep_id, job_id):
        stored = store.load(runs_dir, run_id, settle=False)
        if stored.manifest is not None and stored.manifest.status == "succeeded":
            return stored
    return None


def read(runs_dir: Path, sweep_id: str) -> dict[str, list[str]]:
    """Job id -> ids of the runs that workers noted, oldest first."""
    folder = runs_dir / FOLDER / sweep_id
    return {path.name: _read(path) for path in folder.iterdir()} if folder.is_dir() else {}


def _earlier(runs_dir: Path, sweep_id: str, job_id: str) -> tuple[str, ...]:
    return (*_in_ledger(runs_dir, sweep_id, job_id), *_read(runs_dir / FOLDER / sweep_id / job_id))


def _read(path: Path) -> list[str]:
    """Ids in one file; a torn last line is a start that never was."""
    try:
        words = path.read_text("ascii", "replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [word for word in words if store.RUN_ID.match(word)]


def _in_ledger(runs_dir: Path, sweep_id: str, job_id: str) -> list[str]:
    """Runs of the job that the sweep's own process started."""
    found = []
    try:
        with (runs_dir / FOLDER / f"{sweep_id}.jsonl").open(encoding="utf-8") as stream:
            next(stream, None)
            for line in stream:
                entry = json.loads(line) if line.endswith("\n") else {}
                if entry.get("job") == job_id:
                    found.append(str(entry["run"]))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    return found
