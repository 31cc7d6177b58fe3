"""Notes of runs that workers start for a sweep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worldflux.errors import WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import Manifest
from worldflux.run import journal, store
from worldflux.run.ledger import Ledger
from worldflux.run.machine import owner


def record(runs_dir: Path, run_id: str, *, host: str | None = None, done: bool = False) -> None:
    """A run folder whose record says that it is running, here or elsewhere, or that it has succeeded."""
    _, folder = store.create(runs_dir, run_id)
    manifest = Manifest.new(
        project="p",
        recipe={"name": "r", "description": "", "task": "eval", "source": {"path": None, "sha256": None}},
        config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": {}},
        runtime={"name": "local", "plugin": "a:B", "plugin_version": "1", "options": {}},
        run_id=run_id,
        owner={**owner(), "host": host or owner()["host"]},
    )
    manifest.start()
    if done:
        manifest.finish("succeeded", exit_code=0)
    io.write(folder / store.MANIFEST, manifest)


def status(runs_dir: Path, run_id: str) -> str:
    return json.loads((runs_dir / run_id / "manifest.json").read_bytes())["run"]["status"]


def test_attempts_are_counted_over_ledger_and_workers(tmp_path: Path) -> None:
    """What the sweep's process started and what workers started are attempts of one job."""
    ledger = Ledger.create(tmp_path, [], {"j": ["seed=1"], "k": ["seed=2"]})
    first, _ = ledger.start("j")
    second = journal.begin(tmp_path, ledger.sweep_id, "j")
    third = journal.begin(tmp_path, ledger.sweep_id, "j")
    assert (second.number, second.earlier) == (2, (first,))
    assert (third.number, third.earlier) == (3, (first, second.run_id))
    assert journal.begin(tmp_path, ledger.sweep_id, "k").number == 1
    ledger.close()
    again = Ledger.open(tmp_path, "last")
    assert again.runs["j"] == [first, second.run_id, third.run_id]
    again.close()


def test_an_earlier_run_elsewhere_is_closed(tmp_path: Path) -> None:
    """A record that another machine left open is `interrupted` when its job starts again."""
    first = journal.begin(tmp_path, "sweep", "j")
    record(tmp_path, first.run_id, host="0" * 16)
    journal.begin(tmp_path, "sweep", "j")
    assert status(tmp_path, first.run_id) == "interrupted"


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    """The record of a process that lives on this machine is its own."""
    first = journal.begin(tmp_path, "sweep", "j")
    record(tmp_path, first.run_id)
    journal.begin(tmp_path, "sweep", "j")
    assert status(tmp_path, first.run_id) == "running"


def test_a_success_is_found(tmp_path: Path) -> None:
    """Of several runs the one that succeeded; none before there is one."""
    first = journal.begin(tmp_path, "sweep", "j")
    assert journal.succeeded(tmp_path, "sweep", "j") is None
    record(tmp_path, first.run_id)
    assert journal.succeeded(tmp_path, "sweep", "j") is None
    second = journal.begin(tmp_path, "sweep", "j")
    record(tmp_path, second.run_id, done=True)
    journal.begin(tmp_path, "sweep", "j")
    found = journal.succeeded(tmp_path, "sweep", "j")
    assert found is not None and found.run_id == second.run_id


def test_a_torn_note_is_a_start_that_never_was(tmp_path: Path) -> None:
    """Half a line, as a crash leaves it, is not a run."""
    first = journal.begin(tmp_path, "sweep", "j")
    with (tmp_path / ".sweeps/sweep/j").open("a") as stream:
        stream.write(first.run_id[:20])
    assert journal.read(tmp_path, "sweep") == {"j": [first.run_id]}
    second = journal.begin(tmp_path, "sweep", "j")
    assert second.number == 2 and journal.read(tmp_path, "sweep") == {"j": [first.run_id, second.run_id]}


def test_workers_of_many_jobs_at_once(tmp_path: Path) -> None:
    """Processes that begin jobs at the same time get ids and folders of their own."""
    code = (
        "import sys; from pathlib import Path; from worldflux.run import journal, store\n"
        "for job in 'abcdefgh': store.create(Path(sys.argv[1]), journal.begin(Path(sys.argv[1]), 's', "
        "job + sys.argv[2]).run_id)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    noted = journal.read(tmp_path, "s")
    assert len(noted) == 32 and len({run for runs in noted.values() for run in runs}) == 32
    assert len(store.run_ids(tmp_path)) == 32


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """Said as an error that names the folder."""
    (tmp_path / ".sweeps").write_text("in the way")
    with pytest.raises(WorldFluxError, match="can not be written"):
        journal.begin(tmp_path, "sweep", "j")
