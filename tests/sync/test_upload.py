"""Runs and a real server: what is here is there, once, whoever sends it and however often."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_lab import SOMEWHERE_ELSE, end_run, fingerprint, make_run, metric_lines, sha256
from server_process import Server
from sync_lab import Desk

from worldflux.manifest.secrets import Gate
from worldflux.run.machine import owner

LOG = b"epoch 1\nepoch 2\n\xff\xfe not text\r50%\r100%\nlast line"


def test_a_run_is_there_as_it_is_here(desk: Desk) -> None:
    """Record, log, metrics and committed artifacts arrive byte for byte; what is not committed stays."""
    big = os.urandom(300_000)
    run_id = make_run(
        desk.runs_dir,
        metrics=metric_lines(50),
        log=LOG,
        artifacts={"small.json": b"{}", "empty": b"", "deep/big.bin": big},
        uncommitted={"checkpoint.pt": b"stays here" * 10},
    )
    outcome = desk.one(run_id)
    assert outcome.outcome == "new"
    desk.assert_same(run_id)
    assert list(desk.client.missing_blobs([sha256(b"stays here" * 10)])) == [sha256(b"stays here" * 10)]
    assert desk.get(f"/api/runs/{run_id}/artifacts/{sha256(big)}") == big
    assert desk.get(f"/api/runs/{run_id}/log?name=output&offset=0&limit=65536") == LOG


def test_nothing_but_four_things_leaves(desk: Desk) -> None:
    """Configuration, diff, requirements and anything else in the folder are not among what is sent."""
    run_id = make_run(desk.runs_dir, log=b"a\n", artifacts={"result.json": b"[1]"})
    folder = desk.runs_dir / run_id
    for name in ("source.diff", "requirements.lock", "overrides.yaml", "artifacts/other.bin", "notes.txt"):
        (folder / name).write_text(f"private {name}")
    outcome = desk.one(run_id)
    manifest = (folder / "manifest.json").stat().st_size
    assert outcome.sent == manifest + len(b"a\n") + len(b"[1]")
    for name in ("source.diff", "requirements.lock", "artifacts/other.bin", "config.yaml"):
        digest = sha256((folder / name).read_bytes())
        assert desk.client.missing_blobs([digest]) == {digest: 0}


def test_the_same_again_changes_nothing(desk: Desk) -> None:
    """A second sync, one without a journal, and one that reads all again send nothing and say `unchanged`."""
    run_id = make_run(desk.runs_dir, metrics=metric_lines(9), log=LOG, artifacts={"a": b"1" * 70_000})
    assert desk.one(run_id).outcome == "new"
    for again in ({}, {"reread": True}, "gone"):
        if again == "gone":
            shutil.rmtree(desk.project / ".worldflux")
        outcome = desk.one(run_id, **(again if isinstance(again, dict) else {}))
        assert (outcome.outcome, outcome.sent) == ("unchanged", 0)
    desk.assert_same(run_id)


def test_what_is_there_may_be_gone_here(desk: Desk) -> None:
    """Logs and artifacts that were removed to make room after a sync fail nobody, with a journal and without."""
    run_id = make_run(desk.runs_dir, metrics=metric_lines(9), log=LOG, artifacts={"a": b"1" * 70_000})
    assert desk.one(run_id).outcome == "new"
    folder = desk.runs_dir / run_id
    for path in (folder / "metrics.jsonl", folder / "logs" / f"{run_id}.log", folder / "artifacts" / "a"):
        path.unlink()
    assert desk.one(run_id).outcome == "unchanged"
    shutil.rmtree(desk.project / ".worldflux")
    assert desk.one(run_id).outcome == "unchanged"
    assert desk.one(run_id, reread=True).code == "changed"


def test_many_runs_travel_together(desk: Desk) -> None:
    """Three hundred runs need a few requests, not hundreds; all are there, and each exactly once."""
    ids = [
        make_run(desk.runs_dir, metrics=metric_lines(5), log=b"x\n" * n, validate=False) for n in range(300)
    ]
    summary = desk.upload()
    assert summary.counts["new"] == 300 and summary.requests < 20
    for run_id in ids[::37]:
        desk.assert_same(run_id)
    assert desk.upload().counts["unchanged"] == 300


def test_a_run_larger_than_a_bundle_comes_in_parts(desk: Desk) -> None:
    """A log of many megabytes and one line without end arrive whole."""
    log = b"".join(b"line %08d of a long log\n" % i for i in range(250_000)) + b"z" * 3_000_000
    run_id = make_run(desk.runs_dir, log=log, metrics=metric_lines(20_000))
    assert desk.one(run_id).outcome == "new"
    desk.assert_same(run_id)


def test_one_changed_copy_of_an_artifact_spoils_its_own_run_only(desk: Desk) -> None:
    """Two runs have the same artifact, and one file was edited: the other run arrives."""
    data = os.urandom(200_000)
    first, second = (make_run(desk.runs_dir, artifacts={"a": data}) for _ in range(2))
    (desk.runs_dir / first / "artifacts" / "a").write_bytes(data[::-1])
    summary = desk.upload()
    assert summary.outcomes[first].code == "changed" and first in summary.outcomes[first].detail
    assert summary.outcomes[second].outcome == "new"
    desk.assert_same(second)


@pytest.mark.parametrize("jobs", [1, 4])
def test_artifacts_and_bundles_end_in_any_order(desk: Desk, jobs: int) -> None:
    """Runs whose artifacts land while others' bundles are answered are all settled, each once."""
    ids = [
        make_run(
            desk.runs_dir, log=os.urandom(400_000).hex().encode() + b"\n", validate=False,
            artifacts={"a": os.urandom(70_000), "b": os.urandom(66_000)} if number % 3 else {},
        )
        for number in range(24)
    ]  # fmt: skip
    assert desk.upload(jobs=jobs).counts["new"] == len(ids)
    for run_id in ids:
        desk.assert_same(run_id)


