"""The published schema, judged by vectors, by its meta-schema and by a second implementation."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from nightly import times

from worldflux.errors import WorldFluxError
from worldflux.manifest import io, validator
from worldflux.manifest.model import SCHEMA, SCHEMA_VERSION

VECTORS = Path(__file__).parents[1] / "fixtures" / "manifests"
VALID = sorted((VECTORS / "valid").glob("*.json"))
NEWER = sorted((VECTORS / "newer").glob("*.json"))
EXPECTED: dict[str, dict[str, str]] = json.loads((VECTORS / "invalid.expected.json").read_bytes())
BY_SCHEMA = sorted(name for name, each in EXPECTED.items() if each["by"] == "schema")
BY_RULES = sorted(name for name, each in EXPECTED.items() if each["by"] == "rules")
BY_PARSER = sorted(name for name, each in EXPECTED.items() if each["by"] == "parser")


def load(path: Path) -> dict[str, Any]:
    """A vector, decoded by the library's own strict reader."""
    return io.parse(path.read_bytes(), path.name)


def check_jsonschema(*arguments: str | Path) -> dict[str, Any]:
    """The report of the independent command line tool, whose patterns are ECMA-262."""
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--output-format", "json"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == (report["status"] == "ok"), done.stderr
    return report


def test_every_vector_is_expected() -> None:
    """No invalid file is forgotten in the list, none is listed that is not there."""
    assert {path.name for path in (VECTORS / "invalid").glob("*.json")} == set(EXPECTED)
    assert len(VALID) > 15 and len(BY_SCHEMA) > 100 and NEWER


def test_schema_obeys_its_own_standard() -> None:
    """The schema is a correct JSON Schema 2020-12 and its name carries only the major version."""
    published = validator.schema()
    Draft202012Validator.check_schema(published)
    assert published["$id"] == SCHEMA == f"{SCHEMA[: SCHEMA.rindex('v')]}v{SCHEMA_VERSION.split('.')[0]}"
    report = check_jsonschema("--check-metaschema", validator.SCHEMA_FILE)
    assert report["status"] == "ok"


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_vectors_are_accepted(path: Path) -> None:
    """What the format allows is written, by the strict rules and by the open ones."""
    document = load(path)
    assert validator.validate(document) == []
    assert validator.validate(document, strict=False) == []


@pytest.mark.parametrize("name", BY_SCHEMA + BY_RULES)
def test_invalid_vectors_are_refused_at_the_right_place(name: str) -> None:
    """Each broken rule is found, and the fault points to the field that breaks it."""
    faults = validator.validate(load(VECTORS / "invalid" / name))
    assert EXPECTED[name]["pointer"] in [fault.where for fault in faults]
    assert len(faults) <= 2, faults


@pytest.mark.parametrize("name", BY_PARSER)
def test_unreadable_vectors_are_refused_before_any_schema(name: str) -> None:
    """What is not strict JSON never becomes a document; the message names the file."""
    with pytest.raises(WorldFluxError, match=re.escape(name)) as caught:
        load(VECTORS / "invalid" / name)
    assert caught.value.hint and "\n" not in caught.value.problem


def test_a_second_implementation_agrees_on_every_vector() -> None:
    """The check-jsonschema tool, with its own regular expressions, accepts and refuses the same files."""
    accepted = check_jsonschema("--schemafile", validator.SCHEMA_FILE, *VALID)
    assert accepted["errors"] == []
    files = [VECTORS / "invalid" / name for name in BY_SCHEMA]
    refused = check_jsonschema("--schemafile", validator.SCHEMA_FILE, *files, *NEWER)
    assert {Path(each["filename"]).name for each in refused["errors"]} == {
        *BY_SCHEMA,
        *(p.name for p in NEWER),
    }


@pytest.mark.parametrize("path", NEWER, ids=lambda path: path.stem)
def test_fields_of_a_newer_minor_version_are_ignored_by_readers_only(path: Path) -> None:
    """Unknown fields at any depth pass the open rules and fail the strict ones; a bad value fails both."""
    document = load(path)
    assert validator.validate(document, strict=False) == []
    places = {fault.where for fault in validator.validate(document)}
    assert places == {
        "",
        "/run",
        "/artifacts/0",
        "/metrics",
        "/metrics/success_rate",
        "/git",
        "/hardware/cpu",
    }
    document["run"]["status"] = "daydreaming"
    assert [fault.where for fault in validator.validate(document, strict=False)] == ["/run/status"]


