"""What is found out while the command runs: provenance of code, environment and hardware."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.manifest import io
from worldflux.manifest.model import Manifest
from worldflux.run.draft import stored_texts

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.run.engine import Place


class Background:
    """A thread that gathers provenance; `into` waits for it and fills the manifest in.

    A part that fails is left out; it never fails the run.
    """

    def __init__(self, request: RunRequest, place: Place, folder: Path, python: Path | None) -> None:
        self._request, self._place, self._folder = request, place, folder
        self._python = python or Path(sys.executable)
        self._found: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._gather, name="provenance", daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        from worldflux.run import provenance

        parts: dict[str, Callable[[], Any]] = {
            "texts": self._store_texts,
            "git": lambda: provenance.git_state(self._place.root, self._folder),
            "environment": lambda: provenance.environment_info(self._python, lock_text=self._request.lock),
            "hardware": provenance.hardware,
            "source": lambda: provenance.source_digest(self._request.source_dir),
            "schema": io.prepare,
        }
        for name, find in parts.items():
            try:
                self._found[name] = find()
            except Exception as error:
                self._found.setdefault("problems", []).append(f"{name}: {type(error).__name__}")

    def _store_texts(self) -> None:
        for name, data in stored_texts(self._request).items():
            io.write_bytes_atomic(self._folder / name, data)

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
