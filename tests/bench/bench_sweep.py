"""What a sweep costs: no-op jobs, each a real child process with a durable, validated manifest.

Prints jobs per second against `xargs -P2 python -c pass` and against Hydra's basic launcher with
the same child, in the same run, and the cost of composing one job. A second, longer sweep shows
whether time grows faster than the number of jobs. `bench_sweep.py [JOBS [LONG]]`, 200 and 1000.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
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


def seconds(words: list[str], root: Path) -> float:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env.update(HOME=str(root), WORLDFLUX_HOME=str(root / "home"))
    begun = time.perf_counter()
    subprocess.run(words, cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> int:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    longer = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    sweep = str(Path(sys.executable).parent / "worldflux-run")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "app.py").write_text(HYDRA_APP)
        (root / "app.yaml").write_text("seed: 0\n")
        (root / "recipes").mkdir()
        (root / "recipes" / "noop.yaml").write_text('command: [python, -c, "pass"]\nseed: 0\n')
        (root / "worldflux.yaml").write_text("project: bench\n")
        seconds([sweep, "-m", "+recipe=noop", "seed=1,2"], root)
        loop = f"seq {jobs} | xargs -P2 -I_ {sys.executable} -c pass"
        bare = jobs / seconds(["sh", "-c", loop], root)
        ours = jobs / seconds([sweep, "-m", "+recipe=noop", f"seed=range({jobs})"], root)
        few = max(10, jobs // 8)
        basic = few / seconds([sys.executable, "app.py", "-m", f"seed=range({few})"], root)
        print(f"xargs -P2 python -c pass   {bare:7.1f} jobs/s")
        print(f"Hydra's basic launcher     {basic:7.1f} jobs/s  ({few} jobs)")
        print(f"worldflux-run -m           {ours:7.1f} jobs/s   {ours / bare:.2f} x xargs (target >= 0.5)   "
              f"{ours / basic:.1f} x basic (target >= 6)")  # fmt: skip
        if longer:
            rate = longer / seconds([sweep, "-m", "+recipe=noop", f"seed=range({longer})"], root)
            print(
                f"worldflux-run -m           {rate:7.1f} jobs/s over {longer} jobs: {ours / rate:.2f} x the time a job"
            )
    print(f"composition                {composition():7.2f} ms a job (target < 2)")
    return 0


def composition() -> float:
    """Milliseconds of processor time to compose and check one job of a sweep."""
    from worldflux.config.compose import Composer
    from worldflux.config.project import load_project

    composer = Composer(load_project())
    composer.compose(["+recipe=cpu-smoke", "seed=0"])
    begun = time.process_time()
    for seed in range(300):
        composer.compose(["+recipe=cpu-smoke", f"seed={seed}"])
    return (time.process_time() - begun) / 300 * 1000


if __name__ == "__main__":
    sys.exit(main())
