"""Killed, out of space, disk errors: an environment is whole or is not there, and the next start works."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from envcache_lab import CHILD, get, names_left, printed, root
from nightly import part, times
from wheelhouse import Wheelhouse, many_files

from worldflux.runtime import envcache
from worldflux.runtime.venvs.check import findings
from worldflux.runtime.venvs.lockfile import parse

__all__ = ["root"]  # fixture

MODULES = 60
#: What uv and WorldFlux do to the file system while an environment is made, and at which of them to die.
KILLS = [
    *(("rename", n) for n in (1, 2, 8, 32, 64)),
    *(("copy_file_range", n) for n in (1, 9, 81)),
    *(("openat", n) for n in (120, 240)),
    *(("mkdir", n) for n in (1, 6, 12)),
    ("unlink", 30),
    *(("fsync", n) for n in (1, 2, 3)),
    ("syncfs", 1),
]
#: Errors of the disk while the finished environment is sealed and published.
ERRORS = [
    ("fsync", "ENOSPC", 1),
    ("fsync", "EIO", 2),
    ("fsync", "EIO", 3),
    ("syncfs", "EIO", 1),
    ("rename", "ENOSPC", 2),
]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    """Packages with enough files that dying half way is likely."""
    house = Wheelhouse(tmp_path / "wheels")
    house.add("alpha")
    house.add("bulk", files=many_files(MODULES))
    house.add("omega", requires=("alpha",))
    return house


def asked(root: Path, house: Wheelhouse, **more: str) -> str:
    return json.dumps({"root": str(root), "lock": house.lock(), "environ": house.environ(**more)})


def usable(root: Path, house: Wheelhouse, **more: str) -> None:
    """A start that comes after the accident gets a whole environment; nothing else is left for long."""
    environment = get(root, house, environ=house.environ(**more))
    assert not findings(environment.path, parse(house.lock()))
    modules = ", ".join(f"bulk.m{number:04}" for number in range(MODULES))
    printed(environment.python, f"import alpha, omega, {modules}")
    envcache.collect(root, max_age_seconds=3600)
    assert names_left(root) == [environment.key]


def injected(root: Path, house: Wheelhouse, rule: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A first start in which the system call of the rule goes wrong."""
    call = rule.partition(":")[0]
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={rule}"]
    done = subprocess.run(
        [*strace, sys.executable, str(CHILD), asked(root, house, **more)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    return done


@needs_strace
def test_killed_half_way(root: Path, house: Wheelhouse) -> None:
    """F3: uv dies with half of the files in place; what is left is not taken for an environment."""
    done = injected(root, house, "copy_file_range:signal=KILL:when=40")
    assert done.returncode != 0
    usable(root, house)


@pytest.mark.slow
@needs_strace
def test_killed_at_any_step(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """ENV-01: whichever system call of uv or WorldFlux is its last, the next start works (F3).

    Nine of the calls are tried here, and all of them nightly.
    """
    cache = {"UV_CACHE_DIR": str(tmp_path / "uv-cache")}
    died = unfinished = 0
    kills = part(KILLS, 9)
    for number, (call, count) in enumerate(kills):
        place = root / str(number)
        done = injected(place, house, f"{call}:signal=KILL:when={count}", **cache)
        died += done.returncode != 0
        unfinished += any(path.name.startswith("tmp-") for path in place.glob("*"))
        usable(place, house, **cache)
    assert died >= len(kills) // 2 and unfinished >= 3


@needs_strace
@pytest.mark.parametrize(("call", "error", "when"), ERRORS)
def test_disk_errors_while_it_is_finished(
    root: Path, house: Wheelhouse, call: str, error: str, when: int
) -> None:
    """A disk that fails at the last moment gives one clear error, no environment, and no lasting harm."""
    done = injected(root, house, f"{call}:error={error}:when={when}")
    answer = json.loads(done.stdout.splitlines()[0])
    assert done.returncode == 1 and answer["hint"] and "\n" not in answer["problem"]
    assert "Traceback" not in done.stderr
    usable(root, house)


@pytest.mark.slow
def test_killed_at_random(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """Ten times, and thirty nightly, kill -9 of the starter and its uv: never a broken environment afterwards."""
    cache = {"UV_CACHE_DIR": str(tmp_path / "uv-cache")}
    draw = random.Random(20)
    began = time.monotonic()
    usable(root / "first", house, **cache)
    usual = time.monotonic() - began
    killed, rounds = 0, times(10, 30)
    for number in range(rounds):
        place = root / str(number)
        child = subprocess.Popen(
            [sys.executable, str(CHILD), asked(place, house, **cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draw.uniform(0.05, usual + 0.2))
        killed += child.poll() is None
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        usable(place, house, **cache)
    assert killed > rounds // 3


def test_the_starter_is_killed_and_its_uv_lives_on(root: Path, house: Wheelhouse) -> None:
    """A uv that outlives its starter does not disturb the next build."""
    child = subprocess.Popen([sys.executable, str(CHILD), asked(root, house)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not list(root.glob("tmp-*/env")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    child.kill()
    child.wait()
    usable(root, house)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting a small disk needs root"
)
@pytest.mark.parametrize("cache_elsewhere", [False, True])
def test_a_full_disk(root: Path, house: Wheelhouse, tmp_path: Path, cache_elsewhere: bool) -> None:
    """ENV-07: no space is told as such, leaves nothing half made, and works when there is space again."""
    house.add("heavy", files={"heavy.py": b"V = 1\n", "heavy.bin": os.urandom(6_000_000)})
    more = {"UV_CACHE_DIR": str(tmp_path / "uv-cache")} if cache_elsewhere else {}
    root.mkdir()
    script = (
        'mount -t tmpfs -o size=4m none "$1" || exit 77; "$2" "$3" "$4"; echo "rc=$?"; ls "$1"; echo "---"\n'
        'mount -o remount,size=64m "$1" && "$2" "$3" "$4"; echo "rc=$?"; ls "$1"\n'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", root, sys.executable, CHILD, asked(root, house, **more)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    full, _, enough = done.stdout.partition("---\n")
    answer = json.loads(full.splitlines()[0])
    assert answer["error"] == "disk-full" and "WORLDFLUX_HOME" in answer["hint"]
    assert "rc=1" in full and "Traceback" not in done.stderr
    assert not [name for name in full.splitlines() if name.startswith("tmp-") or len(name) == 40]
    assert json.loads(enough.splitlines()[0])["built"] is True and "rc=0" in enough
