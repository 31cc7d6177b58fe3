"""Jobs of a sweep handed to submitit: Slurm's `sbatch`, or processes of this machine.

A job carries what was typed, not objects: the worker composes it again, out of what the project remembers
where that is possible, and refuses to run when that gives another job. No value of the environment reaches a
file this way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worldflux.cli.batch import shown, time_was_up
from worldflux.cli.sweep_job import JobEnded
from worldflux.errors import WorldFluxError
from worldflux.run import store
from worldflux.run.outcome import Stopped

if TYPE_CHECKING:
    from worldflux.cli.elsewhere import Elsewhere
    from worldflux.config.job import Job

POLL_SECONDS = 0.5
#: Seconds between questions to Slurm, whose controller serves everybody.
ASK_SECONDS = 5.0
#: The same when no job is to start any more and somebody waits for the end.
ASK_STOPPED_SECONDS = 1.0
#: Seconds in which the last record of a job that left the queue must become visible.
SETTLE_SECONDS = 10.0


class Submitted:
    """What a submitted job calls. It is pickled, and again when its job is put back into the queue."""

    def __init__(self, root: str, overrides: Sequence[str], sweep_id: str, job_id: str) -> None:
        self.root, self.overrides = root, list(overrides)
        self.sweep_id, self.job_id = sweep_id, job_id

    def __call__(self) -> int:
        from worldflux.cli.live import summary
        from worldflux.cli.worker import enter, leave_if_requeued, work
        from worldflux.config.cache import compose_cached
        from worldflux.config.job import job_id_of

        project = enter(self.root)
        request = compose_cached(project, self.overrides)
        if job_id_of(request) != self.job_id:
            raise WorldFluxError(
                "the configuration has changed since the sweep was submitted",
                f"worldflux-run -m sweep.resume={self.sweep_id}",
                code="changed",
            )
        record = work(request, project, self.sweep_id)
        print(summary(record), flush=True)
        leave_if_requeued(record)
        return record.exit_code

    def checkpoint(self) -> Any:
        """What to run when the job starts again: the same job, as a run of its own."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Submission:
    """Jobs that were submitted together, watched until each has ended or is lost.

    Args:
        before: job id -> how many runs the job had until now.
    """

    def __init__(self, sweep: Elsewhere, jobs: Sequence[Job], before: dict[str, int]) -> None:
        self._sweep, self._before = sweep, before
        self._waiting = list(jobs)
        self._running: dict[str, tuple[Job, Any]] = {}
        self._gone: dict[str, float] = {}
        self._asked, self._queued = 0.0, set[str]()
        self._slurm = sweep.launcher._EXECUTOR == "slurm"
        self.stopped = False

    def run(self) -> None:
        """Submit, watch, tell. Ctrl-C cancels what is submitted; a second one stops watching."""
        executor = self._executor()
        try:
            self._watch(executor)
        except KeyboardInterrupt:
            self._stop(list(self._running.values()))
            self._waiting.clear()
            self._watch(executor)
            raise

    def _watch(self, executor: Any) -> None:
        while self._waiting or self._running:
            self._submit(executor)
            time.sleep(POLL_SECONDS)
            self._sweep.ledger.refresh()
            for job, handle in list(self._running.values()):
                ended = self._ended(job, handle)
                if ended is None:
                    continue
                del self._running[job.job_id]
                if ended.record is None and self.stopped:
                    continue  # taken out of the queue before it began
                self._sweep.told(job, ended)
                if self._sweep.policy.fail_fast and not ended.succeeded and not self.stopped:
                    self._start_no_more()

    def _executor(self) -> Any:
        import submitit

        kind = "slurm" if self._slurm else "local"
        own = ("max_num_timeout", "submitit_folder")
        shared = (
            "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name",
            "stderr_to_stdout",
        )  # fmt: skip
        given = dict(self._sweep.launcher.params)
        first = {f"{kind}_{key}": given[key] for key in own[:1] if key in given}
        executor = submitit.AutoExecutor(folder=given["submitit_folder"], cluster=kind, **first)
        if self._slurm and self._sweep.asked_parallel is not None:
            given["array_parallelism"] = self._sweep.asked_parallel
        executor.update_parameters(
            **{
                key if key in shared else f"{kind}_{key}": value
                for key, value in given.items()
                if key not in own
            }
        )
        return executor

    def _submit(self, executor: Any) -> None:
        """Slurm gets all jobs as one array; this machine as many as it has room for."""
        if not self._waiting:
            return
        room = len(self._waiting) if self._slurm else self._sweep.policy.parallel - len(self._running)
        jobs, self._waiting = self._waiting[: max(0, room)], self._waiting[max(0, room) :]
        if not jobs:
            return
        calls = [
            Submitted(
                str(self._sweep.project.root), job.request.overrides, self._sweep.ledger.sweep_id, job.job_id
            )
            for job in jobs
        ]
        try:
            with executor.batch():
                handles = [executor.submit(call) for call in calls]
        except Exception as error:
            text = " ".join(str(error).split())
            raise WorldFluxError(
                f"the jobs could not be submitted: {text[:1000]}",
                "check the launcher's settings: worldflux-run ... --cfg hydra -p hydra.launcher",
                code="submission",
            ) from error
        for job, handle in zip(jobs, handles, strict=True):
            self._running[job.job_id] = (job, handle)
        self._asked = 0.0

    def _ended(self, job: Job, handle: Any) -> JobEnded | None:
        """How a job ended, by its record; None while it may still run."""
        ended = self._sweep.newest(job, self._before[job.job_id], "")
        final = ended.record is not None and ended.record.manifest.final
        if final and ended.status != "interrupted":
            return ended
        if self._present(handle):
            self._gone.pop(job.job_id, None)
            return None
        since = self._gone.setdefault(job.job_id, time.monotonic())
        patience = ASK_STOPPED_SECONDS if self.stopped and ended.record is None else SETTLE_SECONDS
        if time.monotonic() - since < patience and not final:
            return None
        if ended.record is not None:
            # Slurm gives a job 30 seconds to end; one that needs longer is killed and leaves its record open.
            late = self._slurm and not final and time_was_up(shown(handle.job_id))
            reason = f"Slurm ended job {handle.job_id} at its time limit"
            ending = Stopped("timeout", reason).ending(None) if late else None
            runs_dir = self._sweep.project.root / job.request.spec.runs_dir
            store.supersede(runs_dir, ended.record.run_id, ending)
            return self._sweep.newest(job, self._before[job.job_id], "")
        return JobEnded(None, _last_words(handle))

    def _present(self, handle: Any) -> bool:
        """Whether the job is in the queue or running."""
        if not self._slurm:
            return not handle.done()
        if time.monotonic() - self._asked > (ASK_STOPPED_SECONDS if self.stopped else ASK_SECONDS):
            self._ask()
        return handle.job_id in self._queued

    def _ask(self) -> None:
        """Which jobs of this person Slurm has. A controller that does not answer has lost nothing."""
        command = ["squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True, text=True
            )
        except (OSError, subprocess.SubprocessError):
            self._queued = {handle.job_id for _, handle in self._running.values()}
        else:
            self._queued = set(done.stdout.split())
        self._asked = time.monotonic()

    def _start_no_more(self) -> None:
        self.stopped = True
        self._waiting.clear()
        if self._slurm and self._running:
            ids = [handle.job_id for _, handle in self._running.values()]
            _slurm_cancel("--state=PENDING", *ids)

    def _stop(self, running: Sequence[tuple[Job, Any]]) -> None:
        self.stopped = True
        if self._slurm and running:
            _slurm_cancel(*[handle.job_id for _, handle in running])
            return
        for _, handle in running:
            if not handle.done():
                os.kill(int(handle.job_id), signal.SIGTERM)


def _slurm_cancel(*words: str) -> None:
    subprocess.run(
        ["scancel", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def _last_words(handle: Any) -> str:
    """Why a job left no record, as far as its own output tells."""
    try:
        lines = [line.strip() for line in (handle.stderr() or "").splitlines() if line.strip()]
    except (OSError, ValueError):
        lines = []
    told = f": {lines[-1][:500]}" if lines else ""
    return f"job {handle.job_id} ended without a record{told}"
