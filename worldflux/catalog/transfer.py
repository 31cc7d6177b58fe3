"""Bring the files of one commit here: resumed, checked, in bounded memory.

A file is written to a part file, resumed from where an earlier process stopped, checked against
the digest the source published, synced to disk, and only then given its name. What is done is
noted in a journal, one line a file, so that a killed import goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from worldflux.catalog.journal import Done, Hashes, Item, Journal, digest_of, feed
from worldflux.errors import TemporaryError, WorldFluxError

if TYPE_CHECKING:
    from concurrent.futures import Future

#: Times a transfer may be cut without a byte of progress before the import gives up.
CUTS_WITHOUT_PROGRESS = 4


class Opener(Protocol):
    """Opens a file of the source at an offset: (where the bytes really begin, chunks)."""

    def __call__(self, path: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]: ...


class Progress(Protocol):
    """What watches an import; called from several threads."""

    def begin(self, label: str, files: int, total_bytes: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def finished(self, path: str) -> None: ...

    def end(self) -> None: ...


class Silent:
    """A progress that shows nothing."""

    def begin(self, label: str, files: int, total_bytes: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def finished(self, path: str) -> None:
        pass

    def end(self) -> None:
        pass


class Transfer:
    """One import's files on their way.

    Args:
        files: folder the files go to.
        parts: folder for what is not whole yet; same file system as `files`.
        journal: where what is done is noted.
        opener: the source.
        workers: files under way at the same time.
    """

    def __init__(
        self, files: Path, parts: Path, journal: Journal, opener: Opener, progress: Progress, workers: int = 8
    ) -> None:
        self.files, self.parts, self.journal = files, parts, journal
        self._open, self._progress, self._workers = opener, progress, workers
        self._stop = threading.Event()

    def run(self, items: Iterable[Item]) -> None:
        """Bring all items that are not here yet.

        Raises:
            WorldFluxError: the first failure of any file; files under way are stopped and kept.
        """
        from concurrent.futures import ThreadPoolExecutor

        done = self.journal.start()
        self.parts.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="import")
        pending: set[Future[None]] = set()
        try:
            for item in items:
                pending.add(pool.submit(self._bring, item, done.get(item.path)))
                if len(pending) >= self._workers * 4:
                    pending = self._settle(pending)
            while pending:
                pending = self._settle(pending)
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _settle(pending: set[Future[None]]) -> set[Future[None]]:
        from concurrent.futures import FIRST_COMPLETED, wait

        finished, rest = wait(pending, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
        return rest

    def _bring(self, item: Item, done: Done | None) -> None:
        if self._stop.is_set():
            return
        target = self.files / item.path
        if self._here(target, item, done):
            self._progress.advance(item.size)
        else:
            part = self.parts / hashlib.sha256(item.path.encode()).hexdigest()[:32]
            sha256, git_oid = self._whole(item, part)
            if self._stop.is_set():
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, target)
            self._note(target, item, sha256, git_oid)
        self._progress.finished(item.path)

    def _here(self, target: Path, item: Item, done: Done | None) -> bool:
        """Whether the file is in place: as the journal says, or by its digest when that is silent."""
        try:
            status = os.stat(target)
        except OSError:
            return False
        if done is not None and done.unchanged(status):
            return True
        if status.st_size != item.size:
            return False
        sha256, git_oid = digest_of(target, item.size)
        if not _matches(item, sha256, git_oid) or (done is not None and done.sha256 != sha256):
            return False
        self._note(target, item, sha256, git_oid)
        return True

    def _note(self, target: Path, item: Item, sha256: str, git_oid: str) -> None:
        status = os.stat(target)
        own_oid = item.git_oid if item.sha256 else git_oid
        self.journal.add(
            Done(item.path, item.size, sha256, own_oid, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        )

    def _whole(self, item: Item, part: Path) -> tuple[str, str]:
        """Complete the part file and check it; one that was resumed and is wrong is fetched again once."""
        for again in (False, True):
            resumed, sha256, git_oid = self._fill(item, part)
            if self._stop.is_set() or _matches(item, sha256, git_oid):
                return sha256, git_oid
            part.unlink(missing_ok=True)
            if not resumed or again:
                break
        published = item.sha256 or item.git_oid or ""
        raise WorldFluxError(
            f"{item.path} does not have the digest the source publishes for it: it was thrown away",
            "run the same command again; if it happens again, a proxy or mirror in between changes files",
            code="digest_mismatch",
            details={"path": item.path, "expected": published, "got": sha256 if item.sha256 else git_oid},
        )

    def _fill(self, item: Item, part: Path) -> tuple[bool, str, str]:
        """Bring the missing bytes; returns whether earlier bytes were used, and both digests."""
        hashes = Hashes(item.size)
        have = feed(hashes, part) if part.exists() else 0
        if have > item.size:
            part.unlink()
            hashes, have = Hashes(item.size), 0
        resumed, cuts = have > 0, 0
        self._progress.advance(have)
        with open(part, "ab") as handle:
            while (have < item.size) and not self._stop.is_set():
                before = have
                with self._open(item.path, have) as (start, chunks):
                    if start != have:
                        self._progress.advance(-have)
                        handle.truncate(0)
                        hashes, have, before, resumed = Hashes(item.size), 0, 0, False
                    have += self._drain(chunks, handle.write, hashes, item, have)
                cuts = 0 if have > before else cuts + 1
                if cuts == CUTS_WITHOUT_PROGRESS:
                    raise _cut(item, have)
            handle.flush()
            os.fsync(handle.fileno())
        return resumed, hashes.sha256.hexdigest(), hashes.git.hexdigest()

    def _drain(
        self, chunks: Iterator[bytes], write: Callable[[bytes], int], hashes: Hashes, item: Item, have: int
    ) -> int:
        """Write what comes, never more than the file is long; returns how much came."""
        count = 0
        for chunk in chunks:
            piece = chunk[: item.size - have - count]
            write(piece)
            hashes.update(piece)
            count += len(piece)
            self._progress.advance(len(piece))
            if self._stop.is_set() or have + count >= item.size:
                break
        return count


def _matches(item: Item, sha256: str, git_oid: str) -> bool:
    if item.sha256 is not None:
        return item.sha256 == sha256
    return item.git_oid is None or item.git_oid == git_oid


def _cut(item: Item, have: int) -> TemporaryError:
    return TemporaryError(
        f"the transfer of {item.path} is cut again and again at {have} of {item.size} bytes",
        "run the same command again: it goes on from there",
        code="cut",
        details={"path": item.path, "bytes": have, "size": item.size},
    )
