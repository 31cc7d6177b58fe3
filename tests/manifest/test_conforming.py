"""The quick check of a manifest against the slow one, on vectors and on vectors with something changed."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.manifest import validator
from worldflux.manifest.conforming import compiled

VECTORS = Path(__file__).parents[1] / "fixtures" / "manifests"
VALID = [json.loads(path.read_bytes()) for path in sorted((VECTORS / "valid").glob("*.json"))]
INVALID = sorted((VECTORS / "invalid").glob("*.json"))

#: What a field may become: values of every kind, at the borders of the rules.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 0.0, 0.5, -0.0, 2**53 - 1, 2**53, "", ".", "/", "a", "a\n", "A" * 129,
    "NaN", "12", "queued", "running", "succeeded", "USD", "\x7f", "\u2028", "../x", "2026-01-01", [], [""],
    ["a", "a"], [1, 1.0], {}, {"a": 1}, {"": ""}, {"API_KEY": "x"}, {"low": 1, "high": 0},
    float("nan"), float("inf"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, the document itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*path, step)
        yield from places(item, (*path, step))


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A valid vector with one to three places replaced, removed or added to."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        *steps, last = draw(st.sampled_from(list(places(document))))
        holder: Any = document
        for step in steps:
            holder = holder[step]
        how = draw(st.sampled_from(["replace", "replace", "remove", "add", "swap"]))
        if how == "replace":
            holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif how == "remove":
            del holder[last]
        elif how == "swap":
            others = [each for each in places(document) if each != (*steps, last)]
            other: Any = document
            for step in draw(st.sampled_from(others)) if others else ():
                other = other[step]
            holder[last] = copy.deepcopy(other)
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(["new", "k", "n", "", "x.y", "a\n", "error", "interval"]))] = 1
        else:
            holder.append(copy.deepcopy(draw(st.sampled_from(ODD))))
    return document


@pytest.mark.parametrize("strict", [True, False])
def test_valid_vectors_need_no_second_look(strict: bool) -> None:
    """Every valid vector gets its yes from the quick check, so that the slow one is never loaded for it."""
    assert [validator._conforms(strict)(each) for each in VALID] == [True] * len(VALID)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_no_invalid_vector_gets_a_yes(path: Path) -> None:
    """What the schema forbids is never waved through."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return  # refused before any schema is asked
    for strict in (True, False):
        if list(validator._validator(strict).iter_errors(document)):  # type: ignore[no-untyped-call]
            assert not validator._conforms(strict)(document)


@settings(max_examples=times(120, 400), suppress_health_check=list(HealthCheck))
@given(document=changed(), strict=st.booleans())
def test_a_yes_is_never_more_than_the_full_validator_says(document: dict[str, Any], strict: bool) -> None:
    """Whatever is changed in a manifest, a yes of the quick check means no fault for jsonschema.

    A no for what jsonschema accepts costs time only, and comes from numbers such as 1.0 alone.
    """
    quick = validator._conforms(strict)(document)
    slow = not list(validator._validator(strict).iter_errors(document))  # type: ignore[no-untyped-call]
    assert slow or not quick
    if slow and not quick:
        assert any(isinstance(_at(document, each), float | list) for each in places(document))


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


class Text(str):
    """A string that is not exactly one."""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"not": {"type": "string"}}, Text("x")),
        ({"not": {"const": 1}}, 1.0),
        ({"if": {"const": 0}, "then": False}, 0.0),
        ({"not": {"type": "integer"}}, 3.0),
        ({"not": {"uniqueItems": True}}, [1, 2]),
        ({"not": {"maxLength": 0}}, Text("")),
        ({"not": {"propertyNames": {"maxLength": 0}}}, {1: 2}),
    ],
)
def test_a_doubt_is_never_turned_into_a_yes(schema: dict[str, Any], value: Any) -> None:
    """Under a negation a wrong no would be a wrong yes: what is not judged exactly gives no answer at all."""
    assert compiled(schema)(value) is False


@pytest.mark.parametrize(
    "schema", [{"format": "date"}, {"properties": {"a": {"multipleOf": 2}}}, {"const": []}, {"enum": [1.5]}]
)
def test_an_unknown_rule_is_an_error(schema: dict[str, Any]) -> None:
    """A rule that is not understood is never left out in silence."""
    with pytest.raises(ValueError, match=r"no function for|are compared"):
        compiled(schema)


@pytest.mark.parametrize("other", [True, 1.0, 2, "1", [1], (1,), None])
def test_a_large_object_is_judged_again_when_anything_in_it_changed(other: Any) -> None:
    """A large object that was good is not looked through again; one that only equals it, or nearly, is."""
    schema = {"type": "object", "additionalProperties": {"anyOf": [{"const": 1}, {"items": {"const": 1}}]}}
    schema["additionalProperties"]["anyOf"][1]["type"] = "array"  # type: ignore[index]
    check = compiled(schema)
    good = {f"k{index}": 1 for index in range(200)}
    assert check(good) and check(dict(good))
    changed = {**good, "k150": other}
    assert check(changed) is (other == [1])
    assert check(good)


def test_what_is_remembered_has_an_end() -> None:
    """A process that writes ever other large records does not grow."""
    check = compiled({"type": "object", "additionalProperties": {"type": "string"}})
    tracemalloc.start()
    for number in range(300):
        assert check({f"k{index}": f"{number}-{index}" * 10 for index in range(100)})
        if number == 50:
            before = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000
