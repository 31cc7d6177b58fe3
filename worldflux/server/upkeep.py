"""What a server does by itself, in a thread of each worker: find silent runs, learn table sizes, empty the trash.

Each task may run in several workers at once without harm; the slow ones are claimed, so that one does them.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from worldflux.manifest.model import utc_now
from worldflux.server import heartbeats
from worldflux.server.blobs import BlobStore
from worldflux.server.db import Database
from worldflux.server.keys import after_days
from worldflux.server.settings import Settings
from worldflux.server.tables import settings as settings_table

_HOUR = 3600.0
_CLAIM = "upkeep:"


@dataclass
class _Task:
    every: float
    run: Callable[[], object]
    due: float = 0.0


class Upkeep:
    """Runs tasks in the background until it is stopped."""

    def __init__(self, settings: Settings, db: Database, store: BlobStore) -> None:
        self._settings, self._db, self._store = settings, db, store
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        silent = settings.lost_after_seconds
        now = time.monotonic()
        self._tasks = [
            _Task(max(0.2, min(5.0, silent / 4)), lambda: heartbeats.sweep(db, silent)),
            _Task(_HOUR, lambda: self._claimed("optimize", _HOUR, db.optimize), now + 60),
            _Task(_HOUR, lambda: self._claimed("gc", 6 * _HOUR, self._collect), now + 300),
        ]

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the task that goes on."""
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(max(0.05, min(task.due for task in self._tasks) - time.monotonic())):
            for task in self._tasks:
                if task.due > time.monotonic() or self._ended.is_set():
                    continue
                task.due = time.monotonic() + task.every
                try:
                    task.run()
                except Exception as error:
                    # A task that fails must not end the thread: it is tried again when it is due.
                    line = {"at": utc_now(), "upkeep": f"{type(error).__name__}: {str(error)[:300]}"}
                    sys.stderr.write(json.dumps(line) + "\n")

    def _claimed(self, name: str, seconds: float, run: Callable[[], object]) -> None:
        """Run a task unless a worker did so a short time ago."""
        query = select(settings_table.c.value).where(settings_table.c.name == _CLAIM + name)
        with self._db.write() as connection:
            self._db.lock(connection, [_CLAIM + name])
            if (connection.execute(query).scalar() or "") > utc_now():
                return
            until = after_days(seconds / 86400)
            statement = self._db.insert(settings_table).values(name=_CLAIM + name, value=until)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_={"value": until})
            )
        run()

    def _collect(self) -> None:
        from worldflux.server.ops import gc

        gc.collect(self._settings, self._db, self._store)
