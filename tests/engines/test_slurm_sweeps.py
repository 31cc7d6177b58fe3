"""Sweeps through a real Slurm: every job recorded once, whatever happens to the cluster."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from engines_lab import Lab, wait_for
from slurm_lab import CPUS, Slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")
#: Waits on its first start, as long as no file says that it may go on.
WAITING = """\
import os, sys, time
folder = os.path.join(sys.path[0], "seen")
os.makedirs(folder, exist_ok=True)
seen = os.path.join(folder, sys.argv[1])
first = not os.path.exists(seen)
open(seen, "a").close()
print("up", flush=True)
while first and not os.path.exists(os.path.join(sys.path[0], "go")):
    time.sleep(0.05)
"""
WAITING_RECIPE = "command: [python, main.py, '${seed}']\nseed: 0\n"


def waiting(lab: Lab, seeds: list[int]) -> None:
    """Until the commands of these seeds run for the first time."""
    folder = lab.root / "recipes/mine/seen"
    wait_for(lambda: all((folder / str(seed)).exists() for seed in seeds), 60, f"seeds {seeds}")


def job_of(lab: Lab, slurm: Slurm, seed: int) -> str:
    """The Slurm job that carries out a seed, by the order of the sweep's jobs."""
    (ledger,) = (lab.root / "runs/.sweeps").glob("*.jsonl")
    jobs = list(json.loads(ledger.read_text().splitlines()[0])["jobs"].values())
    index = next(i for i, words in enumerate(jobs) if f"seed={seed}" in words)
    found = slurm.jobs()
    return next((job for job in found if job.endswith(f"_{index}")), found[0])


def test_twenty_jobs_while_the_node_is_drained_and_comes_back(lab: Lab, slurm: Slurm) -> None:
    """Jobs that could not start while the node was drained start when it is back; all are recorded once."""
    jobs = 20
    lab.env = slurm.env
    process = lab.start("+recipe=mine", f"seed=range(20,{20 + jobs})", *SLURM)
    wait_for(lambda: len(list((lab.root / "runs").glob("*/manifest.json"))) >= 2, 60, "two runs")
    slurm.set_node("drain")
    wait_for(lambda: slurm.node_state() == "drained", 60, "the drained node")
    held = len(lab.manifests())
    time.sleep(2)
    assert len(lab.manifests()) == held < jobs and len(slurm.jobs("PENDING")) == jobs - held
    slurm.set_node("resume")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert lab.statuses() == ["succeeded"] * jobs and f"{jobs} succeeded" in out
    assert [m["config"]["resolved"]["seed"] for m in sorted_by_seed(lab)] == list(range(20, 20 + jobs))
    assert {m["metrics"]["score"]["value"] for m in lab.manifests()} == {
        seed + 1 for seed in range(20, 20 + jobs)
    }
    assert len({m["run"]["sweep_id"] for m in lab.manifests()}) == 1
    assert len({m["extensions"]["worldflux.job"] for m in lab.manifests()}) == jobs
    assert lab.clean()


def sorted_by_seed(lab: Lab) -> list[dict]:
    return sorted(lab.manifests(), key=lambda each: each["config"]["resolved"]["seed"])


def test_a_failed_job_and_a_runtime_of_the_project(lab: Lab, slurm: Slurm) -> None:
    """Exit code 1 with the reason named; the others are recorded; resume runs only the failed one."""
    lab.env = slurm.env
    words = ("seed=12,13,14", "runtime._target_=mine_plugin.Mine")
    ended = lab.sweep("+recipe=mine", *words, *SLURM)
    assert ended.code == 1, ended.out
    assert "2 succeeded, 1 failed" in ended.out and "seed=13" in ended.out and "exit code 7" in ended.out
    assert lab.statuses() == ["succeeded", "failed", "succeeded"]
    assert {m["runtime"]["plugin"] for m in lab.manifests()} == {"mine_plugin:Mine"}
    lab.recipe(program="open('out.json', 'w').write('{\"score\": 1}')")
    again = lab.sweep("sweep.resume=last", *SLURM)
    assert again.code == 0 and "2 done before" in again.out, again.out
    assert [m["run"]["attempt"] for m in lab.of_seed(13)] == [1, 2] and len(lab.manifests()) == 4


