"""Forks shims for a client that runs many commands: interpreter and modules are loaded once.

Started with the client's socket as descriptor 3. Each message on it carries another socket, that of
a new shim: its control and its report. Such a shim carries out one command after the other. Before
each, the client sends `L` with the log's descriptor; after each, the shim says `free`. It lives in a
session of its own and ends with the client, or when a command has left a process that it could not
end. The end of this process ends no shim, and the client's death ends this process.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import sys
import time

from . import main as shim
from .tree import PR_GET_DUMPABLE, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal

SOCKET = 3
#: Above those that a shim uses.
FIRST_FREE = 10


def received(client: _socket.socket) -> list[int] | None:
    """The descriptors of the next message; None when the client is gone."""
    data, parts, _, _ = client.recvmsg(1, _socket.CMSG_SPACE(4), getattr(_socket, "MSG_CMSG_CLOEXEC", 0))
    if not data:
        return None
    return [int.from_bytes(part[:4], sys.byteorder) for _, _, part in parts]


def become_shim(client: int) -> None:
    """Turn the forked child into a shim; does not return."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        moved = fcntl.fcntl(client, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        for fd in (shim.CONTROL, shim.REPORT):
            os.dup2(moved, fd)
        shim.settle(last=shim.REPORT)
        serve(_socket.socket(fileno=shim.CONTROL))
    finally:
        os._exit(0)


def serve(client: _socket.socket) -> None:
    """Carry out commands until the client is gone or one has left something behind."""
    while True:
        logs: list[int] | None = []
        while not logs:  # a request for the command before may have come late
            logs = received(client)
            if logs is None:
                return
        if logs[0] != shim.LOG:
            os.dup2(logs[0], shim.LOG, inheritable=False)
            os.close(logs[0])
        if not shim.carry_out():
            return
        shim.report(b"free")


def reap() -> None:
    """Wait for the shims that have ended; their processor time then counts as ours, and as the client's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def leave(wake: int) -> NoReturn:
    """End, after the shims that are free: they end now, too. Those with a command take their time."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    until = time.monotonic() + 0.1
    try:
        while (left := until - time.monotonic()) > 0:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                poll.poll(left * 1000)
    except ChildProcessError:
        pass
    os._exit(0)


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
            leave(wake)
        try:
            if descriptors and os.fork() == 0:
                become_shim(descriptors[0])
        except OSError:  # no more processes: the client sees its pipe end
            pass
        for fd in descriptors:
            os.close(fd)
