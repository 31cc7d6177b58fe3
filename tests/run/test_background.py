"""Provenance is gathered beside the run, once for runs that start together, and never stale for long."""

from __future__ import annotations

import threading
import time

from worldflux.run.background import RECENT_SECONDS, recent


def test_one_answer_serves_runs_that_start_together() -> None:
    """Eight threads at once ask once; each gets a copy of its own."""
    calls: list[int] = []
    answers: list[dict[str, list[int]]] = []

    def find() -> dict[str, list[int]]:
        calls.append(1)
        time.sleep(0.05)
        return {"commits": [len(calls)]}

    threads = [threading.Thread(target=lambda: answers.append(recent("key a", find))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers[0]["commits"].append(99)
    assert calls == [1] and answers[1:] == [{"commits": [1]}] * 7


def test_an_answer_is_not_kept_for_long() -> None:
    """What changed is seen by a run that starts after the time an answer serves."""
    values = iter([1, 2])
    assert recent("key b", lambda: next(values)) == 1
    assert recent("key b", lambda: next(values)) == 1
    deadline = time.monotonic() + RECENT_SECONDS + 5
    while recent("key b", lambda: next(values)) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
