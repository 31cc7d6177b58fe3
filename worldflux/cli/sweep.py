"""A sweep: every job composed and checked first, then run side by side; resumed by its ledger."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from worldflux import interrupts
from worldflux.cli import render, sweep_jobs
from worldflux.cli.sweep_job import JobEnded, JobOutcome
from worldflux.config.project import Project, load_project
from worldflux.errors import ConfigError, Fault, UsageError, WorldFluxError
from worldflux.run.budget import SweepBudget
from worldflux.run.pool import Policy, Pool

if TYPE_CHECKING:
    from worldflux.cli.sweep_table import SweepTable
    from worldflux.config.job import Job
    from worldflux.run.cancel import Cancellation
    from worldflux.run.engine import Guard, Place
    from worldflux.run.ledger import Ledger
    from worldflux.run.pool import Turn
    from worldflux.run.ready import Ready
    from worldflux.runtime.base import RuntimePlugin

REMOTE_PARALLEL = 16


def sweep(arguments: Sequence[str], params: Mapping[str, Any], launcher: Any) -> NoReturn:
    """Check all jobs, run what is to be run, and end the process with the sweep's exit code.

    Args:
        arguments: overrides as typed, swept or not.
        params: axes from `hydra.sweeper.params`.
        launcher: the launcher that Hydra made; None: our own.

    Raises:
        ConfigError: with the faults of all jobs.
        UsageError: the sweep to resume does not exist, or its configuration has changed.
    """
    import gc

    gc.disable()  # until the jobs are known: hardly anything of what is loaded is given up again
    project = load_project()
    resume = _resumed(arguments)
    if resume is not None:
        raise SystemExit(_resume(resume, arguments, project, launcher))

    jobs = sweep_jobs.described(arguments, params, project)
    sweep_jobs.check(jobs, project)
    raise SystemExit(_run(jobs, _ledger(jobs, arguments, project), project, launcher))


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[Any]:
    """Jobs that another sweeper asked for: run side by side, returned in Hydra's terms.

    All that one sweeper asks for is one sweep, also when it asks in several batches.

    Raises:
        UsageError: the sweeper optimizes, and no objective is named.
    """
    from worldflux.cli.worker import check_objective
    from worldflux.config.compose import Composer
    from worldflux.config.hydra_main import chosen_sweeper, job_return
    from worldflux.config.jobs import compose_jobs

    project = load_project()
    compose = Composer(project).compose
    jobs = [compose_jobs([list(overrides)], compose, {})[0] for overrides in job_overrides]
    check_objective([job.request for job in jobs], chosen_sweeper(launcher.config))
    # Other sweepers write their results there, and expect it to exist.
    os.makedirs(launcher.config.hydra.sweep.dir, exist_ok=True)
    ledger = _continued(launcher, jobs, project)
    once = list({job.job_id: job for job in jobs}.values())  # a sweeper may ask for the same thing twice
    if hasattr(launcher, "_EXECUTOR"):
        from worldflux.cli.elsewhere import Elsewhere

        work: Sweep = Elsewhere(once, ledger, project, launcher)
    else:
        work = Sweep(once, ledger, project)
    if work.run():
        raise KeyboardInterrupt
    _sync(jobs, ledger, project)
    return [job_return(job.request.overrides, work.returned(job)) for job in jobs]


def _continued(launcher: Any, jobs: Sequence[Job], project: Project) -> Ledger:
    """The ledger of the sweep that a launcher has begun, with more jobs; a new one at first."""
    from worldflux.run.ledger import Ledger

    if launcher.sweep_id is None:
        ledger = _ledger(jobs, [], project)
        launcher.sweep_id = ledger.sweep_id
        return ledger
    ledger = Ledger.open(project.root / jobs[0].request.spec.runs_dir, launcher.sweep_id)
    ledger.add({job.job_id: list(job.request.overrides) for job in jobs})
    return ledger


def _resumed(arguments: Sequence[str]) -> str | None:
    for text in arguments:
        if text.startswith("sweep.resume="):
            return text.partition("=")[2].strip("'\"") or None
    return None


def _resume(wanted: str, arguments: Sequence[str], project: Project, launcher: Any) -> int:
    """Go on with a sweep: its own jobs, with what is typed now about how to go about it."""
    from worldflux.run.ledger import Ledger

    own = ("sweep.", "cost_guard.max_sweep_usd=")
    how = [text for text in arguments if text.startswith(own) and not text.startswith("sweep.resume=")]
    others = [text for text in arguments if not text.startswith(own)]
    if others:
        raise UsageError(
            f"sweep.resume goes on with the jobs of that sweep; {others[0]} would change them",
            f"worldflux-run -m sweep.resume={wanted}",
        )
    ledger = Ledger.open(project.runs_dir, wanted)
    jobs = sweep_jobs.listed([[*each, *how] for each in ledger.jobs.values()], project)
    changed = [job for job in jobs if job.job_id not in ledger.jobs]
    if changed or len(jobs) != len(ledger.jobs):
        shown = " ".join(changed[0].request.overrides) if changed else ""
        raise UsageError(
            f"the configuration has changed since sweep {ledger.sweep_id}: "
            f"{len(changed)} of {len(ledger.jobs)} jobs would compute something else ({shown})",
            "undo the change to go on, or start a new sweep",
            code="changed",
        )
    sweep_jobs.check(jobs, project)
    return _run(jobs, ledger, project, launcher)


def _ledger(jobs: Sequence[Job], arguments: Sequence[str], project: Project) -> Ledger:
    from worldflux.run.ledger import Ledger

    runs_dir = project.root / jobs[0].request.spec.runs_dir
    return Ledger.create(runs_dir, arguments, {job.job_id: list(job.request.overrides) for job in jobs})


def _run(jobs: Sequence[Job], ledger: Ledger, project: Project, launcher: Any) -> int:
    """Run what is missing and tell how it went; the sweep's exit code."""
    import gc

    # Modules and jobs stay to the end; looking through them again and again takes a tenth of our time.
    gc.freeze()
    gc.enable()
    if launcher is None or type(launcher).__name__ == "WorldFluxLauncher":
        work = Sweep(jobs, ledger, project, live=render.is_live(sys.stdout))
    else:
        from worldflux.cli.elsewhere import Elsewhere

        work = Elsewhere(jobs, ledger, project, launcher)
    interrupted = work.run()
    work.summarize()
    if interrupted:
        return 130
    _sync(jobs, ledger, project)
    statuses = {work.statuses().get(job.job_id, "not started") for job in jobs}
    if statuses <= {"succeeded", "refused"}:
        return 4 if "refused" in statuses else 0
    return 1


