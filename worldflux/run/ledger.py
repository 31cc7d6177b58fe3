"""The memory of a sweep: which jobs it has, which runs carried them out.

One file of JSON lines below `runs/.sweeps/`. The first line is the plan; each later one says that
a run was started for a job, written before the run's folder exists. Whether it succeeded stands in
the run's own manifest and nowhere else, so there is nothing that a crash could leave in
disagreement. Lines are appended in one write each; a torn last line is a start that never was.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.errors import TemporaryError, UsageError, WorldFluxError
from worldflux.manifest.model import new_run_id
from worldflux.run import store

FOLDER = ".sweeps"


@dataclass
class Ledger:
    """An open sweep. Only one process has it open at a time.

    Attributes:
        sweep_id: a UUIDv7, ordered by time.
        arguments: the command line of the sweep.
        jobs: job id -> overrides, in order.
        runs: job id -> run ids, oldest first.
        money: run id -> US dollars reserved for it or, once it has ended, spent.
    """

    sweep_id: str
    runs_dir: Path
    arguments: list[str]
    jobs: dict[str, list[str]]
    runs: dict[str, list[str]] = field(default_factory=dict)
    money: dict[str, float] = field(default_factory=dict)
    _handle: int = -1

    @classmethod
    def create(cls, runs_dir: Path, arguments: Sequence[str], jobs: Mapping[str, Sequence[str]]) -> Ledger:
        """A new sweep, its plan on disk.

        Raises:
            WorldFluxError: the file can not be written.
        """
        ledger = cls(new_run_id(), runs_dir, list(arguments), {k: list(v) for k, v in jobs.items()})
        path = ledger.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            ledger._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise WorldFluxError(
                f"{path.parent} can not be written: {error.strerror}", "check its permissions"
            ) from None
        ledger._lock()
        ledger._append({"sweep": ledger.sweep_id, "arguments": ledger.arguments, "jobs": ledger.jobs})
        os.fsync(ledger._handle)
        return ledger

    @classmethod
    def open(cls, runs_dir: Path, wanted: str) -> Ledger:
        """The sweep that `wanted` means: an id, the start or end of one, or `last`.

        Raises:
            UsageError: there is none, or several.
            TemporaryError: another process is working on it.
        """
        path = _find(runs_dir, wanted)
        ledger = cls(path.stem, runs_dir, [], {})
        ledger._handle = os.open(path, os.O_RDWR | os.O_APPEND)
        ledger._lock()
        ledger._read(path.read_bytes())
        ledger.refresh()
        return ledger

    @property
    def path(self) -> Path:
        return self.runs_dir / FOLDER / f"{self.sweep_id}.jsonl"

    def start(self, job_id: str) -> tuple[str, int]:
        """Note that a run for a job begins; its id and the number of the attempt, from 1."""
        run_id = new_run_id()
        started = self.runs.setdefault(job_id, [])
        started.append(run_id)
        self._append({"job": job_id, "run": run_id})
        return run_id, len(started)

    def add(self, jobs: Mapping[str, Sequence[str]]) -> None:
        """Note further jobs of the sweep; those that it has already stay as they are."""
        more = {job_id: list(overrides) for job_id, overrides in jobs.items() if job_id not in self.jobs}
        self.jobs.update(more)
        self._append({"jobs": more})

    def note_money(self, run_id: str, amount: float) -> None:
        """Note what a run may cost, or has cost; on the disk before this returns."""
        self.money[run_id] = amount
        self._append({"run": run_id, "usd": amount})
        os.fsync(self._handle)

    def refresh(self) -> None:
        """Learn of the runs that workers of other launchers have started."""
        from worldflux.run import journal

        for job_id, noted in journal.read(self.runs_dir, self.sweep_id).items():
            known = self.runs.setdefault(job_id, [])
            self.runs[job_id] = sorted({*known, *noted})

    def status(self, job_id: str) -> str:
        """`succeeded` when any run of the job did; else the status of the newest, or `missing`."""
        newest = "missing"
        for run_id in self.runs.get(job_id, []):
            manifest = store.load(self.runs_dir, run_id).manifest
            newest = manifest.status if manifest is not None else newest
            if newest == "succeeded":
                return newest
        return newest

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise TemporaryError(
                f"sweep {self.sweep_id} is being worked on by another process",
                "wait for it, or stop it",
                code="busy",
            ) from None

    def _append(self, entry: Mapping[str, Any]) -> None:
        os.write(self._handle, json.dumps(entry).encode() + b"\n")

    def _read(self, data: bytes) -> None:
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.ftruncate(self._handle, len(whole) + (1 if whole else 0))
        lines = whole.splitlines()
        try:
            head = json.loads(lines[0])
            self.arguments, self.jobs = list(head["arguments"]), dict(head["jobs"])
            for line in lines[1:]:
                entry = json.loads(line)
                if "jobs" in entry:
                    self.jobs.update(entry["jobs"])
                elif "usd" in entry:
                    self.money[entry["run"]] = float(entry["usd"])
                else:
                    self.runs.setdefault(entry["job"], []).append(entry["run"])
        except (IndexError, KeyError, ValueError, TypeError):
            raise WorldFluxError(
                f"{self.path} is not a sweep's ledger any more", "start the sweep again", code="ledger"
            ) from None


def sweep_ids(runs_dir: Path) -> list[str]:
    """Ids of all sweeps, newest first."""
    folder = runs_dir / FOLDER
    return sorted((path.stem for path in folder.glob("*.jsonl")), reverse=True) if folder.is_dir() else []


def _find(runs_dir: Path, wanted: str) -> Path:
    ids = sweep_ids(runs_dir)
    if not ids:
        raise UsageError("there is no sweep to resume", "worldflux-run -m +recipe=NAME seed=1,2")
    matches = (
        ids[:1]
        if wanted == "last"
        else [i for i in ids if wanted and (i.startswith(wanted) or i.endswith(wanted))]
    )
    if len(matches) != 1:
        hint = f"sweeps: {', '.join(ids[:5])}"
        raise UsageError(f"`{wanted}` means {len(matches)} sweeps", hint)
    return runs_dir / FOLDER / f"{matches[0]}.jsonl"
