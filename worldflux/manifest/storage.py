"""Files that are replaced whole: the old bytes or the new ones, never a part.

Measured with a file system that forgets what was not synced: without fsync before the rename a
power loss leaves an empty file, without fsync of the folder it undoes a write that was reported
done.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from worldflux.errors import WorldFluxError

_TEMPORARY = ".worldflux-", ".tmp"
_STALE_SECONDS = 3600

_STORAGE_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then run the command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the command again",
    errno.EROFS: "the file system is read-only: choose a runs folder that can be written",
    errno.EACCES: "choose a folder that you may write, or change its permissions with chmod",
    errno.EPERM: "choose a folder that you may write, or change its permissions with chmod",
    errno.ENOENT: "the folder is gone: it must not be moved or removed while a run is going on",
    errno.EIO: "the disk reports an error: the file may or may not be stored; check the disk",
}


def write_bytes_atomic(
    path: Path, data: bytes, *, mode: int = 0o666, sync_file: bool = True, sync_folder: bool = True
) -> None:
    """Replace the file at `path` by these bytes: all of them or nothing, durable on return.

    Temporary file in the same folder, fsync, rename, fsync of the folder. A temporary file is
    only left behind when the process is killed.

    Args:
        mode: permissions of the new file, less the umask.
        sync_file: False when `sync` is called before anything is reported done.
        sync_folder: False when another file will be written into the folder before anything is
            reported done: that makes this one's name durable, too.

    Raises:
        WorldFluxError: the file system refused; code `storage`.
    """
    prefix, suffix = _TEMPORARY
    temporary = path.parent / f"{prefix}{os.urandom(6).hex()}{suffix}"
    try:
        try:
            _write_new(temporary, data, mode, sync_file)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync_folder:
            _sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def sync(path: Path) -> None:
    """Make the content of a file durable that was written without.

    Raises:
        WorldFluxError: the file system refused; code `storage`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(path, error) from error


def _write_new(path: Path, data: bytes, mode: int, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder more than an hour ago."""
    prefix, suffix = _TEMPORARY
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.name.startswith(prefix) and entry.name.endswith(suffix)):
                    continue
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
                    os.unlink(entry.path)
    except OSError:
        return  # what matters about this folder is reported by the write that follows


def storage_error(path: Path, error: OSError) -> WorldFluxError:
    hint = _STORAGE_HINTS.get(error.errno or 0, "choose another folder, then run the command again")
    return WorldFluxError(f"{path}: can not be written: {error.strerror or error}", hint, code="storage")
