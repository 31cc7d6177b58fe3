"""What a batch system knows about the job that this process is part of."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from worldflux import interrupts
from worldflux.run.outcome import Stopped

#: Seconds that Slurm's controller may take to answer.
TIME_LIMIT = 10.0
#: Seconds before each question about a job of which Slurm does not say yet what becomes of it. A job that
#: makes way for another one is unknown for a moment.
ASKED_AGAIN = (0.0, 0.1, 0.3, 0.6, 1.0)
#: The signal that submitit has Slurm send before a time limit or a preemption.
WARNING = signal.SIGUSR2


def slurm_job() -> str | None:
    """The Slurm job of this process, an element of an array as `12_3`; None outside Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def shown(job: str) -> str:
    """What Slurm says about a job, on one line; empty when it does not answer or has forgotten it."""
    try:
        return subprocess.run(
            ["scontrol", "show", "job", "-o", job],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def time_was_up(told: str) -> bool:
    """Whether a job was ended at its time limit, by what Slurm says about it."""
    return re.search(r"\b(JobState=TIMEOUT|Reason=TimeLimit)\b", told) is not None


def why_stopped() -> Stopped:
    """Why this process is being stopped.

    A preempted, requeued or cancelled Slurm job, and one whose time is up, get the same signal.
    They differ in that Slurm has counted one more start of a job that goes back to the queue, and
    names the time limit as its reason. It may end the processes before it has noted that.
    """
    job = slurm_job()
    if job is None:
        return Stopped("cancelled")
    for pause in ASKED_AGAIN:
        time.sleep(pause)
        told = shown(job)
        found = re.search(r"\bRestarts=(\d+)", told)
        if found and int(found[1]) > int(os.environ.get("SLURM_RESTART_COUNT") or 0):
            return Stopped("interrupted", f"Slurm put job {job} back into its queue")
        if time_was_up(told):
            return Stopped("timeout", f"Slurm ended job {job} at its time limit")
        if told and not re.search(r"\bJobState=(RUNNING|COMPLETING|PREEMPTED)\b", told):
            break
    return Stopped("cancelled")


class Stop:
    """Whether this process was told to stop, and by what."""

    def __init__(self) -> None:
        self.asked = False
        self.warned = False

    def why(self) -> Stopped | None:
        """By what and why; None when it was not."""
        if self.warned:
            return Stopped("interrupted", "the batch system is about to end the job")
        return why_stopped() if self.asked else None


@contextmanager
def stops_as_interrupts() -> Iterator[Stop]:
    """Inside, SIGTERM and the batch system's warning end the run as Ctrl-C does, with its record written.

    One of them is enough: what follows is ignored, so that it can not disturb the record. Afterwards
    a warning goes to the handler that was there before, which puts the job back into the queue: a
    job that goes on must not find its earlier record still open.
    """
    stop = Stop()

    def first_only(number: int, frame: FrameType | None) -> None:
        if not stop.asked:
            stop.asked, stop.warned = True, number == WARNING
        elif not interrupts.is_waiting():
            return
        interrupts.interrupt(number, frame)

    with interrupts.handled(signal.SIGTERM, signal.SIGHUP, WARNING, by=first_only):
        yield stop
    if stop.warned:
        signal.raise_signal(WARNING)