def test_a_growing_run_is_sent_once(desk: Desk) -> None:
    """Synced while it goes on and at its end, only what is new is sent each time: each point once."""
    run_id = make_run(desk.runs_dir, status="running", metrics=metric_lines(10), log=b"one\ntw")
    folder = desk.runs_dir / run_id
    first = desk.one(run_id)
    assert first.outcome == "new" and first.torn == ("log:output",)
    assert desk.state(run_id)["status"] == "open"
    assert desk.state(run_id)["streams"]["log:output"]["bytes"] == 4
    for step in range(1, 4):
        with open(folder / "metrics.jsonl", "ab") as file:
            file.write(metric_lines(10, step * 10))
        assert desk.one(run_id).outcome == "updated"
    assert desk.one(run_id).outcome == "unchanged"
    with open(folder / "logs" / f"{run_id}.log", "ab") as file:
        file.write(b"o\nthree\n")
    end_run(folder)
    last = desk.one(run_id)
    assert last.outcome == "updated" and last.sent < 10_000
    desk.assert_same(run_id)
    lines = desk.get(f"/api/runs/{run_id}/metrics.csv?name=loss").count(b"\n")
    assert lines in (40, 41)


def test_a_torn_run_is_synced_up_to_its_last_whole_line(desk: Desk) -> None:
    """A run whose machine lost power in the middle of a line is there, marked as torn."""
    run_id = make_run(
        desk.runs_dir,
        status="interrupted",
        recorded=False,
        metrics=metric_lines(3) + b'{"name": "lo',
        log=b"a\nb",
    )
    outcome = desk.one(run_id)
    assert outcome.outcome == "new" and set(outcome.torn) == {"log:output", "metrics"}
    state = desk.state(run_id)
    assert state["streams"]["metrics"]["bytes"] == len(metric_lines(3))
    assert state["streams"]["log:output"]["bytes"] == 2
    assert desk.one(run_id).outcome == "unchanged"


def test_a_run_of_another_host_is_never_settled(desk: Desk) -> None:
    """A copied folder whose process can not be seen from here stays open, on disk and on the server."""
    run_id = make_run(desk.runs_dir, status="running", log=b"far away\n", owner=SOMEWHERE_ELSE)
    before = fingerprint(desk.runs_dir / run_id)
    assert desk.one(run_id).outcome == "new"
    assert desk.state(run_id)["status"] == "open"
    assert fingerprint(desk.runs_dir / run_id) == before


