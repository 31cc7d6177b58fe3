"""How a command is handed to its shim: the log, the pipes, and the faults a start can have."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from worldflux.errors import UsageError, WorldFluxError

if TYPE_CHECKING:
    from socket import socket as Seat

#: Run by the shim's interpreter. The import system caches the compiled modules, which a
#: script given by its path would not have.
_BOOT = "import sys; sys.path.append(sys.argv[1]); from shim.{} import main; main()"

#: What the loader of an interpreter may need; nothing else of our environment reaches the shim.
_LOADER_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


@dataclass(frozen=True)
class Request:
    """A command to start; see `CommandProcess.start`. `limits` holds the fields of `Limits` and `pty`."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    exit_path: Path
    limits: Mapping[str, Any]

    def encode(self) -> bytes:
        """The request as the shim reads it.

        Raises:
            UsageError: an argument or a variable can not be handed to a program.
        """
        import marshal  # same interpreter on both sides

        if not self.argv or not self.argv[0]:
            raise UsageError(
                "the command is empty", "write the program and its arguments: command: [python, run.py]"
            )
        for text in (*self.argv, *self.env, *self.env.values(), str(self.cwd)):
            if "\0" in text:
                raise UsageError(
                    "an argument or variable of the command holds a NUL byte", "remove it from the recipe"
                )
        for name in self.env:
            if not name or "=" in name:
                raise UsageError(
                    f"{name!r} can not be the name of a variable", "correct it under env in the recipe"
                )
        spec = {
            "argv": [os.fsencode(word) for word in self.argv],
            "env": {os.fsencode(name): os.fsencode(value) for name, value in self.env.items()},
            "cwd": os.fsencode(self.cwd),
            "exit_path": os.fsencode(self.exit_path.absolute()),
            **{name: int(value) if isinstance(value, int) else value for name, value in self.limits.items()},
        }
        blob = marshal.dumps(spec)
        return b"%016x" % len(blob) + blob

    def fault(self, stage: str, number: int) -> WorldFluxError:
        """What the shim's `failed STAGE ERRNO` means to the person who wrote the command."""
        name, reason = self.argv[0], os.strerror(number)
        if stage == "cwd":
            return UsageError(
                f"can not enter the working directory {self.cwd}: {reason}",
                "create it first",
                code="command_cwd",
            )
        if stage != "exec":
            return WorldFluxError(
                f"can not prepare the process of {name}: {reason}", "try again", code="no_process"
            )
        if number in (errno.ENOENT, errno.ENOTDIR):
            if "/" in name:
                hint = "check the path; a script also needs the interpreter that its first line names"
            else:
                hint = f"no folder on the command's PATH has it; PATH is {self.env.get('PATH', os.defpath)}"
            return UsageError(f"command not found: {name}", hint, code="command_not_found")
        hints = {
            errno.EACCES: f"make it an executable file: chmod +x {name}",
            errno.ENOEXEC: "it is no program and has no #! line; put its interpreter in front",
            errno.E2BIG: "its arguments and variables are too long together; pass a file instead",
        }
        hint = hints.get(number, "run it by hand to see why")
        return UsageError(f"command not executable: {name}: {reason}", hint, code="command_not_executable")


@dataclass
class Spawned:
    """A shim that waits for its specification; the descriptors are our ends of its pipes.

    `seat`: it is one of a forker, so no child of ours, `pid` is 0 until it has said which one it
    has, and it may carry out another command later. `rest`: what it has said beyond that, the
    beginning of its record.
    """

    pid: int
    control: int
    report: int
    seat: Seat | None = None
    rest: bytes = b""

    @classmethod
    def spawn(cls, log: int) -> Spawned:
        """Start the shim in a session of its own; safe in a process with threads.

        Raises:
            WorldFluxError: no process can be started.
        """
        import fcntl

        seat = Forker.current.seat(log) if Forker.current is not None else None
        if seat is not None:
            return cls(0, seat.fileno(), seat.fileno(), seat)
        ours: list[int] = []
        theirs: list[int] = []
        done = False
        try:
            for end in (0, 1):
                pipe = os.pipe()
                ours.append(pipe[1 - end])
                # Out of the way of 3 to 5, which are written to in turn.
                theirs.append(fcntl.fcntl(pipe[end], fcntl.F_DUPFD_CLOEXEC, 10))
                os.close(pipe[end])
            theirs.append(fcntl.fcntl(log, fcntl.F_DUPFD_CLOEXEC, 10))
            pid = _posix_spawn(theirs, "main")
            done = True
            return cls(pid, ours[0], ours[1])
        except OSError as error:
            raise WorldFluxError(
                f"can not start a process: {error.strerror}",
                "check the limits on processes and open files: ulimit -u; ulimit -n",
                code="no_process",
            ) from error
        finally:
            for fd in theirs if done else theirs + ours:
                os.close(fd)

    def hand_over(self, request: Request) -> int:
        """Send the request; returns the process id of the command.

        Raises:
            UsageError: the command could not be executed.
            WorldFluxError: the shim ended before it could say anything.
        """
        try:
            data = memoryview(request.encode())
            while data:
                data = data[os.write(self.control, data) :]
        except BrokenPipeError:
            pass
        said = b""
        while b"\n" not in said:
            part = os.read(self.report, 4096)
            if not part:
                raise WorldFluxError(
                    "the process that guards the command ended before it started it",
                    f"check that this works: {sys.executable} -I -S -c pass",
                    code="no_process",
                )
            said += part
        line, _, self.rest = said.partition(b"\n")
        words = line.decode("ascii").split()
        if words[0] == "started":
            self.pid = int(words[2])
            return int(words[1])
        raise request.fault(words[1], int(words[2]))

    def abandon(self) -> None:
        """End the shim and what it may have started."""
        with suppress(OSError):
            os.write(self.control, b"K")
        self.let_go(False)
        if self.seat is None:
            reap(self.pid)

    def let_go(self, free: bool) -> None:
        """Leave a shim that is free to others; close the pipes of one that is not: our death to it."""
        if self.seat is None:
            os.close(self.control)
            os.close(self.report)
        elif free and Forker.current is not None:
            Forker.current.give_back(self.seat)
        else:
            self.seat.close()


