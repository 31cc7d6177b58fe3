"""What is signed: in-toto statements about the run (SLSA provenance) and about the payload (OpenSSF)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worldflux.evidence import layout
from worldflux.evidence.dsse import STATEMENT
from worldflux.manifest import io

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest

PROVENANCE = "https://slsa.dev/provenance/v1"
MODEL_SIGNING = "https://model_signing/signature/v1.0"
_BUILD_TYPE = "https://worldflux.dev/build-types/run/v1"
_RUNNERS = "https://worldflux.dev/runners/"


def provenance(manifest: Manifest, manifest_sha256: str, committed: Mapping[str, str]) -> bytes:
    """The run's SLSA provenance v1: canonical JSON of the statement.

    Args:
        manifest_sha256: of `manifest.json`, the first subject.
        committed: path -> sha256 of every committed artifact, packed or not; the other subjects.
    """
    run = manifest.run
    times = {"startedOn": run["started_at"], "finishedOn": run["finished_at"]}
    predicate = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {
                "recipe": manifest.recipe["name"],
                "overrides": manifest.config["overrides"],
                "runtime": manifest.runtime["name"],
            },
            "internalParameters": {"config_sha256": manifest.config["sha256"]},
            "resolvedDependencies": _dependencies(manifest),
        },
        "runDetails": {
            "builder": {
                "id": builder(manifest),
                "version": {
                    "worldflux": manifest.producer["version"],
                    manifest.runtime["name"]: manifest.runtime["plugin_version"],
                },
            },
            "metadata": {
                "invocationId": manifest.client_run_id,
                **{name: time.replace("+00:00", "Z") for name, time in times.items() if time is not None},
            },
            "byproducts": [_file(log["path"], log["sha256"]) for log in manifest.logs],
        },
    }
    subjects = [_file(layout.MANIFEST, manifest_sha256)]
    subjects += [_file(path, committed[path]) for path in sorted(committed)]
    return _statement(subjects, PROVENANCE, predicate)


def payload(digests: Mapping[str, str]) -> bytes:
    """The OpenSSF model-signing statement over every file of `data/`.

    Args:
        digests: path below `data/` -> sha256.
    """
    ordered = in_order(digests)
    resources = [{"algorithm": "sha256", "digest": digests[path], "name": path} for path in ordered]
    predicate = {
        "resources": resources,
        "serialization": {
            "allow_symlinks": False,
            "hash_type": "sha256",
            "ignore_paths": [],
            "method": "files",
        },
    }
    return _statement([_file("data", payload_digest(digests))], MODEL_SIGNING, predicate)


def in_order(digests: Mapping[str, str]) -> list[str]:
    """Paths in the order that the tool sorts them: folder by folder."""
    return sorted(digests, key=lambda path: path.split("/"))


def payload_digest(digests: Mapping[str, str]) -> str:
    """The digest that stands for all files: sha256 over theirs, in order."""
    whole = hashlib.sha256()
    for path in in_order(digests):
        whole.update(bytes.fromhex(digests[path]))
    return whole.hexdigest()


def builder(manifest: Manifest) -> str:
    """Who carried the run out, as an address; `local` is this person's own machine."""
    return f"{_RUNNERS}{manifest.runtime['name']}"


def _dependencies(manifest: Manifest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    git = manifest.git
    if git is not None and git.get("commit"):
        commit = {"name": "source", "digest": {"gitCommit": git["commit"]}}
        remote = git.get("remote") or ""
        found.append({**commit, "uri": f"git+{remote}"} if "://" in remote else commit)
    diff = git.get("diff") if git is not None else None
    if diff is not None:
        found.append(_file(diff["path"], diff["sha256"]))
    if manifest.recipe["source"]["sha256"] is not None:
        found.append(_file("recipe", manifest.recipe["source"]["sha256"]))
    lock = manifest.environment["lock"] if manifest.environment is not None else None
    if lock is not None:
        found.append(_file(lock.get("path", "requirements"), lock["sha256"]))
    for each in manifest.inputs:
        entry: dict[str, Any] = {"name": each.get("name") or each.get("ref") or each["role"]}
        if "uri" in each:
            entry["uri"] = each["uri"]
        if "sha256" in each:
            entry["digest"] = {"sha256": each["sha256"]}
        entry["annotations"] = {
            key: each[key] for key in ("role", "ref", "revision", "version", "license") if key in each
        }
        found.append(entry)
    return found


def _file(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _statement(subjects: Sequence[Mapping[str, Any]], kind: str, predicate: Mapping[str, Any]) -> bytes:
    return io.canonical(
        {"_type": STATEMENT, "subject": list(subjects), "predicateType": kind, "predicate": predicate}
    )
