"""Many jobs side by side: threads that each carry out one run at a time.

A run's command is a process of its own, so threads are enough. Ctrl-C or SIGTERM once: no further
job starts and running ones are asked to end; again: they are ended at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from threading import Event
from typing import Any, Generic, Protocol, TypeVar

from worldflux import interrupts
from worldflux.run.cancel import Cancellation

JobType = TypeVar("JobType")


class Ended(Protocol):
    """What a job's run came to."""

    @property
    def succeeded(self) -> bool: ...


EndedType = TypeVar("EndedType", bound=Ended)
Begun = TypeVar("Begun")


@dataclass(frozen=True)
class Policy:
    """How a sweep goes about its jobs.

    Attributes:
        parallel: commands at the same time; the records of those before may still be in the making.
        in_turn: not even that: a place is free again when the record is written.
        retries: further attempts of a job that failed.
        fail_fast: start nothing more after a job failed for good.
    """

    parallel: int
    retries: int = 0
    fail_fast: bool = False
    in_turn: bool = False


class Turn(Protocol):
    """When the command of a job may run. What needs no command can be done before and after."""

    def take(self, begin: Callable[[], Begun]) -> Begun | None:
        """Wait until the command may start, and begin; None when nothing is to start any more.

        Jobs begin in their order, one after the other: `begin` is best short.
        """

    def over(self) -> None:
        """The command has ended, so that another one may start. May be said more than once, or never."""


class Pool(Generic[JobType, EndedType]):
    """Carries out jobs.

    Args:
        carry_out: one run of a job, from start to end, in a thread; None when it was not its turn any more.
        told: called in the main thread when a run began (None) or ended.
    """

    def __init__(
        self,
        policy: Policy,
        carry_out: Callable[[JobType, Cancellation, Turn], EndedType | None],
        told: Callable[[JobType, EndedType | None], None],
    ) -> None:
        self._policy, self._carry_out, self._told = policy, carry_out, told
        self.cancellation = Cancellation()
        self._attempts: dict[int, int] = {}
        self._over = False
        # A thread takes one of these for its command. The one that waits for it has prepared its job,
        # so that the next command starts at once.
        self._places: SimpleQueue[None] = SimpleQueue()
        # Set when the newest job has had its turn: they come in the order of the jobs.
        self._had = Event()
        self._had.set()
        # What threads report. Counts are kept by the calling thread alone; the queue only wakes it.
        self._begun: deque[JobType] = deque()
        self._free: deque[None] = deque()
        self._ended: deque[tuple[int, int, JobType, EndedType | None, BaseException | None]] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()
        self._presses: deque[None] = deque()

    def run(self, jobs: Sequence[JobType]) -> bool:
        """Carry out all jobs; whether that was interrupted.

        An interrupt of the calling thread is handled here, between two pieces of its work, and not raised.
        """
        waiting = deque(enumerate(jobs))
        running: set[int] = set()
        parallel = self._policy.parallel
        numbers = count()
        commands = 0
        stopping = False
        # Before the next one starts, it must be known whether it shall.
        ahead = 0 if self._policy.fail_fast else 1
        for _ in range(parallel):
            self._places.put(None)
        threads = ThreadPoolExecutor(2 * parallel, thread_name_prefix="run")
        try:
            with interrupts.told(self._press):
                while running or (waiting and not stopping and not self.cancellation.requested):
                    while self._presses:
                        self._presses.popleft()
                        self.cancellation.request()
                    while self._begun:
                        self._told(self._begun.popleft(), None)
                    while self._free:
                        self._free.popleft()
                        commands -= 1
                    while self._ended:
                        stopping = self._hear(*self._ended.popleft(), running, waiting) or stopping
                    while waiting and commands < parallel + ahead and len(running) < 2 * parallel:
                        if stopping or self.cancellation.requested:
                            break
                        index, job = waiting.popleft()
                        number = next(numbers)
                        threads.submit(self._one, number, index, _Turn(self, job))
                        running.add(number)
                        commands += 1
                    if running and not (self._begun or self._free or self._ended or self._presses):
                        self._news.get()
        finally:
            self._over = True
            threads.shutdown(wait=True, cancel_futures=True)
        return self.cancellation.requested or bool(self._presses)

    def _press(self) -> None:
        """Note an interrupt; it can come anywhere in the main thread, so the loop sees to it."""
        self._presses.append(None)
        self._news.put(None)

    def _hear(
        self,
        number: int,
        index: int,
        job: JobType,
        ended: EndedType | None,
        error: BaseException | None,
        running: set[int],
        waiting: deque[tuple[int, JobType]],
    ) -> bool:
        """Tell how a run ended and see what follows; true when nothing more is to start."""
        running.discard(number)
        if error is not None:
            raise error
        if ended is None:  # interrupted before it began
            return True
        self._told(job, ended)
        if ended.succeeded or self.cancellation.requested:
            return False
        self._attempts[index] = self._attempts.get(index, 0) + 1
        if self._attempts[index] <= self._policy.retries:
            waiting.append((index, job))
            return False
        return self._policy.fail_fast

    def _one(self, number: int, index: int, turn: _Turn[JobType]) -> None:
        """One run in its thread. Its place is free when its command has ended, at the latest at its end."""
        ended, error = None, None
        try:
            ended = self._carry_out(turn.job, self.cancellation, turn)
        except BaseException as problem:
            error = problem
            self._over = True
        self._ended.append((number, index, turn.job, ended, error))
        turn.give_back()
        self._news.put(None)


class _Turn(Generic[JobType]):
    """The turn of one job in a pool."""

    def __init__(self, pool: Pool[JobType, Any], job: JobType) -> None:
        self.job = job
        self._pool, self._before, self._had = pool, pool._had, Event()
        pool._had = self._had
        self._taken = self._given_back = False

    def take(self, begin: Callable[[], Begun]) -> Begun | None:
        pool = self._pool
        self._before.wait()
        pool._places.get()
        self._taken = True
        try:
            if pool.cancellation.requested or pool._over:
                return None
            begun = begin()
            pool._begun.append(self.job)
            pool._news.put(None)
            return begun
        finally:
            self._had.set()

    def over(self) -> None:
        policy = self._pool._policy
        if not (policy.fail_fast or policy.in_turn):
            self.give_back()

    def give_back(self) -> None:
        if self._given_back:
            return
        self._given_back = True
        if self._taken:
            self._pool._places.put(None)
        self._had.set()
        self._pool._free.append(None)
        self._pool._news.put(None)
