"""When to try again: bounded in number, in time, and by what servers ask."""

from __future__ import annotations

import threading

import pytest

from worldflux.sync.retries import CAP_SECONDS, Budget, pause, retry_after


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("0", None, 0.0),
        ("7", None, 7.0),
        (" 7 ", None, 7.0),
        ("120", None, 60.0),
        ("99999999999999999999999999", None, 60.0),
        ("-5", None, None),
        ("abc", None, None),
        ("1.5", None, None),
        ("٧", None, None),
        ("", None, None),
        ("Fri, 31 Dec 2099 23:59:59 GMT", None, 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, None),
        ("Fri, 31 Dec 2099 23:59:59 GMT", "Fri, 31 Dec 2099 23:59:50 GMT", 9.0),
        ("Fri, 31 Dec 2099 23:59:59 GMT", "nonsense", 60.0),
        ("Wed, 99 Foo 2099 99:99:99 GMT", None, None),
    ],
)
def test_retry_after_is_read_sanely(value: str, date: str | None, expected: float | None) -> None:
    """A wait is at most a minute, nonsense is ignored, and a date counts from the server's own clock."""
    headers = {"Retry-After": value, **({"Date": date} if date else {})}
    assert retry_after(headers) == expected


def test_pauses_double_up_to_a_limit_and_are_drawn_from_zero() -> None:
    """The longest pause is 0.5, 1, 2 ... 30 seconds, the shortest nothing; a huge number of tries is fine."""
    longest = [pause(attempt, draw=lambda: 1.0) for attempt in (1, 2, 3, 6, 7, 8, 10_000)]
    assert longest == [0.5, 1.0, 2.0, 16.0, CAP_SECONDS, CAP_SECONDS, CAP_SECONDS]
    assert pause(5, draw=lambda: 0.0) == 0.0
    assert 3.0 <= pause(1, 3.0) <= 3.5


def test_a_budget_counts_trouble_only_and_threads_once() -> None:
    """Time between troubles is free; two requests in trouble at the same time spend the time once."""
    now = [0.0]
    budget = Budget(10.0, clock=lambda: now[0])
    now[0] = 1000.0
    assert budget.left == 10.0
    with budget.trouble():
        now[0] += 2
        with budget.trouble():
            now[0] += 2
            assert budget.left == 6.0
        now[0] += 1
    now[0] += 500
    assert budget.left == 5.0
    with budget.trouble():
        now[0] += 100
        assert budget.left == 0.0


def test_a_budget_is_shared_by_threads() -> None:
    """Many threads that enter and leave at once leave the account in order."""
    budget = Budget(10.0)

    def work() -> None:
        for _ in range(200):
            with budget.trouble():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert budget._troubled == 0 and 9.0 < budget.left <= 10.0
