"""A nested configuration as one flat mapping of dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every value that is no mapping; an empty mapping is a value."""
    if not isinstance(value, Mapping) or (not value and prefix):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(leaves(inner, f"{prefix}.{key}" if prefix else str(key)))
    return found
