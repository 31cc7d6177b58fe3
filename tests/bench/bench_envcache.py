"""What a ready environment costs: `python tests/bench/bench_envcache.py [--rounds N] [--lock FILE]`.

Four ways to the same packages (by default gymnasium and numpy as the gymnasium recipe locks them),
measured in turn in the same run, downloads left out:

* warm: the environment is there; a new process asks for it (budget: 0.3 s, imports included);
* again: the same question in a process that has asked before;
* build: the environment is not there, its packages are in the package cache;
* pip: `python -m venv` and `pip install` of the same lock, packages in pip's cache.

Figures are medians and ratios to pip; the machine's load hits all four alike. Ends with 1 when
the warm start is over its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCK = PROJECT / "recipes" / "gymnasium-eval" / "requirements.lock"
BUDGET_SECONDS = 0.3

ASK = """\
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from worldflux.runtime import envcache
from worldflux.runtime.base import Adapter
adapter = Adapter("bench", python=">=3.10", lock=Path(sys.argv[2]).read_text())
times = []
for _ in range(3):
    with envcache.use(Path(sys.argv[1]), adapter) as environment:
        times.append(environment.seconds)
    if len(times) == 1:
        whole = time.perf_counter() - began
print(json.dumps({"whole": whole, "again": min(times[1:]), "built": environment.built,
                  "path": str(environment.path)}))
"""


def ask(root: Path, lock: Path) -> dict[str, float | str]:
    """A new process that takes the environment; seconds from its first line on."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, root, lock], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    answer: dict[str, float | str] = json.loads(done.stdout)
    return answer


def build(root: Path, lock: Path) -> float:
    """Seconds to build it with a filled package cache."""
    for path in root.iterdir():
        if path.is_dir() and len(path.name) == 40:
            shutil.rmtree(path)
    return float(ask(root, lock)["whole"])


def with_pip(folder: Path, lock: Path) -> float:
    """Seconds for a virtual environment and pip."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--require-hashes", "--only-binary", ":all:", "-r", lock]
    subprocess.run([*install, *locked], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lock", type=Path, default=LOCK)
    options = parser.parse_args()
    times: dict[str, list[float]] = {"warm": [], "again": [], "build": [], "pip": []}
    with tempfile.TemporaryDirectory(prefix="worldflux-bench-") as name:
        root, venv, lock = Path(name) / "envs", Path(name) / "venv", options.lock.resolve()
        os.environ["PIP_CACHE_DIR"] = str(Path(name) / "pip-cache")
        ask(root, lock)
        with_pip(venv, lock)
        for _ in range(options.rounds):
            times["build"].append(build(root, lock))
            answer = ask(root, lock)
            times["warm"].append(float(answer["whole"]))
            times["again"].append(float(answer["again"]))
            times["pip"].append(with_pip(venv, lock))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:6} {seconds * 1000:10.1f} ms   pip takes {medians['pip'] / seconds:8.1f} times as long")
    kept = medians["warm"] <= BUDGET_SECONDS
    print(f"warm start {'within' if kept else 'OVER'} its budget of {BUDGET_SECONDS * 1000:.0f} ms")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
