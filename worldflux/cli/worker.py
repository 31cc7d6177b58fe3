"""One job of a sweep in a process that another launcher started, here or on another machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.config.project import Project
    from worldflux.config.request import RunRequest
    from worldflux.run.engine import RunRecord

#: Sweepers that want a number back from each job.
OPTIMIZERS = ("optuna", "ax", "nevergrad")


class JobFailed(WorldFluxError):
    """A job of a sweep did not succeed; its record says why."""

    code = "job"


def enter(root: str) -> Project:
    """Make a project the one of this process, wherever it was started."""
    from worldflux.config.project import load_project

    if not Path(root).is_dir():
        raise WorldFluxError(
            f"the project's folder {root} does not exist on this machine",
            "workers on other machines need the project on a shared file system",
            code="project",
        )
    os.environ["WORLDFLUX_PROJECT"] = root
    return load_project()


def work(request: RunRequest, project: Project, sweep_id: str | None) -> RunRecord:
    """Carry out one run of a job, printing as a single run does, and return its record.

    A job that has succeeded, and was put back into the queue after that, is not run again. A stop
    by the batch system ends as `interrupted` when the job is put back into the queue, else
    as `cancelled`.
    """
    import sys

    from worldflux.cli.batch import stops_as_interrupts
    from worldflux.cli.live import Console
    from worldflux.cli.session import make_place, make_plugin
    from worldflux.config.job import job_id_of
    from worldflux.run.engine import RunRecord, execute
    from worldflux.run.journal import begin, succeeded

    plugin = make_plugin(request, project)
    more: dict[str, Any] = {}
    if sweep_id is not None:
        job_id = job_id_of(request)
        runs_dir = project.root / request.spec.runs_dir
        done = succeeded(runs_dir, sweep_id, job_id)
        if done is not None and done.manifest is not None:
            return RunRecord(done.run_id, done.folder, done.manifest)
        attempt = begin(runs_dir, sweep_id, job_id)
        more = {
            "sweep_id": sweep_id,
            "job_id": job_id,
            "run_id": attempt.run_id,
            "attempt": attempt.number,
        }
    with stops_as_interrupts() as stop:
        place = make_place(project, request.spec.runs_dir, why_stopped=stop.why, **more)
        return execute(request, plugin, place, Console(sys.stdout))


def hydra_job(config: Any, root: str | None = None, sweep_id: str | None = None) -> Any:
    """The task of every launcher: one job that Hydra composed.

    Returns:
        The objective's value, or 0 when none is named.

    Raises:
        JobFailed: the run did not succeed.
        WorldFluxError: the objective is not among its metrics.
    """
    from worldflux.cli.live import summary
    from worldflux.config.hydra_main import chosen_sweeper, composed_by_hydra
    from worldflux.config.project import load_project
    from worldflux.run.objective import objective

    project = enter(root) if root is not None else load_project()
    request = composed_by_hydra(config)
    check_objective([request], chosen_sweeper())
    record = work(request, project, sweep_id)
    print(summary(record), flush=True)
    leave_if_requeued(record)
    if record.exit_code:
        raise JobFailed(reason(record), f"see {record.folder / 'manifest.json'}")
    value = objective(record.manifest, request.spec.objective)
    return 0 if value is None else value


def leave_if_requeued(record: RunRecord) -> None:
    """End the process without a result when its job will run again: a result would end the wait for it.

    Raises:
        SystemExit: the run was stopped because its job goes back into the queue.
    """
    error = record.manifest.run["error"]
    if record.manifest.status == "interrupted" and error and error["code"] == "requeued":
        raise SystemExit(128 + signal.SIGTERM)


def reason(record: RunRecord) -> str:
    """How a run that did not succeed ended, in one line."""
    error = record.manifest.run["error"]
    return f"{record.manifest.status}: {error['message']}" if error else record.manifest.status


def check_objective(requests: Sequence[RunRequest], sweeper: str | None) -> None:
    """An optimizing sweeper needs to know what to optimize.

    Raises:
        UsageError: it is not said.
    """
    missing = [request for request in requests if request.spec.objective is None]
    if sweeper in OPTIMIZERS and missing:
        known = ", ".join(missing[0].spec.metrics) or "those that the command logs"
        raise UsageError(
            f"the sweeper {sweeper} needs an objective: the metric to optimize",
            f"add objective=NAME; metrics of recipe {missing[0].spec.recipe}: {known}",
            code="objective",
        )
