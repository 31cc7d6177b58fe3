"""Watches one command from its start to the last of its descendants.

Descriptors it is started with:
    3  control: the specification, then one byte per request (`S` stop, `K` kill now); end of
       file says that the client is gone
    4  report: `started PID OWN_PID` or `failed STAGE ERRNO`, `ended` when the command and all that it
       started are gone, and one line with the record when that is on the disk
    5  log: opened by the client for appending
"""

# ruff: noqa: SIM105 (importing contextlib takes longer than the fork of the command)

from __future__ import annotations

import errno
import os
import select
import sys
import time

from .command import Spec, become_command, open_terminal
from .output import BURST, Pump, json_object, widen, write_record
from .tree import (
    LINUX,
    PR_SET_CHILD_SUBREAPER,
    children_of,
    descendants,
    oom_kills,
    prctl,
    send,
    slurp,
    state_and_parent,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

CONTROL, REPORT, LOG = 3, 4, 5

#: Noted while there is a command.
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Seconds that processes which outlive the leader have between SIGTERM and SIGKILL.
ORPHAN_GRACE = 0.3
#: Seconds after which a process that ignores even SIGKILL (stuck in a driver) is left behind.
STUCK_AFTER = 30.0
#: Seconds; poll(2) takes no more milliseconds than fit in 31 bits.
LONGEST_POLL = 3600.0


class Shim:
    """One command from its start to the last of its descendants."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.leader = 0
        self.exited_at: float | None = None
        self.reason: str | None = None
        self.hard_at: float | None = None
        self.killed = False
        self.orphans: set[int] = set()
        self.untouchable: set[int] = set()
        self.subreaper = prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.ooms = oom_kills()
        self.wake, self.wake_write = os.pipe()
        for fd in (self.wake, self.wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    # ---- start -----------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the command and report it; false when it could not be executed."""
        source, output = open_terminal() if self.spec.pty else os.pipe()
        if not self.spec.pty:
            widen(source)
        failure, failure_write = os.pipe()
        self.began = time.monotonic()
        self.leader = self.leader_pid = os.fork()
        if not self.leader:
            become_command(self.spec, output, failure_write, self.pid)
        os.close(output)
        os.close(failure_write)
        problem = os.read(failure, 64)
        os.close(failure)
        if problem:
            os.waitpid(self.leader, 0)
            report(b"failed " + problem)
            return False
        self.watch_leader()
        self.pump = Pump(source, LOG, self.spec.log_cap)
        report(b"started %d %d" % (self.leader, self.pid))
        return True

    # ---- while it runs ---------------------------------------------------------------------

    def watch(self) -> None:
        """Return when the leader has ended and its output is drained."""
        poll = select.poll()
        for fd in (CONTROL, self.wake, self.pump.source):
            poll.register(fd, select.POLLIN)
        timeout = self.spec.timeout
        deadline = None if timeout is None else self.began + timeout
        while True:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                deadline = None
                self.stop("timeout")
            if self.hard_at is not None and now >= self.hard_at:
                if self.killed and now > self.stuck_at:
                    return
                self.kill_all()
                self.hard_at = now + 0.05
            if self.exited_at is not None and self.drained(now):
                return
            ends = [
                deadline,
                self.hard_at,
                None if self.exited_at is None else self.exited_at + self.spec.drain,
            ]
            pause = min([end - now for end in ends if end is not None] + [LONGEST_POLL])
            ready = poll.poll(max(0, pause) * 1000 + 1)
            for fd, _ in ready:
                if fd == self.pump.source:
                    self.pump.turn()
                    if self.pump.closed:
                        poll.unregister(fd)
                elif fd == self.wake:
                    self.on_signals()
                elif not self.on_request():
                    poll.unregister(CONTROL)

    def drained(self, now: float) -> bool:
        """Whether nothing is left to wait for now that the leader has ended."""
        assert self.exited_at is not None
        return self.pump.closed or now >= self.exited_at + self.spec.drain or not self.others()

    def on_request(self) -> bool:
        """Obey the client; false when it is gone."""
        requests = os.read(CONTROL, 64)
        if not requests:
            self.stop("client_gone")
            return False
        self.stop("cancelled")
        if b"K" in requests and self.hard_at is not None and not self.killed:
            self.hard_at = 0.0
        return True

    def on_signals(self) -> None:
        """Take note of ended children and of signals sent to this process itself."""
        try:
            numbers = os.read(self.wake, 4096)
        except BlockingIOError:
            return
        self.reap()
        if set(numbers) - {signal.SIGCHLD}:
            self.stop("interrupted")

    def stop(self, reason: str) -> None:
        """Ask the command to end; only the first reason counts, and none after its own end."""
        self.reap()
        if self.exited_at is not None:
            self.spec.drain = 0.0  # nobody wants to wait for what the leader left
        elif self.reason is None:
            self.reason = reason
            self.hard_at = time.monotonic() + self.spec.grace
            self.signal_group(self.spec.soft_signal)
            self.signal_group(signal.SIGCONT)  # a stopped process gets nothing but SIGKILL

    # ---- the leader ------------------------------------------------------------------------

    def watch_leader(self) -> None:
        """Prepare to see the leader end without reaping it."""
        if sys.platform == "darwin":
            event = select.kevent(self.leader, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            self.kqueue = select.kqueue()
            self.kqueue.control([event], 0)

    def leader_ended(self) -> bool:
        if sys.platform == "darwin":
            return bool(self.kqueue.control([], 1, 0))
        return os.waitid(os.P_PID, self.leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def signal_group(self, number: int) -> None:
        """Signal the leader's group; its pid is reserved, for the leader is not reaped yet."""
        if self.leader:
            try:
                os.killpg(self.leader, number)
            except OSError:
                pass

    # ---- the others ------------------------------------------------------------------------

    def reap(self) -> bool:
        """Reap adopted orphans, and see whether the leader has ended; whether there may be others.

        A process that has ended has no children: they are this one's now.
        """
        if self.exited_at is None and self.leader_ended():
            self.exited_at = time.monotonic()
        others = [pid for pid in children_of(self.pid) if pid != self.leader]
        for pid in others:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # listed twice
                pass
        return bool(others) or self.exited_at is None

    def others(self) -> dict[int, int]:
        """Living descendants besides the leader that may be signalled, as pid -> parent."""
        if not self.reap():
            return {}
        return {
            pid: parent
            for pid, parent in descendants(self.pid).items()
            if pid != self.leader and pid not in self.untouchable and state_and_parent(pid)[0] != b"Z"
        }

    def signal_others(self, number: int, others: dict[int, int]) -> None:
        family = {self.leader: self.pid, **others} if self.leader else others
        for pid in others:
            try:
                if send(pid, number, family):
                    self.orphans.add(pid)
            except PermissionError:
                self.untouchable.add(pid)

    def kill_all(self) -> None:
        if not self.killed:
            self.killed = True
            self.stuck_at = time.monotonic() + STUCK_AFTER
        self.signal_others(signal.SIGKILL, self.others())
        self.signal_group(signal.SIGKILL)

    def sweep(self) -> int | None:
        """End every descendant that outlived the leader; returns the leader's wait status."""
        others = self.others()
        if others and not self.killed:
            self.signal_others(signal.SIGTERM, others)
            self.signal_others(signal.SIGCONT, others)
            self.pause(time.monotonic() + ORPHAN_GRACE, until_alone=True)
        while others and self.others():
            self.kill_all()
            if time.monotonic() > self.stuck_at:
                break
            self.pause(time.monotonic() + 0.005)
        reaped, status = os.waitpid(self.leader, os.WNOHANG)
        self.leader = 0  # its pid is free from here on: nothing is sent to its group any more
        # What a look into /proc missed is found by asking the kernel whether a child is left.
        late = time.monotonic() + STUCK_AFTER
        while time.monotonic() < late:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    others = self.others()
                    if not others and self.untouchable:
                        break
                    self.signal_others(signal.SIGKILL, others)
                    self.pause(time.monotonic() + 0.005)
            except ChildProcessError:
                break
        return status if reaped else None

    def pause(self, until: float, until_alone: bool = False) -> None:
        """Wait for a moment or a signal, with the output flowing on."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        if not self.pump.closed:
            poll.register(self.pump.source, select.POLLIN)
        while (left := until - time.monotonic()) > 0 and (not until_alone or self.others()):
            for fd, _ in poll.poll(left * 1000 + 1):
                if fd == self.wake:
                    self.on_signals()
                else:
                    self.pump.turn()
                    if self.pump.closed:
                        poll.unregister(fd)
            if not until_alone:
                return

    # ---- the end ---------------------------------------------------------------------------

    def conclude(self, status: int | None) -> bytes:
        """Drain, make the log durable and write the record; returns the record."""
        ended = self.exited_at or time.monotonic()
        if not self.pump.closed:
            self.pump.turn(chunks=4 * BURST)
        self.pump.finish()
        exited = status is not None and os.WIFEXITED(status)
        number = signal.SIGKILL if status is None else None if exited else os.WTERMSIG(status)
        code = os.WEXITSTATUS(status) if status is not None and exited else None
        peak = slurp("/proc/self/status").partition(b"VmHWM:")[2].split(None, 1)[:1]
        left = self.untouchable | ({self.leader_pid} if status is None else set())
        facts: dict[str, object] = {
            "exit_code": code,
            "signal": None if number is None else int(number),
            "core": status is not None and not exited and os.WCOREDUMP(status),
            "reason": self.reason or ("exited" if exited else "signalled"),
            "duration_seconds": round(ended - self.began, 6),
            "bytes_seen": self.pump.seen,
            "bytes_logged": self.pump.logged,
            "truncated": self.pump.seen > self.pump.logged,
            "log_error": self.pump.error,
            "orphans_killed": len(self.orphans),
            "survivors": sum(state_and_parent(pid)[0] != b"Z" for pid in left),
            "oom_kills": 0 if code == 0 else oom_kills() - self.ooms,
            "subreaper": self.subreaper,
            "leader_pid": self.leader_pid,
            "shim_rss_kb": int(peak[0]) if peak else None,
            "record_error": None,
        }
        try:
            # A client that lives is told and keeps a record of its own. This one is for its death.
            write_record(self.spec.exit_path, json_object(facts), durable=not client_lives())
        except OSError as error:
            facts["record_error"] = errno.errorcode.get(error.errno or 0, "EIO")
        return json_object(facts)

    def close(self) -> None:
        """Give back what another command would need; from here on a signal ends this process."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for fd in (self.wake, self.wake_write, self.pump.source, LOG):
            os.close(fd)


def client_lives() -> bool:
    poll = select.poll()
    poll.register(CONTROL, 0)
    return not poll.poll(0)


def report(line: bytes) -> None:
    try:
        os.write(REPORT, line + b"\n")
    except OSError:  # nobody listens any more
        pass


def settle(last: int = LOG) -> None:
    """Leave the client's session and keep none of its descriptors beyond the last one that is used."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    for name in os.listdir("/proc/self/fd" if LINUX else "/dev/fd"):
        if int(name) > last:
            try:
                os.close(int(name))
            except OSError:  # the one that listed the folder
                pass
    for fd in range(CONTROL, last + 1):
        os.set_inheritable(fd, False)


def carry_out() -> bool:
    """Run one command; whether nothing of it is left, so that this process could run another."""
    spec = Spec.receive(CONTROL)
    if spec is None:
        return False
    shim = Shim(spec)
    if not shim.start():
        return False
    shim.watch()
    status = shim.sweep()
    report(b"ended")
    report(shim.conclude(status))
    shim.close()
    return status is not None and not shim.untouchable


def main() -> None:
    """Run one command; leaves by `_exit`, for a clean shutdown of the interpreter takes time."""
    settle()
    carry_out()
    os._exit(0)
