"""What a runtime brought and what the run left behind, put into the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError
from worldflux.manifest.model import Manifest
from worldflux.run.collect import Collected, collect, log_entry
from worldflux.runtime.base import RuntimeResult

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec

#: Fields of the manifest's `cost` that a runtime may fill by `metadata["cost"]`.
_COST_FIELDS = ("price_per_hour", "price_source", "price_date", "excludes", "parts")


def record(manifest: Manifest, folder: Path, spec: RunSpec, result: RuntimeResult, plugin: str) -> Collected:
    """Put a result and the collected files into the manifest; returns what was found.

    Args:
        plugin: name of the runtime, for the message.

    Raises:
        WorldFluxError: the metadata can not be recorded.
    """
    metadata = {name: value for name, value in result.metadata.items() if name != "variables"}
    try:
        manifest.record_metadata(metadata)
    except (ValueError, TypeError) as error:
        hint = f"this is a fault of the runtime plugin {plugin}"
        raise WorldFluxError(
            f"the runtime's metadata can not be recorded: {error}", hint, code="metadata"
        ) from None
    if result.log_path.is_file():
        truncated = bool(metadata.get("log_truncated"))
        manifest.logs.append(log_entry(folder, result.log_path, truncated))
    found = collect(folder, spec.metrics, spec.artifacts)
    manifest.metrics, manifest.series = found.metrics, found.series
    manifest.artifacts = found.artifacts
    if result.cost_estimate_usd is not None:
        _record_cost(manifest, result.cost_estimate_usd, metadata.get("cost"))
    return found


def _record_cost(manifest: Manifest, estimate: float, details: Any) -> None:
    manifest.cost["estimate_usd"], manifest.cost["known"] = estimate, True
    if isinstance(details, Mapping):
        known = {name: details[name] for name in _COST_FIELDS if details.get(name) is not None}
        manifest.cost.update(known)  # type: ignore[typeddict-item]
