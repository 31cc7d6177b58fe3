"""When to try again, how long to wait before, and when to stop."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

#: Seconds that all trouble of one command together may take.
BUDGET_SECONDS = 600.0
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0

#: A server that asks for a longer pause than this is asked again all the same.
MOST_RETRY_AFTER = 60.0

#: Answers that another try may change; every other one means what it says.
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Budget:
    """The time that a command may spend in trouble: while any of its requests is being repeated.

    Shared by all threads. Time in which requests succeed at once costs nothing, so a long
    transfer over a good line is not limited. A success after trouble refills nothing: a server
    that fails every second request for ever is given up as well.
    """

    def __init__(self, seconds: float = BUDGET_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock, self._lock = clock, threading.Lock()
        self._spent, self._troubled, self._since = 0.0, 0, 0.0

    @property
    def left(self) -> float:
        """Seconds that are left; never negative."""
        with self._lock:
            running = self._clock() - self._since if self._troubled else 0.0
            return max(0.0, self.seconds - self._spent - running)

    def charge(self, seconds: float) -> None:
        """Count time that turned out to be trouble."""
        with self._lock:
            self._spent += seconds

    def exhaust(self) -> None:
        """Nothing is left: a request that fails from now on is not repeated."""
        with self._lock:
            self._spent = self.seconds

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Inside, time is spent; several threads inside at once spend it once."""
        with self._lock:
            if not self._troubled:
                self._since = self._clock()
            self._troubled += 1
        try:
            yield
        finally:
            with self._lock:
                self._troubled -= 1
                if not self._troubled:
                    self._spent += self._clock() - self._since


def pause(attempt: int, asked: float | None = None, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait before the next try, drawn evenly from nothing up to a doubling limit.

    Args:
        attempt: tries so far, at least 1.
        asked: what `retry_after` understood; then at least that long.
    """
    limit = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempt - 1, 16))
    return draw() * limit if asked is None else asked + draw() * BASE_SECONDS


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: at most `MOST_RETRY_AFTER`, None when it says nothing sane.

    A date counts from the server's own `Date`, so a wrong clock on either side does not matter.
    """
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MOST_RETRY_AFTER)
    then, now = _seconds(text), _seconds(headers.get("Date") or "")
    if then is None:
        return None
    wait = then - (time.time() if now is None else now)
    return min(wait, MOST_RETRY_AFTER) if wait >= 0 else None


def _seconds(text: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, OSError):
        return None
    return moment if math.isfinite(moment) else None
