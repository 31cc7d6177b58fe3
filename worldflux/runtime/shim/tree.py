"""What the kernel knows about processes, read as cheaply as possible."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` builds enums for longer than the rest of the start takes

LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_CHILD_SUBREAPER = 36
#: Flag of a process that has begun to end (include/linux/sched.h).
PF_EXITING = 0x4

#: Whether the kernel lists the children of a process; otherwise all processes are looked at.
CHILDREN_FILES = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


#: Address of the function once it was looked up.
_prctl = 0


def prctl(option: int, value: int) -> bool:
    """Call prctl(2); false where it does not exist or refuses."""
    if not LINUX:
        return False
    try:
        import _ctypes  # a quarter of the time of `import ctypes`

        global _prctl
        _prctl = _prctl or _ctypes.dlsym(_ctypes.dlopen(None, 2), "prctl")  # type: ignore[arg-type]
        return bool(_ctypes.call_function(_prctl, (option, value, 0, 0, 0)) == 0)
    except (ImportError, AttributeError):
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except OSError:
        return False


def slurp(path: str) -> bytes:
    """Content of a small file of the kernel; empty when it can not be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = b""
        while part := os.read(fd, 8192):
            content += part
        return content
    except OSError:
        return b""
    finally:
        os.close(fd)


def state_and_parent(pid: int) -> tuple[bytes, int]:
    """State letter and parent of a process; a zombie (`Z`) when it is ending, with parent 0 when it is gone.

    A process that is about to end closes its files before it can be waited for.
    """
    fields = slurp(f"/proc/{pid}/stat").rpartition(b")")[2].split(None, 7)
    if len(fields) < 7:
        return b"Z", 0
    return b"Z" if int(fields[6]) & PF_EXITING else fields[0], int(fields[1])


def children_of(pid: int) -> list[int]:
    """Direct children of all threads of a process."""
    try:
        if not CHILDREN_FILES:
            everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            return [other for other in everybody if state_and_parent(other)[1] == pid]
        # The process that asks, the shim, has one thread.
        threads = [str(pid)] if pid == os.getpid() else os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [
        int(child) for thread in threads for child in slurp(f"/proc/{pid}/task/{thread}/children").split()
    ]


def descendants(root: int) -> dict[int, int]:
    """Everything below a process, as pid -> parent, in one look; it may be out of date at once."""
    found: dict[int, int] = {}
    todo = [root]
    while todo:
        parent = todo.pop()
        for child in children_of(parent):
            if child not in found:
                found[child] = parent
                todo.append(child)
    return found


def send(pid: int, number: int, family: dict[int, int]) -> bool:
    """Signal a descendant; false when it is already gone.

    A grandchild may be reaped by its parent, and its pid given to a stranger, between the
    look and the signal. So it is pinned by a pidfd first and its parent looked at once more.

    Raises:
        PermissionError: it runs as somebody else.
    """
    me = os.getpid()
    try:
        if family[pid] == me or not hasattr(os, "pidfd_open"):
            os.kill(pid, number)  # only this process can reap its child: the pid is its own
            return True
        try:
            pin = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                return False
            os.kill(pid, number)
            return True
        try:
            parent = state_and_parent(pid)[1]
            if parent != me and parent not in family:
                return False
            signal.pidfd_send_signal(pin, number)
        finally:
            os.close(pin)
    except ProcessLookupError:
        return False
    return True


def oom_kills() -> int:
    """Processes the kernel has ended for lack of memory in this control group, up to now."""
    for line in slurp("/proc/self/cgroup").decode("utf-8", "surrogateescape").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            texts = [slurp(f"/sys/fs/cgroup{path}/memory.events")]
        elif "memory" in controllers.split(","):
            texts = [slurp(f"/sys/fs/cgroup/memory{path}/memory.oom_control")]
        else:
            continue
        for words in (entry.split() for text in texts for entry in text.splitlines()):
            if words[:1] == [b"oom_kill"]:
                return int(words[1])
    return 0
