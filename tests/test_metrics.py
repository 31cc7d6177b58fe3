"""`worldflux.log`: lines that a run's record picks up."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

import worldflux
from worldflux.run.collect import collect


def test_outside_a_run_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program runs without WorldFlux."""
    monkeypatch.chdir(tmp_path)
    worldflux.log({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_lines_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, steps and numbers that are not finite arrive in the record."""
    (tmp_path / "artifacts").mkdir()
    monkeypatch.setenv("WORLDFLUX_METRICS", str(tmp_path / "metrics.jsonl"))
    worldflux.log({"loss": 2, "reward": float("nan")}, step=1)
    worldflux.log({"loss": 1.5}, step=2)
    found = collect(tmp_path, {}, [])
    assert found.metrics["loss"] == {"value": 1.5, "kind": "value", "step": 2}
    assert found.metrics["reward"]["value"] == "NaN"


def _write(name: str) -> None:
    for step in range(200):
        worldflux.log({name: step}, step=step)


def test_processes_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four writers at once leave whole lines only."""
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("WORLDFLUX_METRICS", str(path))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_write, ["a", "b", "c", "d"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 800 and {row["name"] for row in rows} == {"a", "b", "c", "d"}
