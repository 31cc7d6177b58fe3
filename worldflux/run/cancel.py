"""Asking runs in other threads to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancellation:
    """A request to stop that runs look at between stages and are told of while they run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._hooks: dict[object, Callable[[], None]] = {}

    @property
    def requested(self) -> bool:
        return self._requested

    def request(self) -> None:
        """Ask for the stop; calls every hook. Asking again calls those that came since."""
        with self._lock:
            self._requested = True
            hooks = list(self._hooks.values())
        for hook in hooks:
            hook()

    def watch(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call `hook` when the stop is asked for, at once if it was already; returns the undo."""
        key = object()
        with self._lock:
            self._hooks[key] = hook
            now = self._requested
        if now:
            hook()
        return lambda: self._hooks.pop(key, None) and None