@pytest.mark.timeout(200)
def test_jobs_that_are_put_back_run_again(lab: Lab, slurm: Slurm) -> None:
    """Requeued, warned, killed and requeued, preempted: the stopped run is `interrupted`, and another
    one of the same job succeeds, exactly once."""
    lab.env = slurm.env
    lab.recipe(WAITING, WAITING_RECIPE)
    process = lab.start("+recipe=mine", "seed=1,2,3,4", *SLURM)
    waiting(lab, [1, 2, 3, 4])
    slurm.command("scontrol", "requeue", job_of(lab, slurm, 1))
    slurm.command("scancel", "--signal=USR2", job_of(lab, slurm, 2))
    third = job_of(lab, slurm, 3)  # it may be out of the queue for a moment when it has been killed
    os.kill(lab.of_seed(3)[0]["run"]["owner"]["pid"], signal.SIGKILL)
    slurm.command("scontrol", "requeue", third)
    slurm.command("sbatch", "--partition=high", f"--ntasks={CPUS}", "--output=/dev/null", "--wrap=sleep 1")
    # One that is back before the others have to make way is put back once more.
    wait_for(lambda: all(len(lab.of_seed(seed)) >= 2 for seed in (1, 2, 3, 4)), 90, "the second attempts")
    (lab.root / "recipes/mine/go").touch()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0 and "4 succeeded" in out, out
    for seed in (1, 2, 3, 4):
        *stopped, last = lab.of_seed(seed)
        assert {m["run"]["status"] for m in stopped} == {"interrupted"}, seed
        assert last["run"]["status"] == "succeeded" and len(stopped) <= 2, seed
        assert [m["run"]["attempt"] for m in (*stopped, last)] == list(range(1, len(stopped) + 2)), seed
        assert len({m["extensions"]["worldflux.job"] for m in (*stopped, last)}) == 1
    reasons = [lab.of_seed(seed)[0]["run"]["error"]["message"] for seed in (1, 2, 3, 4)]
    assert "back into its queue" in reasons[0] and "about to end" in reasons[1], reasons
    assert "process" in reasons[2] and "back into its queue" in reasons[3], reasons


def test_cancelled_jobs(lab: Lab, slurm: Slurm) -> None:
    """`scancel` of a running job is recorded as `cancelled`, of a waiting one as no run; others go on."""
    lab.env = slurm.env
    lab.recipe(WAITING, WAITING_RECIPE)
    process = lab.start("+recipe=mine", "seed=range(6)", *SLURM)
    waiting(lab, [0, 1, 2, 3])
    slurm.command("scancel", job_of(lab, slurm, 1))
    slurm.command("scancel", job_of(lab, slurm, 5))
    wait_for(lambda: lab.of_seed(1)[0]["run"]["status"] == "cancelled", 30, "the cancelled record")
    (lab.root / "recipes/mine/go").touch()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1, out
    assert lab.statuses() == ["succeeded", "cancelled", "succeeded", "succeeded", "succeeded"]
    assert "without a record" in out and "4 succeeded" in out and "sweep.resume=" in out


@pytest.mark.timeout(200)
def test_a_time_limit_is_told_apart_from_a_cancellation(lab: Lab, slurm: Slurm) -> None:
    """A job that Slurm ends at its time limit, without the warning that submitit asks for, is `timeout`: also
    when the run does not end in time and is killed, so that its record was left open."""
    lab.env = slurm.env
    lab.recipe(WAITING, WAITING_RECIPE)
    process = lab.start("+recipe=mine", "seed=1,2,3", *SLURM, "hydra.launcher.signal_delay_s=0")
    waiting(lab, [1, 2, 3])
    # A stopped process does not see the signal; what is left after Slurm's patience is SIGKILL.
    os.kill(lab.of_seed(2)[0]["run"]["owner"]["pid"], signal.SIGSTOP)
    for seed in (1, 2):
        end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 1))
        slurm.command("scontrol", "update", f"jobid={job_of(lab, slurm, seed)}", f"EndTime={end}")
    wait_for(lambda: lab.of_seed(1)[0]["run"]["status"] == "timeout", 60, "the record of the first")
    (lab.root / "recipes/mine/go").touch()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1 and "2 timeout, 1 succeeded" in out, out
    errors = [lab.of_seed(seed)[0]["run"]["error"] for seed in (1, 2)]
    assert all(error["code"] == "timeout" and "time limit" in error["message"] for error in errors), errors
    assert lab.clean()


def test_ctrl_c_takes_the_jobs_out_of_the_queue(lab: Lab, slurm: Slurm) -> None:
    """Nothing is left in Slurm; what ran is recorded as cancelled; the exit code is 130."""
    lab.env = slurm.env
    lab.recipe(WAITING, WAITING_RECIPE)
    process = lab.start("+recipe=mine", "seed=range(6)", *SLURM)
    waiting(lab, [0, 1, 2, 3])
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "4 cancelled, 2 not started" in out
    assert lab.statuses() == ["cancelled"] * 4 and not slurm.jobs("PENDING", "RUNNING")


def test_a_wrong_partition_is_said(lab: Lab, slurm: Slurm) -> None:
    """What sbatch refuses is told in its words, and no run exists."""
    lab.env = slurm.env
    ended = lab.sweep("+recipe=mine", "seed=1,2", *SLURM, "hydra.launcher.partition=nowhere")
    assert ended.code == 1 and "partition" in ended.out and not lab.manifests(), ended.out
