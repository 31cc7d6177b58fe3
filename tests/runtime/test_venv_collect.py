"""What is in use stays, what is not goes, and old means not used for long."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from envcache_lab import PROJECT, children, get, house, in_use, printed, root
from wheelhouse import Wheelhouse

from worldflux.runtime import envcache
from worldflux.runtime.base import Adapter
from worldflux.runtime.venvs import filelock

__all__ = ["house", "root"]  # fixtures


def test_a_lease_can_be_handed_to_a_child(root: Path, house: Wheelhouse) -> None:
    """A child process that holds the lease's descriptor keeps the environment after this one let go."""
    adapter = Adapter("test", lock=house.lock())
    lease = envcache.acquire(root, adapter, environ=house.environ())
    sleeper = subprocess.Popen(["sleep", "60"], pass_fds=[lease.fileno()])
    try:
        lease.release()
        lease.release()
        assert (
            envcache.collect(root, max_age_seconds=0, now=time.time() + 99) == []
            or lease.environment.path.exists()
        )
        assert lease.environment.path.exists()
    finally:
        sleeper.kill()
        sleeper.wait()
    envcache.collect(root, max_age_seconds=0, now=time.time() + 99)
    assert not lease.environment.path.exists()


def test_collecting_leaves_what_runs_use(root: Path, house: Wheelhouse) -> None:
    """ENV-08: with eight runs going on nothing of theirs is removed; when they have ended it is."""
    idle = get(root, house, house.wheels[0].line)
    with in_use(children(root, house, 8)) as answers:
        python = Path(answers[0]["python"])
        later = time.time() + 10_000
        planned = envcache.collect(root, max_age_seconds=60, now=later, dry_run=True)
        assert idle.path.exists()
        removed = envcache.collect(root, max_age_seconds=60, now=later)
        assert [item.path for item in removed if item.kind == "environment"] == [idle.path]
        assert [item.path for item in planned] == [item.path for item in removed]
        assert not idle.path.exists()
        assert printed(python, "import beta; print(beta.VERSION)") == "2.0"
    removed = envcache.collect(root, max_age_seconds=60, now=time.time() + 10_000)
    assert [item.path for item in removed if item.kind == "environment"] == [python.parent.parent]
    assert removed[0].bytes > 1000 and removed[0].age_seconds > 60
    assert get(root, house).built


def test_use_makes_young_again(root: Path, house: Wheelhouse) -> None:
    """An environment is as old as its last use, not as its build."""
    environment = get(root, house)
    os.utime(environment.path, (1, 1))
    assert not get(root, house).built
    assert envcache.collect(root, max_age_seconds=3600) == []
    os.utime(environment.path, (1, 1))
    assert [item.kind for item in envcache.collect(root, max_age_seconds=3600)] == ["environment"]


def test_starting_while_collecting(root: Path, house: Wheelhouse) -> None:
    """Whoever gets an environment can use it, however often others collect meanwhile."""
    adapter = Adapter("test", lock=house.lock())
    script = (
        "import sys, time; from pathlib import Path; from worldflux.runtime import envcache\n"
        "end = time.monotonic() + 4\n"
        "while time.monotonic() < end: envcache.collect(Path(sys.argv[1]), max_age_seconds=-1)\n"
    )
    collector = subprocess.Popen([sys.executable, "-c", script, str(root)], cwd=PROJECT)
    builds = uses = 0
    try:
        while collector.poll() is None:
            with envcache.use(root, adapter, environ=house.environ()) as environment:
                builds, uses = builds + environment.built, uses + 1
                assert printed(environment.python, "import beta; print(beta.VERSION)") == "2.0"
    finally:
        collector.kill()
        collector.wait()
    assert uses > 3 and builds >= 1


def test_leftovers_go_at_any_age_but_not_under_a_builder(root: Path, house: Wheelhouse) -> None:
    """Unfinished folders of dead builds and moved-away ones are removed; those of a live build stay."""
    environment = get(root, house)
    dead = root / ("tmp-" + "0" * 40 + "-aa")
    live = root / f"tmp-{environment.key}-bb"
    moved = root / "trash-cc"
    for folder in (dead, live, moved):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x" * 100)
    with filelock.hold(root / f"{environment.key}.build", exclusive=True):
        removed = envcache.collect(root, max_age_seconds=3600)
        assert {(item.path, item.kind, item.bytes) for item in removed} == {
            (dead, "leftover", 100),
            (moved, "leftover", 100),
        }
        assert live.is_dir() and environment.path.is_dir()
    assert [item.path for item in envcache.collect(root, max_age_seconds=3600)] == [live]


def test_what_belongs_to_old_environments_goes_too(root: Path, house: Wheelhouse) -> None:
    """Resolved lists, notes, package cache and lock files do not pile up for ever."""
    get(root, house, "beta\n", unpinned=True, base_python=Path(sys.executable))
    kinds = {item.kind for item in envcache.collect(root, max_age_seconds=60, now=time.time() + 1000)}
    assert kinds == {"environment", "lock", "note", "package-cache"}
    left = [path for path in root.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["uv-cache.lock"]


def test_collecting_nothing_and_nowhere(tmp_path: Path, root: Path) -> None:
    """An absent or empty cache, and names that are not ours, are left as they are."""
    assert envcache.collect(root, max_age_seconds=0) == []
    root.mkdir()
    (root / "notes.txt").write_text("mine")
    (root / "other").mkdir()
    (root / ("a" * 40)).symlink_to(tmp_path)
    removed = envcache.collect(root, max_age_seconds=0, now=time.time() + 99)
    assert [item.path.name for item in removed] == ["a" * 40]
    assert tmp_path.is_dir() and {path.name for path in root.iterdir()} >= {"notes.txt", "other"}
