"""SIGKILL to a sweep at many random moments, each followed by a resume.

The size is JOBSxKILLS in WORLDFLUX_TEST_CHAOS; `make chaos-sweep` takes 300x20.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from conftest_cli import BIN, manifests

JOBS, KILLS = map(int, os.environ.get("WORLDFLUX_TEST_CHAOS", "40x6").split("x"))

JOB = """\
import os, sys, time
seed, folder = sys.argv[1:]
open(os.path.join(folder, f"{seed}.{os.getpid()}"), "w").close()
time.sleep(0.02)
"""


def start(project: Path, *words: str) -> subprocess.Popen[bytes]:
    with (project / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [str(BIN / "worldflux-run"), "-m", *words],
            cwd=project, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def processes(project: Path) -> list[int]:
    """Everything that works in a folder below the project: commands, shims, the forker, the sweep itself."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and Path(os.readlink(f"/proc/{name}/cwd")).is_relative_to(project):
                found.append(int(name))
    return found


def words(project: Path) -> list[str]:
    begun = list((project / "runs/.sweeps").glob("*.jsonl"))
    return ["sweep.resume=last"] if begun else ["+recipe=mine", f"seed=range({JOBS})", "sweep.max_parallel=3"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_that_is_killed_again_and_again(project: Path, tmp_path: Path) -> None:
    """The parent is killed at random moments, at its start, in the middle of writing, with and without its
    forker; and resumed. In the end every job has exactly one succeeded manifest, no run is open, no job that
    had succeeded ran again, and no process is left."""
    rng = random.Random(os.environ.get("WORLDFLUX_TEST_CHAOS_SEED", "chaos"))
    counted = tmp_path / "counted"
    counted.mkdir()
    (project / "recipes/mine").mkdir(parents=True)
    (project / "recipes/mine/main.py").write_text(JOB)
    recipe = f"command: [python, main.py, '${{seed}}', '{counted}']\nseed: 0\n"
    (project / "recipes/mine/recipe.yaml").write_text(recipe)
    done: set[str] = set()
    sweep = start(project, *words(project))
    for kill in range(KILLS):
        # Every second one at some point of the work, the others at any time after the start.
        goal = JOBS * kill // KILLS if kill % 2 else 0
        # A quick machine must not come to the end before it is killed.
        most = JOBS * (kill + 1) // (KILLS + 1)
        until = time.monotonic() + rng.uniform(0.0, 1.5)
        while sweep.poll() is None:
            begun = len(os.listdir(counted))
            if begun >= most or (begun >= goal and time.monotonic() >= until):
                break
            time.sleep(rng.uniform(0, 0.01))
        assert sweep.poll() is None, (project / "output.txt").read_text()[-2000:]
        victims = [sweep.pid]
        if rng.random() < 0.3:
            with suppress(OSError):
                children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text()
                victims += map(int, children.split())
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sweep.wait()
        done |= {m["client_run_id"] for m in manifests(project) if m["run"]["status"] == "succeeded"}
        sweep = start(project, *words(project))
    code = sweep.wait()
    assert code == 0, (project / "output.txt").read_text()[-2000:]

    found = manifests(project)
    statuses = Counter(m["run"]["status"] for m in found)
    assert set(statuses) <= {"succeeded", "interrupted"}, statuses
    succeeded = [m for m in found if m["run"]["status"] == "succeeded"]
    assert sorted(m["config"]["resolved"]["seed"] for m in succeeded) == list(range(JOBS))
    assert done <= {m["client_run_id"] for m in succeeded}
    deadline = time.monotonic() + 60
    while (left := processes(project)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    for manifest in succeeded:
        folder = project / "runs" / manifest["client_run_id"]
        assert json.loads((folder / "exit.json").read_text())["exit_code"] == 0
        assert (folder / "config.yaml").stat().st_size and (folder / "overrides.yaml").stat().st_size
