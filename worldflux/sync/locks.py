"""One sync per run and server at a time, among the processes that share a project's folder.

Locks are byte ranges of one file: thousands of them need one descriptor, leave nothing behind,
and end with the process that holds them. The server is right without them; they save work.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from worldflux.sync.journal import FOLDER, key_of


class RunLocks:
    """Locks on runs for one server.

    Where the file can not be made (read-only, full disk) every lock is given: see above.

    Args:
        root: the folder `.worldflux` of the project.
    """

    def __init__(self, root: Path, origin: str) -> None:
        path = root / FOLDER / f"{key_of(origin)}.lock"
        self._file: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:
            return

    def take(self, run: str, wait: float = 0.0) -> bool:
        """Lock a run; False when another process has it for longer than `wait` seconds."""
        if self._file is None:
            return True
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(run))
                return True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    return True
            if time.monotonic() >= end:
                return False
            time.sleep(min(0.1, wait))

    def release(self, run: str) -> None:
        """Unlock a run that `take` gave."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(run))

    def close(self) -> None:
        """Unlock all."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _place(run: str) -> int:
    """The byte that stands for a run: 60 bits of its random part and its time."""
    return int(key_of(run)[:15], 16)
