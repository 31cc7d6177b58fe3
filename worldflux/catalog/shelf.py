"""Where imports stand: `$WORLDFLUX_HOME/catalog/<policies|datasets>/OWNER/NAME/COMMIT/`.

entry.json     what was imported; written last, so an import is there whole or not at all
listing.jsonl  every file of the commit, as the source published it
done.jsonl     the files that are here and were checked
files/         the files
parts/         what is not whole yet; gone when the import is finished
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.catalog.entry import Entry
from worldflux.catalog.journal import Done, Item, Journal
from worldflux.catalog.reference import COMMIT, Kind, Reference
from worldflux.errors import TemporaryError, WorldFluxError
from worldflux.manifest.storage import write_bytes_atomic

#: Name and version of the form of `entry.json`.
SCHEMA = "https://worldflux.dev/schemas/catalog-import/v1"

_FOLDERS: dict[Kind, str] = {"policy": "policies", "dataset": "datasets"}


@dataclass(frozen=True)
class Removed:
    """An import that was taken away: its commit, whether it had been finished, and bytes on disk."""

    commit: str
    finished: bool
    bytes: int


class Berth:
    """The folder of one commit of one repo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = path / "files"
        self.parts = path / "parts"
        self.journal = Journal(path / "done.jsonl")
        self._listing = path / "listing.jsonl"

    def entry(self) -> dict[str, Any] | None:
        """The finished import's record, or None when there is none that can be read."""
        try:
            raw = json.loads((self.path / "entry.json").read_bytes())
        except (OSError, ValueError):
            return None
        return raw if isinstance(raw, dict) and raw.get("schema") == SCHEMA else None

    def write_entry(self, entry: Mapping[str, Any]) -> None:
        text = json.dumps(entry, indent=2, ensure_ascii=False) + "\n"
        write_bytes_atomic(self.path / "entry.json", text.encode())

    @property
    def listed(self) -> bool:
        return self._listing.exists()

    def write_listing(self, items: Iterable[Item]) -> None:
        """Keep the commit's listing; it never changes, so it is asked for once."""
        fresh = self._listing.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as handle:
            for item in items:
                handle.write(json.dumps(vars(item), ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(fresh, self._listing)

    def listing(self) -> Iterator[Item]:
        """Every file of the commit, one at a time."""
        with open(self._listing, encoding="utf-8") as handle:
            for line in handle:
                yield Item(**json.loads(line))

    def done(self) -> list[Done]:
        """The files that are here, sorted by path."""
        return sorted({done.path: done for done in self.journal.read()}.values(), key=lambda done: done.path)

    @contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Hold the import for this process; it is let go of when the process dies, however.

        Raises:
            TemporaryError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+b") as handle:
            if not _take(handle.fileno()):
                problem = f"another process is importing {what} right now"
                raise TemporaryError(
                    problem, "wait for it to end, then run the same command again", code="busy"
                )
            yield

    def clear(self) -> Removed:
        """Remove everything; the record first, so that what is left of it is never taken for whole."""
        import shutil

        finished = self.entry() is not None
        (self.path / "entry.json").unlink(missing_ok=True)
        paths = [path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in paths)
        shutil.rmtree(self.path)
        return Removed(self.path.name, finished, size)

    def clear_parts(self) -> None:
        for part in self.parts.glob("*"):
            part.unlink(missing_ok=True)
        if self.parts.is_dir():
            self.parts.rmdir()


def contents_digest(done: Iterable[Done]) -> str:
    """One digest for many files: the sha256 of what `sha256sum` prints for them, sorted by path."""
    whole = hashlib.sha256()
    for file in done:
        whole.update(f"{file.sha256}  {file.path}\n".encode())
    return whole.hexdigest()


def _take(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two imports of one commit at a time are not guarded there.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Shelf:
    """All imports of one home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def at(cls, home: Path | None = None) -> Shelf:
        """The shelf of `home`; None takes `$WORLDFLUX_HOME`, else `~/.worldflux`."""
        if home is None:
            home = Path(os.environ.get("WORLDFLUX_HOME") or "~/.worldflux").expanduser()
        return cls(home / "catalog")

    def berth(self, reference: Reference, commit: str) -> Berth:
        return Berth(self.root / _FOLDERS[reference.kind] / reference.repo / commit)

    def berths(self, kind: Kind, repo: str | None = None) -> list[Berth]:
        """The finished imports of a kind, or of one repo, the newest last."""
        top = self.root / _FOLDERS[kind]
        # A name is `NAME` or `OWNER/NAME`; deeper is an import's own content, which may be large.
        patterns = (f"{repo}/*/entry.json",) if repo else ("*/*/entry.json", "*/*/*/entry.json")
        paths = [path for pattern in patterns for path in top.glob(pattern)]
        found = [Berth(path.parent) for path in paths if COMMIT.match(path.parent.name)]
        return sorted(found, key=lambda berth: (berth.path / "entry.json").stat().st_mtime_ns)

    def find(self, reference: Reference) -> Berth | None:
        """The newest import of the repo; with a revision, of that commit, tag or branch."""
        matching = []
        for berth in self.berths(reference.kind, reference.repo):
            entry = berth.entry()
            if entry is None:
                continue
            names = (entry["commit"], *entry["names"])
            wanted = reference.revision
            if wanted is None or wanted in names or (len(wanted) >= 7 and entry["commit"].startswith(wanted)):
                matching.append(berth)
        return matching[-1] if matching else None

    def remove(self, reference: Reference) -> list[Removed]:
        """Take away what was imported of a repo, finished or not; with a revision, only that commit.

        Commits that are just being imported stay, and so does everything of another repo.

        Raises:
            TemporaryError: a commit is being imported right now; the others are gone.
        """
        busy: TemporaryError | None = None
        gone = []
        for berth in self._every(reference):
            try:
                with berth.lock(str(reference)):
                    gone.append(berth.clear())
            except TemporaryError as error:
                busy = error
        top = self.root / _FOLDERS[reference.kind]
        for folder in (top / reference.repo, (top / reference.repo).parent):
            if folder != top and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if busy is not None:
            raise busy
        return gone

    def _every(self, reference: Reference) -> list[Berth]:
        """All imports that a reference means, also those that never were finished."""
        wanted = reference.revision
        if wanted is not None:
            found = self.find(reference)
            if found is not None:
                return [found]
        folders = (self.root / _FOLDERS[reference.kind] / reference.repo).glob("*")
        every = [Berth(path) for path in sorted(folders) if COMMIT.match(path.name) and path.is_dir()]
        return [each for each in every if wanted is None or (len(wanted) >= 7 and _is(each, wanted))]

    def entries(self, kind: Kind) -> list[dict[str, Any]]:
        """The records of all finished imports of a kind, sorted by id, the newest of an id last."""
        records = [entry for berth in self.berths(kind) if (entry := berth.entry()) is not None]
        return sorted(records, key=lambda entry: (entry["id"], entry["imported_at"]))

    def policies(self) -> dict[str, Entry]:
        """Imported policies as catalog entries; of several commits of one repo, the newest."""
        from worldflux.catalog.imported import entry_of

        return {raw["id"]: entry_of(raw) for raw in self.entries("policy")}

    def policy(self, adapter_id: str) -> Entry | None:
        """The imported policy of that id, `lerobot:OWNER/NAME` with or without `@REV`."""
        from worldflux.catalog.imported import entry_of
        from worldflux.catalog.reference import parse

        berth = self.find(parse(adapter_id))
        entry = berth.entry() if berth is not None else None
        return None if entry is None else entry_of(entry)


def _is(berth: Berth, revision: str) -> bool:
    return berth.path.name.startswith(revision)


def check_room(folder: Path, needed: int) -> None:
    """Refuse before the disk is full.

    Raises:
        WorldFluxError: fewer than `needed` bytes are free, with the numbers.
    """
    import shutil

    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorldFluxError(
            f"the import takes {needed / 1e9:.1f} GB more and {free / 1e9:.1f} GB are free in {folder}",
            "make room, or put the catalog elsewhere with WORLDFLUX_HOME=FOLDER",
            code="no_space",
            details={"needed": needed, "free": free},
        )
