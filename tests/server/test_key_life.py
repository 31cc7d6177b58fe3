"""A key from its first second to its last, as the command line and other clients meet it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import warm_python
from sent_runs import SentRun, send
from server_process import BIN, Server, start

sys.path.append(str(Path(__file__).parents[1] / "sync"))
from key_lab import make_key
from run_lab import fingerprint, make_run


@pytest.fixture(scope="module")
def patient(
    tmp_path_factory: pytest.TempPathFactory, tables: Callable[[Path], str | None]
) -> Iterator[Server]:
    """A server, on each database, that lets one address try as many wrong keys as it likes."""
    data = tmp_path_factory.mktemp("life") / "data"
    url = tables(data)
    (data / "server.json").write_text('{"address_rate": 1e6, "address_burst": 1000000}')
    running = start(data, url)
    yield running
    running.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one run."""
    root = tmp_path / "project"
    (root / "runs").mkdir(parents=True)
    (root / "worldflux.yaml").write_text("project: demo\n")
    make_run(root / "runs", log=b"hello\n", artifacts={"a.bin": os.urandom(100_000)})
    return root


def new_key(server: Server, **order: Any) -> dict[str, Any]:
    """A key that the admin made."""
    made: dict[str, Any] = server.call(
        "POST", "/api/api-keys", json={"name": "k", **order}, expect=201
    ).json()
    return made


def let_expire(server: Server, key_id: str, seconds: float) -> datetime:
    """Move the end of a key, which the API gives in days, to so many seconds from now; that moment."""
    from sqlalchemy import update

    from worldflux.server import db
    from worldflux.server.keys import stamp
    from worldflux.server.tables import api_keys

    opened = db.connect(server.data, server.database)
    with opened.write() as connection:
        end = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        connection.execute(
            update(api_keys).where(api_keys.c.public_id == key_id).values(expires_at=stamp(end))
        )
    opened.close()
    return datetime.fromisoformat(stamp(end))


