"""Many jobs side by side: threads that each carry out one run at a time.

A run's command is a process of its own, so threads are enough. Ctrl-C or SIGTERM once: no further
job starts and running ones are asked to end; again: they are ended at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from worldflux.run.cancel import Cancellation

JobType = TypeVar("JobType")


class Ended(Protocol):
    """What a job's run came to."""

    @property
    def succeeded(self) -> bool: ...


EndedType = TypeVar("EndedType", bound=Ended)


@dataclass(frozen=True)
class Policy:
    """How a sweep goes about its jobs.

    Attributes:
        parallel: runs at the same time.
        retries: further attempts of a job that failed.
        fail_fast: start nothing more after a job failed for good.
    """

    parallel: int
    retries: int = 0
    fail_fast: bool = False


class Pool(Generic[JobType, EndedType]):
    """Carries out jobs.

    Args:
        carry_out: one run of a job, from start to end; called in a thread.
        told: called in the main thread when a run began (None) or ended.
    """

    def __init__(
        self,
        policy: Policy,
        carry_out: Callable[[JobType, Cancellation], EndedType],
        told: Callable[[JobType, EndedType | None], None],
    ) -> None:
        self._policy, self._carry_out, self._told = policy, carry_out, told
        self.cancellation = Cancellation()
        self._attempts: dict[int, int] = {}

    def run(self, jobs: Sequence[JobType]) -> bool:
        """Carry out all jobs; whether that was interrupted.

        KeyboardInterrupt in the calling thread is handled here and not raised.
        """
        waiting = deque(enumerate(jobs))
        running: dict[Future[EndedType], tuple[int, JobType]] = {}
        stopping = False
        threads = ThreadPoolExecutor(self._policy.parallel, thread_name_prefix="run")
        try:
            while running or (waiting and not stopping and not self.cancellation.requested):
                try:
                    while waiting and len(running) < self._policy.parallel and not stopping:
                        if self.cancellation.requested:
                            break
                        index, job = waiting.popleft()
                        running[threads.submit(self._carry_out, job, self.cancellation)] = (index, job)
                        self._told(job, None)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        index, job = running.pop(future)
                        ended = future.result()
                        self._told(job, ended)
                        if ended.succeeded or self.cancellation.requested:
                            continue
                        self._attempts[index] = self._attempts.get(index, 0) + 1
                        if self._attempts[index] <= self._policy.retries:
                            waiting.append((index, job))
                        else:
                            stopping = stopping or self._policy.fail_fast
                except KeyboardInterrupt:
                    self.cancellation.request()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
        return self.cancellation.requested
