"""What was acknowledged is there: after SIGKILL, under races, on a full disk."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import warm_python
from sent_runs import SentRun, patch, result, send, sha256
from server_process import BIN, Server, start

from worldflux.manifest.model import new_run_id


def statuses(server: Server, names: list[str]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for at in range(0, len(names), 500):
        asked = server.call("POST", "/api/sync/state", json={"runs": names[at : at + 500]}, expect=200)
        found |= asked.json()["runs"]
    return found


@pytest.mark.slow
def test_what_was_acknowledged_survives_sigkill(tmp_path: Path, tables: Callable[[Path], str | None]) -> None:
    """Killed at random while four clients send, again and again: every acknowledged run and blob is whole."""
    server = start(tmp_path / "data", tables(tmp_path / "data"), "--workers", "2")
    try:
        _kill_again_and_again(server)
    finally:
        server.stop()


def _kill_again_and_again(server: Server) -> None:
    acknowledged: list[SentRun] = []
    blobs: list[bytes] = []
    randomness = random.Random(7)
    for _ in range(3):
        workers = [
            threading.Thread(target=_send_until_it_dies, args=(server, acknowledged, blobs)) for _ in range(4)
        ]
        before = len(acknowledged)
        for worker in workers:
            worker.start()
        while len(acknowledged) < before + 10:
            time.sleep(0.01)
        time.sleep(randomness.uniform(0.0, 0.3))
        server.kill()
        for worker in workers:
            worker.join(60)
        server.restart()
    assert len(acknowledged) > 20
    found = statuses(server, [run.run_id for run in acknowledged])
    for run in acknowledged:
        held = found[run.run_id]
        assert held["status"] == "final" and held["manifest_sha256"] == sha256(run.manifest())
        assert held["missing_blobs"] == []
        assert result(send(server, *run.frames(), expect=200))["outcome"] == "unchanged"
    for at in range(0, len(blobs), 500):
        names = [sha256(data) for data in blobs[at : at + 500]]
        assert server.call("POST", "/api/sync/blobs", json={"sha256": names}).json() == {"missing": []}


def _send_until_it_dies(server: Server, acknowledged: list[SentRun], blobs: list[bytes]) -> None:
    link = Server(server.url, server.key, server.data, server.database, server.process)
    while True:
        runs = [
            SentRun(artifacts={"a": os.urandom(100)}, logs={"output": os.urandom(3000)}) for _ in range(3)
        ]
        data = os.urandom(5000)
        try:
            send(link, *[frame for run in runs for frame in run.frames()], expect=200)
            acknowledged.extend(runs)
            patch(link, sha256(data), 0, len(data), data, expect=200)
            blobs.append(data)
        except (requests.RequestException, http.client.HTTPException):
            link.session.close()
            return


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_clients_send_the_same_run(
    tmp_path: Path, tables: Callable[[Path], str | None], workers: str
) -> None:
    """Two clients, cutting the same run's streams differently and at the same time, make one whole run."""
    server = start(tmp_path / "data", tables(tmp_path / "data"), "--workers", workers)
    try:
        for seed in range(3):
            log = b"".join(b"line %d\n" % number for number in range(1000))
            run = SentRun(logs={"output": log}, artifacts={"a": b"artifact %d" % seed})
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(_send_in_pieces, [server] * 4, [run] * 4, (997, 1500, 4096, 997)))
            (held,) = statuses(server, [run.run_id]).values()
            assert held["status"] == "final"
            assert held["streams"]["log:output"] == {"bytes": len(log), "sha256": sha256(log)}  # type: ignore[index]
            _check_stored_log(server, run.run_id, log)
    finally:
        server.stop()


def _send_in_pieces(server: Server, run: SentRun, cut: int) -> None:
    """As a client does: piece by piece from the offset that the server tells, then the manifest."""
    link = Server(server.url, server.key, server.data, server.database, server.process)
    log = run.logs["output"]
    at = 0
    while at < len(log):
        told = result(send(link, run.stream_frame("log:output", at, log[at : at + cut])))
        assert told["status"] in (200, 409), told
        at = told["streams"]["log:output"]
    told = result(send(link, *run.stream_frames(), *run.blob_frames(), run.manifest_frame()))
    assert told["status"] == 200, told


def _check_stored_log(server: Server, run_id: str, log: bytes) -> None:
    answer = server.call("GET", f"/api/runs/{run_id}/log?name=output&offset=0&limit=1000000")
    if answer.status_code == 200:
        assert answer.content == log