def _sync(jobs: Sequence[Job], ledger: Ledger, project: Project) -> None:
    """With `sync=on`, bring all runs of the sweep to the server together, once they have ended."""
    if any(job.request.spec.sync for job in jobs):
        from worldflux.cli.sync_after import of_sweep

        told = of_sweep(project, project.root / jobs[0].request.spec.runs_dir, ledger.sweep_id)
        if told:
            print(told, flush=True)


class Sweep:
    """One sweep at work, with one line for everything that changes, or `live` in a table."""

    def __init__(self, jobs: Sequence[Job], ledger: Ledger, project: Project, *, live: bool = False) -> None:
        self.jobs, self.ledger, self.project = jobs, ledger, project
        self.ended: dict[str, JobOutcome] = {}
        self._places: dict[str, Place] = {}
        self.kept = [
            job for job in jobs if ledger.runs.get(job.job_id) and ledger.status(job.job_id) == "succeeded"
        ]
        self._begun = time.monotonic()
        settings = jobs[0].request.spec.sweep
        local = all(job.request.spec.runtime.name == "local" for job in jobs)
        default = (os.cpu_count() or 1) if local else REMOTE_PARALLEL
        self.policy = Policy(
            settings.max_parallel or default,
            settings.retries,
            settings.fail_fast,
            in_turn=settings.max_parallel == 1,
        )
        self._order = settings.order
        self._budget = SweepBudget(ledger, jobs[0].request.spec.cost_guard.max_sweep_usd)
        self._table = self._make_table() if live else None

    def _make_table(self) -> SweepTable:
        # rich is a large library; only a sweep on a terminal pays for it.
        from rich.console import Console

        from worldflux.cli.sweep_table import Progress, SweepTable, labels

        shown = labels({job.job_id: job.request.overrides for job in self.jobs})
        progress = Progress(shown, self.policy.parallel, self._begun)
        progress.statuses.update({job.job_id: "succeeded" for job in self.kept})
        limit = self.jobs[0].request.spec.cost_guard.max_sweep_usd
        return SweepTable(progress, limit, lambda: self._budget.committed, Console())

    def todo(self) -> list[Job]:
        """Jobs that have not succeeded yet, in the order they are to start."""
        kept = {job.job_id for job in self.kept}
        todo = [job for job in self.jobs if job.job_id not in kept]
        if self._order == "reverse":
            todo.reverse()
        elif self._order == "random":
            random.Random(self.ledger.sweep_id).shuffle(todo)
        return todo

    def run(self) -> bool:
        """Whether the sweep was interrupted."""
        from worldflux.runtime.spawning import Forker

        todo = self.todo()
        head = f"sweep {self.ledger.sweep_id}: {len(self.jobs)} jobs, {self.policy.parallel} at a time"
        print(head + (f", {len(self.kept)} done before" if self.kept else ""), flush=True)
        pool: Pool[Job, JobEnded] = Pool(self.policy, self._carry_out, self.told)
        if self._table is not None:
            self._table.stopping = lambda: pool.cancellation.requested
        try:
            with (
                interrupts.terminate_too(),
                Forker() if len(todo) > 1 else nullcontext(),
                self._table.shown() if self._table else nullcontext(),
            ):
                return pool.run(todo)
        finally:
            self.ledger.close()

    def _carry_out(self, job: Job, cancellation: Cancellation, turn: Turn) -> JobEnded | None:
        from worldflux.run.engine import execute
        from worldflux.run.observer import Quiet

        ahead = self._prepared(job)
        begun = turn.take(lambda: self.ledger.start(job.job_id))
        if begun is None:
            return None
        run_id, attempt = begun
        try:
            if isinstance(ahead, WorldFluxError):
                raise ahead
            plugin, place, ready = ahead
            place = replace(
                place,
                guards=(self._reservation(run_id),) if getattr(plugin, "paid", False) else (),
                sweep_id=self.ledger.sweep_id,
                job_id=job.job_id,
                run_id=run_id,
                attempt=attempt,
            )
            observer = Quiet(lambda: self._over(job, turn))
            record = execute(job.request, plugin, place, observer, cancellation, ready)
            self._budget.settle(run_id, record.manifest.cost["estimate_usd"])
            return JobEnded(record)
        except WorldFluxError as error:
            return JobEnded(None, error.problem)

    def _over(self, job: Job, turn: Turn) -> None:
        turn.over()
        if self._table is not None:
            self._table.over(job.job_id)

    def _prepared(self, job: Job) -> tuple[RuntimePlugin, Place, Ready] | WorldFluxError:
        """What a job needs and leaves nothing behind; an error is told when it is the job's turn."""
        from worldflux.cli.session import make_plugin
        from worldflux.run.ready import prepare

        try:
            plugin = make_plugin(job.request, self.project)
            place = self._place(job.request.spec.runs_dir)
            return plugin, place, prepare(job.request, plugin, place)
        except WorldFluxError as error:
            return error

    def _place(self, runs_dir: str) -> Place:
        """What all runs of the sweep share; what the gate derives from this process's secrets is one of it."""
        from worldflux.cli.session import make_place

        if runs_dir not in self._places:
            self._places[runs_dir] = make_place(self.project, runs_dir)
        return self._places[runs_dir]

    def _reservation(self, run_id: str) -> Guard:
        """Sets the run's bound aside in the sweep's budget, or refuses the run."""
        return lambda request: self._budget.reserve(run_id, request.spec.cost_guard.max_usd)

    def told(self, job: Job, ended: JobEnded | None) -> None:
        """Show how a run of a job ended; None says that it began."""
        if ended is not None:
            self.ended[job.job_id] = JobOutcome(ended.status, ended.told(job.request.spec.objective))
        if self._table is not None:
            self._table.told(job.job_id, ended)
            return
        if ended is None:
            return
        color = "32" if ended.succeeded else "31"
        place = f"[{len(self.ended) + len(self.kept)}/{len(self.jobs)}]"
        label = " ".join(text for text in job.request.overrides if not text.startswith("sweep."))
        text = ended.reason or (ended.record.run_id if ended.record else "")
        print(f"{place} {render.paint(ended.status, color, sys.stdout)}  {label}  {text}", flush=True)

    def returned(self, job: Job) -> Any:
        """What a sweeper learns of a job."""
        if job.job_id in self.ended:
            return self.ended[job.job_id].returned
        return self.newest(job, 0, "the job did not run").told(job.request.spec.objective)

    def newest(self, job: Job, before: int, problem: str) -> JobEnded:
        """How the newest run of a job went; none beyond the first `before` means it did not start."""
        from worldflux.run import store
        from worldflux.run.engine import RunRecord

        runs = self.ledger.runs.get(job.job_id, [])
        if len(runs) <= before:
            return JobEnded(None, problem)
        runs_dir = self.project.root / job.request.spec.runs_dir
        stored = store.load(runs_dir, runs[-1])
        if stored.manifest is None:
            return JobEnded(None, stored.problem)
        return JobEnded(RunRecord(stored.run_id, stored.folder, stored.manifest))

    def statuses(self) -> dict[str, str]:
        """Job id -> status, for every job that has ended, now or before."""
        done = {job.job_id: "succeeded" for job in self.kept}
        return {**done, **{job_id: ended.status for job_id, ended in self.ended.items()}}

    def summarize(self) -> None:
        statuses = self.statuses()
        counts: dict[str, int] = {}
        for job in self.jobs:
            status = statuses.get(job.job_id, "not started")
            counts[status] = counts.get(status, 0) + 1
        told = ", ".join(
            f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: -item[1])
        )
        print(f"sweep: {told} in {render.duration(time.monotonic() - self._begun)}", flush=True)
        if set(counts) != {"succeeded"}:
            print(f"go on with: worldflux-run -m sweep.resume={self.ledger.sweep_id}", flush=True)


def check_single(arguments: Sequence[str]) -> None:
    """Refuse settings that only mean something for a sweep.

    Raises:
        ConfigError: `sweep.resume` and the like without --multirun.
    """
    planning = ("resume", "seeds", "zip", "file", "include", "exclude")
    wrong = [
        text for text in arguments if text.partition("=")[0].lstrip("+") in [f"sweep.{p}" for p in planning]
    ]
    if wrong:
        raise ConfigError([Fault(text, "belongs to a sweep", "add --multirun (-m)") for text in wrong])
