"""Who follows a remote run: enough to tell, later and from another process, that nobody does any more."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def me() -> str:
    """This process, in a line: host, boot and namespace, process id, and when it started."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def is_dead(client: str) -> bool:
    """Whether the process that `me` described is gone.

    Only said where it can be known: on the same host. After a restart of it all its processes
    are gone; those of another container are not seen, and so not called dead.
    """
    machine, _, process = client.partition("/")
    host, _, boot = machine.partition("|")
    own_host, _, own_boot = _machine().partition("|")
    pid, _, started = process.partition("/")
    if host != own_host or not pid.isdigit():
        return False
    if boot.partition("|")[0] != own_boot.partition("|")[0]:
        return True
    if boot != own_boot:
        return False
    return _started(int(pid)) != started


def left_behind(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning for doctor about what nobody follows any more; nothing when there is none.

    Args:
        rows: of a runtime's `reap(end=False)`.
    """
    late = [f"{row['instance_id']} of run {row['run_id']} ({row['why']})" for row in rows if row["why"]]
    return [f"warning: left behind: {', '.join(late)}; end them: worldflux runs reap"] if late else []


def _machine() -> str:
    boot, space = "", ""
    if sys.platform.startswith("linux"):
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            space = os.readlink("/proc/self/ns/pid")
        except OSError:
            pass
    return f"{socket.gethostname().replace('/', '-')}|{boot}|{space}"


def _started(pid: int) -> str:
    """When a process started, in a form that only serves to be compared; empty when there is none."""
    if sys.platform.startswith("linux"):
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return ""
        return "" if stat[0] == b"Z" else stat[19].decode()
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""
