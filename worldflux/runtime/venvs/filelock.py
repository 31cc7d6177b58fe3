"""A lock that the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from worldflux.errors import WorldFluxError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class FileLock:
    """An advisory lock on a small file, held until `release` or the end of the process.

    Made by `hold` and `try_hold`. Works as a context manager. The descriptor is not inherited by
    programs that are started meanwhile.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The open descriptor, to hand the lock on to a child process."""
        return self._descriptor

    def release(self) -> None:
        """Let go. Silent when it was let go before."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def release_and_remove(self) -> None:
        """Take the file away too. Only for a holder that is alone (exclusive)."""
        self.path.unlink(missing_ok=True)
        self.release()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold(path: Path, *, exclusive: bool, on_wait: Callable[[], None] | None = None) -> FileLock:
    """Take the lock, waiting for others; `on_wait` is called once before a wait begins.

    Raises:
        WorldFluxError: the file system has no locks.
        OSError: the file can not be made.
    """
    lock = try_hold(path, exclusive=exclusive)
    if lock is not None:
        return lock
    if on_wait is not None:
        on_wait()
    while True:
        lock = _attempt(path, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        if lock is not None:
            return lock


def try_hold(path: Path, *, exclusive: bool) -> FileLock | None:
    """Take the lock if nobody is in the way, else None. Raises like `hold`."""
    mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    try:
        # A second try is for the rare case that the file was removed between open and lock.
        return _attempt(path, mode) or _attempt(path, mode)
    except BlockingIOError:
        return None


def _attempt(path: Path, mode: int) -> FileLock | None:
    """Open and lock; None when the file was removed meanwhile, so that the lock guards nothing."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        # A cache that was baked into an image is read-only; its lock files can still be locked.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, mode)
        held = os.fstat(descriptor)
        try:
            named = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            named = None
        if named is not None and (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            lock = FileLock(path, descriptor)
            descriptor = -1
            return lock
        return None
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise WorldFluxError(
                f"the file system of {path.parent} has no file locks",
                "keep it on a local disk: set WORLDFLUX_HOME to a local folder",
                code="no-locks",
            ) from error
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