def test_a_run_whose_process_died_is_left_as_it_is(desk: Desk) -> None:
    """Closing the record is for other commands: sync sends it as it lies here, and does not touch it."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n", owner={**owner(), "pid": child.pid})
    before = fingerprint(desk.runs_dir / run_id)
    assert desk.one(run_id).outcome == "new" and desk.state(run_id)["status"] == "open"
    assert fingerprint(desk.runs_dir / run_id) == before


def test_a_wrong_clock_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lives ten years in the past or in the future syncs as any other."""
    for years in (-10, 10):
        run_id = make_run(desk.runs_dir, log=b"one\n", artifacts={"a": os.urandom(100_000)})
        now = time.time() + years * 365 * 86400
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert desk.one(run_id).outcome == "new"
        monkeypatch.undo()
        desk.assert_same(run_id)


def test_two_hosts_with_copies_of_a_run_make_one(
    server: Server, desk: Desk, desk_at: Callable[..., Desk], tmp_path: Path
) -> None:
    """The same folder synced from two machines is one run; an older copy never undoes the newer one."""
    run_id = make_run(desk.runs_dir, status="running", metrics=metric_lines(5), log=b"one\n")
    other = desk_at(server.url, server.key, tmp_path / "other")
    shutil.copytree(desk.project, other.project)
    assert desk.one(run_id).outcome == "new"
    assert other.one(run_id).outcome == "unchanged"
    end_run(desk.runs_dir / run_id)
    assert desk.one(run_id).outcome == "updated"
    stale = other.one(run_id)
    assert stale.outcome == "conflict" and "another copy" in stale.hint
    desk.assert_same(run_id)


def test_other_content_under_the_same_id_is_a_conflict(
    server: Server, desk: Desk, desk_at: Callable[..., Desk], tmp_path: Path
) -> None:
    """Two different endings of one id: the first stays, the second is told and not retried for ever."""
    run_id = make_run(desk.runs_dir, log=b"one\n")
    other = desk_at(server.url, server.key, tmp_path / "other")
    shutil.copytree(desk.project, other.project)
    path = other.runs_dir / run_id / "manifest.json"
    document = json.loads(path.read_bytes())
    document["run"]["name"] = "another"
    path.write_text(json.dumps(document))
    assert desk.one(run_id).outcome == "new"
    summary = other.upload(run_id)
    assert summary.outcomes[run_id].outcome == "conflict" and summary.exit_code == 4
    desk.assert_same(run_id)


def test_a_deleted_run_stays_deleted_until_it_is_asked_for(server: Server, desk: Desk) -> None:
    """410 is told with both choices and sends nothing; --force takes the run out of the trash."""
    run_id = make_run(desk.runs_dir, log=b"one\n", artifacts={"a": b"x" * 100_000})
    desk.upload()
    server.call("DELETE", f"/api/runs/{run_id}", expect=None)
    summary = desk.upload(run_id)
    outcome = summary.outcomes[run_id]
    assert (outcome.outcome, outcome.sent, summary.exit_code) == ("deleted", 0, 4)
    assert f"worldflux sync --force {run_id}" in outcome.hint
    assert desk.one(run_id, force=True).outcome == "new"
    desk.assert_same(run_id)
    assert desk.one(run_id).outcome == "unchanged"


def test_logs_stay_when_asked_and_follow_later(desk: Desk) -> None:
    """--no-logs sends all but the log, is told to the server, and a later sync brings the log after all."""
    run_id = make_run(desk.runs_dir, metrics=metric_lines(4), log=b"token in a log line\n")
    assert desk.one(run_id, logs=False).outcome == "new"
    desk.assert_same(run_id, logs=False)
    assert desk.one(run_id, logs=False).outcome == "unchanged"
    assert desk.one(run_id).outcome == "updated"
    desk.assert_same(run_id)


def test_a_manifest_with_a_secret_is_not_sent(desk: Desk) -> None:
    """The gate reads the exact bytes again: one run is refused with rule and place, its neighbours leave."""
    secret = "0123456789abcdef0123456789abcdef01234567"
    gate = Gate.from_environment({"WANDB_API_KEY": secret})
    good = make_run(desk.runs_dir, log=b"fine\n")
    bad = make_run(desk.runs_dir, log=b"also fine\n", params={"key": secret})
    summary = desk.upload(gate=gate)
    assert summary.outcomes[good].outcome == "new"
    assert (summary.outcomes[bad].outcome, summary.outcomes[bad].code) == ("refused", "secret")
    assert summary.exit_code == 4 and desk.state(bad)["status"] == "absent"
    assert secret not in json.dumps(summary.to_json())


