"""A sweep: every job composed and checked first, then run side by side."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from worldflux.cli import render
from worldflux.config.project import Project, load_project
from worldflux.errors import ConfigError, Fault, WorldFluxError
from worldflux.run.cancel import Cancellation

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.run.engine import RunRecord


def sweep(arguments: Sequence[str], params: Mapping[str, Any], launcher: Any) -> Any:
    """Check all jobs, then hand them to the launcher. Ends the process with the sweep's code.

    Raises:
        ConfigError: with the faults of all jobs.
    """
    from worldflux.config.hydra_main import expand, failed_jobs

    jobs = expand(arguments, params)
    requests = compose_all(jobs, load_project())
    if type(launcher).__name__ == "WorldFluxLauncher":
        raise SystemExit(run_all(requests, load_project()))
    returned = launcher.launch(jobs, initial_job_idx=0)
    failed = failed_jobs(returned)
    print(f"sweep: {len(returned) - failed} succeeded, {failed} failed", flush=True)
    raise SystemExit(1 if failed else 0)


def launch(job_overrides: Sequence[Sequence[str]], first: int) -> list[Any]:
    """Jobs that another sweeper asked for: run side by side, returned in Hydra's terms."""
    from worldflux.config.hydra_main import job_return

    project = load_project()
    requests = compose_all([list(job) for job in job_overrides], project)
    pool = _Pool(requests, project)
    pool.run()
    ended = zip(requests, pool.records, strict=True)
    return [job_return(request.overrides, pool.problem_of(record)) for request, record in ended]


def compose_all(jobs: Sequence[Sequence[str]], project: Project) -> list[RunRequest]:
    """Every job as a request.

    Raises:
        ConfigError: the faults of all jobs together; one that all jobs share is named once.
    """
    from worldflux.cli.session import make_plugin
    from worldflux.config.compose import Composer

    composer = Composer(project)
    requests, faults = [], []
    for index, job in enumerate(jobs):
        try:
            request = composer.compose(job)
            make_plugin(request, project)
            requests.append(request)
        except ConfigError as error:
            faults += [(fault, index) for fault in error.faults]
    if faults:
        raise ConfigError(_merged(faults, len(jobs)), "nothing was run")
    return requests


def _merged(faults: Sequence[tuple[Fault, int]], jobs: int) -> list[Fault]:
    """Equal faults once, with the jobs they were found in."""
    found: dict[Fault, list[int]] = {}
    for fault, index in faults:
        found.setdefault(fault, []).append(index)
    merged = []
    for fault, indexes in found.items():
        shown = ", ".join(str(i) for i in indexes[:5]) + (", ..." if len(indexes) > 5 else "")
        label = "" if len(indexes) == jobs else f"job{'s' if len(indexes) > 1 else ''} {shown}"
        merged.append(Fault(fault.where, fault.problem, fault.hint, label))
    return merged


def run_all(requests: Sequence[RunRequest], project: Project) -> int:
    """Run every request and print one line for each; the sweep's exit code."""
    pool = _Pool(requests, project)
    interrupted = pool.run()
    counts: dict[str, int] = {}
    for record in pool.records:
        status = record.manifest.status if record is not None else "not run"
        counts[status] = counts.get(status, 0) + 1
    print("sweep: " + ", ".join(f"{count} {status}" for status, count in counts.items()), flush=True)
    if interrupted:
        return 130
    return 0 if set(counts) <= {"succeeded"} else 1


class _Pool:
    """Runs requests in threads, at most `max_parallel` at a time, and cancels them on Ctrl-C."""

    def __init__(self, requests: Sequence[RunRequest], project: Project) -> None:
        self.requests, self.project = requests, project
        self.records: list[RunRecord | None] = [None] * len(requests)
        sweep = requests[0].spec.sweep if requests else None
        self._parallel = (sweep.max_parallel if sweep else None) or os.cpu_count() or 1
        self._fail_fast = bool(sweep and sweep.fail_fast)
        self._cancellation = Cancellation()
        self._stopped = False
        self._lock = threading.Lock()

    def problem_of(self, record: RunRecord | None) -> str:
        """Why a job did not succeed; empty when it did."""
        if record is None:
            return "the job did not run"
        error = record.manifest.run["error"]
        return error["message"] if error else ""

    def run(self) -> bool:
        """Whether the sweep was interrupted."""
        from worldflux.cli.session import terminate_as_interrupt

        with ThreadPoolExecutor(self._parallel) as threads, terminate_as_interrupt():
            waiting: set[Future[None]] = {threads.submit(self._one, i) for i in range(len(self.requests))}
            try:
                while waiting:
                    _, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                self._cancellation.request()
                wait(waiting)
                return True
        return False

    def _one(self, index: int) -> None:
        if self._stopped or self._cancellation.requested:
            return
        from worldflux.cli.session import make_place, make_plugin
        from worldflux.run.engine import execute
        from worldflux.run.observer import Silent

        request = self.requests[index]
        label = " ".join(request.overrides)
        try:
            plugin = make_plugin(request, self.project)
            place = make_place(self.project, request.spec.runs_dir)
            record = execute(request, plugin, place, Silent(), self._cancellation)
        except WorldFluxError as error:
            self._tell(index, "failed", label, error.problem)
            self._stopped = self._stopped or self._fail_fast
            return
        self.records[index] = record
        self._tell(index, record.manifest.status, label, self.problem_of(record) or record.run_id)
        self._stopped = self._stopped or (self._fail_fast and record.exit_code != 0)

    def _tell(self, index: int, status: str, label: str, text: str) -> None:
        code = "32" if status == "succeeded" else "31"
        with self._lock:
            place = f"[{index + 1}/{len(self.requests)}]"
            print(f"{place} {render.paint(status, code, sys.stdout)}  {label}  {text}", flush=True)
