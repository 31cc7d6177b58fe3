"""What a batch system knows about the job that this process is part of."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Seconds that Slurm's controller may take to answer.
TIME_LIMIT = 10.0
#: The signal that submitit has Slurm send before a time limit or a preemption.
WARNING = signal.SIGUSR2


def slurm_job() -> str | None:
    """The Slurm job of this process, an element of an array as `12_3`; None outside Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def why_stopped() -> str:
    """Why this process is being stopped, if its job will be started again; empty if it will not.

    A preempted, requeued or cancelled Slurm job gets the same signal. They differ in that Slurm
    has counted one more start of a job that goes back to the queue.
    """
    job = slurm_job()
    if job is None:
        return ""
    try:
        shown = subprocess.run(
            ["scontrol", "show", "job", "-o", job],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\bRestarts=(\d+)", shown)
    if found and int(found[1]) > int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return f"Slurm put job {job} back into its queue"
    return ""


class Warned:
    """Whether the batch system gave its warning, and what would have handled it."""

    def __init__(self) -> None:
        self.given = False

    def why(self) -> str:
        """For the record: why the run was stopped, when it will be started again."""
        return "the batch system is about to end the job" if self.given else why_stopped()


@contextmanager
def warning_as_interrupt() -> Iterator[Warned]:
    """Inside, the batch system's warning ends the run as Ctrl-C does, with its record written.

    Afterwards the warning goes to the handler that was there before, which puts the job back into
    the queue: a job that goes on must not find its earlier record still open.
    """
    warned = Warned()
    if threading.current_thread() is not threading.main_thread():
        yield warned
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        warned.given = True
        raise KeyboardInterrupt

    before = signal.signal(WARNING, interrupt)
    try:
        yield warned
    finally:
        signal.signal(WARNING, before)
    if warned.given:
        signal.raise_signal(WARNING)
