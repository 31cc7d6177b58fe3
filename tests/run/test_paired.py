"""Paired comparisons and interquartile means: against scipy, statsmodels, published figures and chance."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.run.paired import holm, mcnemar, paired_difference
from worldflux.run.resampling import interquartile_mean

#: What they are held against takes seconds to import.
pytestmark = pytest.mark.xdist_group("statistics")

finite = st.integers(-(10**6), 10**6).map(lambda number: number / 64)


def outcomes(a: int, b: int, c: int, d: int) -> tuple[list[bool], list[bool]]:
    """Trials of which a succeeded twice, b only first, c only second, d never."""
    first = [True] * (a + b) + [False] * (c + d)
    second = [True] * a + [False] * b + [True] * c + [False] * d
    return first, second


@settings(max_examples=times(15, 40))
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    """The p-value is scipy's and statsmodels' for any discordant counts."""
    from scipy.stats import binomtest
    from statsmodels.stats.contingency_tables import mcnemar as reference

    found = mcnemar(*outcomes(5, b, c, 7)).p
    right = binomtest(b, b + c).pvalue if b + c else 1.0
    assert math.isclose(found, right, rel_tol=1e-9)
    if b + c:
        assert math.isclose(found, reference([[5, b], [c, 7]], exact=True).pvalue, rel_tol=1e-9)


def test_mcnemar_of_many_trials_does_not_run_out_of_floats() -> None:
    """Thousands of discordant pairs have a p-value, too."""
    from scipy.stats import binomtest

    for b, c in ((1000, 1100), (4000, 4005), (3000, 100)):
        assert math.isclose(
            mcnemar(*outcomes(0, b, c, 0)).p, binomtest(b, b + c).pvalue, rel_tol=1e-6, abs_tol=1e-15
        )


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((0, 0, 0, 54), -0.0664, 0.0664), ((54, 0, 0, 0), -0.0664, 0.0664)],
)
def test_newcombes_interval_gives_the_published_figures(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Cases of Newcombe's table, by his method 10."""
    found = mcnemar(*outcomes(*cells))
    assert found.low == pytest.approx(low, abs=6e-5) and found.high == pytest.approx(high, abs=6e-5)


def test_newcombes_interval_covers() -> None:
    """Of intervals at 95 % over correlated trials between 92 and 98 % hold the true difference."""
    draw = random.Random(1)
    held, repeats = 0, 600
    for _ in range(repeats):
        first, second = [], []
        for _ in range(50):
            easy = draw.random() < 0.5
            first.append(draw.random() < (0.9 if easy else 0.5))
            second.append(draw.random() < (0.8 if easy else 0.3))
        found = mcnemar(first, second)
        held += found.low <= 0.15 <= found.high
    assert 0.92 <= held / repeats <= 0.98


@settings(max_examples=times(15, 40))
@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=12))
def test_a_paired_difference_is_scipys(pairs: list[tuple[float, float]]) -> None:
    """Mean and interval are those of scipy's paired t test; the p-value is its exact permutation test."""
    from scipy import stats

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = paired_difference(first, second)
    differences = [a - b for a, b in pairs]
    if len(set(differences)) > 1:
        right = stats.ttest_rel(first, second).confidence_interval(0.95)
        scale = max(map(abs, differences))
        assert found.low == pytest.approx(right.low, rel=1e-6, abs=1e-6 * scale)
        assert found.high == pytest.approx(right.high, rel=1e-6, abs=1e-6 * scale)
    assert found.n == len(pairs) and 0 < found.p <= 1


def test_the_sign_flip_test_is_scipys() -> None:
    """Exact for few pairs, by drawing for many, both against scipy's permutation test."""
    import numpy
    from scipy.stats import permutation_test

    generator = numpy.random.default_rng(3)
    for n, tolerance in ((8, 1e-9), (12, 1e-9), (40, 0.02)):
        first, second = generator.normal(0.3, 1, n), generator.normal(0, 1, n)
        right = permutation_test(
            (first, second),
            lambda a, b: numpy.mean(a - b),
            permutation_type="samples",
            n_resamples=9999,
            rng=1,
        ).pvalue
        assert paired_difference(list(first), list(second)).p == pytest.approx(right, abs=tolerance)


def test_what_can_not_be_paired_is_an_error() -> None:
    """Values without a partner, no value, and NaN."""
    for first, second in (([1.0], [1.0, 2.0]), ([], []), ([math.nan], [1.0])):
        with pytest.raises(ValueError):
            paired_difference(first, second)
    with pytest.raises(ValueError, match="trials"):
        mcnemar([True], [])


@settings(max_examples=times(15, 40))
@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    """Corrected p-values are statsmodels', in the order they came in."""
    from statsmodels.stats.multitest import multipletests

    right = list(multipletests(p_values, method="holm")[1]) if p_values else []
    assert holm(p_values) == pytest.approx(right)


@settings(max_examples=times(15, 40))
@given(st.lists(finite, min_size=1, max_size=60))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values: list[float]) -> None:
    """The mean of the middle half, as scipy trims it."""
    from scipy.stats import trim_mean

    found = interquartile_mean({"one": values}, resamples=10)
    assert found.value == pytest.approx(trim_mean(values, 0.25), rel=1e-9, abs=1e-6)
    assert found.n == len(values)


def test_the_bootstrap_is_stratified_and_repeats() -> None:
    """Equal seeds give equal intervals; strata that do not vary within add no width, however far apart."""
    strata = {"easy": [0.9] * 5, "hard": [0.1] * 5}
    still = interquartile_mean(strata)
    assert (still.low, still.high) == (still.value, still.value)
    mixed = interquartile_mean({"all": strata["easy"] + strata["hard"]})
    assert mixed.high is not None and mixed.low is not None and mixed.high - mixed.low > 0.3
    noisy = {"a": [0.1, 0.4, 0.5, 0.7], "b": [0.2, 0.3, 0.9, 0.8]}
    assert interquartile_mean(noisy) == interquartile_mean(noisy)
    assert interquartile_mean(noisy, seed=1) != interquartile_mean(noisy)


def test_one_value_a_task_has_no_interval() -> None:
    """Without a second seed nothing is known of the spread."""
    found = interquartile_mean({"a": [1.0], "b": [2.0]})
    assert found.value == 1.5 and found.low is None and found.high is None


def test_the_bootstrap_agrees_with_scipys() -> None:
    """For one stratum the interval is that of scipy's percentile bootstrap, within what drawing leaves open."""
    import numpy
    from scipy import stats

    values = list(numpy.random.default_rng(5).normal(0, 1, 40))
    right = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        rng=2,
        n_resamples=9999,
    ).confidence_interval
    found = interquartile_mean({"one": values})
    assert found.low == pytest.approx(right.low, abs=0.02) and found.high == pytest.approx(
        right.high, abs=0.02
    )


def test_without_the_extra_it_says_what_to_install() -> None:
    """numpy is only needed for the interquartile mean, and its absence is explained."""
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from worldflux.run import paired, resampling\n"
        "from worldflux.errors import UsageError\n"
        "assert paired.mcnemar([True], [False]).b == 1\n"
        "try: resampling.interquartile_mean({'a': [1.0]})\n"
        "except UsageError as error: print(error.hint)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "pip install 'worldflux[stats]'\n"
