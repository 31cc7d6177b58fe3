"""How many runs a second the server takes and keeps: `python tests/bench/bench_server.py [--runs N] [--mlflow PYTHON]`.

One run is a manifest, 50 metric points, 10 parameters and a log of 20 kB, as a client sends it: bundles of
several runs over a kept connection, each acknowledged only when it is on the disk. Payloads are made
before the clock starts. With `--mlflow`, the interpreter of an environment that has mlflow, the same
payload goes to `mlflow server` (one worker, SQLite) in the same session, and the ratio is printed. Afterwards
everything is counted in the stores. Then pages of 100 of 10,000 runs are timed on both.

    python -m venv /tmp/mlflow && /tmp/mlflow/bin/pip install mlflow
    python tests/bench/bench_server.py --mlflow /tmp/mlflow/bin/python
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

import bench_pages
import mlflow_pages
from sent_runs import BUNDLE, SentRun, digest_header
from server_process import Server, start

# A server that tests fork from a warm process would show that one's memory.
os.environ["WORLDFLUX_TEST_COLD"] = "1"

POINTS, LOG_BYTES = 50, 20_000


def payload(number: int) -> SentRun:
    """One run of the benchmark."""
    series = b"".join(
        json.dumps({"name": "loss", "value": 1 / (step + 1 + number), "step": step}).encode() + b"\n"
        for step in range(POINTS)
    )
    lines = [f"{number} step {step:06d} loss {hash((number, step)) % 10**9:09d}\n" for step in range(700)]
    params = {"params": {f"p{index}": number * index / 7 for index in range(10)}, "seed": number}
    log = "".join(lines).encode()[:LOG_BYTES]
    metrics = {"loss": {"value": 1 / (POINTS + number), "step": POINTS - 1}}
    return SentRun(series=series, logs={"output": log}, params=params, metrics=metrics, name=f"run {number}")


def bundles(count: int, each: int) -> list[bytes]:
    """Bundles of `each` runs."""
    runs = [b"".join(payload(number).frames()) for number in range(count)]
    return [b"".join(runs[at : at + each]) for at in range(0, count, each)]


def send_all(server: Server, bodies: list[bytes], threads: int) -> tuple[float, list[float]]:
    """Send every bundle over `threads` connections; seconds, and the seconds of each request."""
    waiting, took, lock = list(bodies), [], threading.Lock()
    host, _, port = server.url.removeprefix("http://").partition(":")

    def work() -> None:
        link = http.client.HTTPConnection(host, int(port))
        while True:
            with lock:
                if not waiting:
                    return
                body = waiting.pop()
            head = {"Authorization": f"Bearer {server.key}", "Content-Type": BUNDLE}
            begun = time.perf_counter()
            link.request("POST", "/api/sync/bundle", body, {**head, "Content-Digest": digest_header(body)})
            answer = link.getresponse()
            text = answer.read()
            assert answer.status == 200, text[:1000]
            took.append(time.perf_counter() - begun)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun, sorted(took)


def memory(pid: int) -> tuple[float, float]:
    """Resident now and at most, in MB, of a process and those it started."""
    now = peak = 0.0
    pids = [pid, *(int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for each in pids:
        facts = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{each}/status").read_text().splitlines()
            if ":" in line
        )
        now += int(facts["VmRSS"].split()[0]) / 1024
        peak += int(facts["VmHWM"].split()[0]) / 1024
    return now, peak


def seconds_of_cpu(pid: int) -> float:
    """Processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def worldflux(count: int, each: int, threads: int, workers: int) -> float:
    """Runs a second of this server; prints what it measured."""
    bodies = bundles(count, each)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        server = start(Path(folder) / "data", None, "--workers", str(workers))
        ready = time.perf_counter() - begun
        try:
            idle, _ = memory(server.process.pid)
            before = seconds_of_cpu(server.process.pid)
            took, each_took = send_all(server, bodies, threads)
            used = seconds_of_cpu(server.process.pid) - before
            now, peak = memory(server.process.pid)
            total = server.call("GET", "/api/runs?limit=1").json().get("total", count)
            assert total == count, f"{total} of {count} runs are there"
        finally:
            server.stop()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    rate = count / took
    print(
        f"worldflux  {each:3d} runs a bundle, {threads} connections, {workers} workers: {rate:7.0f} runs/s  "
        f"p50 {each_took[len(each_took) // 2] * 1000:.1f} ms  "
        f"p95 {each_took[int(len(each_took) * 0.95)] * 1000:.1f} ms  "
        f"server cpu {used / count * 1000:.2f} ms/run  rss {idle:.0f} -> {now:.0f} MB (peak {peak:.0f})  "
        f"start {ready:.2f} s  disk {size / count / 1000:.1f} kB/run"
    )
    return rate