@pytest.mark.parametrize("size", [100, 200_000])
def test_an_artifact_that_changed_is_told_and_nothing_of_the_run_is_final(desk: Desk, size: int) -> None:
    """An artifact edited, missing, or replaced by a link, a pipe or a folder: exit 3, and no run of it."""
    data = b"r" * size

    def edit(path: Path) -> None:
        path.write_bytes(b"R" + data[1:])

    def link(path: Path) -> None:
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")

    def pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    for spoil in (edit, Path.unlink, link, pipe):
        run_id = make_run(desk.runs_dir, artifacts={"weights": data[:-8] + os.urandom(8)})
        path = desk.runs_dir / run_id / "artifacts" / "weights"
        spoil(path)  # type: ignore[operator]
        summary = desk.upload(run_id)
        outcome = summary.outcomes[run_id]
        assert (outcome.outcome, outcome.code) == ("failed", "changed"), outcome
        assert "artifacts/weights" in outcome.detail and summary.exit_code == 3
        assert desk.state(run_id)["status"] != "final"


def test_runs_share_what_is_equal(desk: Desk) -> None:
    """An artifact that the server has from another run is not sent again, also within one sync."""
    data = os.urandom(500_000)
    first = make_run(desk.runs_dir, artifacts={"dataset.bin": data})
    second = make_run(desk.runs_dir, artifacts={"copy.bin": data, "again.bin": data})
    summary = desk.upload(first, second)
    assert summary.counts["new"] == 2 and summary.sent < 2 * len(data)
    third = make_run(desk.runs_dir, artifacts={"more.bin": data})
    assert desk.one(third).sent < 20_000
    for run_id in (first, second, third):
        desk.assert_same(run_id)


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not JSON"), ('{"schema": 1}', "do not say"), ("", "not JSON"), (None, "no such file")],
)
def test_a_folder_that_is_no_run_is_told_and_holds_nobody_up(desk: Desk, text: str | None, told: str) -> None:
    """A torn, foreign or missing manifest fails alone."""
    good, bad = make_run(desk.runs_dir, log=b"fine\n"), make_run(desk.runs_dir)
    path = desk.runs_dir / bad / "manifest.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    summary = desk.upload()
    assert summary.outcomes[good].outcome == "new"
    assert summary.outcomes[bad].outcome == "failed" and told in summary.outcomes[bad].detail


def test_a_copied_folder_is_not_another_run(desk: Desk) -> None:
    """A folder under a new name keeps the id of its run, and is refused rather than sent as that run."""
    run_id = make_run(desk.runs_dir, log=b"one\n")
    copy = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")
    shutil.copytree(desk.runs_dir / run_id, desk.runs_dir / copy)
    summary = desk.upload()
    assert summary.outcomes[run_id].outcome == "new"
    assert "copied or renamed" in summary.outcomes[copy].detail


def test_values_that_are_no_numbers_survive(desk: Desk) -> None:
    """NaN, infinities and long integers arrive in the very bytes of the metrics."""
    rows = [
        {"name": "a", "value": v, "step": i} for i, v in enumerate(["NaN", "Infinity", "-Infinity", 2**60])
    ]
    lines = (
        b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        + b'{"name": "a", "value": NaN}\nnot a row\n'
    )
    run_id = make_run(desk.runs_dir, metrics=lines)
    assert desk.one(run_id).outcome == "new"
    desk.assert_same(run_id)
    desk.get(f"/api/runs/{run_id}")
    desk.get("/api/runs?project=demo")


def test_a_project_may_be_chosen(desk: Desk) -> None:
    """--project files the runs under another project on the server; the record keeps its own."""
    run_id = make_run(desk.runs_dir, log=b"one\n")
    desk.one(run_id, project="demo-box")
    found = json.loads(desk.get("/api/runs?project=demo-box"))
    assert [row["id"] for row in found["runs"]] == [run_id]
    desk.assert_same(run_id)
