"""The command's Python environment, built on the machine from the recipe's requirements with uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .transfer import Store


class SetupError(Exception):
    """A step of the setup failed.

    Attributes:
        code: exit code of the step.
    """

    def __init__(self, step: str, code: int) -> None:
        super().__init__(f"{step} ended with exit code {code}")
        self.code = code


def set_up(
    job: Mapping[str, Any], work: Path, store: Store, say: Callable[[str], None], log: BinaryIO
) -> None:
    """Run the configured setup, then make `env/` from the requirements when there are any.

    Raises:
        SetupError: a step failed or the time for the setup was over.
        TransferError: uv could not be fetched.
    """
    until = time.monotonic() + job["setup_seconds"]
    environ = {**os.environ, "HOME": os.environ.get("HOME", "/root")}
    if job["setup"]:
        _step("runtime.setup", ["bash", "-c", job["setup"]], work / "source", environ, until, log)
    wanted = job["environment"]
    if not wanted:
        return
    uv = _uv(job, work, store, say, environ, until, log)
    lock = work / "requirements.lock"
    lock.write_text(wanted["lock"], encoding="utf-8")
    python = ["--python", wanted["python"]] if wanted["python"] else []
    _step("uv venv", [uv, "--no-config", "venv", *python, str(work / "env")], work, environ, until, log)
    into = ["--python", str(work / "env" / "bin" / "python")]
    if wanted["unpinned"]:
        loose = work / "requirements.in"
        lock.replace(loose)
        words = [
            uv,
            "--no-config",
            "pip",
            "compile",
            "-q",
            "--generate-hashes",
            *into,
            str(loose),
            "-o",
            str(lock),
        ]
        _step("uv pip compile", words, work, environ, until, log)
    words = [uv, "--no-config", "pip", "install", "-q", "--require-hashes", *into, "-r", str(lock)]
    _step("uv pip install", words, work, environ, until, log)


def _uv(
    job: Mapping[str, Any],
    work: Path,
    store: Store,
    say: Callable[[str], None],
    environ: dict[str, str],
    until: float,
    log: BinaryIO,
) -> str:
    """A uv program: the machine's own, else the one that was sent, else pip's."""
    found = shutil.which("uv")
    if found:
        return found
    tool = job["tool"]
    if tool:
        target = work / "uv"
        store.fetch("uv", target, tool["sha256"])
        target.chmod(0o755)
        return str(target)
    say("uv is not on this machine; installing it with pip")
    home = work / "uv-env"
    _step("python -m venv", [sys.executable, "-m", "venv", str(home)], work, environ, until, log)
    words = [str(home / "bin" / "pip"), "install", "-q", "uv"]
    _step("pip install uv", words, work, environ, until, log)
    return str(home / "bin" / "uv")


def _step(
    name: str, words: list[str], cwd: Path, environ: dict[str, str], until: float, log: BinaryIO
) -> None:
    left = max(until - time.monotonic(), 0.1)
    try:
        code = subprocess.run(
            words, cwd=str(cwd), env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=left
        ).returncode
    except subprocess.TimeoutExpired:
        code = 124
    except OSError:
        code = 127
    if code != 0:
        raise SetupError(name, code)
