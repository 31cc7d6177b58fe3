"""What a runtime on another machine reports about it, in place of what was found out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worldflux.manifest.model import Manifest
from worldflux.manifest.numbers import portable

#: Keys of `RuntimeResult.metadata` that are parts of the manifest instead of leaves of `runtime`.
PARTS = ("environment", "hardware", "cost")
_COST_FIELDS = ("price_per_hour", "price_source", "price_date", "excludes", "parts")


def taken_out(metadata: dict[str, Any]) -> dict[str, Any]:
    """Remove those parts from the metadata and return them."""
    return {name: metadata.pop(name) for name in PARTS if name in metadata}


def put_in(manifest: Manifest, parts: Mapping[str, Any]) -> None:
    """Let the reported parts replace those of this machine; None says that nobody knows.

    Variables and names of forwarded variables stay as this machine handed them over.
    """
    if "environment" in parts:
        here, there = manifest.environment, portable(parts["environment"])
        if there is not None:
            there["variables"] = here["variables"] if here else {}
            there["forwarded"] = here["forwarded"] if here else []
        manifest.environment = there
    if "hardware" in parts:
        manifest.hardware = portable(parts["hardware"])
    details = parts.get("cost")
    if isinstance(details, Mapping):
        known = {name: details[name] for name in _COST_FIELDS if details.get(name) is not None}
        manifest.cost.update(portable(known))
