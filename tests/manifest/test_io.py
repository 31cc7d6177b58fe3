"""Writing manifests strictly and reading them tolerantly."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import Manifest
from worldflux.manifest.numbers import json_number, portable
from worldflux.manifest.validator import MAX_DEPTH

VECTORS = Path(__file__).parents[1] / "fixtures" / "manifests"
FULL = VECTORS / "valid" / "succeeded-full.json"


@pytest.fixture
def record() -> Manifest:
    """A manifest that uses every part."""
    return io.read(FULL)


class Gate:
    """Refuses one sequence of bytes and remembers what it was shown."""

    def __init__(self, secret: bytes = b"\0") -> None:
        self.secret = secret
        self.shown: list[tuple[bytes, str]] = []

    def refuse(self, data: bytes, what: str) -> None:
        self.shown.append((data, what))
        if self.secret in data:
            raise RefusedError(f"{what} holds a secret")


def test_what_is_written_is_read_again(record: Manifest, tmp_path: Path) -> None:
    """Write, read, write: the same record and the same bytes, whose digest is the file's."""
    path = tmp_path / "manifest.json"
    data = io.write(path, record)
    assert data == path.read_bytes()
    again = io.read(path)
    assert again == record
    assert hashlib.sha256(io.canonical(again.to_json())).digest() == hashlib.sha256(data).digest()


def test_bytes_are_canonical() -> None:
    """RFC 8785, with its own examples: order of UTF-16 units, shortest numbers, plain UTF-8, no spaces."""
    names = {
        "€": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew",
        "1": "One",
        "😀": "Emoji",
        "ö": "o",
    }
    assert [*json.loads(io.canonical(names))] == ["\r", "1", "ö", "€", "😀", "\ufb33"]
    numbers = [
        333333333.33333329,
        1e30,
        4.50,
        2e-3,
        0.000000000000000000000000001,
        1e21,
        1e-7,
        5e-324,
        -0.0,
        1e20,
    ]
    wanted = "333333333.3333333,1e+30,4.5,0.002,1e-27,1e+21,1e-7,5e-324,0,100000000000000000000"
    assert io.canonical({"n": numbers}).decode() == f'{{"n":[{wanted}]}}'
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert io.canonical({"s": text}).decode() == r"""{"s":"€$\u000f\nA'B\"\\\\\"/"}"""


#: Doubles by their bits, so that every size of number comes up.
doubles = st.binary(min_size=8, max_size=8).map(lambda bits: struct.unpack("<d", bits)[0])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | doubles | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
leaf_names = texts.filter(
    lambda name: name not in ("", "name", "plugin", "plugin_version", "support", "options")
)


@settings(
    max_examples=times(60, 200), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    values=st.lists(doubles | st.integers(-(2**1000), 2**1000), max_size=5),
    metadata=st.dictionaries(leaf_names, anything, max_size=4),
)
def test_any_metric_and_metadata_survive(values: list[Any], metadata: dict[str, Any], tmp_path: Path) -> None:
    """For all numbers and all JSON: the file is valid, reading gives the values and the bytes again."""
    record = io.read(FULL)
    for index, value in enumerate(values):
        record.metrics[f"m{index}"] = {"value": json_number(value)}
    record.record_metadata(metadata)
    path = tmp_path / "manifest.json"
    data = io.write(path, record)
    again = io.read(path)
    assert io.canonical(again.to_json()) == data
    assert again.metrics == record.metrics
    for name, value in metadata.items():
        assert again.runtime[name] == portable(value)


def test_an_invalid_manifest_is_not_written(record: Manifest, tmp_path: Path) -> None:
    """The old file stays, no temporary file appears, and the error names place and problem."""
    path = tmp_path / "manifest.json"
    before = io.write(path, record)
    record.run["status"] = "done"  # type: ignore[typeddict-item]
    with pytest.raises(WorldFluxError, match="/run/status: must be one of queued") as caught:
        io.write(path, record)
    assert caught.value.code == "manifest"
    assert caught.value.details["faults"][0]["where"] == "/run/status"
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["manifest.json"])


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {1}], ids=repr)
def test_what_json_can_not_hold_is_never_written(
    record: Manifest, tmp_path: Path, value: Any, validate: bool
) -> None:
    """NaN, long integers, broken text and foreign objects are refused with their place, checked or not."""
    record.runtime["leaf"] = [value]
    with pytest.raises(WorldFluxError, match="/runtime/leaf/0: ") as caught:
        io.write(tmp_path / "manifest.json", record, validate=validate)
    assert caught.value.code == "manifest"
    assert os.listdir(tmp_path) == []


