"""Canonical JSON against the library that does nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from worldflux.manifest.canonical import canonical_json

VECTORS = Path(__file__).parents[1] / "fixtures" / "manifests"

#: Any character, halves of surrogate pairs among them.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.floats(-1e17, 1e17) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.integers(), inner, max_size=4),
    max_leaves=20,
)


def either(write: Any, value: Any) -> bytes | str:
    try:
        result: bytes = write(value)
    except (ValueError, RecursionError):
        return "refused"
    return result


@given(VALUES)
@example({"\U00010000": 1, "\uffff": 2, "a": [1.0, -0.0, 1e21, 1e-7, 123456789012345680.0]})
@example({"a": {"b": [{"\u20ac": 1.5}, '\x7f\x1f\b\f\n\r\t"\\/']}, "A": 2**53 - 1})
@example([1e-4, 9.999999999999999e-05, 0.00012345678901234567, -1e-4, 0.1, -2.5, 1e15, 1e16, 2.0**52 + 0.5])
@example([2**53])
@example({"a": ["\ud800"]})
@example({"\udfff": 1})
@example((1, 2.5))
def test_the_bytes_are_those_of_the_library(value: Any) -> None:
    """Any value has the same bytes, or is refused, as with `rfc8785`."""
    assert either(canonical_json, value) == either(rfc8785.dumps, value)


@pytest.mark.parametrize("path", sorted((VECTORS / "valid").glob("*.json")), ids=lambda path: path.stem)
def test_manifests_have_the_bytes_of_the_library(path: Path) -> None:
    """Every valid vector has one canonical form."""
    document = json.loads(path.read_bytes())
    assert canonical_json(document) == rfc8785.dumps(document)
