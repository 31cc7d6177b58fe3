"""Runs as WorldFlux leaves them, made quickly, and what must never change about them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldflux.manifest import io
from worldflux.manifest.model import Manifest

SOMEWHERE_ELSE = {
    "host": "0123456789abcdef",
    "boot_id": "5b3e5b5a-0000-4000-8000-000000000000",
    "pid": 4242,
    "pid_started": 99,
    "pid_namespace": 4026531836,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def metric_lines(count: int, start: int = 0) -> bytes:
    """Points of one curve, as `worldflux.log` writes them."""
    rows = ({"name": "loss", "value": 1.0 / (i + 1), "step": i} for i in range(start, start + count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def make_run(
    runs_dir: Path,
    *,
    status: str = "succeeded",
    project: str = "demo",
    metrics: bytes = b"",
    log: bytes = b"",
    artifacts: Mapping[str, bytes] | None = None,
    uncommitted: Mapping[str, bytes] | None = None,
    params: Mapping[str, Any] | None = None,
    owner: Mapping[str, Any] | None = None,
    recorded: bool = True,
    validate: bool = True,
) -> str:
    """Write one run folder; returns its id.

    Args:
        status: `running` leaves the record open, with nothing recorded of what the run wrote.
        recorded: the record of a run that ended names its log and its metrics.
    """
    manifest = Manifest.new(
        project=project,
        recipe={"name": "lab", "task": "eval", "source": {"path": ".", "sha256": None}},
        config={
            "path": "config.yaml",
            "sha256": "0" * 64,
            "overrides": [],
            "resolved": {"params": params or {}},
        },
        runtime={
            "name": "local",
            "plugin": "worldflux.runtime.local_plugin:LocalPlugin",
            "plugin_version": "1.0",
        },
        owner=owner,  # type: ignore[arg-type]
    )
    folder = runs_dir / manifest.client_run_id
    (folder / "logs").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    (folder / "config.yaml").write_text("params: {}\n")
    (folder / "logs" / f"{folder.name}.log").write_bytes(log)
    if metrics:
        (folder / "metrics.jsonl").write_bytes(metrics)
    manifest.start()
    if status not in ("running", "queued"):
        _record(manifest, folder, metrics, log, recorded, artifacts or {}, uncommitted or {})
        manifest.finish(status, exit_code=0 if status == "succeeded" else 1)  # type: ignore[arg-type]
    else:
        manifest.run["status"] = status  # type: ignore[typeddict-item]
    io.write(folder / "manifest.json", manifest, validate=validate)
    return folder.name


def _record(
    manifest: Manifest,
    folder: Path,
    metrics: bytes,
    log: bytes,
    recorded: bool,
    artifacts: Mapping[str, bytes],
    uncommitted: Mapping[str, bytes],
) -> None:
    if recorded:
        path = f"logs/{folder.name}.log"
        manifest.logs.append(
            {"name": "output", "path": path, "bytes": len(log), "sha256": sha256(log), "truncated": False}
        )
        if metrics:
            rows = metrics.count(b"\n")
            manifest.series = {
                "path": "metrics.jsonl", "bytes": len(metrics), "sha256": sha256(metrics), "rows": rows,
            }  # fmt: skip
            manifest.metrics["loss"] = {"value": 1.0 / rows if rows else 0.0, "kind": "value"}
    for files, commit in ((artifacts, True), (uncommitted, False)):
        for name, data in files.items():
            path = folder / "artifacts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            manifest.artifacts.append(
                {
                    "path": f"artifacts/{name}",
                    "bytes": len(data),
                    "sha256": sha256(data),
                    "media_type": "application/octet-stream",
                    "commit": commit,
                }
            )


def end_run(folder: Path, status: str = "succeeded") -> None:
    """Close the record of a run that was made as `running`, as its engine would."""
    manifest = io.read(folder / "manifest.json")
    log = (folder / "logs" / f"{folder.name}.log").read_bytes()
    path = folder / "metrics.jsonl"
    _record(manifest, folder, path.read_bytes() if path.exists() else b"", log, True, {}, {})
    manifest._started = time.monotonic()  # type: ignore[attr-defined]
    manifest.finish(status, exit_code=0 if status == "succeeded" else 1)  # type: ignore[arg-type]
    io.write(folder / "manifest.json", manifest)


def fingerprint(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Everything that sync must not change: each path with mode, time of change and digest."""
    found = {}
    for root, folders, names in os.walk(folder):
        for name in [*folders, *names, "."]:
            path = Path(root, name)
            status = path.lstat()
            digest = sha256(path.read_bytes()) if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, digest)
    return found


class Lenient:
    """A gate that knows no secret."""

    def refuse(self, data: bytes, what: str) -> None:
        pass
