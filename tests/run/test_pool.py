"""Jobs side by side: never more commands than allowed, and no idle place while a record is written."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from worldflux.run.cancel import Cancellation
from worldflux.run.pool import Policy, Pool, Turn


@dataclass
class Ended:
    succeeded: bool = True


def noted(jobs: list[int], job: int) -> int:
    jobs.append(job)
    return job


class Work:
    """Commands that last a moment, and records that take as long again."""

    def __init__(self, fails: int = 0, seconds: float = 0.02) -> None:
        self.fails, self.seconds = fails, seconds
        self.lock = threading.Lock()
        self.commands = self.most_commands = self.alive = self.most_alive = 0
        self.begun: list[int] = []
        self.told: list[tuple[int, bool | None]] = []

    def carry_out(self, job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        if turn.take(lambda: noted(self.begun, job)) is None:
            return None
        with self.lock:
            self.commands, self.alive = self.commands + 1, self.alive + 1
            self.most_commands = max(self.most_commands, self.commands)
            self.most_alive = max(self.most_alive, self.alive)
        time.sleep(self.seconds)
        with self.lock:
            self.commands -= 1
        turn.over()
        turn.over()
        time.sleep(self.seconds)
        with self.lock:
            self.alive -= 1
            self.fails -= 1
        return Ended(self.fails < 0)

    def tell(self, job: int, ended: Ended | None) -> None:
        self.told.append((job, None if ended is None else ended.succeeded))

    def run(self, jobs: int, policy: Policy) -> Pool[int, Ended]:
        pool: Pool[int, Ended] = Pool(policy, self.carry_out, self.tell)
        pool.run(range(jobs))
        return pool


def test_a_place_is_free_when_its_command_has_ended() -> None:
    """The next command starts while the record of the one before is written; commands keep to their number."""
    work = Work()
    work.run(24, Policy(parallel=3))
    assert sorted(work.begun) == list(range(24))
    assert work.most_commands <= 3
    assert 3 < work.most_alive <= 6
    assert [job for job, ended in work.told if ended] and len(work.told) == 48


def test_in_turn_a_record_is_written_before_the_next_job_begins() -> None:
    """One job at a time then means its record, too."""
    work = Work()
    work.run(6, Policy(parallel=1, in_turn=True))
    assert work.begun == list(range(6)) and work.most_alive == 1


def test_the_next_job_is_prepared_while_a_command_runs() -> None:
    """One job is ahead of the commands, and no more: what was looked up for it shall not be old."""
    prepared: list[int] = []
    running: list[int] = []
    ahead: list[list[int]] = []

    def carry_out(job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        prepared.append(job)
        if turn.take(lambda: noted(running, job)) is None:
            return None
        until = time.monotonic() + 60
        while job < 5 and prepared[-1] == job and time.monotonic() < until:
            time.sleep(0.002)
        ahead.append(prepared[len(running) :])
        turn.over()
        return Ended()

    Pool(Policy(parallel=1), carry_out, lambda job, ended: None).run(range(6))
    assert ahead == [[1], [2], [3], [4], [5], []]


def test_one_at_a_time_is_one_at_a_time() -> None:
    """With one place, no two commands ever overlap, and jobs start in order."""
    work = Work(seconds=0.005)
    work.run(12, Policy(parallel=1))
    assert work.most_commands == 1 and work.begun == list(range(12))


def test_jobs_start_in_their_order() -> None:
    """However long each took to prepare: run ids, which are ordered by time, follow the order of the jobs."""
    begun: list[int] = []

    def carry_out(job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        time.sleep(0.02 if job % 2 == 0 else 0)
        if turn.take(lambda: noted(begun, job)) is None:
            return None
        turn.over()
        return Ended()

    Pool(Policy(parallel=3), carry_out, lambda job, ended: None).run(range(30))
    assert begun == list(range(30))


def test_fail_fast_knows_the_end_before_the_next_start() -> None:
    """With fail_fast, a place is kept until the record says how it went: nothing starts after a failure."""
    work = Work(fails=1)
    work.run(10, Policy(parallel=1, fail_fast=True))
    assert work.begun == [0] and work.most_alive == 1


@pytest.mark.parametrize("parallel", [1, 4])
def test_retries(parallel: int) -> None:
    """A job that failed starts again, at most as often as asked."""
    work = Work(fails=3, seconds=0.002)
    work.run(1, Policy(parallel=parallel, retries=2))
    assert work.begun == [0, 0, 0]
    work = Work(fails=2, seconds=0.002)
    work.run(3, Policy(parallel=parallel, retries=5))
    assert len(work.begun) == 5 and sorted(set(work.begun)) == [0, 1, 2]


def test_nothing_starts_after_a_stop() -> None:
    """Once a stop is asked for, what runs ends and is told, and nothing else starts."""
    work = Work()
    pool: Pool[int, Ended] = Pool(Policy(parallel=2), work.carry_out, work.tell)
    threading.Timer(0.05, pool.cancellation.request).start()
    assert pool.run(range(1000)) is True
    assert len(work.begun) < 20
    assert sorted(job for job, ended in work.told if ended is not None) == sorted(work.begun)


def test_an_error_of_a_job_is_raised_after_the_others_ended() -> None:
    """A bug in one run is not hidden, and leaves no thread at work."""
    work = Work()

    def carry_out(job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        if job == 1:
            raise ZeroDivisionError
        return work.carry_out(job, cancellation, turn)

    pool: Pool[int, Ended] = Pool(Policy(parallel=2), carry_out, work.tell)
    with pytest.raises(ZeroDivisionError):
        pool.run(range(4))
    assert work.alive == 0


def test_a_fault_of_ours_starts_nothing_more() -> None:
    """An exception out of a run reaches the caller; the job that already waits for its place is not begun."""
    begun: list[int] = []

    def carry_out(job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        if turn.take(lambda: noted(begun, job)) is None:
            return None
        time.sleep(0.05)
        raise RuntimeError("broken")

    pool: Pool[int, Ended] = Pool(Policy(parallel=1), carry_out, lambda job, ended: None)
    with pytest.raises(RuntimeError, match="broken"):
        pool.run(range(5))
    assert begun == [0]


def test_nothing_begins_after_an_interrupt() -> None:
    """A job that waits for its place when the sweep is interrupted is neither begun nor told of."""
    begun: list[int] = []
    told: list[int] = []

    def carry_out(job: int, cancellation: Cancellation, turn: Turn) -> Ended | None:
        if turn.take(lambda: noted(begun, job)) is None:
            return None
        until = time.monotonic() + 60
        while not cancellation.requested and time.monotonic() < until:
            time.sleep(0.005)
        return Ended(False)

    pool: Pool[int, Ended] = Pool(Policy(parallel=2), carry_out, lambda job, ended: told.append(job))
    threading.Timer(0.1, pool.cancellation.request).start()
    assert pool.run(range(20))
    assert sorted(begun) == [0, 1] and set(told) == {0, 1}
