"""The log of a run whose output arrives over the network."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

MEGABYTE = 2**20


class LogFile:
    """Appends bytes as they arrive, up to a cap; what follows is counted and dropped.

    Args:
        path: created as 0600.
        cap: bytes to keep.

    Attributes:
        seen: bytes that arrived.
        error: errno name of what ended the writing, such as ENOSPC; None when nothing did.
    """

    def __init__(self, path: Path, cap: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._handle = os.open(path, flags, 0o600)
        self.path, self._cap = path, cap
        self.seen = self.kept = 0
        self.error: str | None = None
        self._lock = threading.Lock()

    @property
    def truncated(self) -> bool:
        return self.kept < self.seen

    def write(self, data: bytes) -> None:
        """Append; never raises for a full disk, which must not end a run that is paid for."""
        with self._lock:
            self.seen += len(data)
            data = data[: max(0, self._cap - self.kept)]
            if not data or self._handle < 0 or self.error is not None:
                return
            try:
                while data:
                    written = os.write(self._handle, data)
                    self.kept += written
                    data = data[written:]
            except OSError as error:
                import errno

                self.error = errno.errorcode.get(error.errno or 0, "EIO")

    def close(self) -> None:
        """Close; later writes are counted only."""
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
