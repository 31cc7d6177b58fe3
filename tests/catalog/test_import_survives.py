"""An import that is killed, anywhere and again and again, ends with the same bytes; in little memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_standin import StandInHub
from lerobot_files import contents
from nightly import times

from worldflux.catalog import finding
from worldflux.catalog.importer import bring
from worldflux.catalog.journal import digest_of

#: A process of its own that imports, and prints its peak memory in KiB.
PROGRAM = """
import resource, sys
from worldflux.catalog.importer import bring
found = bring(sys.argv[1])
print(found.fresh, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def start(what: str, home: Path, hub: StandInHub) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "WORLDFLUX_HOME": str(home),
        "HF_ENDPOINT": hub.url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], env=environment, text=True, stdout=subprocess.PIPE
    )


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_identical_bytes(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """kill -9 at random points of one import, eight here and 20 nightly: never half an entry, and the next
    run completes it."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    files = dict(act)
    for number in range(40):
        files[f"checkpoints/{number:03d}/weights.safetensors"] = chance.randbytes(
            chance.randrange(1, 1_500_000)
        )
    hub.add("me/act", files)
    hub.throttle = (1 << 15, 0.03)
    begun = threading.Event()
    hub.before = lambda request: begun.set()
    kills, wanted = 0, times(8, 20)
    for _ in range(3 * wanted):
        begun.clear()
        process = start("lerobot:me/act", tmp_path, hub)
        assert begun.wait(60), seed
        time.sleep(chance.random() * 0.4)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += alive
        entry = finding.find("lerobot:me/act", tmp_path)
        if kills == wanted or entry is not None:
            break
        assert entry is None, seed
    assert kills == wanted, (kills, seed)
    hub.throttle = (0, 0.0)
    hub.requests.clear()
    last = start("lerobot:me/act", tmp_path, hub)
    out, _ = last.communicate(timeout=120)
    assert last.returncode == 0 and out.startswith("True"), seed
    found = finding.find("lerobot:me/act", tmp_path)
    assert found is not None
    folder = tmp_path / "catalog" / "policies" / "me" / "act" / str(found.revision) / "files"
    assert contents(folder) == files, seed
    fetched = len(hub.asked("/resolve/"))
    assert fetched < len(files), f"the last run fetched everything again, seed {seed}"


class Killed(BaseException):
    """Stands for the end of the process: no handler of the product catches it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_dying_at_every_rename_loses_nothing(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whichever rename is the last thing a process does, the next one ends with the whole import."""
    hub.add("me/act", act)
    real, left = os.replace, [0]

    def dying(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            raise Killed
        real(source, target)
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(os, "replace", dying)
    deaths = 0
    for number in range(1, 30):
        home = tmp_path / str(number)
        left[0] = number
        try:
            bring("lerobot:me/act", home=home, workers=1)
        except Killed:
            deaths += 1
            there = finding.find("lerobot:me/act", home)
            left[0] = -1
            found = bring("lerobot:me/act", home=home, workers=1)
            assert contents(found.folder) == act
            assert there is None or not found.fresh
        else:
            break
    assert deaths == len(act) + 2, "one rename for the listing, one a file, one for the record"


@pytest.mark.slow
def test_many_files_take_little_more_memory_than_eight(
    hub: StandInHub, act: dict[str, bytes], tmp_path: Path
) -> None:
    """A repo of 5,000 files comes in whole, in at most 16 MiB more than one of eight files.

    Nightly; here one of 2,000 files, in 6.4 MiB more: as little for each file.
    """
    number_of_files = times(2000, 5000)
    hub.add("me/few", act)
    hub.add(
        "me/many", {**act, **{f"extra/{number:05d}.txt": b"%d" % number for number in range(number_of_files)}}
    )
    few = peak("lerobot:me/few", tmp_path / "few", hub)
    many = peak("lerobot:me/many", tmp_path / "many", hub)
    folder = next((tmp_path / "many").glob("catalog/policies/me/many/*/files"))
    assert len(list((folder / "extra").iterdir())) == number_of_files
    allowed = 16 * 1024 * number_of_files // 5000
    assert many - few < allowed, f"{few} KiB for 8 files, {many} KiB for {number_of_files + 8}"


@pytest.mark.slow
def test_size_does_not_cost_memory(hub: StandInHub, act: dict[str, bytes], tmp_path: Path) -> None:
    """A large file passes through in blocks: at most 8 MiB more memory than for a small one."""
    size = int(os.environ.get("WORLDFLUX_TEST_LARGE_BYTES", 256 * 2**20))
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as handle:
        handle.truncate(size)
    hub.add("me/few", act)
    repo = hub.add("me/large", {**act, "other.safetensors": sparse})
    few = peak("lerobot:me/few", tmp_path / "few", hub)
    large = peak("lerobot:me/large", tmp_path / "large", hub)
    found = next((tmp_path / "large").glob("catalog/policies/me/large/*/files/other.safetensors"))
    assert digest_of(found, size)[0] == repo.files["other.safetensors"].sha256
    assert large - few < 8 * 1024, f"{few} KiB for small files, {large} KiB for {size} bytes"


def peak(what: str, home: Path, hub: StandInHub) -> int:
    process = start(what, home, hub)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return int(out.split()[1])