def everything() -> dict[str, Any]:
    """The vector that uses every part."""
    return load(VECTORS / "valid" / "succeeded-full.json")


def every_place(node: Any, steps: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to each value of a document."""
    found = [steps] if steps else []
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in children:
        found += every_place(child, (*steps, step))
    return found


PLACES = every_place(everything())
GONE, MORE = object(), object()


@settings(max_examples=times(80, 300), deadline=None)
@given(
    st.sampled_from(PLACES),
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["", "../x", "a\n", "NaN", [], {}, ["x"], {"x": 1}, "https://u@h/x", GONE, MORE, MORE]),
)
def test_the_quick_form_decides_as_the_published_one(place: tuple[str | int, ...], value: Any) -> None:
    """Whatever stands anywhere, is missing or too much: inlined form and schema file agree."""
    document: Any = everything()
    parent = document
    for step in place[:-1]:
        parent = parent[step]
    if value is GONE:
        del parent[place[-1]]
    elif value is MORE:
        target = parent if isinstance(parent, dict) else document
        target["more"] = 1
    else:
        parent[place[-1]] = copy.deepcopy(value)
    published = Draft202012Validator(validator.schema()).is_valid(document)
    quick = validator._validator(True).is_valid(document)
    assert published == quick
    assert (validator.validate(document) == []) <= published


def test_faults_never_quote_a_value() -> None:
    """A value in the wrong place could be a secret: no message, hint or detail repeats it."""
    canary = "sk-canary-3f9a\n"
    for place in PLACES:
        document: Any = everything()
        parent = document
        for step in place[:-1]:
            parent = parent[step]
        for wrong in (canary, [canary], {"x": canary}):
            parent[place[-1]] = wrong
            assert canary.strip() not in repr(validator.validate(document))


def test_faults_speak_plainly() -> None:
    """The usual mistakes give sentences that tell where and what."""
    document = everything()
    document["run"]["status"] = "done"
    document["run"]["exit_code"] = "0"
    del document["cost"]["known"]
    document["extra"] = 1
    document["metrics"]["my metric"] = {"value": 1}
    told = {fault.where: fault.problem for fault in validator.validate(document)}
    assert told["/run/status"].startswith("must be one of queued, running, succeeded")
    assert told["/run/exit_code"] == "must be integer or null, not string"
    assert told["/cost"] == "has no field 'known'"
    assert told[""] == "has the unknown field 'extra'"
    assert told["/metrics"] == "has the unknown field 'my metric'"


def test_faults_are_limited() -> None:
    """A document that is wrong a thousand times gives a page, not a book."""
    document = everything()
    document["metrics"] = {f"m{index}": {"value": None} for index in range(1000)}
    assert len(validator.validate(document)) == validator.MAX_FAULTS


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is not a finite number"),
        (float("-inf"), "is not a finite number"),
        (2**53, "is an integer of 2^53 or more"),
        (-(2**53), "is an integer of 2^53 or more"),
        ("\ud800", "is not valid Unicode text"),
        (b"x", "is a bytes, which has no JSON form"),
    ],
)
def test_what_json_can_not_hold_is_found_in_the_open_parts(value: Any, problem: str) -> None:
    """Where any JSON is allowed, what is no JSON is still refused, with its place."""
    document = everything()
    document["runtime"]["a/b"] = [{"~": value}]
    found = [(fault.where, fault.problem) for fault in validator.validate(document)]
    assert found == [("/runtime/a~1b/0/~0", problem)]


def test_nan_as_a_metric_value_is_refused() -> None:
    """The float NaN, which JSON Schema takes for a number, does not reach a file."""
    document = everything()
    document["metrics"]["loss"] = {"value": float("nan")}
    assert [fault.where for fault in validator.validate(document)] == ["/metrics/loss/value"]
