"""What the process shim costs: `python tests/bench/bench_process.py [--flood GIGABYTES] [--folder DIR]`.

Two figures, each measured against its yardstick in turn, in the same run:

* start and wait of a command that does nothing, against `python -c pass` (target: 15 ms more);
* a flood of output, against the same command with its output sent to a file (target: at most
  1.3 times the time), once with everything kept and once with the default cap.

Figures are medians. Disks are noisy: use a memory file system (`--folder /dev/shm`) to see the
shim alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from worldflux.runtime.process import CommandProcess, Limits, ProcessExit

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def through_shim(argv: list[str], folder: Path, cap: int = Limits.log_cap) -> ProcessExit:
    (folder / "log").unlink(missing_ok=True)
    return CommandProcess.start(
        argv,
        cwd=folder,
        env=ENVIRONMENT,
        log_path=folder / "log",
        exit_path=folder / "exit.json",
        limits=Limits(log_cap=cap),
    ).wait()


def to_file(argv: list[str], folder: Path) -> None:
    (folder / "file").unlink(missing_ok=True)
    with open(folder / "file", "wb") as file:
        subprocess.run(argv, stdout=file, env=ENVIRONMENT, check=True)


def alternately(count: int, *jobs: Callable[[], object]) -> list[float]:
    """Median seconds of each job, run in turn so that noise hits all of them."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(count):
        for index, job in enumerate(jobs):
            began = time.perf_counter()
            job()
            times[index].append(time.perf_counter() - began)
    return [statistics.median(each) for each in times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flood", type=float, default=1.0, metavar="GIGABYTES")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    size = int(options.flood * 1e9)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bare = [sys.executable, "-c", "pass"]
        shim, python, true = alternately(
            40,
            lambda: through_shim(["true"], folder),
            lambda: subprocess.run(bare, check=True),
            lambda: subprocess.run(["true"], check=True),
        )
        print(
            f"no-op: shim {shim * 1e3:.1f} ms, python -c pass {python * 1e3:.1f} ms, true {true * 1e3:.1f} ms"
        )
        print(f"no-op: shim is {(shim - python) * 1e3:+.1f} ms over python -c pass (target: +15 ms)")
        flood = ["sh", "-c", f"yes | head -c {size}"]
        for cap, label in ((2 * size, "all kept"), (Limits.log_cap, "default cap")):
            to_file(flood, folder)  # so that neither pays for the first touch of the disk
            ours, theirs = alternately(
                5, lambda cap=cap: through_shim(flood, folder, cap), lambda: to_file(flood, folder)
            )
            print(f"flood of {options.flood} GB, {label}: shim {ours:.2f} s, file {theirs:.2f} s, ", end="")
            print(f"{ours / theirs:.2f} times (target: 1.3)")
        rss = through_shim(flood, folder).shim_rss_kb
        print(f"memory of the shim at its peak: {(rss or 0) / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
