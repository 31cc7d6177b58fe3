"""A limit for a whole request, also against a server that sends one byte at a time.

Time-outs of sockets begin anew with every byte. Here a watchdog shuts the request's sockets down
when its time is over, which ends whatever is waiting on them in any thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Limit:
    """The time limit of one request."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self.expired = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def watch(self, twin: socket.socket) -> None:
        """Let the limit end this connection, too."""
        with self._lock:
            self._sockets.append(twin)
            late = self.expired
        if late:
            _shut(twin)

    def expire(self) -> None:
        """End the request now."""
        with self._lock:
            self.expired = True
            sockets = list(self._sockets)
        for each in sockets:
            _shut(each)


class Watchdog:
    """Ends requests at their limits; one thread for all of them, started by the first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._limits: set[Limit] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Limit]:
        """Inside, connections that this thread uses end after so many seconds."""
        limit = Limit(seconds)
        with self._condition:
            if self._closed:
                limit.expired = True
            self._limits.add(limit)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="sync-watchdog", daemon=True)
                self._thread.start()
            self._condition.notify()
        _here.limit = limit
        try:
            yield limit
        finally:
            _here.limit = None
            with self._condition:
                self._limits.discard(limit)

    def close(self) -> None:
        """End every request that is under way, and those that are begun from now on."""
        with self._condition:
            self._closed = True
            limits = list(self._limits)
            self._condition.notify()
        for each in limits:
            each.expire()

    def _watch(self) -> None:
        while True:
            with self._condition:
                if self._closed:
                    return
                now = time.monotonic()
                over = [each for each in self._limits if each.ends <= now]
                self._limits.difference_update(over)
                if not over:
                    soonest = min((each.ends for each in self._limits), default=now + 3600)
                    self._condition.wait(soonest - now)
            for each in over:
                each.expire()


class _Here(threading.local):
    limit: Limit | None = None


_here = _Here()


class _Watched:
    """A connection whose socket the limit of the request at hand can shut down.

    The limit holds a duplicate of the socket's descriptor: the original's number may belong to
    something else by then, and TLS takes it over in the middle of a handshake.
    """

    _twin: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._drop()
        self._twin = made.dup()
        self._report()
        return made

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._report()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        self._drop()
        super().close()  # type: ignore[misc]

    def _report(self) -> None:
        if self._twin is not None and _here.limit is not None:
            _here.limit.watch(self._twin)

    def _drop(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None


class _PlainConnection(_Watched, HTTPConnection):
    pass


class _SecureConnection(_Watched, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class WatchedAdapter(HTTPAdapter):
    """Requests' transport over connections that a `Watchdog` can end."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager


def _shut(twin: socket.socket) -> None:
    with contextlib.suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)
