"""What is found out while the command runs: provenance of code, environment and hardware."""

from __future__ import annotations

import marshal
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.manifest import io
from worldflux.manifest.model import Manifest

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.run.engine import Place


#: How long one answer serves the runs of this process; a change of the code is noticed after it.
RECENT_SECONDS = 2.0

#: Requirements that the run's environment was built from, beside its manifest.
LOCK_NAME = "requirements.lock"

_answers: dict[Hashable, tuple[float, bytes]] = {}
_lock = threading.Lock()


def recent(key: Hashable, find: Callable[[], Any]) -> Any:
    """What `find` answers, or answered for the same key less than `RECENT_SECONDS` ago.

    Runs of a sweep start many times a second, and a repository or an interpreter is the same for
    all of them. Callers get a copy of their own, made several times quicker than a deep one.
    """
    with _lock:
        found = _answers.get(key)
        if found is None or time.monotonic() - found[0] > RECENT_SECONDS:
            found = (time.monotonic(), marshal.dumps(find()))
            _answers[key] = found
    return marshal.loads(found[1])


def known(keys: Iterable[Hashable]) -> bool:
    """Whether `recent` has an answer for each key."""
    oldest = time.monotonic() - RECENT_SECONDS
    return all(key in _answers and _answers[key][0] > oldest for key in keys)


class Background:
    """Gathers provenance, in a thread unless all of it is known; `into` waits and fills the manifest in.

    A part that fails is left out; it never fails the run.
    """

    def __init__(
        self, request: RunRequest, place: Place, folder: Path, python: Path | None, texts: Mapping[str, bytes]
    ) -> None:
        self._root, self._source, self._runs_dir = place.root, request.source_dir, place.runs_dir
        self._folder, self._python = folder, python or Path(sys.executable)
        self._found: dict[str, Any] = {}
        self._stored: list[Path] = []
        self._attempt("texts", lambda: self._store(texts))
        self._lock = self._attempt("lock", lambda: self._store_lock(request.lock))
        self._keys = {
            "git": ("git", self._root),
            "environment": ("environment", self._python, self._lock),
            "hardware": ("hardware",),
            "source": ("source", self._source),
        }
        self._thread: threading.Thread | None = None
        if known(self._keys.values()):
            self._gather()
        else:
            self._thread = threading.Thread(target=self._gather, name="provenance", daemon=True)
            self._thread.start()

    def _gather(self) -> None:
        parts = {
            "git": self._git,
            "environment": self._environment,
            "hardware": self._hardware,
            "source": self._source_digest,
        }
        for name, find in parts.items():
            self._found[name] = self._attempt(name, find)
        self._attempt("schema", io.prepare)

    def _attempt(self, name: str, find: Callable[[], Any]) -> Any:
        """What `find` gives; None with its name noted when it fails."""
        try:
            return find()
        except Exception as error:
            self._found.setdefault("problems", []).append(f"{name}: {type(error).__name__}")
            return None

    def _store(self, texts: Mapping[str, bytes]) -> None:
        """Put texts into the run's folder; they are made durable with the final manifest."""
        for name, data in texts.items():
            io.write_bytes_atomic(self._folder / name, data, sync_file=False, sync_folder=False)
            self._stored.append(self._folder / name)

    def _store_lock(self, lock: str) -> str:
        """What the environment was built from, kept in the run's folder: an unpinned list as it was locked."""
        built = self._python.parent.parent / "worldflux-lock.txt"
        lock = built.read_text(encoding="utf-8") if built.is_file() else lock
        if lock:
            self._store({LOCK_NAME: lock.encode()})
        return lock

    def _sync(self) -> None:
        for path in self._stored:
            io.sync(path)

    def _git(self) -> Any:
        from worldflux.run.provenance import git_state
        from worldflux.run.repository import DIFF_NAME

        own = str(self._folder)
        found, folder = recent(self._keys["git"], lambda: (git_state(self._root, self._folder), own))
        if folder != own and found.get("diff"):
            import shutil

            shutil.copyfile(Path(folder, DIFF_NAME), self._folder / DIFF_NAME)
        return found

    def _environment(self) -> Any:
        from worldflux.run.provenance import environment_info

        return recent(
            self._keys["environment"],
            lambda: environment_info(self._python, lock_text=self._lock, lock_path=LOCK_NAME),
        )

    def _hardware(self) -> Any:
        from worldflux.run.provenance import hardware

        return recent(self._keys["hardware"], hardware)

    def _source_digest(self) -> Any:
        from worldflux.run.provenance import source_digest

        return recent(self._keys["source"], lambda: source_digest(self._source, self._runs_dir))

    def into(self, manifest: Manifest, variables: Mapping[str, str], forwarded: list[str]) -> None:
        """Put what was found into the manifest; what was stored is on the disk when this returns."""
        if self._thread is not None:
            self._thread.join()
        self._attempt("texts", self._sync)
        manifest.git = self._found.get("git")
        manifest.hardware = self._found.get("hardware")
        manifest.environment = self._found.get("environment")
        if manifest.environment is not None:
            manifest.environment["variables"] = dict(variables)
            manifest.environment["forwarded"] = forwarded
        manifest.recipe["source"]["sha256"] = self._found.get("source")
        if "problems" in self._found:
            manifest.extensions["worldflux.provenance-problems"] = self._found["problems"]
