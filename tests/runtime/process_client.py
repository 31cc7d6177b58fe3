"""A client of the shim as a program of its own, so that a test can kill it or press Ctrl-C.

Its one argument is JSON: what `CommandProcess.start` takes, `out` (a file for what it has to
say) and some of these habits:
    ignore   signals to ignore before the start
    block    block every signal before the start
    leak     keep an inheritable descriptor open
    forks    fork a child that sleeps, with a copy of every descriptor
    uid      become this user before the start
    cgroup   move into this control group before the start
    python   interpreter to use for the shim
    forker   let a forker start the shim
    steal    try to get the leader's pid for a process of its own, as soon as the leader has ended
It exits with 130 when the run was cancelled.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from worldflux.runtime.process import CommandProcess, Limits, ProcessExit
from worldflux.runtime.spawning import Forker


def prepare(spec: dict) -> None:
    if "cgroup" in spec:
        Path(spec["cgroup"], "cgroup.procs").write_text(str(os.getpid()))
    if "uid" in spec:
        os.setgid(spec["uid"])
        os.setuid(spec["uid"])
    for number in spec.get("ignore", []):
        signal.signal(number, signal.SIG_IGN)
    if spec.get("block"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if spec.get("leak"):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 20)
    sys.executable = spec.get("python", sys.executable)


def steal_pid(pid: int) -> tuple[int, list[int]]:
    """Fork until a child gets that pid, for half a second; needs a pid namespace of its own.

    Returns the child that got it (0: none did), which sleeps in a session of its own, and the
    pids that other children got.
    """
    while not Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].startswith(b" Z"):
        time.sleep(0.002)
    got: list[int] = []
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() == pid:
                os.setsid()
                time.sleep(30)
            os._exit(0)
        if child == pid:
            return child, got
        got.append(child)
        os.waitpid(child, 0)
    return 0, got


def wait(process: CommandProcess, record: Path) -> ProcessExit:
    """Wait, and go on when Ctrl-C comes after the end; before the end it is not to be raised."""
    while True:
        try:
            ended = process.wait()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return ended
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if not record.exists():
                raise


def main() -> int:
    spec = json.loads(sys.argv[1])
    out, said = Path(spec["out"]), {}

    def say(**facts: object) -> None:
        said.update(facts)
        draft = out.with_suffix(".draft")
        draft.write_text(json.dumps(said))
        draft.rename(out)

    prepare(spec)
    if spec.get("forker"):
        say(forker=Forker().__enter__().pid)
    process = CommandProcess.start(
        spec["argv"],
        cwd=Path(spec["cwd"]),
        env=spec["env"],
        log_path=Path(spec["log"]),
        exit_path=Path(spec["exit"]),
        limits=Limits(**spec["limits"]),
    )
    if spec.get("forks"):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        say(fork=child)
    say(pid=process.pid, shim=process.shim_pid)
    if spec.get("steal"):
        bystander, got = steal_pid(process.pid)
        say(bystander=bystander, got=got)
    ended = wait(process, Path(spec["exit"]))
    if spec.get("steal") and bystander:
        say(bystander_killed=os.waitpid(bystander, os.WNOHANG)[0] != 0)
    say(ended=asdict(ended))
    return 130 if ended.reason == "cancelled" else 0


if __name__ == "__main__":
    sys.exit(main())
