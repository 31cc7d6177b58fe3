"""Two ways of doing something, tried on the same seeds or episodes: what differs, and by how much."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from worldflux.manifest.numbers import wilson
from worldflux.run.statistics import mean_interval

#: Up to this many pairs every assignment of signs is counted, beyond it `_DRAWS` are drawn.
MOST_EXACT = 16
_DRAWS = 20_000
_SEED = 0
#: Digits that are kept of a probability; more than a float has for any that is worth telling.
_BITS = 400


class Difference(NamedTuple):
    """A mean difference over pairs, where it lies, and how often chance alone gives as much.

    `low` and `high` are None for one pair; `p` is two-sided.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float


class Discordance(NamedTuple):
    """Two success rates on the same trials.

    Attributes:
        n: trials; `b`: only the first succeeded; `c`: only the second did.
        difference: first minus second; `low` and `high` by Newcombe.
        p: two-sided, by McNemar's exact test.
    """

    n: int
    b: int
    c: int
    difference: float
    low: float
    high: float
    p: float


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """First minus second, pair by pair: a Student t interval and a sign-flip permutation test.

    The test is exact up to 16 pairs; beyond, 20,000 assignments are drawn with a fixed seed.

    Raises:
        ValueError: no pair, values without a partner, or one that is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values can not be paired with {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval = mean_interval(differences, level)
    return Difference(len(differences), interval.mean, interval.low, interval.high, _sign_flips(differences))


def mcnemar(first: Sequence[bool], second: Sequence[bool], level: float = 0.95) -> Discordance:
    """The success rates of two policies on the same trials.

    The interval is Newcombe's for paired data, his method 10, from two Wilson intervals (R. G. Newcombe,
    "Improved confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17, 1998).

    Raises:
        ValueError: no trial, or trials without a partner.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} trials can not be paired with {len(second)}")
    n = len(first)
    both = sum(a and b for a, b in zip(first, second, strict=True))
    only_first, only_second = sum(first) - both, sum(second) - both
    low, high = _newcombe(both, only_first, only_second, n, level)
    difference = (only_first - only_second) / n
    return Discordance(n, only_first, only_second, difference, low, high, _binomial(only_first, only_second))


def holm(p_values: Sequence[float]) -> list[float]:
    """The same p-values, corrected for being several (S. Holm, 1979), in their own order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _binomial(b: int, c: int) -> float:
    """Two-sided probability of at most min(b, c) of b + c fair coins."""
    tail, term = 0, 1
    for k in range(min(b, c) + 1):
        tail += term
        term = term * (b + c - k) // (k + 1)
    # A quotient of integers of any length: floats would have run out at a thousand coins.
    return min(1.0, float((2 * tail << _BITS) // 2 ** (b + c)) / 2.0**_BITS)


def _newcombe(both: int, b: int, c: int, n: int, level: float) -> tuple[float, float]:
    neither = n - both - b - c
    p1, p2 = (both + b) / n, (both + c) / n
    (low1, high1), (low2, high2) = wilson(both + b, n, level), wilson(both + c, n, level)
    product = both * neither - b * c
    spread = (both + b) * (c + neither) * (both + c) * (b + neither)
    if product > 0:
        product = max(product - n / 2, 0)  # type: ignore[assignment]
    phi = product / math.sqrt(spread) if spread else 0.0

    def reach(mine: float, other: float) -> float:
        return math.sqrt(max(0.0, mine * mine - 2 * phi * mine * other + other * other))

    return p1 - p2 - reach(p1 - low1, high2 - p2), p1 - p2 + reach(high1 - p1, p2 - low2)


def _sign_flips(differences: Sequence[float]) -> float:
    """How many assignments of signs give a sum at least as far from 0 as the one that was seen."""
    sizes = [abs(each) for each in differences]
    seen = abs(math.fsum(differences)) * (1 - 1e-12)
    if len(sizes) <= MOST_EXACT:
        flips = itertools.product((1, -1), repeat=len(sizes))
        sums = [abs(math.fsum(s * d for s, d in zip(signs, sizes, strict=True))) for signs in flips]
        return sum(each >= seen for each in sums) / len(sums)
    draw = random.Random(_SEED)
    hits = sum(
        abs(math.fsum(size if draw.random() < 0.5 else -size for size in sizes)) >= seen
        for _ in range(_DRAWS)
    )
    return (hits + 1) / (_DRAWS + 1)
