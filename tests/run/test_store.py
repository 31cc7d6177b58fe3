"""The folder of runs: found by any part of an id, never trusted, never in each other's way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import Manifest, new_run_id
from worldflux.run import store
from worldflux.run.machine import owner


def add(runs: Path, status: str = "succeeded", run_owner: dict[str, object] | None = None) -> str:
    run_id, folder = store.create(runs)
    manifest = Manifest.new(
        project="p",
        recipe={"name": "r", "task": "eval", "source": {"path": None, "sha256": None}},
        config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": {}},
        runtime={"name": "local", "plugin": "a:B", "plugin_version": "1"},
        run_id=run_id,
        owner={**owner(), **(run_owner or {})},  # type: ignore[typeddict-item]
    )
    manifest.start()
    if status != "running":
        manifest.finish(status, exit_code=0)  # type: ignore[arg-type]
    io.write(folder / "manifest.json", manifest)
    return run_id


def test_newest_first_and_only_what_is_taken(tmp_path: Path) -> None:
    """Runs come newest first, and a listing reads no manifest that it does not show."""
    ids = [add(tmp_path) for _ in range(5)]
    (tmp_path / ids[0] / "manifest.json").write_text("{")
    (tmp_path / "notes.txt").write_text("not a run")
    listed = store.newest(tmp_path)
    assert [next(listed).run_id for _ in range(2)] == [ids[4], ids[3]]
    broken = [each for each in store.newest(tmp_path) if each.manifest is None]
    assert [each.run_id for each in broken] == [ids[0]] and broken[0].problem


@pytest.mark.parametrize("part", ["whole", "tail", "path", "last", "last~0"])
def test_found_by_any_part(tmp_path: Path, part: str) -> None:
    """A run is meant by its id, the end of it, a path to it, or its place from the end."""
    add(tmp_path)
    wanted = add(tmp_path)
    words = {
        "whole": wanted,
        "tail": wanted[-6:],
        "path": f"runs/{wanted}/",
        "last": "last",
        "last~0": "last~0",
    }
    assert store.find(tmp_path, words[part]).run_id == wanted


@pytest.mark.parametrize("words", ["zzzz", "0", "last~7", ""])
def test_not_found(tmp_path: Path, words: str) -> None:
    """What means no run, or several, is an error with the next command."""
    for _ in range(3):
        add(tmp_path)
    with pytest.raises(UsageError) as caught:
        store.find(tmp_path, words)
    assert caught.value.hint


def test_a_dead_owner_is_settled(tmp_path: Path) -> None:
    """A running record whose process is gone becomes interrupted, on disk too; a live one stays."""
    dead = add(tmp_path, "running", {"pid": 2**22 - 3, "pid_started": 1})
    alive = add(tmp_path, "running")
    assert store.load(tmp_path, alive).manifest.status == "running"  # type: ignore[union-attr]
    assert store.load(tmp_path, dead).manifest.status == "interrupted"  # type: ignore[union-attr]
    assert json.loads((tmp_path / dead / "manifest.json").read_bytes())["run"]["status"] == "interrupted"


def test_litter_of_a_dead_owner_goes(tmp_path: Path) -> None:
    """The half-written file that a killed process left in its run's folder goes when the run is settled."""
    dead = add(tmp_path, "running", {"pid": 2**22 - 3, "pid_started": 1})
    litter = tmp_path / dead / ".worldflux-0123456789ab.tmp"
    litter.touch()
    os.utime(litter, (1, 1))
    store.load(tmp_path, dead)
    assert not litter.exists()


def test_a_run_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    """Nobody can tell whether a process of another machine lives, so its record stays as it is."""
    other = add(tmp_path, "running", {"host": "ab" * 8, "pid": 1})
    assert store.load(tmp_path, other).manifest.status == "running"  # type: ignore[union-attr]


def test_create_is_exclusive(tmp_path: Path) -> None:
    """Ids are new, ordered, and a folder that can not be made is an explained error."""
    made = [store.create(tmp_path)[0] for _ in range(50)]
    assert made == sorted(set(made))
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldFluxError, match="can not be made"):
        store.create(tmp_path / "file")
    assert store.RUN_ID.match(new_run_id())
