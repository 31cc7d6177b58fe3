"""Open files beneath a run's folder, and nothing else: no link, no device, no way out."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Unreadable(Exception):
    """A file can not be read; the message says why, without its path."""


class Missing(Unreadable):
    """There is no such file."""

    def __init__(self) -> None:
        super().__init__("there is no such file")


@contextmanager
def open_beneath(folder: Path, relative: str) -> Iterator[int]:
    """A descriptor of a regular file; every folder on the way is opened without following links.

    Args:
        relative: path with `/`, as a manifest has it.

    Raises:
        Missing: it is not there.
        Unreadable: it is a link, not a regular file, leads out, or the system refuses.
    """
    parts = relative.split("/")
    if not all(part not in ("", ".", "..") and "\0" not in part for part in parts):
        raise Unreadable("its path leads out of the run's folder")
    with contextlib.ExitStack() as stack:
        try:
            here = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            stack.callback(os.close, here)
            for part in parts[:-1]:
                here = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=here)
                stack.callback(os.close, here)
            file = os.open(parts[-1], _FLAGS | os.O_NONBLOCK, dir_fd=here)
            stack.callback(os.close, file)
        except FileNotFoundError:
            raise Missing() from None
        except OSError as error:
            raise Unreadable(_why(folder, relative, error)) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unreadable("it is not a regular file")
        yield file


def read_at(file: int, offset: int, count: int) -> bytes:
    """Exactly these bytes of a file; fewer only where it ends.

    Raises:
        Unreadable: the disk refuses.
    """
    pieces, left = [], count
    try:
        while left > 0:
            piece = os.pread(file, left, offset)
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
            offset += len(piece)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _why(folder: Path, relative: str, error: OSError) -> str:
    path = folder
    for part in relative.split("/"):
        path = path / part
        if path.is_symlink():
            return "it is a link, or lies behind one"
    return error.strerror or str(error)
