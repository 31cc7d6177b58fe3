"""Commands on this machine: started, watched, stopped, and never outlived by their children.

Each command is owned by a small process of its own, the shim (`worldflux.runtime.shim`), so
that it is ended properly even when this process is killed. This is the client's side: it
starts the shim, hands it the specification over a pipe (an environment may hold secrets, and
arguments are visible to everybody), asks it to stop the command, and reads the record.

On macOS there is no sub-reaper: processes that left the group of the command are found by
the run's mark in their environment. Windows is not supported.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from worldflux import interrupts
from worldflux.errors import UsageError
from worldflux.runtime.spawning import Request, Spawned, clear_record, disown_forker, open_log, reap
from worldflux.runtime.survivors import MARK, end_survivors, survivors

__all__ = ["CommandProcess", "Limits", "ProcessExit", "end_survivors", "read_exit", "survivors"]

REASONS = ("exited", "signalled", "timeout", "cancelled", "client_gone", "interrupted", "not_started")


@dataclass(frozen=True)
class Limits:
    """How long and how much.

    Attributes:
        timeout: seconds on the monotonic clock after which the command is stopped; None: never.
        grace: seconds between the soft signal and SIGKILL.
        drain: seconds to wait for output of processes that outlive the command's leader.
        log_cap: bytes of output that are kept; what follows is read, counted and dropped.
        soft_signal: sent first. SIGINT lets a Python training loop save its checkpoint.
    """

    timeout: float | None = None
    grace: float = 10.0
    drain: float = 0.5
    log_cap: int = 256 * 2**20
    soft_signal: int = signal.SIGINT


@dataclass(frozen=True)
class ProcessExit:
    """How a command ended.

    Attributes:
        exit_code: what its leader passed to exit(); None when a signal ended it.
        signal: number of the signal that ended the leader; None when it exited.
        reason: one of `REASONS`. "interrupted": the shim itself was ended, so that exit code
            and signal may be unknown (both None).
        duration_seconds: from exec to the end of the leader, on the monotonic clock.
        bytes_seen: bytes of output. bytes_logged: bytes that reached the log.
        truncated: the log lacks some of the output.
        log_error: errno name (ENOSPC) of what ended the logging; None when nothing did.
        orphans_killed: processes besides the leader that had to be ended.
        core: the leader dumped core.
        survivors: processes that could not be ended: another user's, or stuck in the kernel.
        oom_kills: processes that the kernel ended for lack of memory in the control group of
            the command while it ran; 0 when it exited with 0 or where nobody counts.
        subreaper: no descendant can have escaped (Linux).
        leader_pid: process id that the leader had.
        shim_rss_kb: peak memory of the shim in KiB; None where the kernel does not say.
        record_error: errno name of why the record could not be written to disk.
    """

    exit_code: int | None
    signal: int | None
    reason: str
    duration_seconds: float
    bytes_seen: int
    bytes_logged: int
    truncated: bool
    log_error: str | None
    orphans_killed: int
    core: bool
    survivors: int = 0
    oom_kills: int = 0
    subreaper: bool = False
    leader_pid: int = 0
    shim_rss_kb: int | None = None
    record_error: str | None = None

    @property
    def code(self) -> int:
        """The exit code, or minus the signal; -9 when nobody saw the end of an interrupted one."""
        if self.exit_code is not None:
            return self.exit_code
        return -(self.signal if self.signal is not None else signal.SIGKILL)


def read_exit(path: Path) -> ProcessExit | None:
    """The record that a shim left; None when there is none, or none that makes sense.

    The command could have written the file itself. Who started it and still lives should
    believe `CommandProcess.wait`.
    """
    try:
        with open(path, "rb") as file:
            return _parse(file.read(65536))
    except OSError:
        return None


def _parse(data: bytes) -> ProcessExit | None:
    """A whole and consistent record, or None."""
    try:
        values = json.loads(data)
        result = ProcessExit(**{name: values[name] for name in _TYPES if name in values})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    for name, types in _TYPES.items():
        value = getattr(result, name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return None
    ended = (result.exit_code is None) != (result.signal is None) or result.reason == "interrupted"
    return result if ended and result.reason in REASONS else None


_TYPES: dict[str, tuple[type, ...]] = {
    "exit_code": (int, type(None)),
    "signal": (int, type(None)),
    "reason": (str,),
    "duration_seconds": (float, int),
    "bytes_seen": (int,),
    "bytes_logged": (int,),
    "truncated": (bool,),
    "log_error": (str, type(None)),
    "orphans_killed": (int,),
    "core": (bool,),
    "survivors": (int,),
    "oom_kills": (int,),
    "subreaper": (bool,),
    "leader_pid": (int,),
    "shim_rss_kb": (int, type(None)),
    "record_error": (str, type(None)),
}


class CommandProcess:
    """A running command. `wait` must be called once; all methods may be called from any thread."""

    def __init__(self, pid: int, spawned: Spawned, mark: str, exit_path: Path) -> None:
        self.pid = pid
        self.shim_pid = spawned.pid
        self._spawned = spawned
        self._open = True
        self._mark = mark
        self._exit_path = exit_path
        self._began = time.monotonic()
        self._received = spawned.rest
        self._result: ProcessExit | None = None
        self._interrupts = 0
        # Re-entrant: a signal handler may call stop() while its own thread is in stop().
        self._writing = threading.RLock()
        self._collecting = threading.RLock()
        _live.add(self)

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log_path: Path,
        exit_path: Path,
        limits: Limits,
        pty: bool = False,
    ) -> CommandProcess:
        """Start a command and return when it was executed.

        Args:
            argv: program and arguments; a name without a slash is searched in `env`'s PATH.
            cwd: working directory; must exist.
            env: the whole environment of the command. Its `WORLDFLUX_RUN_MARK` is what finds
                survivors of a killed shim.
            log_path: file for standard output and error, appended to, created as 0600.
            exit_path: file for the record of the end (JSON), replaced when it exists; its
                folder must exist.
            limits: timeouts and sizes.
            pty: give the command a pseudo-terminal for its output; never one for its input.

        Raises:
            UsageError: the command or its working directory does not exist or can not be
                executed. Nothing is left behind.
            WorldFluxError: the log can not be created, or no process can be started.
        """
        if os.name != "posix":
            raise UsageError(
                "commands can not be run on Windows itself",
                "run WorldFlux inside WSL 2, or choose a remote runtime: worldflux runtime list",
                code="unsupported_platform",
            )
        request = Request(argv, cwd, env, exit_path, {**asdict(limits), "pty": pty})
        log, created = open_log(log_path)
        process: CommandProcess | None = None
        spawned: Spawned | None = None
        try:
            clear_record(exit_path)
            spawned = Spawned.spawn(log)
            process = cls(spawned.hand_over(request), spawned, env.get(MARK, ""), exit_path)
            return process
        finally:
            os.close(log)
            if process is None:
                if spawned is not None:
                    spawned.abandon()
                if created:
                    log_path.unlink(missing_ok=True)

    def wait(
        self, on_started: Callable[[], None] | None = None, on_ended: Callable[[], None] | None = None
    ) -> ProcessExit:
        """Return when the command and all that it started have ended, and the record is on the disk.

        A first KeyboardInterrupt stops the command, a second one kills it; none is raised.

        Args:
            on_started: called first, while the command runs, when it has not been waited for before.
            on_ended: told when the processes have ended, before log and record are on the disk; not told
                when the shim ended without a word.
        """
        presses = 0
        while True:
            try:
                # An exception could be raised inside the very code that handles the one before.
                if presses:
                    self._interrupt()
                    presses = 0
                with interrupts.told(self._interrupt):
                    return self._collect(on_started, on_ended)
            except KeyboardInterrupt:
                presses += 1

    def stop(self) -> None:
        """Ask the command to end: soft signal, grace, SIGKILL. Silent when it has ended."""
        self._request(b"S")

    def kill(self) -> None:
        """End the command at once. Silent when it has ended."""
        self._request(b"K")

    def _request(self, request: bytes) -> None:
        with self._writing:
            if self._open:
                with suppress(BrokenPipeError):  # the shim has ended meanwhile
                    os.write(self._spawned.control, request)

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self.stop()
        else:
            self.kill()

    def _collect(
        self, on_started: Callable[[], None] | None, on_ended: Callable[[], None] | None
    ) -> ProcessExit:
        with self._collecting:
            if self._result is None:
                if on_started is not None:
                    on_started()
                self._listen(1)
                if on_ended is not None and self._received:
                    on_ended()
                self._listen(2)
                if self._spawned.seat is None:
                    reap(self.shim_pid)
                else:
                    self._listen(3)
                _, record, free = (*self._received.split(b"\n"), b"", b"", b"")[:3]
                self._disown(free == b"free")
                # Only the pipe is trusted: the command can write to the record's place, too.
                result = _parse(record)
                if result is None:
                    result = self._interrupted()
                elif not result.subreaper and self._mark:
                    end_survivors(self._mark)
                self._result = result
            return self._result

    def _listen(self, lines: int) -> None:
        """Receive so many lines of what the shim says after `started`, or all when it is gone."""
        while self._received.count(b"\n") < lines:
            part = os.read(self._spawned.report, 65536)
            if not part:
                break
            self._received += part

    def _interrupted(self) -> ProcessExit:
        """The shim ended without a word: end what it left, and say so on disk."""
        killed = end_survivors(self._mark) if self._mark else 0
        seconds = round(time.monotonic() - self._began, 6)
        result = ProcessExit(
            None, None, "interrupted", seconds, 0, 0, False, None, killed, False, leader_pid=self.pid
        )
        from worldflux.runtime.shim.output import write_record

        try:
            write_record(os.fsencode(self._exit_path), json.dumps(asdict(result)).encode())
        except OSError:
            self._exit_path.unlink(missing_ok=True)
        return result

    def _disown(self, free: bool = False) -> None:
        """Let go of the shim: give it back, or close our ends, which it takes for our death."""
        with self._writing:
            if self._open:
                self._open = False
                self._spawned.let_go(free)


#: A process forked from this one must not keep control pipes open: it would hide our death.
_live: weakref.WeakSet[CommandProcess] = weakref.WeakSet()


def _disown_after_fork() -> None:
    disown_forker()
    for process in list(_live):
        process._writing = threading.RLock()  # may have been held by a thread that is not here
        process._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_after_fork)
