"""Projects and real command lines for the tests of launchers."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import warm_python

BIN = Path(sys.executable).parent
RECIPE = """\
command: [python, main.py, "${seed}", "${params.x}"]
seed: 0
params: {x: 1.0}
metrics: {score: {file: out.json, select: score}}
"""
PROGRAM = """\
import json, sys
seed, x = int(sys.argv[1]), float(sys.argv[2])
with open("out.json", "x") as stream:
    json.dump({"score": (x - 2) ** 2 + seed}, stream)
sys.exit(7 if seed == 13 else 0)
"""
PLUGIN = """\
from worldflux.runtime.local_plugin import LocalPlugin

class Mine(LocalPlugin):
    name = "mine"
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended; both of its streams."""

    code: int
    out: str


@dataclass
class Lab:
    """One project, with a path that is not easy and a runtime class of its own."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def recipe(self, program: str = PROGRAM, text: str = RECIPE, name: str = "mine") -> None:
        folder = self.root / "recipes" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")
        (folder / "main.py").write_text(program, encoding="utf-8")
        for path in (folder / "recipe.yaml", self.root / "worldflux.yaml"):
            # As of a project that was written a while ago: its compositions are remembered.
            os.utime(path, (time.time() - 60, time.time() - 60))

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """`worldflux-run -m` in a folder below the project, so that nothing rests on the current one."""
        below = self.root / "below"
        below.mkdir(exist_ok=True)
        process = warm_python.WarmPopen(
            [str(BIN / "worldflux-run"), "-m", *words],
            cwd=below,
            env={**os.environ, **self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left behind."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()

    def sweep(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
        process = self.start(*words, env=env)
        out, _ = process.communicate(timeout=150)
        return Ended(process.returncode, out)

    def manifests(self) -> list[dict[str, Any]]:
        """Manifests of all runs, oldest first."""
        return [
            json.loads(path.read_bytes()) for path in sorted((self.root / "runs").glob("*/manifest.json"))
        ]

    def statuses(self) -> list[str]:
        """Status of every run, sorted by seed and then by age; no run folder is without a manifest."""
        folders = [path for path in (self.root / "runs").glob("*") if not path.name.startswith(".")]
        assert len(folders) == len(self.manifests())
        return [
            each["run"]["status"]
            for each in sorted(self.manifests(), key=lambda m: m["config"]["resolved"]["seed"])
        ]

    def of_seed(self, seed: int) -> list[dict[str, Any]]:
        return [each for each in self.manifests() if each["config"]["resolved"]["seed"] == seed]

    def clean(self) -> bool:
        """Nothing but the project's own folders and its caches at its root."""
        return {path.name for path in self.root.iterdir()} <= {
            "worldflux.yaml", "recipes", "runs", "below", "mine_plugin.py", "__pycache__", ".worldflux",
        } and not list((self.root / "below").iterdir())  # fmt: skip


def make_lab(folder: Path, env: Mapping[str, str] | None = None) -> Lab:
    root = folder / "a project é"
    root.mkdir()
    (root / "worldflux.yaml").write_text("project: demo\nplugins: [mine_plugin]\n", encoding="utf-8")
    (root / "mine_plugin.py").write_text(PLUGIN, encoding="utf-8")
    lab = Lab(root, dict(env or {}))
    lab.recipe()
    return lab


def need(*things: str) -> None:
    """Skip without these programs or modules; fail where everything is required."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where daemons are, for ordinary users, too
    missing = [
        each for each in things if not shutil.which(each, path=path) and not importlib.util.find_spec(each)
    ]
    if missing and os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def wait_for(what: Callable[[], Any], seconds: float = 60.0, message: str = "") -> Any:
    """The first true value of `what`."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {message or what}"
        time.sleep(0.1)
    return found
