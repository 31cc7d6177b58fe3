"""Numbers that survive JSON, and the success interval."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldflux.manifest.numbers import MAX_DEPTH, UNSAFE, json_number, portable, wilson

#: R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in
#: Medicine 17 (1998), table I, method 3; the last row equals scipy and statsmodels.
PUBLISHED = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
    (42, 50, 0.7149, 0.9166),
]


@pytest.mark.parametrize(("k", "n", "low", "high"), PUBLISHED)
def test_wilson_equals_published_figures(k: int, n: int, low: float, high: float) -> None:
    """The interval is the one in the literature, to four digits."""
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_takes_other_levels() -> None:
    """Its ends solve the score equation |p - k/n| = z sqrt(p (1 - p) / n) for the level's quantile."""
    z99 = 2.5758293035489
    for end in wilson(7, 30, 0.99):
        assert abs(end - 7 / 30) == pytest.approx(z99 * math.sqrt(end * (1 - end) / 30), rel=1e-9)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_stays_within_probability(counts: tuple[int, int]) -> None:
    """For all counts: 0 <= low <= k/n <= high <= 1, exact at the edges, mirrored for failures."""
    k, n = counts
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "level"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1), (1, 5, 0)]
)
def test_wilson_refuses_what_is_no_rate(k: int, n: int, level: float) -> None:
    """No interval is made up for impossible counts or levels."""
    with pytest.raises(ValueError, match=r"no success rate|level"):
        wilson(k, n, level)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        (3, 3),
        (0.5, 0.5),
        (Decimal("0.25"), 0.25),
        (UNSAFE - 1, UNSAFE - 1),
        (UNSAFE, float(UNSAFE)),
        (10**300, 1e300),
        (Decimal("Infinity"), "Infinity"),
    ],
)
def test_metric_values_keep_their_meaning(value: Any, wanted: object) -> None:
    """Every number has a form in the manifest; what is not finite is named."""
    found = json_number(value)
    assert (found, type(found)) == (wanted, type(wanted))


def test_metric_values_take_numpy_scalars() -> None:
    """What NumPy computed is as good as what Python did."""
    numpy = pytest.importorskip("numpy", reason="numpy is part of an extra")
    found = [json_number(numpy.float32(0.5)), json_number(numpy.int64(7)), json_number(numpy.float64("nan"))]
    assert json.dumps(found) == '[0.5, 7.0, "NaN"]'
    assert portable({"a": numpy.arange(3), "b": numpy.bool_(True)}) == {"a": [0, 1, 2], "b": True}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (True, TypeError),
        (None, TypeError),
        ("nan", ValueError),
        ("1", ValueError),
        ([1], TypeError),
        (10**400, ValueError),
    ],
)
def test_metric_values_refuse_the_rest(value: Any, error: type[Exception]) -> None:
    """Truth values, text and numbers beyond every double are no metric values."""
    with pytest.raises(error):
        json_number(value)


def test_portable_turns_foreign_values_into_json() -> None:
    """Metadata of a plugin survives: long integers as digits, NaN by name, sets as lists."""
    found = portable(
        {
            "ns": 2**63,
            "loss": math.nan,
            "at": PurePosixPath("a/b"),
            "set": {"b", "a"},
            3: (1, -(2**53)),
            True: None,
        }
    )
    assert found == {
        "ns": "9223372036854775808",
        "loss": "NaN",
        "at": "a/b",
        "set": ["a", "b"],
        "3": [1, "-9007199254740992"],
        "True": None,
    }


def test_portable_strips_subclasses_of_plain_types() -> None:
    """An enumeration or another str or int of a class of its own becomes the plain one."""

    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "plain"

    class Count(int):
        pass

    found = portable([Name("x"), Count(3)])
    assert [type(each) for each in found] == [str, int]


def test_portable_refuses_what_has_no_form() -> None:
    """Bytes, objects and data that holds itself are refused instead of written wrongly."""
    endless: list[Any] = []
    endless.append(endless)
    for value in (b"x", object(), {(1, 2): 3}):
        with pytest.raises(TypeError):
            portable({"metadata": value})
    with pytest.raises(ValueError, match="deeper"):
        portable({"metadata": endless})


def test_portable_ends_at_its_depth() -> None:
    """The deepest nesting that passes is `MAX_DEPTH`."""
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert portable(deep) == deep
    with pytest.raises(ValueError, match="deeper"):
        portable([deep])


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(_anything)
def test_portable_is_json_and_stays_the_same(value: Any) -> None:
    """Whatever goes in, strict JSON takes what comes out, and doing it twice changes nothing."""
    found = portable(value)
    json.dumps(found, allow_nan=False)
    assert portable(found) == found
