"""What a sweep costs: no-op jobs, each a real child process with a durable, validated manifest.

Prints jobs per second against `xargs -P2 python -c pass` and against Hydra's basic launcher with
the same child, in turns in the same run, for a machine is never quiet; and processor seconds,
which do not depend on who else is at work. Measured are the first sweep of a project, which has to
be composed and checked, one over seeds that were never run before, and the same again. A longer
sweep shows whether time and memory grow faster than the number of jobs.
`bench_sweep.py [JOBS [LONG [ROUNDS]]]`, 200, 2000 and 3.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

HYDRA_APP = """
import subprocess, sys
import hydra
from omegaconf import OmegaConf

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def main(cfg):
    subprocess.run([sys.executable, "-c", "pass"], check=True)

main()
"""
SWEEP = str(Path(sys.executable).parent / "worldflux-run")


@dataclass(frozen=True)
class Cost:
    """Wall-clock and processor seconds of a job."""

    wall: float
    cpu: float


def environment(root: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**env, "HOME": str(root), "WORLDFLUX_HOME": str(root / "home")}


def cost(words: list[str], root: Path, jobs: int) -> Cost:
    """What a job costs when that many are done by a command, with everything it starts."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before, begun = used(), time.perf_counter()
    subprocess.run(words, cwd=root, env=environment(root), check=True, stdout=subprocess.DEVNULL)
    return Cost((time.perf_counter() - begun) / jobs, (used() - before) / jobs)


def project(root: Path) -> None:
    (root / "app.py").write_text(HYDRA_APP)
    (root / "app.yaml").write_text("seed: 0\n")
    (root / "recipes").mkdir()
    (root / "recipes" / "noop.yaml").write_text('command: [python, -c, "pass"]\nseed: 0\n')
    (root / "worldflux.yaml").write_text("project: bench\n")


def compare(root: Path, jobs: int, rounds: int) -> None:
    """Jobs per second and processor seconds of the three, in turns; ratios are medians over the rounds."""
    few = max(10, jobs // 8)
    same = [SWEEP, "-m", "+recipe=noop", f"seed=range({jobs})"]
    cost(same, root, jobs)
    found: dict[str, list[Cost]] = {}
    for number in range(1, rounds + 1):
        ways = {
            "xargs -P2 python -c pass": (jobs, ["sh", "-c", f"seq {jobs} | xargs -P2 -I_ {sys.executable} -c pass"]),
            "Hydra's basic launcher": (few, [sys.executable, "app.py", "-m", f"seed=range({few})"]),
            "worldflux-run -m, first": (jobs, same),
            "worldflux-run -m, new": (jobs, [*same[:-1], f"seed=range({number * jobs},{(number + 1) * jobs})"]),
            "worldflux-run -m, again": (jobs, same),
        }  # fmt: skip
        for name, (count, words) in ways.items():
            if name.endswith("first"):
                shutil.rmtree(root / ".worldflux", ignore_errors=True)
            found.setdefault(name, []).append(cost(words, root, count))
    for name, costs in found.items():
        wall, cpu = (statistics.median(getattr(each, kind) for each in costs) for kind in ("wall", "cpu"))
        print(f"{name:26} {1 / wall:7.1f} jobs/s  {cpu * 1000:6.1f} ms of processor a job")
    bare, basic, *sweeps = found.values()
    for kind_of, ours in zip(("first", "new", "again"), sweeps, strict=True):
        for name, others, target in (("xargs", bare, 0.5), ("basic", basic, 6)):
            wall, cpu = (
                statistics.median(
                    getattr(a, kind) / getattr(b, kind) for a, b in zip(others, ours, strict=True)
                )
                for kind in ("wall", "cpu")
            )
            print(f"  {kind_of:5} {wall:5.2f} x {name} (target >= {target}); by processor time {cpu:.2f} x")


def grow(root: Path, jobs: int) -> None:
    """One long sweep: seconds per tenth of it, and memory at its start, middle and end."""
    words = [SWEEP, "-m", "+recipe=noop", f"seed=range({jobs})"]
    times, memory = [time.perf_counter()], []
    with subprocess.Popen(
        words, cwd=root, env=environment(root), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for count, _ in enumerate(process.stdout):
            if count and count % (jobs // 10) == 0 and len(times) < 11:
                times.append(time.perf_counter())
                status = Path(f"/proc/{process.pid}/status")
                found = re.search(r"VmRSS:\s+(\d+)", status.read_text() if status.exists() else "")
                memory.append(int(found[1]) / 1024 if found else 0.0)
    tenths = [after - before for before, after in pairwise(times)]
    first, last = statistics.mean(tenths[:3]), statistics.mean(tenths[-3:])
    print(f"{jobs} jobs: a tenth takes {first:.1f} s at first, {last:.1f} s at last: {last / first:.2f} x")
    print(f"{jobs} jobs: {memory[0]:.1f} MiB after a tenth, {memory[-1]:.1f} MiB at the end")


def composition(runtime: str) -> float:
    """Milliseconds of processor time to compose, check and name one job of a sweep on a runtime."""
    from worldflux.config.compose import Composer
    from worldflux.config.jobs import compose_jobs
    from worldflux.config.project import load_project

    compose = Composer(load_project()).compose
    jobs = [["+recipe=cpu-smoke", f"runtime={runtime}", f"seed={seed}"] for seed in range(300)]
    compose_jobs(jobs[:1], compose, {})  # imports
    begun = time.process_time()
    compose_jobs(jobs, compose, {})
    return (time.process_time() - begun) / len(jobs) * 1000


def main() -> int:
    given = [int(word) for word in sys.argv[1:]]
    jobs, longer, rounds = (*given, *(200, 2000, 3)[len(given) :])
    for runtime in ("local", "aws-ec2"):
        print(f"composition for {runtime:10} {composition(runtime):7.2f} ms a job (target < 2)")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        project(root)
        cost([SWEEP, "-m", "+recipe=noop", "seed=1,2"], root, 2)
        compare(root, jobs, rounds)
        if longer:
            grow(root, longer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
