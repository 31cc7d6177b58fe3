"""The command: what the client asks for, and the child that becomes it."""

from __future__ import annotations

import errno
import marshal
import os
import sys

from .tree import PR_SET_PDEATHSIG, prctl, slurp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal


class Spec:
    """What the client asks for; see `worldflux.runtime.process` for the meaning."""

    def __init__(self, blob: bytes) -> None:
        values = marshal.loads(blob)
        self.argv: list[bytes] = values["argv"]
        self.env: dict[bytes, bytes] = values["env"]
        self.cwd: bytes = values["cwd"]
        self.exit_path: bytes = values["exit_path"]
        self.timeout: float | None = values["timeout"]
        self.grace: float = values["grace"]
        self.drain: float = values["drain"]
        self.log_cap: int = values["log_cap"]
        self.soft_signal: int = values["soft_signal"]
        self.pty: bool = values["pty"]

    @classmethod
    def receive(cls, control: int) -> Spec | None:
        """Read 16 hex digits and as many bytes as they say; None when the client has gone."""
        need, got = 16, b""
        while len(got) < need:
            part = os.read(control, need - len(got))
            if not part:
                return None
            got += part
            if need == 16 == len(got):
                need += int(got, 16)
        return cls(got[16:])


def become_command(spec: Spec, output: int, failure: int, shim: int) -> NoReturn:
    """Turn the forked child into the command; what went wrong goes to `failure`."""
    stage = b"start"
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        for number in signal.valid_signals():
            if signal.getsignal(number) not in (signal.SIG_DFL, None):  # None: not Python's to set
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim:
            os._exit(127)
        offer_to_oom_killer()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        stage = b"cwd"
        os.chdir(spec.cwd)
        stage = b"exec"
        execute(spec.argv, spec.env)
    except OSError as error:
        os.write(failure, b"%s %d" % (stage, error.errno or 0))
    except BaseException:
        os.write(failure, b"start 0")
    finally:
        os._exit(127)


def offer_to_oom_killer() -> None:
    """Make the kernel prefer the command to the rest of the machine when memory runs out."""
    path = "/proc/self/oom_score_adj"
    try:
        if int(slurp(path) or 500) < 500:
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"500")
            os.close(fd)
    except (OSError, ValueError):
        pass


def execute(argv: list[bytes], env: dict[bytes, bytes]) -> NoReturn:
    """Exec, searching the PATH the command itself gets; empty PATH entries are not "here".

    Raises:
        OSError: the program can not be executed; EACCES wins over ENOENT.
    """
    name = argv[0]
    if b"/" in name:
        os.execve(name, argv, env)
    refused: OSError | None = None
    for folder in env.get(b"PATH", os.defpath.encode()).split(b":"):
        if not folder:
            continue
        try:
            os.execve(folder + b"/" + name, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused or FileNotFoundError(errno.ENOENT, "not found")


def open_terminal() -> tuple[int, int]:
    """A pseudo-terminal of 24 by 80 that never becomes anybody's controlling terminal."""
    import fcntl
    import termios

    master, slave = os.openpty()
    rows, columns = ((24).to_bytes(2, sys.byteorder), (80).to_bytes(2, sys.byteorder))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, rows + columns + bytes(4))
    return master, slave
