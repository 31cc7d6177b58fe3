"""WorldFlux's commands as processes of their own that need not import everything first.

A process with all modules in place forks a child for each command: its own process id, environment, folder,
streams, signals and exit code, everything but the second or so in which Python reads modules. The workers of a
server that was started so are forked, too. What is about that very second (a start from nothing, the leanness of
imports, memory) starts a Python of its own, and so does every command where WORLDFLUX_TEST_COLD=1.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import worldflux

BIN = Path(sys.executable).parent

#: Starts a command on a leash.
LEASH = str(Path(__file__).parent / "server" / "leash.py")

#: The program that forks.
FORKER = str(Path(__file__).with_name("warm_forker.py"))

#: What a command line begins with -> the function it stands for.
PROGRAMS = {
    (str(BIN / "worldflux"),): "worldflux.cli.main",
    (str(BIN / "worldflux-run"),): "worldflux.cli.hydra_app",
    (sys.executable, "-m", "worldflux.cli.main"): "worldflux.cli.main",
    (sys.executable, "-m", "worldflux.cli.hydra_app"): "worldflux.cli.hydra_app",
}

#: Read by an interpreter at its start, which a forked one is past.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "COV_", "MALLOC_")

#: Begin like those above, and are read by modules when they are asked.
_LATER = ("PYTHONPATH", "PYTHON_KEYRING_BACKEND")


class WarmPopen(subprocess.Popen[Any]):
    """`subprocess.Popen` for a command of WorldFlux; any other command, and other options, start as always.

    Args:
        leash: the signal that the process gets when the test run is no more.
    """

    _ending: socket.socket | None = None

    def __init__(self, words: Any, *, leash: int = 0, **options: Any) -> None:
        self._leash = leash
        self._warm_wait = threading.Lock()
        super().__init__([str(word) for word in words], **options)

    def _execute_child(self, *given: Any) -> None:  # type: ignore[override]
        words, _, preexec, _, pass_fds, cwd, env = given[:7]
        shell, streams, rest = given[9], given[10:16], given[16:]
        module, own = _program(words)
        others = [each for each in rest[1:5] if each not in (None, -1)]
        if not module or preexec or pass_fds or shell or others or not _fits(env):
            if self._leash:
                leash = [sys.executable, "-IS", LEASH, str(int(self._leash)), str(os.getpid()), ""]
                given = ([*leash, *words], None, *given[2:])
            super()._execute_child(*given)
            return
        inputs, _, _, output, _, errors = streams
        fds = [
            given_fd if given_fd != -1 else own_fd for own_fd, given_fd in enumerate((inputs, output, errors))
        ]
        request = {
            "module": module, "words": [str(words[0]), *own], "cwd": os.fspath(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env), "session": bool(rest[5]), "leash": self._leash,
        }  # fmt: skip
        self._ending, self.pid = nursery().spawn(request, fds)
        self._child_created = True
        self._close_pipe_fds(*streams)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None, *given: Any, **named: Any) -> int | None:  # type: ignore[override]
        if self._ending is None:
            return super()._internal_poll(_deadstate, *given, **named)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._ending.fileno() < 0:
            return _deadstate  # collected together with the socket, after nobody had waited: nobody is told
        return self._look(0)

    def _wait(self, timeout: float | None) -> int:
        if self._ending is None:
            return super()._wait(timeout)  # type: ignore[misc,no-any-return]
        if self._look(timeout) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        assert self.returncode is not None
        return self.returncode

    def _look(self, timeout: float | None) -> int | None:
        """The exit code, waited for that long."""
        with self._warm_wait:
            if self.returncode is None:
                assert self._ending is not None
                if not select.select([self._ending], [], [], timeout)[0]:
                    return None
                told = self._ending.recv(16)
                self._ending.close()
                self.returncode = int(told) if told else -signal.SIGKILL
            return self.returncode


def run(words: Any, *, input: str | bytes | None = None, timeout: float | None = None, capture_output: bool = False,
        check: bool = False, **options: Any) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """`subprocess.run` with a `WarmPopen`."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with WarmPopen(words, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _program(words: list[str]) -> tuple[str, list[str]]:
    """The module whose `main` a command line stands for, and its arguments; an empty name for any other."""
    for begin, module in PROGRAMS.items():
        if tuple(words[: len(begin)]) == begin:
            return module, list(words[len(begin) :])
    return "", []


def _fits(env: Any) -> bool:
    """Whether an interpreter with these variables would have started as the warm one did."""
    if os.environ.get("WORLDFLUX_TEST_COLD") == "1" or sys.platform != "linux":
        return False
    given = os.environ if env is None else env
    others = [each for each in _folders(given) if not (each / "worldflux").is_dir()]
    if any(each.is_dir() and any(each.glob("*.py")) for each in others):
        return False  # perhaps in the place of what is imported already
    return _at_start(given) == _at_start(os.environ)


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    found = {name: env[name] for name in env if name.startswith(_AT_START) and name not in _LATER}
    return {name: value for name, value in found.items() if value != "C.UTF-8"}  # as without a word


def _folders(env: Mapping[str, str]) -> list[Path]:
    """Where modules are looked for first."""
    return [Path(each) for each in env.get("PYTHONPATH", "").split(os.pathsep) if each]


class Nursery:
    """The process that forks, and the way to it. It ends, and with it who is on a leash, when its maker does."""

    def __init__(self) -> None:
        self.maker = os.getpid()
        self._turn = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(worldflux.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, FORKER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/",
            env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        theirs.close()

    def spawn(self, request: dict[str, Any], streams: list[int]) -> tuple[socket.socket, int]:
        """Fork a command; where its exit code will be told, and its process id."""
        ending, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        data = json.dumps(request).encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno(), *streams]))
        with self._turn:
            self._line.sendmsg([len(data).to_bytes(8, "big")], [rights])
            self._line.sendall(data)
        theirs.close()
        pid = ending.recv(16)
        assert pid, "the warm Python is gone"
        return ending, int(pid)

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._process.wait(30)


_nursery: Nursery | None = None


def nursery() -> Nursery:
    """The one of this process, made when it is first needed."""
    global _nursery
    if _nursery is None or _nursery.maker != os.getpid():
        _nursery = Nursery()
    return _nursery


def close() -> None:
    """End the one of this process, if there is one."""
    global _nursery
    if _nursery is not None and _nursery.maker == os.getpid():
        _nursery.close()
    _nursery = None
