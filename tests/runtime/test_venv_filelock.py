"""A lock that dies with its holder, and guards the file that has the name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from envcache_lab import PROJECT

from worldflux.runtime.venvs.filelock import hold, try_hold

HOLDER = (
    "import sys; from pathlib import Path; from worldflux.runtime.venvs.filelock import hold\n"
    "lock = hold(Path(sys.argv[1]), exclusive=sys.argv[2] == 'x'); print('held', flush=True)\n"
    "sys.stdin.read()"
)


def holder(path: Path, mode: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), mode], stdin=-1, stdout=-1, text=True, cwd=PROJECT
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_shared_and_exclusive(tmp_path: Path) -> None:
    """Many may share; one alone excludes all; also between two holders in one process."""
    path = tmp_path / "lock"
    with hold(path, exclusive=False), hold(path, exclusive=False):
        assert try_hold(path, exclusive=True) is None
    with hold(path, exclusive=True):
        assert try_hold(path, exclusive=False) is None
    lock = try_hold(path, exclusive=True)
    assert lock is not None
    lock.release()
    lock.release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """kill -9 frees the lock at once; a file that is left behind means nothing."""
    child = holder(tmp_path / "lock", "x")
    assert try_hold(tmp_path / "lock", exclusive=False) is None
    child.kill()
    child.communicate()
    with hold(tmp_path / "lock", exclusive=True):
        assert (tmp_path / "lock").exists()


def test_waiting_is_told_once_and_ends(tmp_path: Path) -> None:
    """Whoever waits says so, and goes on as soon as the other is done."""
    child = holder(tmp_path / "lock", "s")
    told: list[float] = []

    def let_go() -> None:
        told.append(time.monotonic())
        threading.Timer(0.2, child.communicate).start()

    with hold(tmp_path / "lock", exclusive=True, on_wait=let_go):
        assert len(told) == 1 and time.monotonic() - told[0] > 0.1
    child.wait()


def test_children_do_not_keep_it(tmp_path: Path) -> None:
    """A program started meanwhile does not hold the lock, unless it is handed on."""
    lock = hold(tmp_path / "lock", exclusive=True)
    plain = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.release()
        again = try_hold(tmp_path / "lock", exclusive=True)
        assert again is not None
        heir = subprocess.Popen(["sleep", "60"], pass_fds=[again.fileno()])
        again.release()
        try:
            assert try_hold(tmp_path / "lock", exclusive=True) is None
        finally:
            heir.kill()
            heir.wait()
    finally:
        plain.kill()
        plain.wait()


def test_a_removed_file_guards_nothing(tmp_path: Path) -> None:
    """When the file is removed and made anew while somebody waits, the waiter locks the new one."""
    path = tmp_path / "lock"
    first = hold(path, exclusive=True)
    result: list[int] = []

    def wait() -> None:
        with hold(path, exclusive=True) as lock:
            result.append(os.fstat(lock.fileno()).st_ino)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.1)
    first.release_and_remove()
    waiter.join(10)
    assert result == [path.stat().st_ino]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A planted link does not make us open, create or lock another file."""
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        hold(tmp_path / "lock", exclusive=True)
    assert not (tmp_path / "other").exists()
