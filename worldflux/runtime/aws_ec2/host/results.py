"""The files that a run made, packed in parts that S3 takes, each file with its digest."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def files_below(folder: Path) -> list[tuple[str, int]]:
    """Relative path and size of every regular file, sorted; links are not followed."""
    found = []
    for base, folders, names in os.walk(str(folder)):
        folders.sort()
        for name in names:
            path = os.path.join(base, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                found.append((os.path.relpath(path, str(folder)), status.st_size))
    return sorted(found)


def choose(
    files: Sequence[tuple[str, int]], patterns: Sequence[str], limit: int
) -> tuple[list[tuple[str, int]], list[str]]:
    """The files that fit into `limit` bytes, wanted ones first, and the names of the others.

    Args:
        patterns: what the recipe declares, the most wanted first.
    """

    def rank(entry: tuple[str, int]) -> int:
        for index, pattern in enumerate(patterns):
            if fnmatch.fnmatch(entry[0], pattern.replace("**", "*")):
                return index
        return len(patterns)

    taken: list[tuple[str, int]] = []
    left_out: list[str] = []
    room = limit
    for entry in sorted(files, key=rank):
        # A tar member costs its size rounded up to blocks, and headers.
        cost = entry[1] + 2048
        if cost <= room:
            taken.append(entry)
            room -= cost
        else:
            left_out.append(entry[0])
    return sorted(taken), left_out


def pack(folder: Path, files: Sequence[tuple[str, int]], target: Path) -> list[dict[str, Any]]:
    """Write the files into one tar and return path, bytes and sha256 of each as packed.

    A file that changes or vanishes meanwhile is packed as it was read, or left out.
    """
    packed = []
    with tarfile.open(str(target), "w", format=tarfile.PAX_FORMAT) as archive:
        for name, _ in files:
            path = folder / name
            try:
                data = path.open("rb")
            except OSError:
                continue
            with data:
                member = tarfile.TarInfo(name)
                member.size = os.fstat(data.fileno()).st_size
                member.mtime = int(os.fstat(data.fileno()).st_mtime)
                reader = _Digesting(data, member.size)
                archive.addfile(member, reader)  # type: ignore[arg-type]
                packed.append({"path": name, "bytes": member.size, "sha256": reader.sha256.hexdigest()})
    return packed


def slices(size: int, part: int) -> list[tuple[int, int]]:
    """Start and length of the parts that a file of this size is uploaded in."""
    return [(start, min(part, size - start)) for start in range(0, size, part)]


def digest(path: Path, start: int, length: int) -> str:
    """SHA-256 of a part of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while length > 0:
            chunk = file.read(min(2**20, length))
            if not chunk:
                break
            total.update(chunk)
            length -= len(chunk)
    return total.hexdigest()


class _Digesting:
    """Reads exactly `size` bytes and digests them; a file that became shorter is filled with zeros."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        want = min(size, self._left)
        data: bytes = self._file.read(want)
        data += b"\0" * (want - len(data))
        self._left -= want
        self.sha256.update(data)
        return data
