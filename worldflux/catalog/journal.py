"""What an import is made of: files wanted, files done, their digests, and the journal of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Item:
    """A file to bring: where it goes below the import's folder, and what it must be.

    Attributes:
        sha256: published digest, None when the source publishes another or none.
        git_oid: published git blob id, None when the source has none.
    """

    path: str
    size: int
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True)
class Done:
    """A file that is here and was checked; the last three are its state on disk at that time."""

    path: str
    size: int
    sha256: str
    git_oid: str | None
    mtime_ns: int
    ctime_ns: int
    inode: int

    def unchanged(self, status: os.stat_result) -> bool:
        """Whether the file can not have been written to since it was checked."""
        now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return now == (self.size, self.mtime_ns, self.ctime_ns, self.inode)


class Hashes:
    """sha256 and git blob id of the same bytes, in one pass."""

    def __init__(self, size: int) -> None:
        self.sha256 = hashlib.sha256()
        self.git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)

    def update(self, block: bytes) -> None:
        self.sha256.update(block)
        self.git.update(block)


def digest_of(path: Path, size: int) -> tuple[str, str]:
    """sha256 and git blob id of a file. Raises OSError when it can not be read."""
    hashes = Hashes(size)
    feed(hashes, path)
    return hashes.sha256.hexdigest(), hashes.git.hexdigest()


def feed(hashes: Hashes, path: Path) -> int:
    count = 0
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK):
            hashes.update(block)
            count += len(block)
    return count


class Journal:
    """Files that are done, one JSON line each; a torn last line is a file that is not done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def read(self) -> Iterator[Done]:
        """What is done so far; a file that was done twice comes twice, the last one holds."""
        try:
            handle = open(self.path, encoding="utf-8")  # noqa: SIM115 - closed below, missing is normal
        except FileNotFoundError:
            return
        with handle:
            for line in handle:
                if line.endswith("\n"):
                    try:
                        yield Done(**json.loads(line))
                    except (ValueError, TypeError):
                        continue

    def add(self, done: Done) -> None:
        line = json.dumps(vars(done), ensure_ascii=False) + "\n"
        with self._lock, open(self.path, "a", encoding="utf-8") as handle:
            handle.write(line)

    def start(self) -> dict[str, Done]:
        """What is done, by path; mends a torn last line so that new ones can be appended."""
        if self.path.exists():
            with open(self.path, "rb+") as handle:
                handle.seek(0, os.SEEK_END)
                if handle.tell() and not _ends_with_newline(handle.fileno()):
                    handle.write(b"\n")
        return {done.path: done for done in self.read()}


def _ends_with_newline(descriptor: int) -> bool:
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) == b"\n"
