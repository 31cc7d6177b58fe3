"""A place to run real commands in, which knows every process that was started in it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import worldflux
from worldflux.runtime.process import CommandProcess, Limits, ProcessExit
from worldflux.runtime.spawning import Forker

#: Folder that holds the package under test; also right when that is a mutated copy.
ROOT = Path(worldflux.__file__).parents[1]
CLIENT = Path(__file__).with_name("process_client.py")


def python(code: str, *arguments: str) -> list[str]:
    """A command that runs Python code with a fast start."""
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def state(pid: int) -> str:
    """State letter of a process; Z also when there is none: PID 1 may take its time to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of the condition; the last one when the time is over."""
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.005)
    return value


class Lab:
    """Commands started here get an environment of two variables and leave nothing behind.

    `forked`: their shims are forked by one process.
    """

    def __init__(self, folder: Path, *, forked: bool = False) -> None:
        self.folder = folder
        self.forker = Forker() if forked else None
        self.mark = uuid.uuid4().hex
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "WORLDFLUX_RUN_MARK": self.mark}
        self.log = folder / "run.log"
        self.exit = folder / "exit.json"
        self.work = folder / "work"
        self.work.mkdir()
        self.programs: list[subprocess.Popen[bytes]] = []
        self.strays: list[int] = []

    def __enter__(self) -> Lab:
        if self.forker is not None:
            self.forker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill whatever a broken shim has left, so that it can not disturb the next test."""
        self.leave()
        for program in self.programs:
            program.kill()
            program.communicate()
        for pid in self.strays:
            kill(pid)
        until = time.monotonic() + 60
        while (left := self.alive()) and time.monotonic() < until:
            for pid in left:
                kill(pid)

    def leave(self) -> None:
        """End the forker, and with it the shims that are free."""
        if self.forker is not None:
            self.forker.__exit__()

    def start(self, argv: list[str], *, pty: bool = False, **limits: Any) -> CommandProcess:
        limits = {"timeout": 10.0, "grace": 0.3, "drain": 0.2, **limits}
        return CommandProcess.start(
            argv,
            cwd=self.work,
            env=self.env,
            log_path=self.log,
            exit_path=self.exit,
            limits=Limits(**limits),
            pty=pty,
        )

    def run(self, argv: list[str], **options: Any) -> ProcessExit:
        return self.start(argv, **options).wait()

    def alive(self) -> list[int]:
        """Living processes with the lab's mark, found without the code under test."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if f"WORLDFLUX_RUN_MARK={self.mark}".encode() in environment and state(int(name)) != "Z":
                    found.append(int(name))
        return found

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def waits_for(self, name: str) -> None:
        """Return when the command has made that file in its working directory.

        Raises:
            AssertionError: it did not within five seconds.
        """
        assert eventually((self.work / name).exists), f"{name} was not made; log: {self.text()!r}"

    # ---- clients that can be killed ----------------------------------------------------------

    def client_command(self, argv: list[str], **options: Any) -> list[str]:
        """Command line of a program that runs `argv` through the shim; see `process_client.py`."""
        interpreter = options.pop("interpreter", sys.executable)
        spec = {
            "argv": argv,
            "cwd": str(self.work),
            "env": self.env,
            "log": str(self.log),
            "exit": str(self.exit),
            "out": str(self.folder / "client.json"),
            "forker": self.forker is not None,
            "limits": {"timeout": 10.0, "grace": 0.3, "drain": 0.2, **options.pop("limits", {})},
            **options,
        }
        return [interpreter, str(CLIENT), json.dumps(spec)]

    def client(
        self, argv: list[str], *, prefix: Sequence[str] = (), captured: bool = False, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a client from an environment that is all but empty; its input stays open."""
        process = subprocess.Popen(
            [*prefix, *self.client_command(argv, **options)],
            env={"PYTHONPATH": str(ROOT), "PATH": self.env["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if captured else None,
        )
        self.programs.append(process)
        return process

    def client_on_terminal(self, argv: list[str], **options: Any) -> tuple[int, int]:
        """Start a client as the leader of a terminal of its own; returns its pid and the terminal."""
        command = self.client_command(argv, **options)
        environment = {"PYTHONPATH": str(ROOT), "PATH": self.env["PATH"]}
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.execve(command[0], command, environment)
            finally:
                os._exit(127)
        self.strays.append(pid)
        return pid, terminal

    def client_said(self, key: str, seconds: float = 10.0) -> Any:
        """A value that the client wrote, as soon as it is there.

        Raises:
            AssertionError: it did not write it in time.
        """

        def value() -> list[Any]:
            try:
                said = json.loads((self.folder / "client.json").read_text())
            except (OSError, ValueError):
                return []
            return [said[key]] if key in said else []

        found = eventually(value, seconds)
        assert found, f"the client never said {key!r}; log: {self.text()!r}"
        return found[0]


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
