"""The manifest object: its life, its ids and its times."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from worldflux.manifest import model, parts
from worldflux.manifest.model import (
    FINAL_STATUSES,
    STATUSES,
    Manifest,
    is_run_id,
    new_run_id,
    success_metric,
    utc_now,
)
from worldflux.manifest.validator import schema, validate

RUN_ID = "01a1fdf6-8850-779b-b635-609f3cc6740c"


def manifest(**more: Any) -> Manifest:
    """A new manifest of a run with nothing special about it."""
    return Manifest.new(
        project="demo",
        recipe={"name": "cpu-smoke", "task": "eval", "source": {"path": "recipes/cpu-smoke", "sha256": None}},
        config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": {}},
        runtime={
            "name": "local",
            "plugin": "worldflux.runtime.local_plugin:LocalPlugin",
            "plugin_version": "0.1.0",
        },
        **more,
    )


def test_every_moment_of_a_run_is_a_valid_manifest() -> None:
    """Queued, running, inside a stage and finished: each can be written and read by others."""
    record = manifest(tags=["a"], parent_id=new_run_id(), sweep_id="s-1", argv=["worldflux", "run"])
    assert (record.status, record.final, validate(record.to_json())) == ("queued", False, [])
    record.start()
    assert (record.status, validate(record.to_json())) == ("running", [])
    with record.stage("run"):
        assert record.run["stages"][0]["status"] == "running"
        assert validate(record.to_json()) == []
    record.finish("succeeded", exit_code=0)
    assert (record.final, validate(record.to_json())) == (True, [])
    duration = record.run["duration_seconds"]
    assert duration is not None and 0 <= duration < 60


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES - {"succeeded"}))
def test_every_other_end_has_an_error_and_is_valid(status: Any) -> None:
    """A run that did not succeed says why, also when nobody gave it words."""
    record = manifest()
    record.start()
    record.finish(status, exit_code=-9)
    assert validate(record.to_json()) == []
    assert record.run["signal"] == "SIGKILL"
    assert record.run["error"] is not None and record.run["error"]["code"] == status


def test_signals_have_names_and_codes_stay() -> None:
    """An exit code below zero names its signal; others have none."""
    for code, name in ((1, None), (None, None), (-15, "SIGTERM"), (-64, "SIGRTMAX"), (-99, "SIG99")):
        record = manifest()
        record.finish("failed", exit_code=code)
        assert (record.run["exit_code"], record.run["signal"]) == (code, name)
        assert validate(record.to_json()) == []


def test_finish_refuses_contradictions() -> None:
    """No record says succeeded with an error or an exit code, or ends as running."""
    record = manifest()
    error: parts.Error = {"code": "x", "message": "x", "hint": ""}
    for status, more in (
        ("running", {}),
        ("queued", {}),
        ("succeeded", {"exit_code": 1}),
        ("succeeded", {}),
        ("succeeded", {"exit_code": 0, "error": error}),
    ):
        with pytest.raises(ValueError, match=r"can not end|has not succeeded"):
            record.finish(status, **more)  # type: ignore[arg-type]
    assert record.status == "queued"


def test_stages_close_by_what_happened() -> None:
    """A stage that raised has failed, Ctrl-C interrupted it, its own word wins, and the error goes on."""
    record = manifest()
    with pytest.raises(ZeroDivisionError), record.stage("env"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), record.stage("run"):
        raise KeyboardInterrupt
    with record.stage("collect") as stage:
        stage["status"] = "timeout"
    assert [each["status"] for each in record.run["stages"]] == ["failed", "interrupted", "timeout"]
    assert all(each["finished_at"] for each in record.run["stages"])


def test_an_open_stage_ends_with_the_run() -> None:
    """A run that finishes inside a stage leaves no stage running for ever."""
    record = manifest()
    record.start()
    with record.stage("run"):
        record.finish("timeout")
        assert record.run["stages"][0]["status"] == "timeout"
        assert validate(record.to_json()) == []
    assert record.run["stages"][0]["status"] == "timeout"


def test_metadata_becomes_leaves_of_runtime() -> None:
    """Every entry of RuntimeResult.metadata stands directly under runtime, in JSON form."""
    record = manifest()
    record.record_metadata({"instance_id": "i-1", "timings": {"boot": float("nan")}, "ns": 2**60})
    assert record.runtime["instance_id"] == "i-1"
    assert record.runtime["timings"] == {"boot": "NaN"}
    assert record.runtime["ns"] == str(2**60)
    assert validate(record.to_json()) == []


def test_metadata_can_not_replace_what_worldflux_says() -> None:
    """A plugin can not pass itself off as another one; nothing of such metadata is taken."""
    record = manifest()
    with pytest.raises(ValueError, match=r"reserved name plugin, support"):
        record.record_metadata({"plugin": "x", "support": "production", "region": "eu"})
    assert "region" not in record.runtime


def test_from_json_gives_the_same_manifest_and_leaves_the_unknown_out() -> None:
    """A document goes in and comes out equal, less top-level fields of a later version."""
    record = manifest()
    document = record.to_json()
    assert Manifest.from_json({**document, "energy": {}}).to_json() == document
    with pytest.raises(KeyError, match="cost"):
        Manifest.from_json({name: value for name, value in document.items() if name != "cost"})


def test_success_metric_carries_counts_and_interval() -> None:
    """42 of 50 is 0.84 with the Wilson interval that scipy gives."""
    metric = success_metric(42, 50)
    assert (metric["value"], metric["k"], metric["n"], metric["kind"]) == (0.84, 42, 50, "success")
    assert (metric["interval"]["low"], metric["interval"]["high"]) == pytest.approx((0.7148578, 0.9166258))


def test_times_are_utc_with_three_digits() -> None:
    """Any parser of ISO 8601 reads the time, and it is now."""
    text = utc_now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", text)
    assert abs(datetime.fromisoformat(text) - datetime.now(timezone.utc)) < timedelta(seconds=5)


def test_times_do_not_depend_on_the_local_zone() -> None:
    """A machine in another time zone writes the same instant in the same form."""
    code = "import time; time.tzset(); from worldflux.manifest.model import utc_now; print(utc_now())"
    found = subprocess.run(
        [sys.executable, "-c", code], env={"TZ": "Asia/Kathmandu"}, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert abs(datetime.fromisoformat(found) - datetime.now(timezone.utc)) < timedelta(seconds=30)


def test_run_ids_are_version_7_and_hold_the_time() -> None:
    """The id is a UUID 7 whose first 48 bits are the milliseconds of its making."""
    import uuid

    text = new_run_id()
    parsed = uuid.UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
    assert abs((parsed.int >> 80) - time.time() * 1000) < 5000
    assert is_run_id(text)


@pytest.mark.parametrize("text", ["", "../x", RUN_ID.upper(), None, 7, f"{RUN_ID}\n"])
def test_only_ids_are_ids(text: object) -> None:
    """What is no run id can not become the name of a folder."""
    assert not is_run_id(text)


def test_run_ids_rise_within_a_millisecond_and_over_threads() -> None:
    """40,000 ids of four threads: all different, and each thread sees its own in order."""
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_run_id() for _ in range(10_000))

    threads = [threading.Thread(target=make, args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({text for each in made for text in each}) == 40_000


def test_run_ids_rise_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an id from an hour ahead the next one still sorts behind it, and is valid."""
    ahead = (time.time_ns() // 1_000_000 + 3_600_000) << 74
    monkeypatch.setattr(model, "_last_id", ahead)
    first, second = new_run_id(), new_run_id()
    assert first < second and is_run_id(first) and is_run_id(second)
    assert int(first.replace("-", ""), 16) >> 80 == ahead >> 74


def test_statuses_are_the_same_everywhere() -> None:
    """The tuple, the type and the published schema name the same eight statuses."""
    assert tuple(schema()["$defs"]["status"]["enum"]) == STATUSES == get_args(parts.Status)


_PARTS = {
    "Run": "$defs/run",
    "Error": "$defs/run/properties/error",
    "Stage": "$defs/stage",
    "Owner": "$defs/owner",
    "Producer": "properties/producer",
    "Recipe": "properties/recipe",
    "Source": "properties/recipe/properties/source",
    "Adapter": "properties/adapter",
    "Config": "properties/config",
    "Metric": "$defs/metric",
    "Interval": "$defs/metric/properties/interval",
    "Series": "properties/series",
    "Log": "properties/logs/items",
    "Artifact": "properties/artifacts/items",
    "Input": "$defs/input",
    "Git": "$defs/git",
    "Diff": "$defs/git/properties/diff",
    "Untracked": "$defs/git/properties/untracked/items",
    "Submodule": "$defs/git/properties/submodules/items",
    "Environment": "$defs/environment",
    "Python": "$defs/environment/properties/python",
    "Lock": "$defs/environment/properties/lock",
    "Hardware": "$defs/hardware",
    "Cpu": "$defs/hardware/properties/cpu",
    "Accelerator": "$defs/hardware/properties/accelerators/items",
    "Cost": "$defs/cost",
    "CostPart": "$defs/cost/properties/parts/items",
    "Determinism": "properties/determinism",
    "Secret": "properties/secrets/items",
}


@pytest.mark.parametrize("name", sorted(_PARTS))
def test_types_agree_with_the_schema(name: str) -> None:
    """Each typed part has the fields of the schema, and the same ones are required."""
    node: Any = schema()
    for step in _PARTS[name].split("/"):
        node = node[step]
    annotations = getattr(parts, name).__annotations__
    text = {field: getattr(each, "__forward_arg__", str(each)) for field, each in annotations.items()}
    assert set(text) == set(node["properties"])
    assert {field for field, each in text.items() if not each.startswith("NotRequired[")} == set(
        node["required"]
    )


def test_every_part_is_compared() -> None:
    """A part that is added has to be added to the comparison with the schema."""
    typed = {name for name, each in vars(parts).items() if hasattr(each, "__required_keys__")}
    assert typed == set(_PARTS)


def test_import_is_light() -> None:
    """Importing the model pulls in none of the slow modules."""
    slow = ("jsonschema", "rfc8785", "pydantic", "asyncio", "subprocess", "statistics", "datetime", "decimal")
    code = (
        "import sys, worldflux.manifest.model, worldflux.manifest.io\n"
        f"print(sorted({{*{slow}, 'worldflux.manifest.parts'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
