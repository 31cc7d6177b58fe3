"""What the keeper of a server does: settings, listening, backups, keys; heartbeats and the audit chain."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from sent_runs import SentRun, patch, result, send, sha256
from server_process import Server, start
from sqlalchemy import text

from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest.secret_vendors import is_worldflux_key
from worldflux.server import audit, db, keys, place, serve
from worldflux.server.ops import backup
from worldflux.server.settings import Settings


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.9.9.9", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.5", False), ("example.org", False), ("", False), ("localhost.evil.org", False)],
)  # fmt: skip
def test_listening_wider_needs_tls_or_a_word(host: str, local: bool, tmp_path: Path) -> None:
    """Beyond this machine a server starts with a certificate or when it is told that the network is safe."""
    assert serve.is_local(host) is local
    if local:
        serve.check(serve.Listen(host))
        return
    with pytest.raises(UsageError, match="in the clear"):
        serve.check(serve.Listen(host))
    serve.check(serve.Listen(host, insecure=True))
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    serve.check(serve.Listen(host, certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem")))


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 65}, {"port": -1}, {"port": 65536}, {"certificate": "x"}]
)
def test_half_an_order_is_refused(wrong: dict[str, object]) -> None:
    """No workers, no such port, half a pair of TLS files: said at once."""
    with pytest.raises(UsageError):
        serve.check(serve.Listen(**wrong))  # type: ignore[arg-type]


def test_settings_come_from_the_data_folder(tmp_path: Path) -> None:
    """`server.json` holds for every command; what is given wins; a worker gets the same record."""
    (tmp_path / "server.json").write_text('{"trash_days": 3, "allowed_hosts": ["a"], "blobs": "s3://x/y"}')
    made = place.settings(tmp_path, {"blobs": None, "public_url": "https://a"})
    assert (made.trash_days, made.allowed_hosts, made.blobs, made.public_url) == (
        3,
        ("a",),
        "s3://x/y",
        "https://a",
    )
    assert Settings.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"trashdays": 1}', '{"trash_days": "1"}', '{"trash_days": true}', '{"trash_days": -1}',
     '{"data_dir": "/x"}', '{"allowed_hosts": "a"}', '{"allowed_hosts": [1]}', '{"key_rate": 0}', '{"key_rate": NaN}'],
)  # fmt: skip
def test_wrong_settings_are_told(tmp_path: Path, content: str) -> None:
    """A wrong field is named, with the nearest right one."""
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(UsageError, match=r"server\.json"):
        place.settings(tmp_path, {})


def test_keys_have_a_form() -> None:
    """A new key passes its checksum, no two are alike, and its text is in no representation of it."""
    made = {keys.token() for _ in range(200)}
    assert len(made) == 200 and all(is_worldflux_key(key) for key in made)
    new = keys.NewKey(keys.token(), "key_1", "n", (), None)
    assert new.token not in repr(new)


def test_backup_and_restore(server: Server, tmp_path: Path) -> None:
    """A copy that was made under load starts as a server with every run and blob of that moment."""
    runs = [SentRun(artifacts={"a": b"artifact %d" % number}) for number in range(3)]
    send(server, *[frame for run in runs for frame in run.frames()], expect=200)
    target = tmp_path / "backup"
    told = server.command("backup", str(target))
    assert told["blobs"] == 3 and told["database"] is (server.database is None)
    assert server.command("backup", str(target), code=2)["code"] == "backup"
    later = SentRun()
    send(server, *later.frames(), expect=200)
    if server.database is not None:
        with pytest.raises(UsageError, match="PostgreSQL"):
            backup.restore(target, tmp_path / "again")
        return
    assert (target / db.FILE).stat().st_mode & 0o077 == 0
    backup.restore(target, tmp_path / "again")
    copy = start(tmp_path / "again")
    try:
        names = [run.run_id for run in (*runs, later)]
        found = copy.call("POST", "/api/sync/state", key=server.key, json={"runs": names}, expect=200).json()[
            "runs"
        ]
        assert [found[name]["status"] for name in names] == ["final"] * 3 + ["absent"]
        for run in runs:
            assert result(send(copy, *run.frames(), key=server.key, expect=200))["outcome"] == "unchanged"
        with pytest.raises(UsageError, match="already"):
            backup.restore(target, tmp_path / "again")
    finally:
        copy.stop()


def test_half_a_backup_is_none(tmp_path: Path) -> None:
    """A folder in which a backup was cut short is not restored from."""
    (tmp_path / "half" / "blobs").mkdir(parents=True)
    (tmp_path / "half" / db.FILE).write_bytes(b"x")
    with pytest.raises(UsageError, match="no whole backup"):
        backup.restore(tmp_path / "half", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_missing_blob_stops_a_backup(server: Server, tmp_path: Path) -> None:
    """A backup that would lack something says so and is not marked as whole."""
    run = SentRun(artifacts={"a": b"to be lost"})
    send(server, *run.frames(), expect=200)
    next(server.data.glob(f"blobs/*/*/{sha256(b'to be lost')}")).unlink()
    assert "is missing" in server.command("backup", str(tmp_path / "b"), code=1)["message"]
    assert not (tmp_path / "b" / backup.MARK).exists()


def test_keys_from_the_command_line(server: Server) -> None:
    """A key made beside the database works, is listed without its text, and is worthless once revoked."""
    made = server.command("key", "create", "--name", "laptop", "--scopes", "runs:read", "--days", "1")
    assert server.call("GET", "/api/sync", key=made["token"], expect=200).json()["key"]["scopes"] == [
        "runs:read"
    ]
    listed = server.command("key", "list")["keys"]
    row = next(row for row in listed if row["id"] == made["id"])
    assert (row["name"], row["state"], row["last4"]) == ("laptop", "good", made["token"][-4:])
    assert made["token"] not in json.dumps(listed)
    server.command("key", "revoke", made["id"])
    server.call("GET", "/api/sync", key=made["token"], expect=401)
    assert server.command("key", "revoke", "key_unknown", code=2)["code"] == "usage"
    assert "runs:reed" in server.command("key", "create", "--scopes", "runs:reed", code=2)["message"]
    assert "nowhere" in server.command("key", "list", "--workspace", "nowhere", code=2)["message"]


@pytest.mark.parametrize(
    "words",
    [("start",), ("key", "list"), ("key", "create"), ("user", "create", "ada"), ("backup", "b"), ("gc",)],
)
@pytest.mark.parametrize("missing", ["sqlalchemy", "fastapi"])
def test_without_the_extra(words: tuple[str, ...], missing: str, tmp_path: Path) -> None:
    """Every command of the server names what is missing and how to install it, and makes nothing."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from worldflux.cli.main import main\n"
        f"sys.exit(main({['server', *words, '--data', 'd']!r}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert ended.returncode == 1 and ended.stdout == ""
    assert missing in ended.stderr and "pip install 'worldflux[server]'" in ended.stderr, ended.stderr
    assert "fault of WorldFlux" not in ended.stderr and list(tmp_path.iterdir()) == []


