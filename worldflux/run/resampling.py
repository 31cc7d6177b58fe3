"""The interquartile mean over tasks and seeds, with a stratified bootstrap interval; extra `[stats]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worldflux.errors import UsageError

RESAMPLES = 10_000
_BATCH = 4_000_000


class InterquartileMean(NamedTuple):
    """The mean of the middle half of all values, and its percentile interval.

    `low` and `high` are None when no stratum has two values, for then nothing varies.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    strata: int
    resamples: int
    seed: int


def interquartile_mean(
    strata: Mapping[str, Sequence[float]], level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> InterquartileMean:
    """The interquartile mean of the values of all strata together.

    Values are drawn anew within each stratum, so every task keeps its number of seeds (R. Agarwal and
    others, "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021).

    Args:
        strata: task -> one finite value for each seed.

    Raises:
        UsageError: the extra is not installed.
        ValueError: there is no value, or one is not finite.
    """
    try:
        import numpy
    except ImportError:
        raise UsageError(
            "the interquartile mean needs numpy", "pip install 'worldflux[stats]'", code="extra"
        ) from None
    parts = [numpy.asarray(values, dtype=float) for values in strata.values() if len(values)]
    every = numpy.concatenate(parts) if parts else numpy.empty(0)
    if not every.size or not numpy.isfinite(every).all():
        raise ValueError("an interquartile mean needs at least one value, and finite ones only")
    value = float(_trimmed(every[None, :])[0])
    if all(part.size < 2 for part in parts):
        return InterquartileMean(value, None, None, every.size, len(parts), 0, seed)
    generator = numpy.random.default_rng(seed)
    found = []
    left = resamples
    while left > 0:
        rows = min(left, max(1, _BATCH // every.size))
        drawn = [part[generator.integers(0, part.size, (rows, part.size))] for part in parts]
        found.append(_trimmed(numpy.concatenate(drawn, axis=1)))
        left -= rows
    tail = (1 - level) / 2
    low, high = numpy.quantile(numpy.concatenate(found), [tail, 1 - tail])
    return InterquartileMean(value, float(low), float(high), every.size, len(parts), resamples, seed)


def _trimmed(rows: Any) -> Any:
    """The mean of each row without its lowest and its highest quarter, rounded down."""
    import numpy

    cut = rows.shape[1] // 4
    ordered = numpy.sort(rows, axis=1)
    return ordered[:, cut : rows.shape[1] - cut].mean(axis=1)
