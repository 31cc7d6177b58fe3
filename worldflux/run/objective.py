"""The number that an optimizer is told about a run: a metric of its manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest


def objective(manifest: Manifest, names: str | Sequence[str] | None) -> float | list[float] | None:
    """The value of the named metric, or of several in their order; None when none is named.

    Raises:
        WorldFluxError: the run has no such metric, or it is no finite number.
    """
    if names is None:
        return None
    if isinstance(names, str):
        return _value(manifest, names)
    return [_value(manifest, name) for name in names]


def _value(manifest: Manifest, name: str) -> float:
    metric = manifest.metrics.get(name)
    if metric is None:
        known = ", ".join(sorted(manifest.metrics)) or "none at all"
        raise WorldFluxError(
            f"objective={name}: the run has no such metric; it has {known}",
            "objective names a metric of the recipe, or one that the command logs",
            code="objective",
        )
    value = metric["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WorldFluxError(
            f"objective={name}: the metric is {value}, which no optimizer can use",
            "let the command write a finite number",
            code="objective",
        )
    return float(value)