def test_people_from_the_command_line(server: Server) -> None:
    """A person made beside the database signs in; made again, the new password counts and old sessions end."""

    def sign_in(client: requests.Session, password: str) -> int:
        body = {"login": "ada", "password": password}
        return client.post(f"{server.url}/api/session", json=body, timeout=30).status_code

    order = ("user", "create", "Ada", "--scopes", "runs:read", "--password-stdin")
    told = server.command(*order, text="a calm long password\n")
    assert told == {"login": "ada", "workspace": "default", "scopes": ["runs:read"]}
    assert server.command(*order, text="short\n", code=2)["code"] == "password"
    with requests.Session() as client:
        client.trust_env = False
        client.headers["Origin"] = server.url
        assert sign_in(client, "a calm long password") == 201
        assert client.get(f"{server.url}/api/runs", timeout=30).status_code == 200
        server.command(*order, text="another calm password\n")
        assert client.get(f"{server.url}/api/runs", timeout=30).status_code == 401
        assert sign_in(client, "a calm long password") == 401
        assert sign_in(client, "another calm password") == 201


def test_a_key_ends_when_it_should(server: Server) -> None:
    """Rotation gives a new key and lets the old one live for the overlap; expiry is by the second."""
    old = server.call("POST", "/api/api-keys", json={"name": "worker"}, expect=201).json()
    new = server.call(
        "POST", f"/api/api-keys/{old['id']}/rotate", json={"overlap_seconds": 1}, expect=201
    ).json()
    assert new["scopes"] == old["scopes"] and new["id"] != old["id"]
    server.call("GET", "/api/sync", key=new["token"], expect=200)
    server.call("POST", f"/api/api-keys/{old['id']}/rotate", json={}, expect=409)
    time.sleep(1.1)
    server.call("GET", "/api/sync", key=old["token"], expect=401)
    server.call("GET", "/api/sync", key=new["token"], expect=200)
    wrong: tuple[dict[str, object], ...] = (
        {"name": ""}, {"name": "x", "expires_days": 366}, {"name": "x", "scopes": []}, {"name": "x", "x": 1},
        {"name": "x", "scopes": ["runs:*"]}, {"name": "a\nb"}, {"name": 1}, {"name": "x", "expires_days": "9"},
    )  # fmt: skip
    for body in wrong:
        server.call("POST", "/api/api-keys", json=body, expect=422)


def test_revoked_in_the_middle_of_an_upload(server: Server) -> None:
    """The next piece of an upload is refused as soon as the key is revoked."""
    made = server.call("POST", "/api/api-keys", json={"name": "uploader"}, expect=201).json()
    data = b"x" * 2000
    patch(server, sha256(data), 0, 2000, data[:1000], key=made["token"], expect=200)
    server.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    patch(server, sha256(data), 1000, 2000, data[1000:], key=made["token"], expect=401)


