"""What is found out while the command runs: provenance of code, environment and hardware."""

from __future__ import annotations

import pickle
import shutil
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
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
    all of them. Callers get a copy of their own.
    """
    with _lock:
        found = _answers.get(key)
        if found is None or time.monotonic() - found[0] > RECENT_SECONDS:
            found = (time.monotonic(), pickle.dumps(find()))
            _answers[key] = found
    return pickle.loads(found[1])  # noqa: S301 (our own bytes, several times quicker than a deep copy)


class Background:
    """A thread that gathers provenance; `into` waits for it and fills the manifest in.

    A part that fails is left out; it never fails the run.
    """

    def __init__(
        self, request: RunRequest, place: Place, folder: Path, python: Path | None, texts: Mapping[str, bytes]
    ) -> None:
        self._request, self._place, self._folder, self._texts = request, place, folder, texts
        self._python = python or Path(sys.executable)
        self._found: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._gather, name="provenance", daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        from worldflux.run import provenance

        root, source = self._place.root, self._request.source_dir
        lock = self._attempt("lock", self._lock)
        parts: dict[str, Callable[[], Any]] = {
            "texts": self._store_texts,
            "git": lambda: self._git(root),
            "environment": lambda: recent(
                ("environment", self._python, lock),
                lambda: provenance.environment_info(self._python, lock_text=lock, lock_path=LOCK_NAME),
            ),
            "hardware": lambda: recent("hardware", provenance.hardware),
            "source": lambda: recent(
                ("source", source), lambda: provenance.source_digest(source, self._place.runs_dir)
            ),
            "schema": io.prepare,
        }
        for name, find in parts.items():
            self._found[name] = self._attempt(name, find)

    def _attempt(self, name: str, find: Callable[[], Any]) -> Any:
        """What `find` gives; None with its name noted when it fails."""
        try:
            return find()
        except Exception as error:
            self._found.setdefault("problems", []).append(f"{name}: {type(error).__name__}")
            return None

    def _lock(self) -> str:
        """What the environment was built from, kept in the run's folder: an unpinned list as it was locked."""
        built = self._python.parent.parent / "worldflux-lock.txt"
        lock = built.read_text(encoding="utf-8") if built.is_file() else self._request.lock
        if lock:
            io.write_bytes_atomic(self._folder / LOCK_NAME, lock.encode())
        return lock

    def _git(self, root: Path) -> Any:
        from worldflux.run.provenance import git_state
        from worldflux.run.repository import DIFF_NAME

        found, folder = recent(("git", root), lambda: (git_state(root, self._folder), self._folder))
        if folder != self._folder and found.get("diff"):
            shutil.copyfile(folder / DIFF_NAME, self._folder / DIFF_NAME)
        return found

    def _store_texts(self) -> None:
        for name, data in self._texts.items():
            # Their names become durable with the final manifest's, in the same folder.
            io.write_bytes_atomic(self._folder / name, data, sync_folder=False)

    def into(self, manifest: Manifest, variables: Mapping[str, str], forwarded: list[str]) -> None:
        """Wait for the thread and put what it found into the manifest."""
        self._thread.join()
        manifest.git = self._found.get("git")
        manifest.hardware = self._found.get("hardware")
        manifest.environment = self._found.get("environment")
        if manifest.environment is not None:
            manifest.environment["variables"] = dict(variables)
            manifest.environment["forwarded"] = forwarded
        manifest.recipe["source"]["sha256"] = self._found.get("source")
        if "problems" in self._found:
            manifest.extensions["worldflux.provenance-problems"] = self._found["problems"]