def wf(server: Server, key: str, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with a key of the environment."""
    ended = warm_python.run(
        [BIN / "worldflux", "--json", *words], cwd=project, capture_output=True, text=True, timeout=120,
        env={**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": key},
    )  # fmt: skip
    assert key not in ended.stdout + ended.stderr and "Traceback" not in ended.stderr
    return ended


def expired(server: Server) -> str:
    made = new_key(server)
    let_expire(server, made["id"], -1)
    return str(made["token"])


def revoked(server: Server) -> str:
    made = new_key(server)
    server.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    return str(made["token"])


def rotated_out(server: Server) -> str:
    made = new_key(server)
    server.call("POST", f"/api/api-keys/{made['id']}/rotate", json={"overlap_seconds": 0}, expect=201)
    return str(made["token"])


WORTHLESS: dict[str, Callable[[Server], str]] = {
    "unknown": lambda _: make_key(),
    "expired": expired,
    "revoked": revoked,
    "rotated-out": rotated_out,
}


class TestWorthless:
    @pytest.mark.parametrize("why", WORTHLESS)
    def test_every_command_says_so(self, patient: Server, project: Path, why: str) -> None:
        """Exit code 5 and how to get a new key, from each command that needs one; runs here are as they were."""
        key = WORTHLESS[why](patient)
        before = fingerprint(project / "runs")
        for words in (["auth", "status"], ["sync"], ["runs", "list", "--remote"]):
            ended = wf(patient, key, project, *words)
            assert ended.returncode == 5, f"{words}: {ended.stdout}{ended.stderr}"
            error = json.loads(ended.stdout)["error"]
            assert "worldflux auth login" in error["hint"] and patient.url in error["message"] + error["hint"]
        assert fingerprint(project / "runs") == before

    def test_it_is_not_kept(self, patient: Server, project: Path, clean_environment: Path) -> None:
        """`auth login` asks first."""
        for make in WORTHLESS.values():
            ended = warm_python.run(
                [BIN / "worldflux", "auth", "login", patient.url, "--with-token", "--allow-plaintext"],
                cwd=project, input=make(patient), capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert ended.returncode == 5, ended.stdout + ended.stderr
        assert not (clean_environment / ".worldflux").exists()

    def test_nobody_learns_why(self, patient: Server) -> None:
        """Unknown, expired, revoked and replaced keys get the same answer: a stolen one tells nothing of its past."""
        answers = set()
        for make in WORTHLESS.values():
            told = patient.call("GET", "/api/sync", key=make(patient), expect=401)
            body = {name: value for name, value in told.json().items() if name != "request_id"}
            answers.add((json.dumps(body, sort_keys=True), told.headers["WWW-Authenticate"]))
        assert len(answers) == 1

    def test_a_key_in_the_address_is_worthless_and_not_written_down(self, patient: Server) -> None:
        """`?token=` would end in logs of proxies and histories of browsers: it opens nothing, nor is it logged."""
        key = new_key(patient)["token"]
        for name in ("token", "key", "access_token", "api_key"):
            patient.call("GET", f"/api/sync?{name}={key}", key=None, expect=401)
        patient.call("GET", f"/api/runs/{key}", expect=404)
        log = (patient.data.parent / f"{patient.data.name}.err").read_text()
        assert key not in log.replace(f"/api/runs/{key}", "")


class TestScopes:
    @pytest.mark.parametrize(
        ("scopes", "codes"),
        [
            (["runs:read"], {"status": 0, "sync": 5, "list": 0}),
            (["artifacts:read", "artifacts:write"], {"status": 0, "sync": 5, "list": 5}),
            (["audit:read"], {"status": 0, "sync": 5, "list": 5}),
            (["runs:read", "runs:write", "artifacts:write"], {"status": 0, "sync": 0, "list": 0}),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, list) else "",
    )
    def test_what_a_key_may_not_do_is_named(
        self, patient: Server, project: Path, scopes: list[str], codes: dict[str, int]
    ) -> None:
        """A key without the scope is known and not enough: exit code 5, with the scope's name."""
        key = new_key(patient, scopes=scopes)["token"]
        calls = {"status": ["auth", "status"], "sync": ["sync"], "list": ["runs", "list", "--remote"]}
        for name, words in calls.items():
            ended = wf(patient, key, project, *words)
            assert ended.returncode == codes[name], f"{words}: {ended.stdout}{ended.stderr}"
            if ended.returncode:
                assert ":" in json.loads(ended.stdout)["error"]["message"]
                assert any(scope in ended.stdout for scope in ("runs:", "artifacts:")), ended.stdout
        (session,) = json.loads(wf(patient, key, project, "auth", "status").stdout)["data"]["servers"]
        assert sorted(session["scopes"]) == sorted(scopes) and session["last4"] == key[-4:]


class TestLastSecond:
    def watch(self, server: Server, key: str, until: datetime) -> list[tuple[datetime, int, datetime]]:
        """When each of many requests was sent, its status, and when it was answered; by this machine's clock."""
        seen = []
        while (sent := datetime.now(timezone.utc)) < until:
            code = server.call("GET", "/api/sync", key=key).status_code
            seen.append((sent, code, datetime.now(timezone.utc)))
            time.sleep(0.01)
        return seen

    def test_a_key_expires_at_its_second(self, patient: Server) -> None:
        """On one connection: good for what is answered before, worthless for all that is sent from then on."""
        made = new_key(patient)
        end = let_expire(patient, made["id"], 4)
        seen = self.watch(patient, made["token"], end + timedelta(seconds=1.5))
        before = {code for _, code, answered in seen if answered < end}
        after = {code for sent, code, _ in seen if sent >= end}
        assert before == {200} and after == {401}
        codes = [code for _, code, _ in seen]
        assert codes == sorted(codes), "it came back to life"

    def test_a_replaced_key_ends_with_the_overlap(self, patient: Server, project: Path) -> None:
        """During the overlap both keys work and count as one workspace; then only the new one, which goes on."""
        old = new_key(patient)
        assert wf(patient, old["token"], project, "sync").returncode == 0
        order = {"overlap_seconds": 8}
        end = datetime.now(timezone.utc) + timedelta(seconds=11)
        new = patient.call("POST", f"/api/api-keys/{old['id']}/rotate", json=order, expect=201).json()
        assert new["token"] != old["token"] and new["scopes"] == old["scopes"] and new["name"] == old["name"]
        for key in (old["token"], new["token"]):
            patient.call("GET", "/api/sync", key=key, expect=200)
        told = patient.call("GET", "/api/sync", key=old["token"], expect=200).json()["key"]["expires_at"]
        assert datetime.fromisoformat(told) <= end, "it says that it lives on after the overlap"
        patient.call("POST", f"/api/api-keys/{old['id']}/rotate", json=order, expect=409)
        codes = [code for _, code, _ in self.watch(patient, old["token"], end)]
        assert codes[0] == 200 and codes[-1] == 401 and codes == sorted(codes)
        ended = wf(patient, new["token"], project, "sync")
        assert ended.returncode == 0 and json.loads(ended.stdout)["data"]["counts"]["unchanged"] == 1
        assert wf(patient, old["token"], project, "sync").returncode == 5

    def test_revoking_cuts_the_overlap_short(self, patient: Server) -> None:
        """A replaced key that turns out to be stolen ends at once, and a second time changes nothing."""
        old = new_key(patient)
        new = patient.call(
            "POST", f"/api/api-keys/{old['id']}/rotate", json={"overlap_seconds": 3600}, expect=201
        ).json()
        first = patient.call("DELETE", f"/api/api-keys/{old['id']}", expect=200).json()["revoked_at"]
        patient.call("GET", "/api/sync", key=old["token"], expect=401)
        patient.call("GET", "/api/sync", key=new["token"], expect=200)
        assert patient.call("DELETE", f"/api/api-keys/{old['id']}", expect=200).json()["revoked_at"] == first


@pytest.fixture
def table(tmp_path: Path, tables: Callable[[Path], str | None]) -> Iterator[tuple[Any, int]]:
    """An empty database with one workspace: the database and the workspace's number."""
    from worldflux.manifest.model import utc_now
    from worldflux.server import db
    from worldflux.server.tables import workspaces

    opened = db.connect(tmp_path / "data", tables(tmp_path / "data"))
    with opened.write() as connection:
        row = {"slug": "w", "name": "w", "created_at": utc_now()}
        pk = connection.execute(workspaces.insert().values(**row)).inserted_primary_key[0]
    yield opened, pk
    opened.close()


def test_the_table_knows_the_end(table: tuple[Any, int]) -> None:
    """A key is found until its end and not at its end; one that is revoked is not found, also when it was used."""
    from worldflux.server import keys
    from worldflux.server.tables import api_keys

    opened, workspace = table
    with opened.write() as connection:
        end = datetime.fromisoformat(keys.stamp(datetime.now(timezone.utc) + timedelta(seconds=1)))
        short = keys.create(connection, workspace, "short", expires_at=keys.stamp(end))
        long = keys.create(connection, workspace, "long", expires_at=keys.after_days(1))
    found, lost = 0, 0
    while lost < 5:
        with opened.read() as connection:
            asked = datetime.now(timezone.utc)
            row = keys.find(connection, short.token)
            if asked >= end:
                assert row is None
                lost += 1
            elif datetime.now(timezone.utc) < end:
                assert row is not None
                found += 1
        time.sleep(0.05)
    with opened.write() as connection:
        row = keys.find(connection, long.token)
        assert found and row is not None and row["workspace"] == "w"
        keys.touch(connection, row["pk"])
        connection.execute(
            api_keys.update().where(api_keys.c.pk == row["pk"]).values(revoked_at=keys.stamp(asked))
        )
        assert keys.find(connection, long.token) is None


def test_revoked_during_an_upload(patient: Server, tmp_path: Path) -> None:
    """The sync that is under way ends with exit code 5; nothing counts as stored, and a new key goes on from there."""
    project = tmp_path / "project"
    (project / "runs").mkdir(parents=True)
    (project / "worldflux.yaml").write_text("project: demo\n")
    weights = os.urandom(1 << 20) * 64
    run_id = make_run(project / "runs", log=b"hello\n", artifacts={"weights.bin": weights})
    before = fingerprint(project / "runs")
    made = new_key(patient)
    log = patient.data.parent / f"{patient.data.name}.err"
    patches = log.read_text().count('"method": "PATCH"')
    syncing = warm_python.WarmPopen(
        [BIN / "worldflux", "--json", "sync"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "WORLDFLUX_SERVER": patient.url, "WORLDFLUX_API_KEY": made["token"]},
    )  # fmt: skip
    try:
        while log.read_text().count('"method": "PATCH"') == patches:
            assert syncing.poll() is None, "it ended before it sent anything"
            time.sleep(0.002)
        patient.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
        started = time.monotonic()
        out, err = syncing.communicate(timeout=60)
        assert time.monotonic() - started < 20, "it went on trying with a worthless key"
    finally:
        syncing.kill()
        syncing.communicate()
    assert syncing.returncode == 5, out + err
    assert made["token"] not in out + err and "worldflux auth login" in json.loads(out)["error"]["hint"]
    assert fingerprint(project / "runs") == before
    told = patient.call("POST", "/api/sync/state", json={"runs": [run_id]}, expect=200).json()["runs"][run_id]
    assert told["status"] in ("absent", "open")
    again = wf(patient, new_key(patient)["token"], project, "sync")
    assert again.returncode == 0, again.stdout
    data = json.loads(again.stdout)["data"]
    assert data["counts"]["new"] + data["counts"]["updated"] == 1 and data["bytes"] < len(weights)
    digest = hashlib.sha256(weights).hexdigest()
    assert patient.call("GET", f"/api/runs/{run_id}/artifacts/{digest}", expect=200).content == weights


def test_revoked_between_two_requests_of_one_connection(patient: Server) -> None:
    """A connection that was opened with a good key is no way in afterwards, for reading or for writing."""
    made = new_key(patient)
    run = SentRun()
    send(patient, *run.frames(), key=made["token"], expect=200)
    patient.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    send(patient, *SentRun().frames(), key=made["token"], expect=401)
    patient.call("GET", f"/api/runs/{run.run_id}", key=made["token"], expect=401)
    patient.call("GET", f"/api/runs/{run.run_id}", expect=200)


def test_a_key_of_another_workspace_sees_its_own(patient: Server, project: Path) -> None:
    """The key says which workspace: with another one, status shows the other, and its list has none of ours."""
    slug = f"other-{os.urandom(3).hex()}"
    patient.call("POST", "/api/workspaces", json={"slug": slug, "name": slug}, expect=201)
    told = patient.command("key", "create", "--workspace", slug)
    assert wf(patient, new_key(patient)["token"], project, "sync").returncode == 0
    (session,) = json.loads(wf(patient, told["token"], project, "auth", "status").stdout)["data"]["servers"]
    assert session["workspace"] == slug
    assert (
        json.loads(wf(patient, told["token"], project, "runs", "list", "--remote").stdout)["data"]["runs"]
        == []
    )


def test_wrong_keys_do_not_lock_out_the_right_one(tmp_path: Path, project: Path) -> None:
    """Who tries keys is slowed down with Retry-After; a neighbour at the same address goes on working."""
    server = start(tmp_path / "data")
    try:
        codes = [server.call("GET", "/api/sync", key=make_key()).status_code for _ in range(120)]
        assert set(codes) == {401, 429} and codes[0] == 401
        told = server.call("GET", "/api/sync", key=make_key(), expect=429)
        assert 0 < int(told.headers["Retry-After"]) < 3600
        assert wf(server, server.key, project, "sync").returncode == 0
        assert wf(server, server.key, project, "auth", "status").returncode == 0
    finally:
        server.stop()


def test_no_key_is_on_the_servers_disk(tmp_path: Path, project: Path) -> None:
    """Neither database, blobs nor log hold a key that was made, used, replaced or refused; nor a part of one."""
    server = start(tmp_path / "data")
    keys = [server.key, make_key()]
    try:
        made = new_key(server)
        keys += [made["token"]]
        rotated = server.call("POST", f"/api/api-keys/{made['id']}/rotate", json={}, expect=201).json()
        keys += [rotated["token"], server.command("key", "create")["token"]]
        for key in keys:
            wf(server, key, project, "sync")
        server.call("GET", "/api/api-keys", expect=200)
        assert not any(key[4:] in server.call("GET", "/api/audit-logs").text for key in keys)
    finally:
        server.stop()
    stored = [
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "project" not in str(path)
    ]
    assert stored and not any(key[4:24].encode() in data for key in keys for data in stored)
