"""Taking environments away that nobody has used for long, and what crashes left behind."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worldflux.runtime.venvs import filelock

_KEY = re.compile(r"[0-9a-f]{40}\Z")
_UNFINISHED = re.compile(r"tmp-([0-9a-f]{40})-[0-9a-f]+\Z")
_LOCK = re.compile(r"([0-9a-f]{40})\.(lease|build)\Z")


@dataclass(frozen=True)
class Removed:
    """Something that was taken away, or would be.

    Attributes:
        path: what it was called.
        kind: `environment`, `leftover`, `lock`, `note` or `package-cache`.
        bytes: size of its files.
        age_seconds: time since it was last used.
    """

    path: Path
    kind: str
    bytes: int
    age_seconds: float


def collect(
    root: Path, *, max_age_seconds: float, now: float | None = None, dry_run: bool = False
) -> list[Removed]:
    """Remove what was not used for `max_age_seconds`; never what a run uses or a process builds.

    Leftovers of crashes go at any age.

    Args:
        root: folder of all environments; may be absent.
        now: seconds since the epoch; by default the current time.
        dry_run: only say what would be removed.
    """
    if not root.is_dir():
        return []
    sweep = _Sweep(root, max_age_seconds, time.time() if now is None else now, dry_run)
    names = sorted(os.listdir(root))
    result: list[Removed] = []
    for name in names:
        if name.startswith("trash-"):
            result += sweep.discard(root / name, "leftover")
        elif match := _UNFINISHED.match(name):
            result += sweep.unfinished(root / name, match[1])
        elif _KEY.match(name):
            result += sweep.environment(root / name)
    for name in names:
        if match := _LOCK.match(name):
            sweep.lock_file(root / name, match[1])
    for folder, kind in (("locks", "lock"), ("interpreters", "note")):
        for path in sorted((root / folder).glob("[!.]*.*")):
            if sweep.is_old(path):
                result += sweep.discard(path, kind)
    result += sweep.package_cache()
    return result


class _Sweep:
    """One pass over a cache."""

    def __init__(self, root: Path, max_age: float, now: float, dry_run: bool) -> None:
        self._root = root
        self._max_age = max_age
        self._now = now
        self._dry_run = dry_run

    def is_old(self, path: Path) -> bool:
        try:
            return self._now - path.lstat().st_mtime > self._max_age
        except OSError:
            return False

    def environment(self, path: Path) -> Iterator[Removed]:
        if not self.is_old(path):
            return
        lease = filelock.try_hold(self._root / f"{path.name}.lease", exclusive=True)
        if lease is None:
            return
        with lease:
            # A run may have used it between the look at its age and the lock.
            if self.is_old(path):
                yield from self.discard(path, "environment")

    def unfinished(self, path: Path, key: str) -> Iterator[Removed]:
        build = filelock.try_hold(self._root / f"{key}.build", exclusive=True)
        if build is not None:
            with build:
                yield from self.discard(path, "leftover")

    def lock_file(self, path: Path, key: str) -> None:
        """Remove a lock file that belongs to nothing any more."""
        if self._dry_run or not self.is_old(path) or (self._root / key).exists():
            return
        lock = filelock.try_hold(path, exclusive=True)
        if lock is None:
            return
        if (self._root / key).exists():
            lock.release()
        else:
            lock.release_and_remove()

    def package_cache(self) -> Iterator[Removed]:
        """uv's cache, when nothing was built for long. Its lock's time is that of the last build."""
        path, mark = self._root / "uv-cache", self._root / "uv-cache.lock"
        if not path.is_dir() or not self.is_old(mark):
            return
        lock = filelock.try_hold(mark, exclusive=True)
        if lock is not None:
            with lock:
                if self.is_old(mark):
                    yield from self.discard(path, "package-cache")

    def discard(self, path: Path, kind: str) -> Iterator[Removed]:
        """Take it out of the way in one step, then remove it at leisure."""
        try:
            removed = Removed(path, kind, _size(path), max(0.0, self._now - path.lstat().st_mtime))
            if not self._dry_run:
                if path.is_dir() and not path.is_symlink():
                    aside = self._root / f"trash-{uuid.uuid4().hex[:12]}"
                    os.rename(path, aside)
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    path.unlink()
        except FileNotFoundError:
            return
        yield removed


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
