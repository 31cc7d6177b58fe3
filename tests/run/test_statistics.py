"""Intervals of means, against published tables and closed forms."""

from __future__ import annotations

import math
import statistics as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldflux.run.statistics import mean_interval, student_quantile

#: From the printed table of critical values of Student's t distribution.
TABLE = {
    (0.90, 1): 3.078, (0.95, 1): 6.314, (0.975, 1): 12.706, (0.995, 1): 63.657,
    (0.975, 2): 4.303, (0.975, 3): 3.182, (0.975, 4): 2.776, (0.95, 5): 2.015,
    (0.975, 9): 2.262, (0.995, 10): 3.169, (0.975, 29): 2.045, (0.975, 30): 2.042,
    (0.975, 60): 2.000, (0.995, 120): 2.617, (0.975, 100): 1.984,
}  # fmt: skip


@pytest.mark.parametrize(("probability", "freedom"), TABLE)
def test_quantiles_of_the_table(probability: float, freedom: int) -> None:
    """Every printed critical value is met in all its digits."""
    assert round(student_quantile(probability, freedom), 3) == TABLE[probability, freedom]


@given(st.floats(0.5, 0.9999))
def test_closed_forms(probability: float) -> None:
    """One degree of freedom is the Cauchy distribution, two have an algebraic form, many are the normal."""
    assert math.isclose(
        student_quantile(probability, 1), math.tan(math.pi * (probability - 0.5)), rel_tol=1e-7, abs_tol=1e-7
    )
    two = (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    assert math.isclose(student_quantile(probability, 2), two, rel_tol=1e-7, abs_tol=1e-7)
    normal = standard.NormalDist().inv_cdf(probability)
    assert math.isclose(student_quantile(probability, 10**7), normal, rel_tol=1e-5, abs_tol=1e-6)


def test_a_published_example() -> None:
    """NIST/SEMATECH e-Handbook 1.3.5.2: mean 9.261460, std 0.022789, n 195 gives 9.258242 to 9.264679."""
    values = [9.261460 + sign * 0.022789 for sign in (1, -1) * 97] + [9.261460]
    found = mean_interval(values)
    assert math.isclose(found.mean, 9.261460, abs_tol=1e-6)
    assert found.std is not None and math.isclose(found.std, 0.022789, abs_tol=1e-6)
    assert found.low is not None and math.isclose(found.low, 9.258242, abs_tol=2e-6)
    assert found.high is not None and math.isclose(found.high, 9.264679, abs_tol=2e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_it_agrees_with_the_standard_library(values: list[float]) -> None:
    """Mean and deviation are those of Python's own module, and the mean lies in the middle."""
    found = mean_interval(values, 0.9)
    assert found.std is not None and found.low is not None and found.high is not None
    assert math.isclose(found.mean, standard.fmean(values), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(found.std, standard.stdev(values), rel_tol=1e-6, abs_tol=1e-6)
    assert found.low <= found.mean <= found.high


def test_one_value_and_no_value() -> None:
    """One value has a mean and no interval; none, NaN and an impossible level are refused."""
    assert mean_interval([3.0]) == (3.0, None, None, None)
    for values, level in (([], 0.95), ([math.nan], 0.95), ([1.0, 2.0], 1.0)):
        with pytest.raises(ValueError):
            mean_interval(values, level)
    with pytest.raises(ValueError):
        student_quantile(0.4, 3)
