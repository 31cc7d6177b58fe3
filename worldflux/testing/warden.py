"""Owns one command of a stand-in server, as a container does: nothing in it outlives it.

Usage: python warden.py CONTROL WORD...   CONTROL is a file descriptor. The command is ended, with
every process it started, when the command's leader ends or when nobody holds the other end of
CONTROL any more, which is also the case when the server was killed. Ends like the leader did.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    control = int(arguments[0])
    # A handler, because what is ignored stays ignored in the command.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        child = subprocess.Popen(arguments[1:], start_new_session=True, restore_signals=True)
    except OSError as error:
        print(f"{arguments[1]}: {error.strerror}", file=sys.stderr)
        return 127
    watched = [control]
    if hasattr(os, "pidfd_open"):
        watched.append(os.pidfd_open(child.pid))
    while child.poll() is None:
        ready, _, _ = select.select(watched, [], [], 0.2 if len(watched) == 1 else None)
        if control in ready:
            child.kill()
            child.wait()
    end_descendants(child.pid)
    if child.returncode < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-child.returncode, signal.SIG_DFL) if -child.returncode not in (9, 19) else None
        os.kill(os.getpid(), -child.returncode)
    return child.returncode


def end_descendants(group: int) -> None:
    """Kill all that is left; what its parent abandoned has become our own child."""
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    while True:
        for pid in _children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                select.select([], [], [], 0.005)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me, found = str(os.getpid()), []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                    if stream.read().rpartition(")")[2].split()[1] == me:
                        found.append(int(name))
            except (OSError, IndexError):
                continue
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