MLFLOW = """
import sys, time, tempfile, os, json, threading
import mlflow
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
url, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MlflowClient(url)
experiment = client.create_experiment("bench")
folder = tempfile.mkdtemp()
log = os.path.join(folder, "output.log")
open(log, "wb").write(b"x" * 20000)
waiting, lock = list(range(count)), threading.Lock()
def work():
    while True:
        with lock:
            if not waiting: return
            number = waiting.pop()
        run = client.create_run(experiment).info.run_id
        client.log_batch(run, metrics=[Metric("loss", 1 / (s + 1), 0, s) for s in range(50)],
                         params=[Param(f"p{i}", str(i * number)) for i in range(10)])
        client.log_artifact(run, log)
        client.set_terminated(run)
begun = time.perf_counter()
workers = [threading.Thread(target=work) for _ in range(threads)]
[w.start() for w in workers]; [w.join() for w in workers]
print(json.dumps({"rate": count / (time.perf_counter() - begun)}))
"""


def mlflow(python: str, count: int, threads: int) -> tuple[float, dict[str, float]]:
    """Runs a second of `mlflow server` with one worker on SQLite, and how long its pages take."""
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryDirectory() as folder:
        port = "15917"
        words = ["-m", "mlflow", "server", "--workers", "1", "--port", port]
        store = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", f"{folder}/a"]
        with open(Path(folder) / "server.err", "wb") as errors:
            server = subprocess.Popen([python, *words, *store], env=env, stdout=errors, stderr=errors)
        try:
            _await(port, server)
            url = f"http://127.0.0.1:{port}"
            ended = subprocess.run(
                [python, "-c", MLFLOW, url, str(count), str(threads)],
                env=env,
                check=True,
                capture_output=True,
            )
            _, peak = memory(server.pid)
            medians = mlflow_pages.measure(port, Path(folder))
        finally:
            server.terminate()
            server.wait(30)
    rate = float(json.loads(ended.stdout.splitlines()[-1])["rate"])
    print(f"mlflow     one worker, SQLite, {threads} threads: {rate:7.1f} runs/s  peak rss {peak:.0f} MB")
    return rate, medians


def compare_pages(theirs: dict[str, float]) -> None:
    """Time the same pages of this server, with 10,000 runs of the same size, and print both."""
    options = argparse.Namespace(
        database="sqlite", runs=mlflow_pages.RUNS, metrics=5, params=10, projects=2, keep=None, server=[]
    )
    paths = bench_pages.pages(options.runs)
    with bench_pages.filled_server(options) as server:
        for name, their in theirs.items():
            took, *_ = bench_pages.measure(server, paths[name][0], 40)
            our = statistics.median(took)
            print(f"{name:30} {our:7.1f} ms  mlflow {their:7.1f} ms  {their / our:5.1f}x")


def _await(port: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            link = http.client.HTTPConnection("127.0.0.1", int(port), timeout=1)
            link.request("GET", "/health")
            if link.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("mlflow did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs a second that are taken and kept.")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--bundle", type=int, default=20, help="runs in one bundle")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--mlflow", metavar="PYTHON", help="interpreter with mlflow installed")
    args = parser.parse_args()
    ours = worldflux(args.runs, args.bundle, args.threads, args.workers)
    if args.mlflow:
        theirs, medians = mlflow(args.mlflow, 100, args.threads)
        print(f"ratio      {ours / theirs:.1f}x  (load average {os.getloadavg()[0]:.1f})")
        compare_pages(medians)


if __name__ == "__main__":
    main()
