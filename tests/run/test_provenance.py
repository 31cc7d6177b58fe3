"""The parts put together as the engine asks for them."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

from git_lab import new_repository

from worldflux.manifest import io, validator
from worldflux.run import provenance

FULL = Path(__file__).parents[1] / "fixtures" / "manifests" / "valid" / "succeeded-full.json"


def test_environment_of_this_python() -> None:
    """Operating system, Python, packages, lock digest, variables by value, secrets by name; a valid part."""
    found = provenance.environment_info(
        Path(sys.executable),
        lock_text="numpy==2.3.5\n",
        lock_path="requirements.lock",
        variables={"MUJOCO_GL": "egl"},
        forwarded=["HF_TOKEN", "A_KEY", "HF_TOKEN"],
    )
    assert found is not None
    assert found["python"] == {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
    }
    assert found["lock"] == {
        "path": "requirements.lock",
        "sha256": hashlib.sha256(b"numpy==2.3.5\n").hexdigest(),
    }
    assert (found["variables"], found["forwarded"]) == ({"MUJOCO_GL": "egl"}, ["A_KEY", "HF_TOKEN"])
    assert "pytest" in found["packages"]
    record = io.read(FULL)
    record.environment = found
    assert validator.validate(record.to_json()) == []


def test_environment_without_lock_or_interpreter(tmp_path: Path) -> None:
    """No lock is null; a Python that does not start gives no part at all instead of a wrong one."""
    found = provenance.environment_info(lock_text="")
    assert found is not None and found["lock"] is None
    assert provenance.environment_info(tmp_path / "python") is None


def test_everything_works_from_a_thread_in_a_blink(tmp_path: Path) -> None:
    """All of it together, off the main thread, is done in a second even on a busy machine."""
    repo = new_repository(tmp_path / "project")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    found: list[object] = []

    def gather() -> None:
        found.extend(
            (provenance.git_state(repo, run_dir), provenance.hardware(), provenance.environment_info())
        )
        found.append(provenance.source_digest(repo))

    thread = threading.Thread(target=gather)
    started = time.process_time()
    thread.start()
    thread.join()
    assert len(found) == 4 and all(found)
    assert time.process_time() - started < 1


def test_import_is_light() -> None:
    """The engine imports this before it starts the command: no slow module comes along."""
    slow = (
        "jsonschema",
        "rfc8785",
        "pydantic",
        "asyncio",
        "pynvml",
        "psutil",
        "subprocess",
        "platform",
        "shutil",
    )
    code = f"import sys, worldflux.run.provenance; print(sorted(set({slow}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
