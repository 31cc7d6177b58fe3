"""Many jobs side by side: threads that each carry out one run at a time.

A run's command is a process of its own, so threads are enough. Ctrl-C or SIGTERM once: no further
job starts and running ones are asked to end; again: they are ended at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

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
        parallel: commands at the same time; the records of those before may still be in the making.
        retries: further attempts of a job that failed.
        fail_fast: start nothing more after a job failed for good.
    """

    parallel: int
    retries: int = 0
    fail_fast: bool = False


class Pool(Generic[JobType, EndedType]):
    """Carries out jobs.

    Args:
        carry_out: one run of a job, from start to end; called in a thread. It may call its last
            argument to say that the command has ended and another one may start.
        told: called in the main thread when a run began (None) or ended.
    """

    def __init__(
        self,
        policy: Policy,
        carry_out: Callable[[JobType, Cancellation, Callable[[], None]], EndedType],
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
        commands: set[Future[None]] = set()
        parallel = self._policy.parallel
        stopping = False
        threads = ThreadPoolExecutor(2 * parallel, thread_name_prefix="run")
        try:
            while running or (waiting and not stopping and not self.cancellation.requested):
                try:
                    commands = {command for command in commands if not command.done()}
                    while waiting and len(commands) < parallel and len(running) < 2 * parallel:
                        if stopping or self.cancellation.requested:
                            break
                        index, job = waiting.popleft()
                        command: Future[None] = Future()
                        commands.add(command)
                        running[threads.submit(self._one, job, command)] = (index, job)
                        self._told(job, None)
                    awaited: list[Future[Any]] = [*running, *commands]
                    wait(awaited, return_when=FIRST_COMPLETED)
                    for future in [each for each in running if each.done()]:
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

    def _one(self, job: JobType, command: Future[None]) -> EndedType:
        """One run in its thread; `command` is done as soon as another command may start."""

        def ended() -> None:
            if not command.done():
                command.set_result(None)

        try:
            # Before the next one starts, it must be known whether it shall.
            early = (lambda: None) if self._policy.fail_fast else ended
            return self._carry_out(job, self.cancellation, early)
        finally:
            ended()
