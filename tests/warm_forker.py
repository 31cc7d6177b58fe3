"""The process that forks WorldFlux's commands, see `warm_python`: `python warm_forker.py NUMBER-OF-A-SOCKET`."""

from __future__ import annotations

import array
import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

#: What the command line of a server's worker begins with.
WORKER = [sys.executable, "-m", "worldflux.server.workers"]

_AWS = (
    "boto3", "boto3.s3.inject", "warm_botocore", "worldflux.runtime.aws_ec2_plugin", "worldflux.runtime.aws_ec2",
)  # fmt: skip
_MODAL = ("modal", "worldflux.runtime.modal_plugin", "worldflux.runtime.modal")
_REPLICATE = ("worldflux.runtime.replicate_plugin", "worldflux.runtime.replicate")

#: Words of a command line -> what a command with them imports; a package with all that is in it.
MODULES = {
    "": (
        "worldflux.cli", "worldflux.config", "worldflux.manifest", "worldflux.run", "worldflux.sync",
        "worldflux.evidence", "worldflux.runtime.local_plugin", "worldflux.runtime.venvs", "worldflux.catalog",
        "worldflux.runtime.dispatcher", "worldflux.runtime.process", "omegaconf._impl", "rfc8785",
        "encodings.ascii", "encodings.unicode_escape", "encodings.utf_8_sig",
    ),
    "server": (
        "worldflux.server", "alembic.command", "alembic.config", "uvicorn", "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto", "uvicorn.lifespan.on", "sqlalchemy.dialects.sqlite", "pysqlite3.dbapi2",
        "uvicorn.loops.uvloop", "anyio._backends._asyncio", "wsgiref.simple_server",
    ),
    "postgresql": ("psycopg", "sqlalchemy.dialects.postgresql.psycopg"),
    "optuna": ("optuna", "hydra_plugins.hydra_optuna_sweeper._impl"),
    "joblib": ("joblib",),
    "submitit": ("submitit",),
    "aws-ec2": _AWS,
    "modal": _MODAL,
    "replicate": _REPLICATE,
    "reap": (*_AWS, *_MODAL, *_REPLICATE),
}  # fmt: skip


def _serve(line: socket.socket) -> None:
    import gc

    _load("")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([line, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if line in ready:
            request, fds = _receive(line)
            if request is None:
                return
            for word in MODULES:
                if any(word in each for each in request["words"]):
                    _load(word)
            gc.freeze()
            ending, *streams = fds
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for fd in (
                    woken,
                    wake,
                    ending,
                    line.fileno(),
                    *(each.fileno() for each in children.values()),
                ):
                    os.close(fd)
                _be(request, streams)
            for fd in streams:
                os.close(fd)
            children[pid] = socket.socket(fileno=ending)
            children[pid].send(b"%-16d" % pid)


def _reap(children: dict[int, socket.socket]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with contextlib.suppress(OSError), children.pop(pid) as ending:
            ending.send(b"%-16d" % os.waitstatus_to_exitcode(status))


def _receive(line: socket.socket) -> tuple[Any, list[int]]:
    """The next request and its descriptors; None when the maker is gone."""
    fds = array.array("i")
    try:
        head, ancillary, _, _ = line.recvmsg(8, socket.CMSG_SPACE(4 * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None, []
    if not head:
        return None, []
    for _, _, data in ancillary:
        fds.frombytes(data)
    body = b""
    while len(body) < (wanted := int.from_bytes(head, "big")):
        body += line.recv(wanted - len(body))
    return json.loads(body), list(fds)


_loaded: set[str] = set()


def _load(word: str) -> None:
    """Import what commands with a word import; what is not installed is told by the command itself."""
    if word in _loaded:
        return
    _loaded.add(word)
    for name in MODULES[word]:
        with contextlib.suppress(ImportError):
            _import(name)
    if not word:
        _read_once()
    assert threading.active_count() == 1, "a fork would lose a thread"


def _read_once() -> None:
    """Let the parsers of Hydra and OmegaConf build what they build at the first words that they read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    OverridesParser.create().parse_overrides(
        ["+recipe=a-b", "params.x=0.5", "seed=1,2", "a.b=[c5.x, {d: 'e f'}]"]
    )
    OmegaConf.to_container(OmegaConf.create({"a": "${b.c}/x", "b": {"c": 1}}), resolve=True)


def _import(name: str) -> None:
    import importlib
    import pkgutil

    found = importlib.import_module(name)
    if name.startswith("worldflux."):
        for each in pkgutil.iter_modules(getattr(found, "__path__", [])):
            if not each.name.startswith("__"):
                with contextlib.suppress(ImportError, AttributeError):  # no extra; a script of alembic
                    _import(f"{name}.{each.name}")


def _be(request: dict[str, Any], streams: list[int]) -> None:
    """Become the command; never returns."""
    code = 1
    try:
        if request["leash"]:
            import ctypes

            ctypes.CDLL(None).prctl(1, request["leash"], 0, 0, 0)
        if request["session"]:
            os.setsid()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        for fd in streams:
            os.close(fd)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        _open_streams()
        subprocess.Popen = _Forking  # type: ignore[misc]
        sys.argv = request["words"]
        sys.path[0] = str(Path(request["words"][0]).parent)
        given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
        sys.path[1:1] = [each for each in given if each not in sys.path]
        code = _call(request["module"])
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End as Python does, but for what is above on the stack: that belongs to the process that forks."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class _Forking(subprocess.Popen[Any]):
    """`subprocess.Popen` inside of a warm command: a worker of its server has all modules in place, as it has."""

    def _execute_child(self, *given: Any) -> None:  # type: ignore[override]
        words, _, _, _, pass_fds, cwd, env = given[:7]
        if list(words[:3]) != WORKER or cwd is not None or env is not None or threading.active_count() > 1:
            super()._execute_child(*given)
            return
        streams = given[10:16]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number, fd in enumerate((streams[0], streams[3], streams[5])):
                    if fd != -1:
                        os.dup2(fd, number)
                kept = sorted({0, 1, 2, *pass_fds})
                for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
                    os.closerange(low + 1, high)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                sys.argv = list(words[2:])
                code = sys.modules[WORKER[2]]._work(sys.argv[1:])
            except BaseException:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                _leave(code)
        self.pid = pid
        self._child_created = True
        self._close_pipe_fds(*streams)  # type: ignore[attr-defined]


def _open_streams() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
        buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
        errors = "backslashreplace" if number == 2 else "strict"
        made = io.TextIOWrapper(buffered, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def _call(module: str) -> int:
    """Run `main` of a module as a script does; its exit code."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            sys.modules[module].main()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # as Python itself, where the program has no answer to it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return (ended.code or 0) & 0xFF
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
