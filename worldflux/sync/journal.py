"""What is known to be on a server: a cache beside the runs that may be deleted at any time.

One file per server and workspace, one line per run, appended with one write each, so that
several processes may write and a torn line harms nobody. It never decides what is sent: the
server is asked. It saves reading runs that have not changed, and tells `worldflux status` what
has not been synced without asking anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.sync.snapshot import Stamp
from worldflux.sync.wire import Held

FOLDER = "sync"
_VERSION = 1
_MOST_BYTES = 1 << 30
#: Neither a link nor a pipe that somebody put there takes what is written, or keeps it waiting.
_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Entry:
    """How a run was when the server said that it has it.

    Attributes:
        final: the run had ended; nothing is to come.
        deleted: the server said that the run was deleted there.
        withheld: what was left out on request (`logs`).
    """

    manifest_sha256: str
    stamp: Stamp
    final: bool
    streams: Mapping[str, Held] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    deleted: bool = False

    def line(self, run: str) -> str:
        """The entry as it stands in the file."""
        document = {
            "run": run,
            "manifest": self.manifest_sha256,
            "stamp": [self.stamp.size, self.stamp.mtime_ns, self.stamp.inode],
            "final": self.final,
            "streams": {name: [held.bytes, held.sha256] for name, held in self.streams.items()},
        }
        if self.withheld:
            document["withheld"] = list(self.withheld)
        if self.deleted:
            document["deleted"] = True
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def read(cls, document: Any) -> Entry:
        """The entry of a line.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        size, mtime_ns, inode = (int(number) for number in document["stamp"])
        streams = {str(k): Held(int(v[0]), str(v[1])) for k, v in document["streams"].items()}
        return cls(
            str(document["manifest"]),
            Stamp(size, mtime_ns, inode),
            document["final"] is True,
            streams,
            tuple(str(each) for each in document.get("withheld", ())),
            document.get("deleted") is True,
        )


class Journal:
    """The cache of one server's workspace for one project.

    Args:
        root: the folder `.worldflux` of the project.
    """

    def __init__(self, root: Path, origin: str, workspace: str) -> None:
        self.origin, self.workspace = origin, workspace
        self.path = root / FOLDER / f"{key_of(origin)}-{key_of(workspace)}.jsonl"
        self.entries: dict[str, Entry] = {}
        self.problem = ""
        self._pending: list[str] = []
        self._lines = 0
        for run, entry in _entries(self.path, origin):
            self.entries[run] = entry
            self._lines += 1

    def note(self, run: str, entry: Entry) -> None:
        """Remember a run; it is written with the next `flush`."""
        if self.entries.get(run) != entry:
            self.entries[run] = entry
            self._pending.append(entry.line(run))

    def flush(self) -> None:
        """Write what was noted. A disk that refuses costs the cache, and is told in `problem`."""
        if not self._pending:
            return
        text = "".join(line + "\n" for line in self._pending)
        self._pending.clear()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, _APPENDING, 0o666)
            with open(descriptor, "ab", buffering=0) as file:
                if file.tell() == 0:
                    text = self._head() + text
                else:
                    text = "\n" + text  # a line that was torn by a full disk ends here
                file.write(text.encode("ascii"))
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}; the next sync only takes longer"

    def compact(self) -> None:
        """Write the file anew when most of its lines are outdated."""
        self.flush()
        if self._lines < 1000 or self._lines < 4 * len(self.entries):
            return
        from worldflux.errors import WorldFluxError
        from worldflux.manifest.storage import write_bytes_atomic

        text = self._head() + "".join(entry.line(run) + "\n" for run, entry in self.entries.items())
        with contextlib.suppress(WorldFluxError):
            write_bytes_atomic(self.path, text.encode("ascii"))

    def _head(self) -> str:
        head = {"journal": _VERSION, "server": self.origin, "workspace": self.workspace}
        return json.dumps(head, separators=(",", ":")) + "\n"


def known(root: Path, origin: str) -> dict[str, Entry]:
    """What any workspace of a server is known to hold; nobody is asked."""
    found: dict[str, Entry] = {}
    with contextlib.suppress(OSError):
        for path in sorted((root / FOLDER).glob(f"{key_of(origin)}-*.jsonl")):
            found.update(_entries(path, origin))
    return found


def key_of(text: str) -> str:
    """A short name for files, which says nothing of the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _entries(path: Path, origin: str) -> Iterator[tuple[str, Entry]]:
    """Runs of a journal; later lines win; what is no line of it is left out."""
    for document in _documents(path):
        if "journal" in document:
            if document.get("journal") != _VERSION or document.get("server") != origin:
                return
            continue
        run = document.get("run")
        if isinstance(run, str) and re.fullmatch(r"[0-9a-f-]{36}", run):
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, IndexError):
                yield run, Entry.read(document)


def _documents(path: Path) -> Iterable[dict[str, Any]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        return
    for line in text.split(b"\n"):
        try:
            document = json.loads(line) if line else None
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield document
