"""Real repositories for the tests of provenance."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from worldflux.manifest import io, validator
from worldflux.run.repository import git_state

FULL = Path(__file__).parents[1] / "fixtures" / "manifests" / "valid" / "succeeded-full.json"


def git(folder: Path, *arguments: str | bytes) -> str:
    """Run git there as a person would; returns what it prints."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace").strip()


def new_repository(folder: Path, *options: str) -> Path:
    """A repository with one commit of `run.py`."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", *options)
    (folder / "run.py").write_text("print(1)\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def look(source: Path, run_dir: Path) -> Any:
    """The state, which must be a valid part of a manifest."""
    state = git_state(source, run_dir)
    record = io.read(FULL)
    record.git = state
    assert validator.validate(record.to_json()) == []
    return state


def stored_diff(state: Any, run_dir: Path) -> bytes:
    """The saved diff, after its size and digest were compared with the state's."""
    data = (run_dir / state["diff"]["path"]).read_bytes()
    assert state["diff"]["bytes"] == len(data)
    assert state["diff"]["sha256"] == hashlib.sha256(data).hexdigest()
    return data


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
