"""The fast reader of manifests against the manifest's own parser and validator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sent_runs import SentRun

from worldflux.errors import WorldFluxError
from worldflux.manifest import io
from worldflux.server.ingest import reading, rows

ROOT = Path(__file__).parents[1] / "fixtures" / "manifests"
CORPUS = [path for kind in ("valid", "newer", "invalid") for path in sorted((ROOT / kind).iterdir())]


def accepts(data: bytes) -> bool:
    try:
        reading.read(data)
    except reading.Invalid:
        return False
    return True


def manifest_accepts(data: bytes) -> bool:
    """What the manifest's own code says, to unknown fields as a reader."""
    try:
        document = io.upgrade(io.parse(data, "it"), "it")
    except WorldFluxError:
        return False
    return io.validate(document, strict=False) == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_agrees_with_the_manifests_own_code(path: Path) -> None:
    """Every test vector is taken or refused alike."""
    data = path.read_bytes()
    assert accepts(data) == manifest_accepts(data)
    assert accepts(data) or path.parent.name == "invalid"


def test_it_needs_no_slow_path() -> None:
    """A manifest as worldflux writes it is read by the fast path and gives the same document."""
    data = SentRun().manifest()
    assert reading.read(data) == io.parse(data, "it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON)
def test_any_parameters(value: object) -> None:
    """Whatever JSON stands in the parameters, it is taken or refused in words, and its rows fit both databases."""
    document = SentRun().document()
    document["config"]["resolved"] = {"x": value}
    data = json.dumps(document).encode("utf-8", "surrogatepass")
    if not accepts(data):
        return
    found = reading.read(data)
    names = [row["name"] for row in rows.params(found)]
    assert len(names) == len(set(names))
    for row in rows.params(found):
        assert "\0" not in row["text"] + row["name"] and len(row["text"]) <= rows.MAX_TEXT
        row["text"].encode()
        assert row["number"] is None or isinstance(row["number"], float)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Bytes that are no manifest are refused in words, never with another exception."""
    assert not accepts(data)


@pytest.mark.parametrize("depth", [200, 3000, 100_000])
def test_deep_nesting(depth: int) -> None:
    """A document that nests without end is refused, and quickly."""
    data = SentRun().manifest().replace(b'"seed":3', b'"seed":' + b"[" * depth + b"]" * depth)
    assert not accepts(data)


def test_a_name_twice_and_long_numbers() -> None:
    """What loses something on the way into a document is refused."""
    data = SentRun().manifest()
    assert not accepts(data.replace(b'"seed":3', b'"seed":3,"seed":4'))
    assert not accepts(data.replace(b'"seed":3', b'"seed":9007199254740993'))
    assert not accepts(data.replace(b'"seed":3', b'"seed":NaN'))
    assert not accepts(data.replace(b'"seed":3', b'"seed":1e999'))
    assert accepts(data.replace(b'"seed":3', b'"seed":9007199254740992'))


def test_rows_of_a_manifest() -> None:
    """Metrics, parameters, tags and columns are what the manifest says."""
    run = SentRun(
        tags=["nightly"], params={"params": {"lr": 0.5, "on": True}, "seed": 7},
        metrics={"rate": {"value": 0.5, "kind": "success", "k": 1, "n": 2}, "x": {"value": "NaN", "step": 3}},
    )  # fmt: skip
    document = reading.read(rfc8785.dumps(run.document()))
    metrics = {row["name"]: row for row in rows.metrics(document)}
    assert (metrics["rate"]["value"], metrics["rate"]["measure"], metrics["rate"]["k"]) == (0.5, "success", 1)
    assert (metrics["x"]["value"], metrics["x"]["kind"], metrics["x"]["step"]) == (None, "nan", 3)
    # `params.lr` in a filter asks for `lr`.
    params = {row["name"]: (row["text"], row["number"]) for row in rows.params(document)}
    assert params == {"lr": ("0.5", 0.5), "on": ("true", None), "seed": ("7", 7.0)}
    assert rows.tags(document) == ["nightly"] and rows.columns(document)["recipe"] == "demo"
