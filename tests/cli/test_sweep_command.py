"""A sweep survives: failures, interruption, kill -9; and goes on with what is missing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import warm_python
from conftest_cli import BIN, Run, manifests

COUNTING = """\
import os, sys, time
seed, folder = sys.argv[1:]
open(os.path.join(folder, f"{seed}.{os.getpid()}"), "w").close()
time.sleep(float(os.environ.get("PAUSE", "0")))
"""


@pytest.fixture
def counted(project: Path, recipe: Callable[..., Path]) -> Path:
    """A recipe that leaves one file for each time it ran; the folder of those files."""
    folder = project / "counted"
    folder.mkdir()
    text = f"command: [python, main.py, '${{seed}}', '{folder}']\nseed: 0\nenv: {{set: {{PAUSE: '0'}}}}\n"
    recipe(text, COUNTING)
    return folder


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    return warm_python.WarmPopen(
        [str(BIN / "worldflux-run"), "-m", *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def succeeded(project: Path) -> list[int]:
    """Seeds of all succeeded runs, sorted."""
    found = [m for m in manifests(project) if m["run"]["status"] == "succeeded"]
    return sorted(m["config"]["resolved"]["seed"] for m in found)


def test_one_at_a_time_is_one_record_at_a_time(wf: Run, counted: Path, project: Path) -> None:
    """With `sweep.max_parallel=1` each record is written before the next run begins."""
    ended = wf("-m", "+recipe=mine", "seed=range(6)", "sweep.max_parallel=1", program="worldflux-run")
    assert ended.code == 0, ended.err
    found = sorted(manifests(project), key=lambda manifest: manifest["client_run_id"])
    files = [project / "runs" / manifest["client_run_id"] / "manifest.json" for manifest in found]
    written = [file.stat().st_mtime_ns // 1_000_000 for file in files]
    begun = [datetime.fromisoformat(manifest["run"]["created_at"]).timestamp() * 1000 for manifest in found]
    assert len(found) == 6
    assert all(before <= round(after) for before, after in zip(written, begun[1:], strict=False))


def test_resume_runs_only_what_is_missing(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Failed jobs are run again, succeeded ones are not; attempts and the sweep's id are recorded."""
    recipe(
        "command: [python, main.py, '${seed}']\nseed: 0\n",
        "import os, sys; sys.exit(int(sys.argv[1]) == 2 and not os.path.exists(sys.path[0] + '/ok'))",
    )
    first = wf("-m", "+recipe=mine", "seed=1,2,3", program="worldflux-run")
    assert first.code == 1 and "sweep.resume=" in first.out
    (project / "recipes/mine/ok").write_text("")
    second = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert second.code == 0, second.err
    assert "2 done before" in second.out and len(manifests(project)) == 4
    again = [m for m in manifests(project) if m["config"]["resolved"]["seed"] == 2]
    assert [m["run"]["attempt"] for m in again] == [1, 2]
    assert len({m["run"]["sweep_id"] for m in manifests(project)}) == 1
    assert len({m["extensions"]["worldflux.job"] for m in again}) == 1
    third = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert third.code == 0 and len(manifests(project)) == 4


