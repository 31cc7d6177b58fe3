"""What a sweep does to its own process."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from worldflux.cli import elsewhere, sweep
from worldflux.config.compose import Composer
from worldflux.config.jobs import compose_jobs
from worldflux.config.project import load_project


@pytest.mark.parametrize("launcher", [None, "another"])
def test_garbage_is_collected_while_jobs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str | None
) -> None:
    """The collector rests until the jobs are known; a sweep may last for days, here or on a cluster."""
    (tmp_path / "worldflux.yaml").write_text("project: lab\n")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "noop.yaml").write_text("command: [python, -c, pass]\nseed: 0\n")
    monkeypatch.chdir(tmp_path)
    seen: list[bool] = []

    def run(work: sweep.Sweep) -> bool:
        seen.append(gc.isenabled())
        return False

    for kind in (sweep.Sweep, elsewhere.Elsewhere):
        monkeypatch.setattr(kind, "run", run)
    project = load_project()
    jobs = compose_jobs([["+recipe=noop", "seed=1"]], Composer(project).compose, {})
    gc.disable()
    try:
        assert sweep._run(jobs, sweep._ledger(jobs, [], project), project, launcher) == 1
    finally:
        gc.enable()
        gc.unfreeze()
    assert seen == [True]