def test_endless_nesting_is_an_error_not_a_crash(record: Manifest, tmp_path: Path) -> None:
    """Data that holds itself is refused with a message, and in a checked record data that no reader has to follow."""
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    for leaf, validate in ((endless, True), (endless, False), (deep, True)):
        record.runtime["leaf"] = leaf
        with pytest.raises(WorldFluxError, match="nested deeper"):
            io.write(tmp_path / "manifest.json", record, validate=validate)


def test_the_gate_sees_the_very_bytes_before_the_disk(record: Manifest, tmp_path: Path) -> None:
    """What the gate is shown is what the file will hold; its refusal leaves the old file alone."""
    path = tmp_path / "manifest.json"
    gate = Gate()
    data = io.write(path, record, gate)
    assert gate.shown == [(data, "manifest.json")]
    record.run["name"] = "hunter2-hunter2"
    with pytest.raises(RefusedError):
        io.write(path, record, Gate(b"hunter2-hunter2"))
    assert (path.read_bytes(), os.listdir(tmp_path)) == (data, ["manifest.json"])


def test_a_manifest_that_is_too_large_is_not_written(record: Manifest, tmp_path: Path) -> None:
    """More than readers take is refused by the writer already."""
    record.runtime["leaf"] = ["x" * 1000] * (io.MAX_BYTES // 1000)
    with pytest.raises(WorldFluxError, match="bytes, more than"):
        io.write(tmp_path / "manifest.json", record)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", sorted((VECTORS / "valid").glob("*.json")), ids=lambda path: path.stem)
def test_every_valid_vector_is_read_and_written(path: Path, tmp_path: Path) -> None:
    """Old files of version 1.0 stay readable and rewritable, byte for byte in canonical form."""
    record = io.read(path)
    data = io.write(tmp_path / "manifest.json", record)
    assert json.loads(data) == json.loads(path.read_bytes())


def test_a_newer_minor_version_is_read_but_not_rewritten(tmp_path: Path) -> None:
    """Its known fields are there; writing would lose the unknown ones, so it is refused."""
    record = io.read(VECTORS / "newer" / "minor.json")
    assert (record.schema_version, record.status) == ("1.7", "succeeded")
    assert record.metrics["success_rate"]["k"] == 42
    with pytest.raises(WorldFluxError, match="newer version") as caught:
        io.write(tmp_path / "manifest.json", record)
    assert (caught.value.code, os.listdir(tmp_path)) == ("manifest-version", [])


@pytest.mark.parametrize("version", ["2.0", "3.14", "12.0"])
def test_a_newer_major_version_is_refused_clearly(version: str, tmp_path: Path) -> None:
    """The message has the file, both versions and the command that helps."""
    document = json.loads(FULL.read_bytes())
    document.update(schema=document["schema"][:-1] + version.split(".")[0], schema_version=version)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))
    with pytest.raises(WorldFluxError, match=f"version {version}; this worldflux reads up to 1") as caught:
        io.read(path)
    assert caught.value.code == "manifest-version"
    assert "pip install -U worldflux" in caught.value.hint and str(path) in caught.value.problem


