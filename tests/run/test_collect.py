"""What a run left behind is read without trusting it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.config.spec import ArtifactSpec, MetricSpec
from worldflux.manifest.model import wilson
from worldflux.run.collect import Collected, collect, digest_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    return tmp_path


def metric(folder: Path, content: object, select: str, **more: Any) -> Collected:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "artifacts" / "m.json").write_text(text)
    return collect(folder, {"m": MetricSpec(file="m.json", select=select, **more)}, [])


def test_series_rows(folder: Path) -> None:
    """The last value of each name counts; rows that are no metric are left out with a warning."""
    rows = [
        '{"name": "loss", "value": 2.5, "step": 1}',
        '{"name": "loss", "value": 1.5, "step": 2}',
        '{"name": "odd name!", "value": true}',
        '{"name": "nan", "value": NaN}',
        "not json",
        '{"name": "x"}',
        '{"name": "big", "value": 1e999}',
        "",
        '{"name": "torn", "val',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(rows))
    found = collect(folder, {}, [])
    assert {name: m["value"] for name, m in found.metrics.items()} == {
        "loss": 1.5, "odd_name_": 1, "nan": "NaN", "big": "Infinity",
    }  # fmt: skip
    assert found.metrics["loss"]["step"] == 2
    assert found.series is not None and found.series["rows"] == 5
    assert any("line 5" in warning for warning in found.warnings)


def test_a_link_as_series_is_not_read(folder: Path) -> None:
    """A metrics file that leads elsewhere is not followed."""
    (folder / "other").write_text('{"name": "x", "value": 1}\n')
    (folder / "metrics.jsonl").symlink_to(folder / "other")
    assert collect(folder, {}, []).metrics == {}


def test_success_has_counts_and_interval(folder: Path) -> None:
    """A success metric counts true values and carries the Wilson interval."""
    found = metric(folder, {"e": [{"ok": True}] * 42 + [{"ok": False}] * 8}, "e[].ok", kind="success")
    low, high = wilson(42, 50)
    assert found.metrics["m"] == {
        "value": 0.84, "kind": "success", "k": 42, "n": 50,
        "interval": {"method": "wilson", "level": 0.95, "low": low, "high": high},
    }  # fmt: skip
    assert (round(low, 6), round(high, 6)) == (0.714858, 0.916626)


@pytest.mark.parametrize(
    ("content", "select", "more"),
    [
        ({"a": "text"}, "a", {}),
        ({"a": None}, "a", {}),
        ({"a": {"b": 1}}, "a", {}),
        ({"a": []}, "a", {"kind": "success"}),
        ({"a": [0, 2]}, "a", {"kind": "success"}),
        ({"a": "x"}, "sum(a)", {}),
        ("[" * 100_000, "a", {}),
        ("", "a", {}),
        ("\ud800" if False else '{"a": 1', "a", {}),
    ],
)
def test_what_is_no_metric_is_a_fault(
    folder: Path, content: object, select: str, more: dict[str, Any]
) -> None:
    """Each is one fault that names the metric; nothing is recorded."""
    found = metric(folder, content, select, **more)
    assert len(found.faults) == 1 and "metric m" in found.faults[0] and found.metrics == {}


def test_optional_metrics_may_be_missing(folder: Path) -> None:
    """`optional` forgives a missing file and an empty selection, not a wrong shape."""
    assert metric(folder, {}, "a", optional=True).faults == []
    assert len(metric(folder, {"a": "x"}, "a", optional=True).faults) == 1
    (folder / "artifacts" / "m.json").unlink()
    spec = MetricSpec(file="m.json", select="a", optional=True)
    assert collect(folder, {"m": spec}, []).faults == []


def test_a_metric_file_that_is_a_link_out(folder: Path) -> None:
    """A link out of the run's folder is not read."""
    (folder.parent / "outside.json").write_text('{"a": 1}')
    (folder / "artifacts" / "m.json").symlink_to(folder.parent / "outside.json")
    found = collect(folder, {"m": MetricSpec(file="m.json", select="a")}, [])
    assert found.metrics == {} and "leads out" in found.faults[0]


def test_artifacts_with_patterns(folder: Path) -> None:
    """`*` stays in a folder, `**` crosses, each file counts once, commit wins."""
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "sub/deep/.hidden", "d.bin"):
        path = folder / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    wanted = [
        ArtifactSpec(path="**/*.txt"),
        ArtifactSpec(path="sub/*.txt", commit=True),
        ArtifactSpec(path="none/**", optional=True),
    ]
    found = collect(folder, {}, wanted)
    assert [(a["path"], a["commit"]) for a in found.artifacts] == [
        ("artifacts/a.txt", False), ("artifacts/sub/b.txt", True), ("artifacts/sub/deep/c.txt", False),
    ]  # fmt: skip
    assert found.artifacts[0]["sha256"] == hashlib.sha256(b"a.txt").hexdigest()
    assert found.artifacts[0]["media_type"] == "text/plain" and found.faults == []
    everything = collect(folder, {}, [ArtifactSpec(path="**")])
    assert len(everything.artifacts) == 5


def test_artifacts_that_are_no_files(folder: Path) -> None:
    """Links, pipes and names that can not be recorded are left out and named; a pipe does not hang."""
    work = folder / "artifacts"
    os.mkfifo(work / "pipe")
    (work / "link").symlink_to("/etc/passwd")
    (work / "loop").symlink_to(".", target_is_directory=True)
    (work / "new\nline").write_text("x")
    (work / "50%").write_text("x")
    (work / "fine é").write_text("x")
    (Path(os.fsdecode(os.fsencode(work) + b"/\xff\xfe"))).write_text("x")
    found = collect(folder, {}, [ArtifactSpec(path="**")])
    assert [a["path"] for a in found.artifacts] == ["artifacts/fine é"]
    told = " ".join(found.warnings)
    for part in ("link is a link", "loop is a link", "new\\nline", "50%", "can not be recorded"):
        assert part in told
    assert "\n" not in told and told.encode()


def test_digest_of_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    """A sparse gigabyte is digested in constant memory."""
    import tracemalloc

    path = tmp_path / "big"
    with path.open("wb") as stream:
        stream.truncate(256 * 2**20)
    tracemalloc.start()
    size, _ = digest_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 256 * 2**20 and peak < 4 * 2**20


@settings(max_examples=times(30, 60), deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_collection(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever a run writes as metrics, the collection ends and its text can be stored."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "artifacts").mkdir()
    (folder / "metrics.jsonl").write_bytes(data)
    (folder / "artifacts" / "m.json").write_bytes(data)
    found = collect(folder, {"m": MetricSpec(file="m.json", select="a.b[0]")}, [])
    json.dumps([found.metrics, found.faults, found.warnings], allow_nan=False).encode()
