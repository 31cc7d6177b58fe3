"""Making what was written last, also through a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldflux.manifest.storage import write_bytes_atomic


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, all of it or nothing, readable for this person only.

    Raises:
        WorldFluxError: the file system refused.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes_atomic(path, data, mode=0o600)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Like `write`, for a small document."""
    write(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def sync_folder(path: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Make everything written below `path` last, thousands of files in one call.

    Linux can sync the one file system that `path` is on, and reports what could not be written;
    elsewhere all file systems are synced.

    Raises:
        OSError: some of it could not be written.
    """
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