@pytest.mark.slow
def test_two_workers_answer_at_once(tmp_path: Path) -> None:
    """A kept connection to a server with two workers waits for no 40 ms of Nagle's: 100 GETs, median under 10 ms."""
    server = start(tmp_path / "data", None, "--workers", "2")
    try:
        host, _, port = server.url.removeprefix("http://").partition(":")
        link = http.client.HTTPConnection(host, int(port), timeout=10)
        took = []
        for _ in range(100):
            begun = time.perf_counter()
            link.request("GET", "/healthz")
            link.getresponse().read()
            took.append(time.perf_counter() - begun)
        link.close()
        assert statistics.median(took) < 0.010
    finally:
        server.stop()


@pytest.mark.slow
def test_a_dead_worker_is_replaced_and_none_is_left_behind(tmp_path: Path) -> None:
    """A killed worker is started again; when the supervisor is killed, the workers end by themselves."""
    server = start(tmp_path / "data", None, "--workers", "2")
    try:
        first = _children(server.process.pid)
        assert len(first) == 2
        os.kill(first[0], 9)
        deadline = time.monotonic() + 60
        while set(_children(server.process.pid)) <= set(first) or len(_children(server.process.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.call("GET", "/readyz", key=None, expect=200)
        now = _children(server.process.pid)
        server.process.kill()
        server.process.wait(10)
        deadline = time.monotonic() + 60
        while any(_alive(pid) for pid in now):
            assert time.monotonic() < deadline, "workers outlive their supervisor"
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_eight_processes_make_the_tables_at_once(
    tmp_path: Path, database_url: Callable[[], str | None]
) -> None:
    """On an empty database all of them succeed, and the tables are made once."""
    url = database_url()
    place = ["--data", str(tmp_path / "data"), *(["--database", url] if url else [])]
    command = [BIN / "worldflux", "server", "migrate", *place]
    started = [
        warm_python.WarmPopen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(8)
    ]
    for process in started:
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0, out


@pytest.mark.slow
def test_two_first_starts_print_one_key(tmp_path: Path, database_url: Callable[[], str | None]) -> None:
    """Whoever comes first prints the admin key; the other prints none, and the key is good for both."""
    url = database_url()
    with ThreadPoolExecutor(2) as pool:
        servers = list(pool.map(lambda _: start(tmp_path / "data", url), range(2)))
    try:
        made = [server.key for server in servers if server.key]
        assert len(made) == 1
        for server in servers:
            server.call("GET", "/api/sync", key=made[0], expect=200)
        servers[0].stop()
        again = start(tmp_path / "data", url)
        servers.append(again)
        assert again.key == ""
    finally:
        for server in servers:
            server.stop()


FULL = """
set -e
mount -t tmpfs -o size=12m none "$1"
exec "$2" --json server start --data "$1/data" --port 0
"""


@pytest.fixture
def full_disk(tmp_path: Path) -> Server:
    """A server whose data folder has 12 MB, in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("filling a disk needs root and unshare")
        pytest.skip("filling a disk needs root and unshare")
    import json

    folder = tmp_path / "small"
    folder.mkdir()
    with open(tmp_path / "small.err", "wb") as errors:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", FULL, "sh", str(folder), str(BIN / "worldflux")],
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())["data"]
    return Server(told["url"], told["first_key"], folder / "data", None, process)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(full_disk: Server) -> None:
    """Runs and blobs that do not fit are refused with 507; what was acknowledged stays, and reading goes on."""
    try:
        stored: list[SentRun] = []
        codes = set()
        for _ in range(60):
            run = SentRun(logs={"output": os.urandom(300_000)})
            answer = send(full_disk, *run.frames())
            codes.add(answer.status_code)
            if answer.status_code == 200:
                stored.append(run)
            elif len(codes) > 1:
                break
        assert codes == {200, 507} and len(stored) > 5
        data = os.urandom(8_000_000)
        assert patch(full_disk, sha256(data), 0, len(data), data).status_code == 507
        found = statuses(full_disk, [run.run_id for run in stored])
        assert {held["status"] for held in found.values()} == {"final"}
    finally:
        full_disk.stop()


def test_the_server_ends_in_time(tmp_path: Path) -> None:
    """SIGTERM ends it with 0, also while a client dawdles in the middle of a request."""
    import socket

    server = start(tmp_path / "data")
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as link:
        link.sendall(b"POST /api/sync/state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 15


def test_a_start_that_can_not_be_is_told(tmp_path: Path, server: Server) -> None:
    """A taken port, a bad database and an address of somebody else end with a sentence."""
    port = server.url.rpartition(":")[2]
    for words, what in (
        (["--port", port], "can not listen"),
        (["--host", "192.0.2.1", "--insecure-listen"], "can not listen"),
        (["--database", "mysql://x"], "not supported"),
        (["--database", "postgresql://postgres@/none?host=/nonexistent"], "can not be used"),
    ):
        ended = warm_python.run(
            [BIN / "worldflux", "server", "start", "--data", str(tmp_path / new_run_id()), *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode in (1, 2) and what in ended.stderr and "Traceback" not in ended.stderr
