"""The first version of a run's manifest, and the two configuration files beside it."""

from __future__ import annotations

import hashlib
import marshal
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.manifest.model import Manifest
from worldflux.manifest.numbers import portable
from worldflux.run.machine import owner

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.manifest.parts import Owner
    from worldflux.run.engine import Place
    from worldflux.runtime.base import RuntimePlugin

#: File with the unresolved configuration, beside the manifest.
CONFIG = "config.yaml"
#: Extension with the random mark that every process of the run carries in its environment.
RUN_MARK = "worldflux.run-mark"
#: Extension with the digest of what a sweep's job computes.
JOB = "worldflux.job"


def draft_manifest(
    request: RunRequest, plugin: RuntimePlugin, place: Place, run_id: str, mark: str, config: bytes
) -> Manifest:
    """What is known about a run before it starts; `config` is the text of its `config.yaml`."""
    from worldflux import __version__

    spec = request.spec
    cls = type(plugin)
    options = {
        k: v for k, v in request.parameters.get("runtime", {}).items() if k not in ("_target_", "name")
    }
    manifest = Manifest.new(
        project=spec.project or place.project,
        recipe={
            "name": spec.recipe,
            "description": spec.description,
            "task": spec.task,
            "source": {"path": _below(request.source_dir, place.root), "sha256": None},
        },
        config={
            "path": CONFIG,
            "sha256": hashlib.sha256(config).hexdigest(),
            "overrides": list(request.overrides),
            "resolved": portable(request.parameters),
        },
        runtime={
            "name": spec.runtime.name,
            "plugin": f"{cls.__module__}:{cls.__qualname__}",
            "plugin_version": str(getattr(cls, "version", __version__)),
            "options": portable(options),
        },
        run_id=run_id,
        name=spec.name or "",
        tags=spec.tags,
        argv=place.argv,
        owner=_owner(os.getpid()).copy(),
        parent_id=place.parent_id,
        sweep_id=place.sweep_id,
        attempt=place.attempt,
    )
    if spec.adapter:
        manifest.adapter = {"id": spec.adapter}
    manifest.cost["budget_usd"] = spec.cost_guard.max_usd
    manifest.cost["price_per_hour"] = spec.cost_guard.price_per_hour
    manifest.determinism = {"seed": portable(spec.seed), "claim": spec.deterministic, "flags": {}}
    manifest.inputs = [{"role": each.role, "ref": each.ref} for each in spec.inputs]
    names = sorted({name.removesuffix("?") for name in (*spec.env.pass_, *spec.runtime.env.pass_)})
    manifest.secrets = [{"name": name} for name in names]
    manifest.extensions[RUN_MARK] = mark
    if place.job_id is not None:
        manifest.extensions[JOB] = place.job_id
    return manifest


def stored_texts(request: RunRequest) -> dict[str, bytes]:
    """`config.yaml` (unresolved) and `overrides.yaml` (as typed), as they are stored."""
    members = (_member(marshal.dumps(member, 2)) for member in request.config.items())
    return {CONFIG: b"".join(members), "overrides.yaml": _as_yaml(list(request.overrides))}


@lru_cache(maxsize=1)
def _owner(_pid: int) -> Owner:
    """The process that starts the run; nothing about it changes while it has its id."""
    return owner()


@lru_cache(maxsize=256)
def _member(encoded: bytes) -> bytes:
    """One name of a mapping and its value, encoded for `marshal`; the jobs of a sweep have nearly all in common."""
    name, value = marshal.loads(encoded)
    return _as_yaml({name: value}, None if isinstance(value, (dict, list)) else False)


def _as_yaml(value: Any, flow: bool | None = None) -> bytes:
    """YAML; `flow` as `yaml.dump` has it: None sets collections of plain values in one line."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(
        value, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=110
    )
    return text.encode("utf-8", "backslashreplace")


@lru_cache(maxsize=64)
def _below(folder: Path, root: Path) -> str | None:
    """A folder relative to the project's; None when it lies elsewhere."""
    try:
        return folder.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None
