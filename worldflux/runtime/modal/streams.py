"""Output of a command in a sandbox, read as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Tail:
    """Keeps the end of what a command complained about."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> None:
        self._data = (self._data + data)[-2000:]

    def text(self) -> str:
        lines = self._data.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Pump:
    """Reads a stream in a thread of its own and hands every piece on, in order."""

    def __init__(self, stream: Any, take: Callable[[bytes], None]) -> None:
        self._stream, self._take = stream, take
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for data in self._stream:
                self._take(data)
        except BaseException as error:
            self._failure = error

    def finished(self) -> None:
        """Return at the stream's end.

        Raises:
            BaseException: what reading or taking a piece raised.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
