"""A sweep whose jobs another launcher carries out: Slurm, joblib, Ray, any that Hydra knows.

Each worker writes its run into the project's folder of runs, as always, and notes it for the
sweep. How a job went is read from there, never from what a launcher returns: some return nothing
at all when a single job was lost.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worldflux import interrupts
from worldflux.cli.sweep import Sweep
from worldflux.config.project import Project
from worldflux.errors import UsageError, WorldFluxError
from worldflux.run.ledger import Ledger

if TYPE_CHECKING:
    from worldflux.config.job import Job


class Elsewhere(Sweep):
    """One sweep, carried out by a launcher of another package.

    Raises:
        UsageError: a setting of the sweep that this launcher can not keep.
    """

    def __init__(self, jobs: Sequence[Job], ledger: Ledger, project: Project, launcher: Any) -> None:
        super().__init__(jobs, ledger, project)
        self.launcher = launcher
        self._problem = ""
        self.asked_parallel = jobs[0].request.spec.sweep.max_parallel
        self._check()

    @property
    def _submits(self) -> bool:
        """Whether it is submitit's launcher, whose jobs are submitted and watched one by one."""
        return hasattr(self.launcher, "_EXECUTOR")

    def _check(self) -> None:
        from worldflux.cli.session import make_plugin

        spec = self.jobs[0].request.spec
        name = type(self.launcher).__name__
        wrong = []
        if spec.sweep.fail_fast and not self._submits:
            wrong.append("sweep.fail_fast=true")
        if spec.sweep.max_parallel is not None and not self._submits:
            wrong.append(f"sweep.max_parallel={spec.sweep.max_parallel}")
        if spec.cost_guard.max_sweep_usd is not None and any(
            getattr(make_plugin(job.request, self.project), "paid", False) for job in self.jobs
        ):
            wrong.append("cost_guard.max_sweep_usd")
        if wrong:
            raise UsageError(
                f"{', '.join(wrong)}: {name} can not keep it",
                "leave it out and use the launcher's own settings (--cfg hydra -p hydra.launcher), "
                "or leave out hydra/launcher",
            )

    def run(self) -> bool:
        """Whether the sweep was interrupted."""
        todo = self.todo()
        print(
            f"sweep {self.ledger.sweep_id}: {len(self.jobs)} jobs, by {type(self.launcher).__name__}"
            + (f", {len(self.kept)} done before" if self.kept else ""),
            flush=True,
        )
        try:
            with interrupts.terminate_too():
                for _ in range(self.policy.retries + 1):
                    if not todo or self._launch(todo):
                        break
                    todo = [job for job in todo if not self.ended[job.job_id].succeeded]
        except KeyboardInterrupt:
            return True
        finally:
            self.ledger.close()
        return False

    def _launch(self, jobs: Sequence[Job]) -> bool:
        """Carry out jobs once; whether no further one may start."""
        before = {job.job_id: len(self.ledger.runs.get(job.job_id, [])) for job in jobs}
        if self._submits:
            from worldflux.cli.submission import Submission

            submission = Submission(self, jobs, before)
            submission.run()
            return submission.stopped
        self.launcher.task_function = self._task()
        try:
            self.launcher.launch([list(job.request.overrides) for job in jobs], initial_job_idx=0)
        except (KeyboardInterrupt, WorldFluxError):
            raise
        except Exception as error:
            # The launcher gave up; what has been run is recorded all the same.
            text = str(error).strip().splitlines() or [""]
            self._problem = f"{type(self.launcher).__name__}: {type(error).__name__}: {text[0]}"
        finally:
            self.ledger.refresh()
        for job in jobs:
            self.told(
                job, self.newest(job, before[job.job_id], self._problem or "the launcher did not start it")
            )
        return False

    def _task(self) -> Any:
        from worldflux.cli.worker import hydra_job

        return functools.partial(hydra_job, root=str(self.project.root), sweep_id=self.ledger.sweep_id)
