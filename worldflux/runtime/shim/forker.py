"""Forks shims for a client that runs many commands: interpreter and modules are loaded once.

Started with the client's socket as descriptor 3. Each message on it carries the three descriptors
of one shim (control, report, log), which then works as if it had been started by itself: in a
session of its own, and bound to the client by its own control pipe. The end of this process ends
no shim, and the client's death ends this process.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import sys

from . import main as shim
from .tree import PR_GET_DUMPABLE, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

SOCKET = 3
#: Above those that a shim uses.
FIRST_FREE = 10


def received(client: _socket.socket) -> list[int] | None:
    """The descriptors of the next message; None when the client is gone."""
    data, parts, _, _ = client.recvmsg(1, _socket.CMSG_SPACE(3 * 4), getattr(_socket, "MSG_CMSG_CLOEXEC", 0))
    if not data:
        return None
    numbers = b"".join(part for _, _, part in parts)
    return [int.from_bytes(numbers[at : at + 4], sys.byteorder) for at in range(0, len(numbers), 4)]


def become_shim(descriptors: list[int]) -> None:
    """Turn the forked child into a shim; does not return."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for fd in descriptors]
        for index, fd in enumerate(moved):
            os.dup2(fd, shim.CONTROL + index)
        shim.main()
    finally:
        os._exit(1)


def reap() -> None:
    """Wait for the shims that have ended; their processor time then counts as ours, and as the client's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Fork a shim for each message until the client is gone."""
    import gc

    shim.settle(last=SOCKET)
    client = _socket.socket(fileno=SOCKET)
    wake, wake_write = os.pipe()
    for fd in (wake, wake_write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    for fd in (SOCKET, wake):
        poll.register(fd, select.POLLIN)
    prctl(PR_GET_DUMPABLE, 0)  # finds the function, for all shims
    gc.freeze()
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if wake in ready:
            os.read(wake, 4096)
            reap()
        if SOCKET not in ready:
            continue
        descriptors = received(client)
        if descriptors is None:
            os._exit(0)
        try:
            if len(descriptors) == 3 and os.fork() == 0:
                become_shim(descriptors)
        except OSError:  # no more processes: the client sees its pipe end
            pass
        for fd in descriptors:
            os.close(fd)
