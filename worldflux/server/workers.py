"""Several processes behind one listening socket: started, watched, ended together.

A worker holds the reading end of a pipe whose writing end only the supervisor has, so it learns of the
supervisor's death however that came about.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict

from worldflux import __version__
from worldflux.server.notes import note
from worldflux.server.serve import Listen, answer
from worldflux.server.settings import VARIABLE, Settings

#: A worker that lives shorter than this, or says so by its exit code, did not come up; three in a row end all.
SOON_SECONDS = 2.0
MOST_FAILURES = 3
DID_NOT_START = 1

#: How long workers may finish their requests in.
GRACE_SECONDS = 15.0


class _Worker:
    def __init__(self, listen: Listen, listener: socket.socket, alive: int) -> None:
        words = [str(listener.fileno()), str(alive), json.dumps(asdict(listen)), __version__]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worldflux.server.workers", *words],
            stdin=subprocess.DEVNULL, pass_fds=(listener.fileno(), alive),
        )  # fmt: skip


def supervise(listen: Listen, listener: socket.socket) -> int:
    """Keep `listen.workers` workers going until SIGINT or SIGTERM; the exit code."""
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    alive, kept = os.pipe()
    workers = [_Worker(listen, listener, alive) for _ in range(listen.workers)]
    failures = 0
    try:
        while not ending.wait(0.2):
            for index, worker in enumerate(workers):
                if worker.process.poll() is None:
                    continue
                soon = time.monotonic() - worker.started < SOON_SECONDS
                failures = failures + 1 if soon or worker.process.returncode == DID_NOT_START else 0
                if failures >= MOST_FAILURES:
                    print("worldflux server: the workers do not come up", file=sys.stderr)
                    return 1
                workers[index] = _Worker(listen, listener, alive)
        return 0
    finally:
        _end(workers)
        os.close(kept)


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        try:
            worker.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def _work(words: list[str]) -> int:
    listener_number, alive, listen = int(words[0]), int(words[1]), Listen(**json.loads(words[2]))
    threading.Thread(target=_follow, args=(alive,), daemon=True).start()
    tell_upgrade(words[3])
    listener = socket.socket(fileno=listener_number)
    return answer(Settings.from_json(os.environ[VARIABLE]), listen, listener)


def tell_upgrade(version: str) -> None:
    """Note it when this worker is of another version than the server that started it."""
    if version != __version__:
        note(
            upgraded=__version__, running=version, hint="restart the server: its workers are of two versions"
        )


def _follow(alive: int) -> None:
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_work(sys.argv[1:]))
