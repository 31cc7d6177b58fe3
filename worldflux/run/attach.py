"""Take up a run whose client died while its command went on elsewhere, and close its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import Manifest
from worldflux.run import store
from worldflux.run.engine import RunRecord
from worldflux.run.machine import owner, owner_alive
from worldflux.run.outcome import ending_of
from worldflux.runtime.base import RuntimeContext, RuntimePlugin, furnish

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec
    from worldflux.manifest.secrets import Gate
    from worldflux.run.observer import Observer


def attach(
    stored: store.StoredRun,
    spec: RunSpec,
    plugin: RuntimePlugin,
    install_dir: Path,
    gate: Gate,
    observer: Observer,
) -> RunRecord:
    """Follow a run to its end and return its record.

    Args:
        stored: the run, not settled.
        spec: what was asked for.

    Raises:
        UsageError: its client is alive, its runtime can not attach, or there is nothing to attach to.
        WorldFluxError: the runtime can not be reached, or the record can not be written.
    """
    manifest = _attachable(stored, plugin)
    record = RunRecord(stored.run_id, stored.folder, manifest)
    context = _context(stored, spec, install_dir)
    furnish(stored.folder)
    observer.started(stored.run_id, stored.folder, spec.recipe, plugin.name)
    observer.stage("run")
    observer.log(stored.folder / "logs" / f"{stored.run_id}.log")
    try:
        result = plugin.attach(context)  # type: ignore[attr-defined]
    finally:
        plugin.teardown(context)
    _reopen(manifest)
    with manifest.stage("attach"):
        from worldflux.run import elsewhere
        from worldflux.run.findings import record as put

        observer.stage("collect")
        metadata = {name: value for name, value in result.metadata.items() if name != "variables"}
        reported = elsewhere.taken_out(metadata)
        found = put(manifest, stored.folder, spec, result, metadata, plugin.name)
        elsewhere.put_in(manifest, reported)
    record.warnings += found.warnings
    ending = ending_of(result, found.faults, spec.timeout)
    error: Any = None
    if ending.status != "succeeded":
        error = {"code": ending.code, "message": ending.message, "hint": ending.hint}
    observer.stage("manifest")
    manifest.finish(ending.status, exit_code=ending.exit_code, error=error)
    manifest.run["duration_seconds"] = _seconds(manifest.run["started_at"], manifest.run["finished_at"])
    io.sweep(stored.folder)
    io.write(stored.folder / store.MANIFEST, manifest, gate=gate)
    return record


def _attachable(stored: store.StoredRun, plugin: RuntimePlugin) -> Manifest:
    if stored.manifest is None:
        raise WorldFluxError(f"run {stored.run_id}: {stored.problem}", f"ls {stored.folder}", code="manifest")
    status, who = stored.manifest.status, stored.manifest.run["owner"]
    if not stored.manifest.final and who is not None and owner_alive(who):
        raise UsageError(f"run {stored.run_id} is being followed by process {who['pid']}", "wait for it")
    if stored.manifest.final and status != "interrupted":
        raise UsageError(f"run {stored.run_id} is over: {status}", f"worldflux runs show {stored.run_id}")
    if getattr(plugin, "attach", None) is None:
        raise UsageError(
            f"a run on {plugin.name} ends with its client; there is nothing to attach to",
            f"worldflux runs show {stored.run_id}",
        )
    return stored.manifest


def _reopen(manifest: Manifest) -> None:
    """The record as it was while the run went on, owned by this process."""
    run = manifest.run
    run["status"], run["owner"] = "running", owner()
    run["error"] = run["exit_code"] = run["signal"] = run["finished_at"] = None
    manifest.logs, manifest.artifacts = [], []


def _seconds(started: str | None, finished: str | None) -> float | None:
    """Seconds between two times of the record; this process did not see the first."""
    from datetime import datetime

    if started is None or finished is None:
        return None
    span = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    return max(0.0, round(span.total_seconds(), 3))


def _context(stored: store.StoredRun, spec: RunSpec, install_dir: Path) -> RuntimeContext:
    return RuntimeContext(
        adapter_id=spec.adapter or spec.recipe,
        task=spec.task,
        output_dir=stored.folder,
        install_dir=install_dir,
        source_dir=stored.folder,
        venv_python=None,
        timeout=spec.timeout,
        env_vars={},
        extra_args=(),
        run_id=stored.run_id,
    )
