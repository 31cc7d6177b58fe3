"""One recipe's command inside a prediction. Standard library only; travels with the agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

#: Runs live below this folder and nowhere else.
BASE = Path("/tmp/worldflux")


def carry_out(agent: Any, job_text: str, source: Path, environment_text: str, requirements: str) -> Path:
    """Run the job and return a tar of what it left, for Replicate to keep as the output.

    Raises:
        ValueError: the job is not one of ours.
        RuntimeError: the recipe's packages can not be installed.
    """
    job = json.loads(job_text)
    home = Path(job["root"]).parent
    if home.parent != BASE or home.name in ("", ".", ".."):
        raise ValueError(f"the job's folder must lie below {BASE}")
    shutil.rmtree(home, ignore_errors=True)
    for name in ("source", "run", "tmp"):
        (home / name).mkdir(parents=True)
    with tarfile.open(source) as tar:
        tar.extractall(home / "source", filter="data")
    python = _environment(home, requirements) if requirements.strip() else Path(sys.executable)
    variables = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home / "tmp"),
        **json.loads(environment_text),
    }
    try:
        agent.run(job, variables)
        target = BASE / f"{home.name}.tar"
        with open(target, "wb") as stream:
            agent.pack(job, stream)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return target


def _environment(home: Path, requirements: str) -> Path:
    """A Python with the recipe's locked packages; wheels only, every one checked by its hash."""
    (home / "requirements.txt").write_text(requirements, encoding="utf-8")
    pinned = ["--require-hashes", "--no-deps"] if "--hash=" in requirements else []
    subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
    python = home / "env" / "bin" / "python"
    words = [str(python), "-m", "pip", "install", "-q", "--no-input", "--only-binary", ":all:", *pinned]
    ended = subprocess.run(
        [*words, "-r", str(home / "requirements.txt")], env={**os.environ, "TMPDIR": str(home / "tmp")}
    )
    if ended.returncode:
        raise RuntimeError("the recipe's packages can not be installed")
    return python
