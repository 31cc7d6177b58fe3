"""A project in a folder of its own and the command line in it, for tests of the vendors' runtimes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import warm_python

from worldflux.runtime.external import SCHEMA_ID

ROOT = Path(__file__).parents[2]
SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
PLANTED = {"AWS_SECRET_ACCESS_KEY": "planted-aws-value-0123456789", "HF_TOKEN": "planted-hf-value-0123456789"}


class Project:
    """A project folder and the command line in it, in a process with little in its environment."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "worldflux.yaml").write_text("project: vendors\npass: [HF_TOKEN]\n")
        kept = {name: os.environ[name] for name in os.environ if not name.startswith(("COV_", "PYTEST_"))}
        self.variables = {**kept, "PYTHONPATH": str(ROOT), **variables}

    def external(self, **changes: Any) -> str:
        document = {
            "schema": SCHEMA_ID,
            "name": "env",
            "command": ["env", "WRAPPED=1", "{command}"],
            **changes,
        }
        (self.folder / "wrap.json").write_text(json.dumps(document))
        return "wrap.json"

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "worldflux.cli.hydra_app", *words]
        pipe = subprocess.PIPE
        return warm_python.WarmPopen(
            command, cwd=self.folder, env=self.variables, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        output, _ = process.communicate(timeout=170)
        assert process.returncode == code, output
        return output

    def manifests(self) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("runs/*/manifest.json"))]

    def cli(self, *words: str) -> tuple[int, dict[str, Any]]:
        """`worldflux ... --json`: exit code and envelope."""
        command = [sys.executable, "-m", "worldflux.cli.main", *words, "--json"]
        done = warm_python.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=120
        )
        return done.returncode, json.loads(done.stdout)

    def text(self, *words: str) -> str:
        """What `worldflux ...` prints."""
        command = [sys.executable, "-m", "worldflux.cli.main", *words]
        return warm_python.run(
            command,
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    def sleeper(self, command: str = "[python, main.py]", text: str = SLEEPS) -> None:
        """A recipe that writes a line and sleeps."""
        recipe = self.folder / "recipes" / "sleeper" / "recipe.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(f"command: {command}\n")
        (recipe.parent / "main.py").write_text(text)

    def reported(self) -> list[str]:
        """Statuses as the command line reports them."""
        return [row["status"] for row in self.cli("runs", "list")[1]["data"]["runs"]]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
