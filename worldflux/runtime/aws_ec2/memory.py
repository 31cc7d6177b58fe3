"""Answers that hold for a while, so that the jobs of a sweep ask AWS once and not each on its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds: what changes by the minute, and what does not change while a sweep goes on.
SHORT, LONG = 60.0, 3600.0


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0
    value: Any = None


class Memory:
    """What was asked lately. Whoever asks the same at the same time waits for the one answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[Hashable, _Slot] = {}

    def recall(
        self, key: Hashable, seconds: float, ask: Callable[[], T], *, keep: Callable[[T], bool] = bool
    ) -> T:
        """The remembered answer, or a new one that is remembered for `seconds`.

        Args:
            keep: whether an answer is worth remembering; errors and empty answers are not.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
        with slot.lock:
            if slot.until <= time.monotonic():
                slot.value = ask()
                slot.until = time.monotonic() + seconds if keep(slot.value) else 0.0
            found: T = slot.value
            return found
