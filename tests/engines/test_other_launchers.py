"""Sweeps by submitit on this machine, joblib and Ray: the same records in the same folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from engines_lab import Lab, need, wait_for

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "submitit_local": ("submitit",),
    "joblib": ("joblib",),
    "ray": ("ray",),
    "basic": (),
}
#: Ray's own processes need seconds to start; two workers are enough.
SETTINGS = {
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"]
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_all_jobs_are_recorded_and_failures_named(name: str, lab: Lab) -> None:
    """Workers find the project, its recipe and its runtime class; a failed job fails the sweep alone."""
    need(*LAUNCHERS[name])
    words = ["seed=12,13,14", "runtime._target_=mine_plugin.Mine", *SETTINGS.get(name, [])]
    ended = lab.sweep("+recipe=mine", f"hydra/launcher={name}", *words)
    assert ended.code == 1, ended.out
    assert "2 succeeded, 1 failed" in ended.out and "exit code 7" in ended.out
    assert lab.statuses() == ["succeeded", "failed", "succeeded"]
    assert {m["runtime"]["plugin"] for m in lab.manifests()} == {"mine_plugin:Mine"}
    assert len({m["run"]["sweep_id"] for m in lab.manifests()}) == 1
    assert [m["run"]["attempt"] for m in lab.manifests()] == [1, 1, 1]
    assert lab.clean(), sorted(path.name for path in lab.root.rglob("*") if "runs" not in path.parts)


def test_resume_with_another_launcher(lab: Lab) -> None:
    """What one launcher left undone, another finishes; nothing that had succeeded runs again."""
    need("joblib")
    lab.recipe(program="import os, sys; sys.exit(sys.argv[1] == '2' and not os.path.exists(sys.path[0] + '/ok'))",
               text="command: [python, main.py, '${seed}']\nseed: 0\n")  # fmt: skip
    assert lab.sweep("+recipe=mine", "seed=1,2,3", "hydra/launcher=joblib").code == 1
    (lab.root / "recipes/mine/ok").touch()
    again = lab.sweep("sweep.resume=last")
    assert again.code == 0 and "2 done before" in again.out, again.out
    assert [m["run"]["attempt"] for m in lab.of_seed(2)] == [1, 2] and len(lab.manifests()) == 4


def test_retries(lab: Lab) -> None:
    """`sweep.retries` holds for every launcher."""
    need("submitit")
    lab.recipe(
        program="import os, sys; os.mkdir(sys.path[0] + '/once')",
        text="command: [python, main.py]\nseed: 0\n",
    )
    (lab.root / "recipes/mine/once").mkdir()
    ended = lab.sweep("+recipe=mine", "sweep.retries=1", "hydra/launcher=submitit_local")
    assert ended.code == 1 and lab.statuses() == ["failed", "failed"], ended.out
    assert [m["run"]["attempt"] for m in lab.manifests()] == [1, 2]


def test_a_local_submitit_sweep_keeps_to_its_size_and_stops(lab: Lab) -> None:
    """No more processes than asked for; Ctrl-C ends them with their records; nothing survives."""
    need("submitit")
    lab.recipe(
        "print('up', flush=True)\nimport time\ntime.sleep(600)\n", "command: [python, main.py]\nseed: 0\n"
    )
    process = lab.start(
        "+recipe=mine", "seed=range(4)", "sweep.max_parallel=2", "hydra/launcher=submitit_local"
    )
    wait_for(lambda: len([p for p in (lab.root / "runs").glob("*/logs/*.log") if p.read_bytes()]) == 2)
    time.sleep(1)
    assert len(lab.manifests()) == 2
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "2 not started" in out, out
    assert lab.statuses() == ["cancelled", "cancelled"]
    wait_for(lambda: not alive(str(lab.root / "recipes/mine")), 20, "the end of all commands")


def test_a_killed_worker_is_one_lost_job(lab: Lab) -> None:
    """kill -9 of a worker: its record is `interrupted`, the sweep fails, the other job is recorded."""
    need("submitit")
    program = "import sys, time\nprint('up', flush=True)\ntime.sleep(600 if sys.argv[1] == '1' else 0)\n"
    lab.recipe(program, "command: [python, main.py, '${seed}']\nseed: 0\n")
    process = lab.start("+recipe=mine", "seed=1,2", "sweep.max_parallel=1", "hydra/launcher=submitit_local")
    wait_for(lambda: [p for p in (lab.root / "runs").glob("*/logs/*.log") if p.read_bytes()])
    os.kill(lab.of_seed(1)[0]["run"]["owner"]["pid"], signal.SIGKILL)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 1 and "1 interrupted" in out and "1 succeeded" in out, out
    assert lab.statuses() == ["interrupted", "succeeded"]


def test_a_setting_that_a_launcher_can_not_keep(lab: Lab) -> None:
    """Refused before anything runs, rather than left unheeded."""
    need("joblib")
    ended = lab.sweep("+recipe=mine", "seed=1,2", "sweep.fail_fast=true", "hydra/launcher=joblib")
    assert ended.code == 2 and "sweep.fail_fast=true" in ended.out and not lab.manifests()


def alive(part: str) -> list[int]:
    """Processes with `part` in their command line that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0] if line else ""
        except OSError:
            continue
        if part in line and state != "Z":
            found.append(int(entry.name))
    return found