class Forker:
    """A process that forks shims, in a fifth of the time that an interpreter takes to start.

    A shim that has carried out a command waits for another one.

    It gets what this process has at its start: limits, umask, control group. So it is for a
    caller that starts many commands in a row, such as a sweep: `with Forker(): ...`. Shims are started
    one by one again when it is gone, whoever ended it.
    """

    #: The one that is at work in this process.
    current: ClassVar[Forker | None] = None

    def __init__(self) -> None:
        self.pid = 0
        self._socket: Seat | None = None
        self._free: list[Seat] = []

    def __enter__(self) -> Forker:
        """Start it; where that is not possible, commands start as they do without it."""
        if sys.platform == "linux" and Forker.current is None:
            from socket import AF_UNIX, SOCK_SEQPACKET, socketpair

            with suppress(OSError):
                self._socket, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
                with theirs:
                    self.pid = _posix_spawn([theirs.fileno()], "forker")
                Forker.current = self
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end. Shims that still run are not touched."""
        if Forker.current is self:
            Forker.current = None
        self.disown()
        if self.pid:
            reap(self.pid)

    def disown(self) -> None:
        """Close our ends, which it and its shims take for our death."""
        if self._socket is not None:
            self._socket.close()
        while self._free:
            self._free.pop().close()

    def seat(self, log: int) -> Seat | None:
        """A shim that has got this log, a free one or a new one; None when there is nobody to ask."""
        from socket import AF_UNIX, SOCK_STREAM, send_fds, socketpair

        while self._socket is not None:
            try:
                seat, theirs = self._free.pop(), None
            except IndexError:
                seat, theirs = socketpair(AF_UNIX, SOCK_STREAM)
            try:
                if theirs is not None:
                    with theirs:
                        send_fds(self._socket, [b"+"], [theirs.fileno()])
                send_fds(seat, [b"L"], [log])
                return seat
            except OSError:
                seat.close()
                if theirs is not None:
                    return None  # the forker is gone; a free shim that is gone is no reason to give up
        return None

    def give_back(self, seat: Seat) -> None:
        """Take a shim that is free again."""
        if Forker.current is self:
            self._free.append(seat)
        else:
            seat.close()


def disown_forker() -> None:
    """In a process forked from this one: hold nothing open that would hide our death."""
    if Forker.current is not None:
        Forker.current.disown()
        Forker.current = None


def open_log(path: Path) -> tuple[int, bool]:
    """Open a log for appending, readable by its owner only; and whether it is new.

    Raises:
        WorldFluxError: it can not be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags | os.O_EXCL, 0o600), True
        except FileExistsError:
            return os.open(path, flags, 0o600), False
    except OSError as error:
        raise WorldFluxError(
            f"can not write the log {path}: {error.strerror}",
            "check the folder and its free space",
            code="log",
        ) from error


def clear_record(path: Path) -> None:
    """Remove the record of an earlier command, which must not be taken for that of this one.

    Raises:
        WorldFluxError: it can not be removed, or its folder does not exist.
    """
    try:
        if not path.parent.is_dir():
            raise NotADirectoryError(errno.ENOENT, os.strerror(errno.ENOENT))
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WorldFluxError(
            f"can not write the exit record {path}: {error.strerror}", "check the folder", code="exit_record"
        ) from error


def reap(pid: int) -> None:
    """Wait for a child of ours to be gone; silent when somebody else has waited for it."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _posix_spawn(descriptors: Sequence[int], module: str) -> int:
    """Start the shim's interpreter with these descriptors as 3, 4, ...; returns its process id.

    Args:
        descriptors: above the numbers that they get.
        module: of the package `shim`, whose `main` is called.
    """
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, 3 + index) for index, fd in enumerate(descriptors)]
    boot = _BOOT.format(module)
    argv = [sys.executable, "-I", "-S", "-c", boot, str(Path(__file__).parent), "worldflux-shim"]
    env = {name: os.environ[name] for name in _LOADER_VARIABLES if name in os.environ}
    options: dict[str, Any] = {
        "file_actions": actions,
        "setsigmask": [],
        "setsigdef": signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    }
    try:
        # In its own session from its first instruction: a Ctrl-C must not reach it.
        return os.posix_spawn(sys.executable, argv, env, setsid=True, **options)
    except NotImplementedError:  # an old C library: the shim does it itself, some milliseconds later
        return os.posix_spawn(sys.executable, argv, env, **options)
