"""The start of a server: what it can not work with is told before it says where it listens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nightly import WHOLE
from server_process import CODE, start

from worldflux.server import serve, workers
from worldflux.server.settings import VARIABLE, Settings


def started_without(missing: str, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`worldflux server start` in a world where a module can not be imported; it has to end by itself."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from worldflux.cli.main import main\n"
        f"sys.exit(main({['server', 'start', '--port', '0', '--data', 'd', *words]!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=folder,
        env={**os.environ, "PYTHONPATH": CODE},
    )  # fmt: skip


#: What is missing, the words of the start, and what it says; nightly each with one worker and with two.
UNUSABLE = [
    ("boto3", ["--blobs", "s3://bucket/runs"], "pip install 'worldflux[aws]'"),
    ("psycopg", ["--database", "postgresql://nobody@/nowhere"], "pip install 'worldflux[postgres]'"),
    ("nothing", ["--blobs", "/srv/blobs"], "s3://bucket/prefix"),
    ("nothing", ["--blobs", "s3://bucket/runs", "--s3-endpoint", "storage.example"], "--s3-endpoint"),
]
STARTS = [(*each, str(number)) for each in UNUSABLE for number in (1, 2)]


@pytest.mark.parametrize(
    ("missing", "words", "told", "workers"),
    STARTS if WHOLE else [STARTS[1], *STARTS[::2]],
)
def test_a_store_that_can_not_be_used_is_told_first(
    missing: str, words: list[str], told: str, workers: str, tmp_path: Path
) -> None:
    """A chosen store without its library, or whose address is none: no word of listening, no first key spent."""
    if "s3-endpoint" in str(words):
        pytest.importorskip("boto3")
    ended = started_without(missing, [*words, "--workers", workers], tmp_path)
    assert ended.returncode in (1, 2) and ended.stdout == "", ended.stdout + ended.stderr
    assert told in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
    assert "fault of WorldFlux" not in ended.stderr, ended.stderr
    server = start(tmp_path / "d")
    assert server.key, "the first key went to the start that failed"
    server.stop()


def test_workers_that_never_come_up_end_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes a worker to fail at its start, the third failure in a row ends the server."""
    monkeypatch.setattr(workers, "SOON_SECONDS", 0.0)
    monkeypatch.setenv(VARIABLE, Settings(str(tmp_path), database="mysql://nobody@nowhere/x").to_json())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    listen = serve.Listen(port=0, workers=1)
    try:
        with serve.bind(listen) as listener:
            assert workers.supervise(listen, listener) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_server_of_a_killed_test_run_ends(tmp_path: Path) -> None:
    """A test run that is killed outright leaves no server of its own behind, nor the workers of one."""
    program = (
        "import pathlib, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from server_process import start\n"
        f"server = start(pathlib.Path({str(tmp_path / 'data')!r}), None, '--workers', '2')\n"
        "print(server.process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    server = int(run.stdout.readline())
    started = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    assert len(started) == 2
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    left = {str(server), *started}
    for _ in range(600):
        left = {pid for pid in left if _lives(pid)}
        if not left:
            break
        time.sleep(0.05)
    assert not left


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
