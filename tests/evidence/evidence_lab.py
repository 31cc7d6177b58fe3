"""Runs made of files, and their packages: the same every time, without running anything."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldflux.evidence import keys
from worldflux.evidence.build import Built, Options, build
from worldflux.evidence.keys import SigningKey
from worldflux.manifest import io
from worldflux.manifest.model import Manifest, success_metric
from worldflux.manifest.secrets import Gate

RUN_ID = "019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0d9e"
STARTED, FINISHED = "2026-11-21T03:00:00.000+00:00", "2026-11-21T03:10:00.123+00:00"
OUTCOMES = [i % 3 != 0 for i in range(12)]

#: A number that everybody knows makes a key for tests.
SECRET_NUMBER = int("1234567890abcdef" * 4, 16)


def make_run(
    runs: Path,
    status: str = "succeeded",
    artifacts: Mapping[str, bytes] | None = None,
    *,
    run_id: str = RUN_ID,
    bare: bool = False,
) -> Path:
    """A run folder with everything that a package may hold.

    Args:
        artifacts: path below `artifacts/` -> bytes, all committed; a usual set by default.
        bare: as an interrupted run leaves it: nothing collected.
    """
    folder = runs / run_id
    (folder / "logs").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    config = b"recipe: pusht\nparams: {episodes: 12}\n"
    (folder / "config.yaml").write_bytes(config)
    (folder / "overrides.yaml").write_bytes(b"[+recipe=pusht]\n")
    (folder / f"logs/{run_id}.log").write_bytes("episode 0: done ✓\n".encode() * 40)
    (folder / "metrics.jsonl").write_bytes(b'{"name": "loss", "value": 0.5, "step": 1}\n')
    manifest = _manifest(run_id, config)
    if not bare:
        _collect(folder, manifest, artifacts)
    _finish(manifest, status)
    io.write(folder / "manifest.json", manifest)
    return folder


def _manifest(run_id: str, config: bytes) -> Manifest:
    manifest = Manifest.new(
        project="acme",
        recipe={"name": "pusht", "task": "eval", "source": {"path": "recipes/pusht", "sha256": "ab" * 32}},
        config={
            "path": "config.yaml",
            "sha256": hashlib.sha256(config).hexdigest(),
            "overrides": ["+recipe=pusht", "seed=7"],
            "resolved": {
                "seed": 7,
                "metrics": {
                    "solved": {"file": "eval.json", "select": "episodes[].ok", "kind": "success"},
                },
            },
        },
        runtime={
            "name": "local",
            "plugin": "worldflux.runtime.local_plugin:LocalPlugin",
            "plugin_version": "1.0.0",
        },
        run_id=run_id,
        name="pusht seed=7",
        argv=["worldflux-run", "+recipe=pusht", "seed=7"],
    )
    manifest.producer = {"name": "worldflux", "version": "1.2.3"}
    return manifest


def _collect(folder: Path, manifest: Manifest, artifacts: Mapping[str, bytes] | None) -> None:
    wanted = usual_artifacts() if artifacts is None else artifacts
    for name, data in wanted.items():
        path = folder / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        manifest.artifacts.append(
            {**_digest(folder, f"artifacts/{name}"), "media_type": "application/octet-stream", "commit": True}  # type: ignore[typeddict-item]
        )
    (folder / "requirements.lock").write_bytes(b"numpy==2.0.0\n")
    (folder / "source.diff").write_bytes(b"--- a/x\n+++ b/x\n")
    manifest.series = {**_digest(folder, "metrics.jsonl"), "rows": 1}  # type: ignore[typeddict-item]
    log = _digest(folder, f"logs/{manifest.client_run_id}.log")
    manifest.logs = [{"name": "output", **log, "truncated": False}]  # type: ignore[typeddict-item]
    manifest.git = {
        "present": True,
        "commit": "4f1c0a7be2b0a4c1c3ccf6d1d2b9a7b2f1f0e9d8",
        "branch": "main",
        "remote": "https://example.org/acme/recipes.git",
        "dirty": True,
        "diff": {**_digest(folder, "source.diff"), "truncated": False},  # type: ignore[typeddict-item]
        "untracked": [],
        "submodules": [],
    }
    manifest.environment = {
        "os": "Linux",
        "platform": "Linux-6",
        "python": {"implementation": "CPython", "version": "3.11.7"},
        "lock": {
            "path": "requirements.lock",
            "sha256": hashlib.sha256(b"numpy==2.0.0\n").hexdigest(),
        },
        "packages": {"numpy": "2.0.0"},
        "variables": {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        "forwarded": [],
    }
    manifest.inputs = [{"role": "dataset", "ref": "lerobot-dataset:acme/pusht@v1", "revision": "v1"}]
    if "eval.json" in wanted:
        manifest.metrics["solved"] = success_metric(sum(OUTCOMES), len(OUTCOMES))
    manifest.metrics["loss"] = {"value": 0.5, "kind": "value", "step": 1}


def usual_artifacts() -> dict[str, bytes]:
    """Names that have confused tools, and the file that the success rate is read from."""
    outcomes = json.dumps({"episodes": [{"ok": ok} for ok in OUTCOMES]}).encode()
    return {
        "eval.json": outcomes,
        "videos/roll out (3) é.mp4": bytes(range(256)) * 8,
        "videos.txt": b"text\n",
        "empty.bin": b"",
        "a#b?c&d=e.txt": b"odd\n",
    }


def _digest(folder: Path, path: str) -> dict[str, Any]:
    data = (folder / path).read_bytes()
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _finish(manifest: Manifest, status: str) -> None:
    run = manifest.run
    run["created_at"] = "2026-11-21T02:59:59.000+00:00"
    run["started_at"] = STARTED
    run["status"] = "running"
    exit_code = {"succeeded": 0, "failed": 3}.get(status)
    manifest.finish(status, exit_code=exit_code)  # type: ignore[arg-type]
    run["finished_at"] = FINISHED
    run["duration_seconds"] = 600.123


def make_key(folder: Path) -> SigningKey:
    """The test's key, in a key folder."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "lab.pem"
    private = ec.derive_private_key(SECRET_NUMBER, ec.SECP256R1())
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    key = keys.load(folder, "lab")
    (folder / "lab.pub").write_text(key.pem)
    return key


def make_package(
    folder: Path, out: Path, key: SigningKey | None = None, *, archive: bool = False, **options: Any
) -> Built:
    """Build a package with a gate that knows no secret."""
    return build(folder, out, Gate(), Options(key=key, **options), archive=archive, replace=True)


def copied(package: Path, target: Path) -> Path:
    """A copy of a package folder to do harm to."""
    shutil.copytree(package, target)
    return target


def relist(package: Path) -> None:
    """What a careful forger does: write all checksums of a package folder anew."""
    from worldflux.evidence import bag

    def listing(names: list[Path]) -> str:
        digests = {
            path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in names
        }
        return bag.listing(digests)

    payload = [path for path in (package / "data").rglob("*") if path.is_file()]
    (package / "manifest-sha256.txt").write_text(listing(payload))
    info = package / "bag-info.txt"
    if info.exists():
        size = sum(path.stat().st_size for path in payload)
        lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload-Oxum")]
        info.write_text("\n".join([*lines, f"Payload-Oxum: {size}.{len(payload)}"]) + "\n")
    tags = [
        path
        for path in package.rglob("*")
        if path.is_file() and "data" not in path.relative_to(package).parts[:1]
    ]
    tags = [path for path in tags if path.name != "tagmanifest-sha256.txt"]
    (package / "tagmanifest-sha256.txt").write_text(listing(tags))
