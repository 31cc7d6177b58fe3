"""Accidents, one at a time: killed at a system call, a full disk, bytes that change, runs that spoil a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from run_lab import end_run, fingerprint, make_run, metric_lines, sha256
from server_process import Server
from sync_lab import Desk

from worldflux.sync import blobs
from worldflux.sync.http import Reply
from worldflux.sync.snapshot import Committed

BIN = Path(sys.executable).parent


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("strace is not installed")
        pytest.skip("strace is not installed")
    return found


def traced(strace: str, server: Server, project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`worldflux --json sync` under strace."""
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    command = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-o",
        os.devnull,
        *options,
        str(BIN / "worldflux"),
        "--json",
        "sync",
    ]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["sendto", "pread64", "connect", "recvfrom"])
def test_killed_at_a_system_call_nothing_is_lost_or_doubled(
    strace: str, server: Server, project: Path, call: str
) -> None:
    """Killed at each call of a kind in turn; what follows goes on from there, and folders stay as they were."""
    kills = 0
    with Desk.at(server.url, server.key, project) as desk:
        for when in (1, 2, 3, 5, 8, 13):
            run_id = make_run(
                project / "runs", metrics=metric_lines(20), log=b"a line\n" * 90,
                artifacts={"big": os.urandom(150_000), "small": b"1"},
            )  # fmt: skip
            before = fingerprint(project / "runs")
            ended = traced(strace, server, project, "-e", f"inject={call}:signal=KILL:when={when}")
            kills += ended.returncode != 0
            assert fingerprint(project / "runs") == before
            if ended.returncode == 0:
                assert desk.state(run_id)["status"] == "final"
            assert desk.one(run_id).good
            desk.assert_same(run_id)
            shutil.rmtree(project / "runs" / run_id)
            if ended.returncode == 0:
                break
    assert kills >= 1


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error"), [("write", "ENOSPC"), ("openat", "EROFS"), ("write", "EIO")])
def test_a_journal_that_can_not_be_written_costs_nothing(
    strace: str, server: Server, project: Path, call: str, error: str
) -> None:
    """A full, broken or read-only disk under the journal is a warning at most: all runs are there, exit 0."""
    run_id = make_run(project / "runs", log=b"one\n")
    with Desk.at(server.url, server.key, project) as desk:
        path = desk.journal_path
        path.parent.mkdir(parents=True)
        path.touch()
        options = ("-P", str(path), "-e", f"inject={call}:error={error}")
        ended = traced(strace, server, project, *options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        if call == "write":
            assert "only takes longer" in json.loads(ended.stdout)["warnings"][0]
        desk.assert_same(run_id)
        assert desk.one(run_id).outcome == "unchanged"


@pytest.mark.slow
def test_a_disk_that_fails_while_it_is_read_is_told(strace: str, server: Server, project: Path) -> None:
    """A read error is an outcome of that run, exit 3, and nothing half is taken for whole."""
    run_id = make_run(project / "runs", artifacts={"weights": os.urandom(3_000_000)})
    path = project / "runs" / run_id / "artifacts" / "weights"
    ended = traced(strace, server, project, "-P", str(path), "-e", "inject=pread64:error=EIO:when=1+")
    assert ended.returncode == 3, ended.stdout
    (row,) = json.loads(ended.stdout)["data"]["runs"]
    assert row["outcome"] == "failed" and "artifacts/weights" in row["detail"]
    with Desk.at(server.url, server.key, project) as desk:
        assert desk.state(run_id)["status"] == "absent"


def test_an_upload_goes_on_where_it_was_cut(desk: Desk) -> None:
    """What the server has of a large artifact is not sent again, and is proved by the digest of the whole."""
    data = os.urandom(1_500_000)
    run_id = make_run(desk.runs_dir, artifacts={"weights": data})
    desk.client.patch_blob(sha256(data), 0, len(data), data[:1_000_000])
    outcome = desk.one(run_id)
    assert outcome.outcome == "new" and outcome.sent < 600_000
    desk.assert_same(run_id)


def test_a_wrong_idea_of_the_offset_is_put_right(desk: Desk) -> None:
    """Somebody else sent more of the same artifact meanwhile: the server's offset counts, not ours."""
    data = os.urandom(1_500_000)
    run_id = make_run(desk.runs_dir, artifacts={"weights": data})
    artifact = Committed("artifacts/weights", len(data), sha256(data))
    desk.client.patch_blob(artifact.sha256, 0, len(data), data[:1_000_000])
    sent = blobs.upload(desk.client, desk.runs_dir / run_id, artifact, 0, 400_000)
    assert sent == 500_000 and desk.client.missing_blobs([artifact.sha256]) == {}


def test_a_beginning_with_other_bytes_is_thrown_away(desk: Desk) -> None:
    """Somebody began the same artifact with wrong bytes: it is sent again from the start, and ends right."""
    data = os.urandom(1_500_000)
    run_id = make_run(desk.runs_dir, artifacts={"weights": data})
    desk.client.patch_blob(sha256(data), 0, len(data), os.urandom(1_000_000))
    assert desk.one(run_id).outcome == "new"
    desk.assert_same(run_id)


def test_an_artifact_that_is_written_to_while_it_is_sent_is_never_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last part stays here: the server has no artifact that the record does not name."""
    monkeypatch.setattr(blobs, "FIRST_PART_BYTES", 300_000)
    data = os.urandom(1_000_000)
    run_id = make_run(desk.runs_dir, artifacts={"weights": data})
    path = desk.runs_dir / run_id / "artifacts" / "weights"
    real = desk.client.patch_blob
    sent = []

    def write_meanwhile(sha: str, offset: int, total: int, part: bytes) -> tuple[int, bool]:
        if not sent:
            with open(path, "r+b") as file:
                file.seek(900_000)
                file.write(b"other bytes")
        sent.append(offset)
        return real(sha, offset, total, part)

    monkeypatch.setattr(desk.client, "patch_blob", write_meanwhile)
    ids = [run_id]
    with pytest.raises(AssertionError, match="sync changed"):  # this test changed it
        desk.upload(*ids)
    assert desk.client.missing_blobs([sha256(data)]) != {}
    assert desk.state(run_id)["status"] != "final"
    monkeypatch.undo()
    path.write_bytes(data)
    assert desk.one(run_id).outcome == "new"
    desk.assert_same(run_id)


def test_a_log_that_grows_while_it_is_sent_is_cut_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stated of a running run is what was sent of it; the rest comes next time."""
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n")
    path = desk.runs_dir / run_id / "logs" / f"{run_id}.log"
    real = desk.client.send_bundle

    def write_meanwhile(frames: object) -> object:
        with open(path, "ab") as file:
            file.write(b"two\n")
        return real(frames)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.client, "send_bundle", write_meanwhile)
    with pytest.raises(AssertionError, match="sync changed"):  # this test changed it
        desk.upload(run_id)
    monkeypatch.undo()
    assert desk.state(run_id)["streams"]["log:output"]["bytes"] == 4
    assert desk.one(run_id).outcome == "updated"
    assert desk.state(run_id)["streams"]["log:output"]["bytes"] == 8
    end_run(desk.runs_dir / run_id)
    desk.one(run_id)
    desk.assert_same(run_id)


