"""Blocking calls of a vendor's SDK, made so that a deadline, a cancel and Ctrl-C get through.

An SDK may block for ever, or retry for ever, with no way to interrupt it. So the call is made in
a thread of its own, and this one looks at the clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_GLANCE = 0.05


class Cancelled(Exception):
    """Somebody asked for the run to end."""


class TooLate(Exception):
    """The deadline has passed before the call came back."""


class Patience:
    """Waits for calls of one run.

    Args:
        cancelled: set by whoever wants the run to end, from any thread.
    """

    def __init__(self, cancelled: threading.Event) -> None:
        self.cancelled = cancelled

    def call(self, function: Callable[[], T], deadline: float | None) -> T:
        """The function's result, from a thread of its own.

        Args:
            deadline: on `time.monotonic`; None waits as long as it takes.

        Raises:
            Cancelled: while it was waiting. The call goes on in its thread; nobody reads it.
            TooLate: the deadline has passed; likewise.
            BaseException: what the function raised.
        """
        outcome: list[T] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(function())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=work, name="vendor-call", daemon=True)
        thread.start()
        while True:
            thread.join(_GLANCE)
            if not thread.is_alive():
                break
            if self.cancelled.is_set():
                raise Cancelled
            if deadline is not None and time.monotonic() >= deadline:
                raise TooLate
        if failure:
            raise failure[0]
        return outcome[0]

    def sleep(self, seconds: float, deadline: float | None = None) -> None:
        """Wait, unless cancelled or too late.

        Raises:
            Cancelled: somebody asked for the end.
            TooLate: the deadline has passed.
        """
        until = time.monotonic() + seconds
        if deadline is not None:
            until = min(until, deadline)
        if self.cancelled.wait(max(0.0, until - time.monotonic())):
            raise Cancelled
        if deadline is not None and time.monotonic() >= deadline:
            raise TooLate
