"""Numbers that survive JSON: what is not finite becomes a name, what is too long becomes text.

JSON readers hold every number as a double, so an integer of 2^53 or more would change on its
way; NaN and the infinities have no form in JSON at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, SupportsFloat

#: The smallest positive integer that a double may hold for two different integers.
UNSAFE = 2**53

#: Names of the values that JSON has no number for.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")

#: How deep `portable` follows lists and objects.
MAX_DEPTH = 64

#: Two-sided 95 % quantile of the standard normal distribution.
_Z95 = 1.959963984540054


def json_number(value: SupportsFloat | str) -> int | float | str:
    """A metric's value in the form the manifest holds.

    Args:
        value: an int, a float, anything with `__float__` (a NumPy scalar, a Decimal), or one
            of the three names in `NOT_FINITE`.

    Returns:
        The number, or `"NaN"`, `"Infinity"`, `"-Infinity"`. An int of 2^53 or more becomes the
        nearest double.

    Raises:
        TypeError: it is a bool, or no number at all.
        ValueError: a string that is not one of the three names, or an int beyond every double.
    """
    if isinstance(value, bool):
        raise TypeError("a metric value must be a number, not a truth value")
    if isinstance(value, str):
        if value in NOT_FINITE:
            return value
        raise ValueError(f"not a number: {value[:40]!r}")
    if isinstance(value, int) and abs(value) < UNSAFE:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the number is larger than any double") from None
    if math.isfinite(number):
        return number
    return not_finite_name(number)


def not_finite_name(number: float) -> str:
    """The name of a number that is not finite."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def portable(value: Any, _depth: int = 0) -> Any:
    """The same data made of what every JSON reader keeps: for metadata, facts and parameters.

    Mappings become objects with string keys, sequences and sets become arrays (sets sorted),
    paths become strings, numbers that are not finite become their names, integers of 2^53 or
    more become strings of digits, and NumPy scalars and arrays become plain
    numbers and lists.

    Raises:
        TypeError: something has no JSON form (bytes, an object of a class).
        ValueError: nested deeper than `MAX_DEPTH`, which a value that holds itself always is.
    """
    if value is None or isinstance(value, (bool, str)):
        return value if type(value) in (type(None), bool, str) else str(value)
    if isinstance(value, int):
        return int(value) if abs(value) < UNSAFE else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else not_finite_name(value)
    if _depth >= MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_key(key): portable(item, _depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item, _depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((portable(item, _depth + 1) for item in value), key=str)
    if isinstance(value, PathLike):
        return str(fspath(value))
    if callable(getattr(value, "tolist", None)):  # scalars and arrays of NumPy, tensors
        return portable(value.tolist(), _depth + 1)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, (bool, int, float)) or key is None:
        return str(key)
    raise TypeError(f"{type(key).__name__} can not be the name of a JSON field")


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a success rate.

    Args:
        k: successes.
        n: trials.
        level: two-sided confidence, between 0 and 1.

    Returns:
        The lower and the upper bound, both within [0, 1]. (E. B. Wilson, "Probable inference,
        the law of succession, and statistical inference", JASA 22, 1927.)

    Raises:
        ValueError: not 0 <= k <= n with n at least 1, or a level outside of (0, 1).
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"no success rate: {k} of {n}")
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    z = _Z95 if level == 0.95 else _quantile((1 + level) / 2)
    rate = k / n
    weight = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / weight
    half = z / weight * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else max(0.0, centre - half)
    high = 1.0 if k == n else min(1.0, centre + half)
    return low, high


def _quantile(probability: float) -> float:
    from statistics import NormalDist  # slow to import, and 95 % does not need it

    return NormalDist().inv_cdf(probability)
