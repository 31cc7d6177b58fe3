"""Real command lines in real folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import warm_python

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        document: dict[str, Any] = json.loads(self.out)
        return document


Run = Callable[..., Ended]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder that is a project, with a path that is not easy."""
    root = tmp_path / "a project é"
    root.mkdir()
    (root / "worldflux.yaml").write_text("project: demo\n", encoding="utf-8")
    return root


@pytest.fixture
def wf(project: Path) -> Run:
    """Run `worldflux` (or another installed command) in the project."""

    def run(*words: str, program: str = "worldflux", cwd: Path | None = None, **env: str) -> Ended:
        ended = warm_python.run(
            [str(BIN / program), *words],
            cwd=cwd or project,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def recipe(project: Path) -> Callable[..., Path]:
    """Write a recipe of the project: its YAML, and the program it runs."""

    def write(text: str, program: str = "", name: str = "mine") -> Path:
        folder = project / "recipes" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")
        (folder / "main.py").write_text(program, encoding="utf-8")
        return folder

    return write


def manifests(project: Path) -> list[dict[str, Any]]:
    """Manifests of all runs of a project, oldest first."""
    return [json.loads(path.read_bytes()) for path in sorted((project / "runs").glob("*/manifest.json"))]
