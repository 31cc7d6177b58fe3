"""Processes of a run that nobody owns any more, found by the mark in their environment.

A shim ends all that its command started, unless it is itself killed with SIGKILL. What then
survives still carries `WORLDFLUX_RUN_MARK`, a random word that no other run has.
"""

from __future__ import annotations

import os
import signal
import sys
import time

#: Variable that carries the mark of a run.
MARK = "WORLDFLUX_RUN_MARK"

#: Seconds to wait for processes to vanish after SIGKILL; longer is only the kernel's business.
_KILL_WAIT = 5.0


def survivors(mark: str) -> list[int]:
    """Living processes, other than this one, that were started with this mark.

    Not seen are those of other users, those that overwrote their environment, and those that
    fork and exit faster than all processes can be looked at.

    Raises:
        ValueError: the mark is empty, which would match foreign processes.
    """
    if not mark or "\0" in mark:
        raise ValueError("the mark of a run must not be empty")
    pids = _linux_pids() if sys.platform == "linux" else _psutil_pids()
    return [pid for pid in pids if pid != os.getpid() and _carries(pid, mark)]


def end_survivors(mark: str, grace: float = 1.0) -> int:
    """End what carries the mark: SIGTERM, then SIGKILL after `grace` seconds; returns how many.

    Raises:
        ValueError: the mark is empty.
    """
    ended: set[int] = set()
    began = time.monotonic()
    while left := survivors(mark):
        waited = time.monotonic() - began
        if waited > grace + _KILL_WAIT:
            break
        fresh = [pid for pid in left if pid not in ended]
        for pid in left if waited >= grace else fresh:
            _send(pid, mark, signal.SIGKILL if waited >= grace else signal.SIGTERM)
        ended.update(left)
        time.sleep(0.01)
    return len(ended)


def _linux_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _psutil_pids() -> list[int]:
    import psutil

    return list(psutil.pids())


def _carries(pid: int, mark: str) -> bool:
    """Whether a process was started with the mark; false for a zombie, which has no environment."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return os.fsencode(f"{MARK}={mark}") in file.read().split(b"\0")
        except OSError:
            return False
    import psutil

    try:
        return bool(psutil.Process(pid).environ().get(MARK) == mark)
    except (psutil.Error, OSError):
        return False


def _send(pid: int, mark: str, number: int) -> None:
    """Signal a process that carries the mark, and never one that got its pid meanwhile."""
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, number)
            return
        pin = os.pidfd_open(pid)
        try:
            if _carries(pid, mark):
                signal.pidfd_send_signal(pin, number)
        finally:
            os.close(pin)
    except OSError:
        pass