def test_projects(server: Server) -> None:
    """Projects are made, described, given a baseline, archived; one with runs is not deleted."""
    run = SentRun(project="with-runs")
    send(server, *run.frames(), expect=200)
    server.call("POST", "/api/projects", json={"slug": "empty"}, expect=201)
    server.call("POST", "/api/projects", json={"slug": "empty"}, expect=409)
    for slug in ("", "../x", "a b", "x" * 65, "-x", "a\n", "é"):
        server.call("POST", "/api/projects", json={"slug": slug}, expect=422)
    change = {"description": "ok", "baseline_run": run.run_id, "archived": True}
    shown = server.call("PATCH", "/api/projects/with-runs", json=change, expect=200).json()
    assert (shown["baseline_run"], shown["archived"], shown["runs"]) == (run.run_id, True, 1)
    server.call("PATCH", "/api/projects/empty", json={"baseline_run": run.run_id}, expect=422)
    server.call("DELETE", "/api/projects/with-runs", expect=409)
    server.call("DELETE", "/api/projects/empty", expect=204)
    server.call("GET", "/api/projects/empty", expect=404)
    listed = server.call("GET", "/api/projects", expect=200).json()["projects"]
    assert [project["slug"] for project in listed] == ["with-runs"]


def test_a_silent_run_is_lost_and_comes_back(tmp_path: Path, database_url: object) -> None:
    """By the server's clock: silence makes a running run interrupted, a heartbeat or a bundle makes it live again."""
    assert callable(database_url)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "server.json").write_text('{"lost_after_seconds": 1}')
    server = start(tmp_path / "data", database_url())
    try:
        run = SentRun(status="running")
        send(server, *run.frames(), expect=200)

        def shown() -> tuple[str, bool]:
            row = server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
            return row["status"], row["lost"]

        def await_shown(wanted: tuple[str, bool]) -> None:
            deadline = time.monotonic() + 20
            while shown() != wanted:
                assert time.monotonic() < deadline, shown()
                time.sleep(0.1)

        assert shown() == ("running", False)
        await_shown(("interrupted", True))
        asked = server.call("POST", "/api/sync/heartbeat", json={"runs": [run.run_id]}, expect=200).json()
        assert asked["runs"] == {run.run_id: "live"} and shown() == ("running", False)
        await_shown(("interrupted", True))
        run.status = "succeeded"
        send(server, *run.frames(), expect=200)
        assert shown() == ("succeeded", False)
        asked = server.call("POST", "/api/sync/heartbeat", json={"runs": [run.run_id]}, expect=200).json()
        assert asked["runs"] == {run.run_id: "final"}
    finally:
        server.stop()


def test_the_audit_chain(server: Server) -> None:
    """Changes leave records in one chain; a record that is changed, removed or added breaks it, and it shows."""
    server.call("POST", "/api/projects", json={"slug": "p"}, expect=201)
    made = server.call("POST", "/api/api-keys", json={"name": "k"}, expect=201).json()
    server.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    database = db.connect(server.data, server.database)

    def faults() -> list[str]:
        with database.read() as connection:
            return list(audit.faults(connection, 1))

    def change(statement: str) -> None:
        with database.write() as connection:
            connection.execute(text(statement))

    assert faults() == []
    with database.read() as connection:
        rows = [
            dict(row) for row in connection.execute(text("SELECT * FROM audit_log ORDER BY seq")).mappings()
        ]
    assert [row["action"] for row in rows] == ["project.create", "key.create", "key.revoke"]
    assert made["token"] not in str(rows) and made["token"][4:] not in str(rows)
    change("UPDATE audit_log SET actor = 'somebody else' WHERE seq = 2")
    assert faults() == ["record 2 was changed"]
    change(f"UPDATE audit_log SET actor = '{rows[1]['actor']}' WHERE seq = 2")
    assert faults() == []
    change("DELETE FROM audit_log WHERE seq = 2")
    assert faults()[0] == "record 2 is missing"
    database.close()


def test_a_failed_change_leaves_no_record(server: Server) -> None:
    """A record stands or falls with its change."""
    before = server.call("GET", "/api/audit-logs", expect=200).text
    server.call("POST", "/api/projects", json={"slug": "p"}, expect=201)
    server.call("POST", "/api/projects", json={"slug": "p"}, expect=409)
    database = db.connect(server.data, server.database)
    with database.read() as connection:
        count = connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one()
        assert list(audit.faults(connection, 1)) == []
    database.close()
    assert count == 1 and before


def test_a_data_folder_that_can_not_be(tmp_path: Path) -> None:
    """A file in the way of the data folder is told."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorldFluxError, match="file"):
        place.settings(tmp_path / "file", {})
