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


def record(
    manifest: Manifest,
    folder: Path,
    spec: RunSpec,
    result: RuntimeResult,
    metadata: Mapping[str, Any],
    plugin: str,
) -> Collected:
    """Put a result and the collected files into the manifest; returns what was found.

    Args:
        metadata: what becomes leaves of `manifest.runtime`.
        plugin: name of the runtime, for the message.

    Raises:
        WorldFluxError: the metadata can not be recorded.
    """
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
        manifest.cost["estimate_usd"], manifest.cost["known"] = result.cost_estimate_usd, True
    return found
