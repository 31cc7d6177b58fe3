"""The bytes that come out of a command, and the record that is left of it."""

from __future__ import annotations

import errno
import os

# ruff: noqa: SIM105 (importing contextlib takes longer than the fork of the command)

#: Bytes read at once: with a pipe of 1 MiB, half the time per byte of the usual 64 KiB in 64 KiB.
CHUNK = 256 * 1024
PIPE = 1024 * 1024
#: Chunks read in a row before signals and deadlines are looked at again.
BURST = 4


def widen(pipe: int) -> None:
    """Give a pipe the room of `PIPE`, where the system and the user's quota let us."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
        except OSError:
            pass


class Pump:
    """Moves bytes from the command to the log.

    Attributes:
        seen: bytes the command wrote. logged: bytes in the log.
        error: errno name of what ended the logging, or None.
        closed: nobody can write any more.
    """

    def __init__(self, source: int, log: int, cap: int) -> None:
        os.set_blocking(source, False)
        self.source = source
        self.log = log
        self.cap = cap
        self.seen = self.logged = 0
        self.error: str | None = None
        self.closed = False
        self._buffer = memoryview(bytearray(CHUNK))

    def turn(self, chunks: int = BURST) -> None:
        """Read what is there, but no more than some chunks; never waits for the command."""
        for _ in range(chunks):
            try:
                count = os.readv(self.source, [self._buffer])
            except BlockingIOError:
                return
            except OSError:  # a terminal whose last user has gone says EIO, not end of file
                count = 0
            if not count:
                self.closed = True
                return
            self.seen += count
            if self.error is None and self.logged < self.cap:
                self._keep(self._buffer[: min(count, self.cap - self.logged)])

    def _keep(self, data: memoryview) -> None:
        try:
            while data:
                written = os.write(self.log, data)
                self.logged += written
                data = data[written:]
        except OSError as error:
            self.error = errno.errorcode.get(error.errno or 0, "EIO")

    def finish(self) -> None:
        """Make the log durable; pipes and devices that can not be synced are left alone."""
        try:
            if self.logged:
                os.fsync(self.log)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
                self.error = self.error or errno.errorcode.get(error.errno or 0, "EIO")


def json_object(facts: dict[str, object]) -> bytes:
    """A flat JSON object of ASCII words, numbers, booleans and nulls."""

    def value(item: object) -> str:
        if item is None or isinstance(item, bool):
            return {None: "null", True: "true", False: "false"}[item]
        return f'"{item}"' if isinstance(item, str) else repr(item)

    return ("{" + ", ".join(f'"{key}": {value(item)}' for key, item in facts.items()) + "}").encode("ascii")


def write_record(path: bytes, data: bytes, durable: bool = True) -> None:
    """Put a file in place whole, or not at all; `durable`: also after a loss of power."""
    folder = os.path.dirname(path) or b"."
    temporary = path + b".tmp-%d" % os.getpid()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            if os.write(fd, data + b"\n") <= len(data):
                raise OSError(errno.ENOSPC, "short write")
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    if not durable:
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
