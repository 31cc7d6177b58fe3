"""How quickly runs reach a server: `python tests/bench/bench_sync.py [RUNS]`, 10,000 by default.

A run has 50 points, 10 parameters and a log of 20 kB. Everything goes through the real command line
to a real server on this machine, so client and server share its cores.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "sync"), str(HERE.parent / "server")]

from run_lab import make_run, metric_lines  # noqa: E402
from server_process import Server, start  # noqa: E402

# A server that tests fork from a warm process would show that one's memory.
os.environ["WORLDFLUX_TEST_COLD"] = "1"

BIN = Path(sys.executable).parent


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = Path(tempfile.mkdtemp(prefix="bench-sync-"))
    server = start(folder / "data")
    try:
        project = folder / "project"
        project.mkdir()
        (project / "worldflux.yaml").write_text("project: bench\n")
        dice = random.Random(7)
        log = b"".join(
            b"epoch %05d loss %.6f took %.3f s\n" % (i, dice.random(), dice.random()) for i in range(520)
        )
        for number in range(count):
            params = {f"p{index}": number * index for index in range(10)}
            make_run(project / "runs", metrics=metric_lines(50), log=log, params=params, validate=False)
        print(f"{count} runs, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        measure("cold", server, project, count)
        measure("again", server, project, count)
        shutil.rmtree(project / ".worldflux")
        measure("again, without journal", server, project, count)
    finally:
        server.stop()
        shutil.rmtree(folder)


def measure(name: str, server: Server, project: Path, count: int) -> None:
    """One `worldflux sync`, timed with its interpreter's start."""
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    before, served = resource.getrusage(resource.RUSAGE_CHILDREN), _processor_seconds(server)
    begun = time.monotonic()
    done = subprocess.run(
        [BIN / "worldflux", "--json", "sync"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    took = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = {word: number for word, number in json.loads(done.stdout)["data"]["counts"].items() if number}
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    theirs = _processor_seconds(server) - served
    print(
        f"{name:<24} {took:6.1f} s  {count / took:6.0f} runs/s  client {1000 * own / count:.2f} ms/run  "
        f"server {1000 * theirs / count:.2f} ms/run, at most {_peak(server) / 1000:.0f} MB  {counts}"
    )


def _processor_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
