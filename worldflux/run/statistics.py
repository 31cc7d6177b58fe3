"""Intervals of a mean over seeds, without a numerical library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_TINY = 1e-300
_STEPS = 500


class MeanInterval(NamedTuple):
    """A mean, the spread of the values, and where the mean lies; bounds are None for one value."""

    mean: float
    std: float | None
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], level: float = 0.95) -> MeanInterval:
    """Mean, sample standard deviation and two-sided Student t interval of independent values.

    Args:
        values: finite numbers, at least one.
        level: confidence between 0 and 1.

    Raises:
        ValueError: there is no value, one is not finite, or the level is not between 0 and 1.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError("a mean needs at least one value, and finite ones only")
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    count = len(values)
    mean = math.fsum(value / count for value in values)
    if count == 1:
        return MeanInterval(mean, None, None, None)
    std = math.hypot(*(value - mean for value in values)) / math.sqrt(count - 1)
    half = student_quantile((1 + level) / 2, count - 1) * std / math.sqrt(count)
    return MeanInterval(mean, std, mean - half, mean + half)


@lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: int) -> float:
    """The value that a Student t variable stays below with this probability.

    Args:
        probability: from 0.5 to below 1.
        freedom: degrees of freedom, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"no quantile: probability {probability}, {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _student(high, freedom) < probability:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _student(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _student(value: float, freedom: int) -> float:
    """Probability that a Student t variable is below a value that is not negative."""
    # Near 0 the complement of this fraction would be 1 to the last digit.
    return 0.5 + _incomplete_beta(value * value / (freedom + value * value), 0.5, freedom / 2) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function (NIST Digital Library of Mathematical Functions, 8.17)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    scale = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges quickly on this side only; the other follows by symmetry.
    if x < (a + 1) / (a + b + 2):
        return scale * _fraction(x, a, b) / a
    return 1 - scale * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 8.17.22 of the same source, by the modified method of Lentz."""
    upper, lower = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    result = lower
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for factor in (even, odd):
            lower = 1 / _nonzero(1 + factor * lower)
            upper = _nonzero(1 + factor / upper)
            change = upper * lower
            result *= change
        if abs(change - 1) < 1e-16:
            break
    return result


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