def test_one_run_that_spoils_a_bundle_is_found(desk: Desk) -> None:
    """A run that makes the server refuse all that travels with it is refused alone; the others arrive."""
    ids = [make_run(desk.runs_dir, log=b"%d\n" % number) for number in range(9)]
    path = desk.runs_dir / ids[4] / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"project":"demo"', b'"project":"no/such name"'))
    summary = desk.upload()
    assert summary.counts["new"] == 8 and summary.outcomes[ids[4]].outcome == "refused"
    assert summary.exit_code == 4
    for run_id in ids:
        if run_id != ids[4]:
            desk.assert_same(run_id)


def test_a_manifest_that_breaks_its_schema_is_refused_alone(desk: Desk) -> None:
    """The server's word on a run is passed on, and its neighbours do not suffer."""
    good, bad = make_run(desk.runs_dir, log=b"1\n"), make_run(desk.runs_dir, log=b"2\n")
    path = desk.runs_dir / bad / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"attempt":1', b'"attempt":"one"'))
    summary = desk.upload()
    assert summary.outcomes[good].outcome == "new"
    assert summary.outcomes[bad].outcome == "refused" and "attempt" in summary.outcomes[bad].detail


def test_a_revoked_key_ends_the_command_at_once(
    own_server: Server, desk_at: Callable[..., Desk], project: Path
) -> None:
    """A key that is taken back in the middle is one error with exit code 5, not one per run."""
    from worldflux.errors import AccessError

    made = own_server.call("POST", "/api/api-keys", json={"name": "short-lived"}).json()
    desk = desk_at(own_server.url, made["token"])
    make_run(desk.runs_dir, log=b"1\n")
    assert desk.upload().counts["new"] == 1
    own_server.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    make_run(desk.runs_dir, log=b"2\n")
    with pytest.raises(AccessError, match="does not accept the key"):
        desk.upload()


def test_two_commands_at_once_share_the_work(server: Server, project: Path) -> None:
    """Two syncs of one project: the second waits for runs that the first has, and sends none of them again."""
    for number in range(60):
        make_run(project / "runs", log=os.urandom(20_000).hex().encode() + b"\n%d\n" % number, validate=False)
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    command = [BIN / "worldflux", "--json", "sync"]
    children = [
        subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    counts = []
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0, out
        counts.append(json.loads(out)["data"]["counts"])
    total = {word: sum(each[word] for each in counts) for word in ("new", "updated", "unchanged")}
    assert total == {"new": 60, "updated": 0, "unchanged": 60}


def test_threads_of_one_client_do_not_mix(
    server: Server, desk_at: Callable[..., Desk], tmp_path: Path
) -> None:
    """Several uploads over one channel at the same time each bring their own runs."""
    desk = desk_at(server.url, server.key)
    roots = []
    for index in range(3):
        root = tmp_path / f"project{index}"
        for _ in range(10):
            make_run(root / "runs", log=os.urandom(3000).hex().encode() + b"\n", validate=False)
        roots.append(root)
    failures: list[BaseException] = []

    def work(root: Path) -> None:
        try:
            mine = Desk(desk.channel, root)
            mine.upload()
            for run_id in os.listdir(root / "runs"):
                mine.assert_same(run_id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(root,)) for root in roots]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []


def test_a_proxy_that_takes_little_gets_little(
    server: Server, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something on the way refuses large bodies with 413: bundles and parts become smaller and get through."""
    real = desk.channel.send
    sizes: list[int] = []

    def narrow(method: str, path: str, body: bytes | None = None, headers: object = None) -> Reply:
        sizes.append(len(body or b""))
        if len(body or b"") > 300_000:
            return Reply(413, {}, b"<html>too large</html>")
        return real(method, path, body, headers)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.channel, "send", narrow)
    ids = [make_run(desk.runs_dir, log=os.urandom(40_000).hex().encode() + b"\n") for _ in range(12)]
    ids.append(
        make_run(desk.runs_dir, log=b"a long log\n" * 200_000, artifacts={"big": os.urandom(3_000_000)})
    )
    assert desk.upload().counts["new"] == 13
    assert max(sizes) > 300_000 and len([size for size in sizes if size > 300_000]) < 12
    monkeypatch.undo()
    for run_id in ids:
        desk.assert_same(run_id)
