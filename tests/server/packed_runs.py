"""Evidence of runs that were sent without ever being in a folder."""

from __future__ import annotations

from pathlib import Path

from sent_runs import SentRun

from worldflux.evidence.build import Options, build
from worldflux.evidence.keys import SigningKey
from worldflux.manifest.secrets import Gate


def placed(run: SentRun, runs: Path) -> Path:
    """The folder that a sent run came from, with the very bytes that the server has."""
    folder = runs / run.run_id
    (folder / "logs").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    (folder / "manifest.json").write_bytes(run.manifest())
    (folder / "metrics.jsonl").write_bytes(run.series or b"")
    for name, data in run.logs.items():
        (folder / "logs" / f"{name}.log").write_bytes(data)
    for path, data in run.artifacts.items():
        (folder / "artifacts" / path).write_bytes(data)
    return folder


def packed(run: SentRun, tmp_path: Path, key: SigningKey | None) -> Path:
    """The archive of a sent run; its configuration was never written."""
    out = tmp_path / f"{run.run_id}.zip"
    options = Options(key=key, exclude=["config.yaml"])
    build(placed(run, tmp_path / "runs"), out, Gate(), options, archive=True)
    return out