def test_older_major_versions_pass_through_their_upgrades(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document of version 0 goes through the step for it; without one it is refused, not guessed."""
    document = {**json.loads(FULL.read_bytes()), "schema": f"{io.SCHEMA[:-1]}0", "schema_version": "0.9"}
    with pytest.raises(WorldFluxError, match="version 0 of the manifest is no longer read"):
        io.from_document(dict(document), "old.json")
    steps = {0: lambda old: {**old, "schema": io.SCHEMA, "schema_version": "1.0"}}
    monkeypatch.setattr(io, "UPGRADES", steps)
    assert io.from_document(dict(document), "old.json").schema_version == "1.0"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "https://example.org/x"}, "do not say"),
        ({"schema_version": "one"}, "do not say"),
        ({"schema_version": 1.0}, "do not say"),
        ({"schema_version": "2.0"}, "do not say"),
        ({"run": []}, "'run' is no object"),
        ({"logs": {}}, "'logs' is no array"),
        ({"git": "main"}, "'git' is no object"),
        ({"client_run_id": "../../etc"}, "no run id"),
        ({"run": {"status": "done"}}, "no known status"),
        ({"run": {}}, "no known status"),
    ],
)
def test_what_is_no_manifest_is_refused_by_name(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """Other JSON files, and damaged ones, give one sentence with the file's name."""
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(FULL.read_bytes()), **change}))
    with pytest.raises(WorldFluxError, match=problem) as caught:
        io.read(path)
    assert (caught.value.code, str(path) in caught.value.problem) == ("manifest-unreadable", True)


@pytest.mark.parametrize("name", sorted(json.loads(FULL.read_bytes())))
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    """A manifest without one of its parts is refused, and the part is named."""
    document = json.loads(FULL.read_bytes())
    del document[name]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))
    with pytest.raises(WorldFluxError, match=name):
        io.read(path)


def test_a_missing_file_has_its_own_code(tmp_path: Path) -> None:
    """Callers can tell no manifest from a broken one."""
    with pytest.raises(WorldFluxError, match="no such manifest") as caught:
        io.read(tmp_path / "manifest.json")
    assert caught.value.code == "manifest-missing"


def test_pipes_and_folders_do_not_hang_the_reader(tmp_path: Path) -> None:
    """Something planted in the file's place is refused at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    device = Path("/dev/zero")
    for path, problem in (
        (pipe, "not a regular file"),
        (tmp_path, "directory"),
        (device, "not a regular file"),
    ):
        with pytest.raises(WorldFluxError, match=problem):
            io.read(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "not JSON: .*line 1, column 2"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": [{"b": 1, "c": {}, "b": 1}]}', "'b' stands twice"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "no double|beyond every double"),
        (b'{"a": -' + b"9" * 5000 + b"}", "beyond every double"),
        (b'{"a": 9007199254740993}', "loses digits"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b" " * (io.MAX_BYTES + 1), "larger than"),
    ],
    ids=range(16),
)
def test_what_is_no_strict_json_is_refused(data: bytes, problem: str) -> None:
    """Whatever other readers would take in two ways is refused with one sentence."""
    with pytest.raises(WorldFluxError, match=problem) as caught:
        io.parse(data, "manifest.json")
    assert caught.value.problem.startswith("manifest.json: ") and len(caught.value.problem) < 300


def test_large_doubles_come_back_as_doubles() -> None:
    """Canonical JSON writes 2^60 as digits; reading and writing it keeps the bytes."""
    for number in (1e16, 2.0**60, 1.7976931348623157e308, -(2.0**53)):
        data = io.canonical({"x": number})
        assert io.canonical(io.parse(data, "x")) == data
        assert io.parse(data, "x") == {"x": number}


@settings(max_examples=times(90, 300), deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_give_a_document_or_one_error(data: bytes) -> None:
    """No input makes the reader raise anything but its own error."""
    try:
        document = io.parse(data, "x")
        io.from_document(document, "x")
    except WorldFluxError as error:
        assert error.problem.startswith("x: ")


@pytest.mark.serial
def test_checking_and_writing_cost_little(record: Manifest, tmp_path: Path) -> None:
    """With 150 packages, 20 metrics and 10 artifacts, all but the disk takes a few milliseconds."""
    assert record.environment is not None
    record.environment["packages"] = {f"package-{number}": f"{number}.0.1" for number in range(150)}
    record.metrics.update({f"m{number}": {"value": number / 7, "unit": "s"} for number in range(20)})
    record.artifacts = [{**record.artifacts[0], "path": f"artifacts/{number}.mp4"} for number in range(10)]
    io.prepare()
    spent = []
    for _ in range(10):
        started = time.process_time()
        io.write(tmp_path / "manifest.json", record)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.02
