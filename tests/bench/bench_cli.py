"""What the command line costs, against bare Python and a minimal Hydra application.

Prints ratios of medians; every round runs each command once, in shuffled order, so that a busy
machine slows all of them alike. `python tests/bench/bench_cli.py [ROUNDS]`, 11 by default.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HYDRA_APP = """
import subprocess, sys
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    subprocess.run([sys.executable, "-c", "pass"], check=True)

main()
"""
RECIPE = 'description: nothing\ncommand: [python, -c, "pass"]\n'
#: Command -> (reference, the most it may cost in units of that reference).
TARGETS = {
    "worldflux --version": ("python -c pass", 5.0),
    "worldflux --json status": ("python -c pass", 12.0),
    "worldflux run (recorded no-op)": ("hydra app + child", 1.0),
    "worldflux-run (recorded no-op)": ("hydra app + child", 1.0),
}


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    bin_dir = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "app.py").write_text(HYDRA_APP)
        (root / "recipes").mkdir()
        (root / "recipes" / "noop.yaml").write_text(RECIPE)
        (root / "worldflux.yaml").write_text("project: bench\nrecipe: noop\n")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "hydra app + child": [sys.executable, "app.py"],
            "worldflux --version": [str(bin_dir / "worldflux"), "--version"],
            "worldflux --json status": [str(bin_dir / "worldflux"), "--json", "status"],
            "worldflux run (recorded no-op)": [str(bin_dir / "worldflux"), "run"],
            "worldflux-run (recorded no-op)": [str(bin_dir / "worldflux-run"), "+recipe=noop"],
        }
        times = measure(commands, root, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        line = f"{name:<34} {median * 1000:7.1f} ms"
        if name in TARGETS:
            reference, limit = TARGETS[name]
            ratio = median / medians[reference]
            line += f"   {ratio:5.2f} x {reference}  (target <= {limit:g}: {'met' if ratio <= limit else 'MISSED'})"
        print(line)
    return 0


def measure(commands: dict[str, list[str]], root: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round; one round before that is thrown away."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env.update(HOME=str(root), WORLDFLUX_HOME=str(root / "home"))
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name in random.sample(list(commands), len(commands)):
            begun = time.perf_counter()
            subprocess.run(commands[name], cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)
            if number:
                times[name].append(time.perf_counter() - begun)
    return times


if __name__ == "__main__":
    sys.exit(main())