def test_an_edited_file_of_jobs_is_read_again(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """The same words mean other jobs when the file that they name holds others."""
    recipe("command: [python, -c, pass]\nseed: 0\n", "")
    for seeds in ("1", "2\n3"):
        (project / "jobs.csv").write_text(f"seed\n{seeds}\n")
        os.utime(project / "jobs.csv", (1_600_000_000, 1_600_000_000))
        for path in (project / "recipes").rglob("*"):
            os.utime(path, (1_600_000_000, 1_600_000_000))
        os.utime(project / "worldflux.yaml", (1_600_000_000, 1_600_000_000))
        assert wf("-m", "+recipe=mine", "sweep.file=jobs.csv", program="worldflux-run").code == 0
    assert succeeded(project) == [1, 2, 3]


def test_a_changed_configuration_is_said(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Resuming under another configuration is refused, with the jobs it would change."""
    recipe("command: [python, main.py]\nseed: 0\nparams: {a: 1}\n", "raise SystemExit(1)")
    assert wf("-m", "+recipe=mine", "seed=1,2", program="worldflux-run").code == 1
    recipe("command: [python, main.py]\nseed: 0\nparams: {a: 2}\n", "pass")
    ended = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert ended.code == 2 and "has changed" in ended.err and len(manifests(project)) == 2
    typed = wf("-m", "sweep.resume=last", "seed=5", program="worldflux-run")
    assert typed.code == 2 and "seed=5 would change them" in typed.err


def test_retries(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A job that fails is tried again as often as allowed."""
    program = (
        "import os, sys\n"
        "tries = os.path.join(sys.path[0], 'tries')\n"
        "with open(tries, 'a+') as stream: before = stream.tell(); stream.write('x')\n"
        "sys.exit(before < 2)\n"
    )
    recipe("command: [python, main.py]\n", program)
    ended = wf("-m", "+recipe=mine", "sweep.retries=2", program="worldflux-run")
    assert ended.code == 0, ended.out
    assert [m["run"]["status"] for m in manifests(project)] == ["failed", "failed", "succeeded"]


def test_fail_fast(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """After a failure nothing more is started."""
    recipe("command: [python, main.py]\nseed: 0\n", "raise SystemExit(3)")
    words = ["-m", "+recipe=mine", "seed=range(6)", "sweep.fail_fast=true", "sweep.max_parallel=1"]
    ended = wf(*words, program="worldflux-run")
    assert ended.code == 1 and len(manifests(project)) == 1 and "5 not started" in ended.out


def test_ctrl_c_once_and_twice(recipe: Callable[..., Path], project: Path) -> None:
    """Once: running jobs end politely, no other starts. Twice: at once, whatever the job does."""
    recipe(
        "command: [python, main.py]\nseed: 0\n",
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n",
    )
    process = start(project, "+recipe=mine", "seed=range(6)", "sweep.max_parallel=2")
    deadline = time.monotonic() + 60
    while len([p for p in (project / "runs").glob("*/logs/*.log") if p.read_bytes()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the grace of a running job is not over"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "4 not started" in out
    assert [m["run"]["status"] for m in manifests(project)] == ["cancelled", "cancelled"]


def test_two_at_once(counted: Path, wf: Run, project: Path) -> None:
    """A sweep that is being worked on is not resumed by a second process."""
    process = start(project, "+recipe=mine", "seed=1,2", "env.set.PAUSE=5")
    deadline = time.monotonic() + 60
    while not list(counted.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert ended.code == 3 and "another process" in ended.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_any_moment(seed: int, counted: Path, wf: Run, project: Path) -> None:
    """However often the parent is killed, in the end every job succeeded once and nothing is left."""
    rng = random.Random(seed)
    count = 24
    arguments = ["+recipe=mine", f"seed=range({count})", "sweep.max_parallel=3"]
    process = start(project, *arguments)
    for _ in range(5):
        time.sleep(rng.uniform(0.2, 1.5))
        process.kill()
        process.communicate(timeout=30)
        arguments = ["sweep.resume=last"] if list((project / "runs").glob(".sweeps/*.jsonl")) else arguments
        process = start(project, *arguments)
    out, _ = process.communicate(timeout=170)
    assert process.returncode == 0, out
    assert succeeded(project) == list(range(count))
    assert not [m for m in manifests(project) if m["run"]["status"] in ("running", "queued")]
    assert not _alive(str(counted))


def test_a_torn_ledger_line_is_a_start_that_never_was(wf: Run, counted: Path, project: Path) -> None:
    """Half a line at the end, as a crash leaves it, does no harm; a broken head is an error."""
    assert wf("-m", "+recipe=mine", "seed=1,2", program="worldflux-run").code == 0
    (ledger,) = (project / "runs/.sweeps").glob("*.jsonl")
    with ledger.open("a") as stream:
        stream.write('{"job": "x", "ru')
    assert wf("-m", "sweep.resume=last", program="worldflux-run").code == 0
    assert all(json.loads(line) for line in ledger.read_text().splitlines())
    ledger.write_text("garbage\n")
    ended = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert ended.code == 1 and "ledger" in ended.err


def test_resume_without_a_sweep(wf: Run, recipe: Callable[..., Path]) -> None:
    """There is nothing to resume: said so, with the command that starts a sweep."""
    recipe("command: [python, -c, pass]\n")
    ended = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert ended.code == 2 and "there is no sweep to resume" in ended.err
    single = wf("+recipe=mine", "sweep.seeds=3", program="worldflux-run")
    assert single.code == 2 and "--multirun" in single.err


def _alive(part: str) -> list[int]:
    """Processes with `part` in their command line that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if part in line and state != "Z":
                found.append(int(entry.name))
    return found


PAID = """\
import dataclasses
from worldflux.runtime.local_plugin import LocalPlugin

class Paid(LocalPlugin):
    name = "paid"
    paid = True

    def run(self, ctx, command):
        return dataclasses.replace(super().run(ctx, command), cost_estimate_usd=0.75)
"""


def test_one_budget_for_a_sweep(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Runs are refused when the rest does not cover them, before they start; also on resume."""
    recipe("command: [python, main.py]\nseed: 0\n", "open('ran', 'w')")
    (project / "worldflux.yaml").write_text("project: demo\nplugins: [dear]\n")
    (project / "dear.py").write_text(PAID)
    paid = ["runtime._target_=dear.Paid", "runtime.name=paid", "sweep.max_parallel=1"]
    words = ["-m", "+recipe=mine", "seed=range(4)", *paid, "cost_guard.max_sweep_usd=2.4"]
    unbounded = wf(*words, program="worldflux-run")
    assert unbounded.code == 4 and "4 refused" in unbounded.out
    bounded = wf(*words, "cost_guard.max_usd=1", program="worldflux-run")
    assert bounded.code == 4 and "2 refused" in bounded.out
    ran = [m for m in manifests(project) if m["run"]["status"] == "succeeded"]
    assert sum(m["cost"]["estimate_usd"] for m in ran) <= 2.4 and len(ran) == 2
    refused = [m for m in manifests(project) if m["run"]["status"] == "refused"]
    assert all(m["run"]["error"]["code"] == "budget" and not m["artifacts"] for m in refused)
    again = wf("-m", "sweep.resume=last", program="worldflux-run")
    assert again.code == 4 and "2 refused" in again.out
    more = wf("-m", "sweep.resume=last", "cost_guard.max_sweep_usd=9", program="worldflux-run")
    assert more.code == 0, more.out + more.err


def test_a_recipe_that_speaks_to_hydra_is_heard(wf: Run, counted: Path, project: Path) -> None:
    """A plain sweep does not load Hydra, unless a word was typed, or stands in a file, that is meant for it."""
    code = (
        "import sys; sys.argv[1:] = ['-m', '+recipe=mine', 'seed=1,2']\n"
        "from worldflux.cli.hydra_app import main\n"
        "try: main()\n"
        "except SystemExit as end: print('code', end.code, 'hydra.main' in sys.modules,"
        " 'hydra_plugins.worldflux_multirun' in sys.modules)\n"
    )

    def ended() -> str:
        done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "code 0 False False" in ended()
    file = next((project / "recipes").rglob("*.yaml"))
    file.write_text(f"{file.read_text()}hydra: {{sweeper: {{params: {{seed: '7,8'}}}}}}\n")
    for words in (["+recipe=mine"], ["+recipe=mine", "hydra.sweeper.params={seed:'3,4'}"]):
        assert wf("-m", *words, program="worldflux-run").code == 0
    assert succeeded(project) == [1, 2, 3, 4, 7, 8]
