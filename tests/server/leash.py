"""Run a command that ends when whoever started it does: `python -IS leash.py SIGNAL STARTER USER COMMAND WORDS...`.

A test run that is killed can stop nothing any more, so the kernel does it: the signal comes when the thread that
started this ends, however that comes about. The process keeps its id. Only Linux can do this; elsewhere
the command is simply run. The user may be empty; the kernel forgets the signal at a change of users, so that comes
first.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

_SET_DEATH_SIGNAL = 1


def main(signal: int, starter: int, user: str, words: list[str]) -> None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if user:
        facts = pwd.getpwnam(user)
        os.initgroups(user, facts.pw_gid)
        os.setgid(facts.pw_gid)
        os.setuid(facts.pw_uid)
    if libc is not None:
        libc.prctl(_SET_DEATH_SIGNAL, signal, 0, 0, 0)
        if os.getppid() != starter:
            raise SystemExit("whoever started this is gone")
    os.execv(words[0], words)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
