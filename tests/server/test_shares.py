"""Shares: what their tokens open, what they do not, and when they end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from reading import TypedRun, listed, new_key, new_workspace, store
from sent_runs import SentRun, sha256
from server_process import Server
from sqlalchemy import create_engine, select, update

from worldflux.manifest.model import new_run_id
from worldflux.server import db as databases
from worldflux.server.tables import shares


def share(server: Server, key: str | None = "", **what: Any) -> dict[str, Any]:
    """Make a share; the answer with its token."""
    return dict(server.call("POST", "/api/shares", json=what, key=key, expect=201).json())


@pytest.fixture
def run(shared_server: Server) -> TypedRun:
    """A stored run in a project of its own."""
    made = TypedRun(project=f"p-{new_run_id()[-12:]}", artifacts={"a.txt": b"shared bytes"})
    store(shared_server, made)
    return made


def test_a_share_of_a_run(shared_server: Server, run: TypedRun) -> None:
    """Its token reads that run, all of it, and nothing beside it."""
    beside = SentRun(project=run.project)
    store(shared_server, beside)
    made = share(shared_server, run=run.run_id, name="for review", days=1)
    token = made["token"]
    assert re.fullmatch(r"wfs_[0-9A-Za-z]{39}", token)
    assert made["url"].endswith(f"/s/{token}") and made["run"] == run.run_id and made["project"] is None
    assert listed(shared_server, key=token) == [run.run_id]
    path = f"/api/runs/{run.run_id}"
    shown = shared_server.call("GET", path, key=token, expect=200).json()
    assert shown["who"] is None
    for part in ("/manifest", "/metrics", "/metrics.csv", "/log", "/log/lines", "/log/search?q=h", "/artifacts",
                 f"/artifacts/{sha256(b'shared bytes')}"):  # fmt: skip
        shared_server.call("GET", path + part, key=token, expect=200)
    for part in ("", "/manifest", "/metrics", "/log", "/artifacts"):
        shared_server.call("GET", f"/api/runs/{beside.run_id}{part}", key=token, expect=404)
    groups = shared_server.call(
        "GET", "/api/runs/groups", params={"by": "recipe"}, key=token, expect=200
    ).json()
    assert [group["count"] for group in groups["groups"]] == [1]
    columns = shared_server.call("GET", "/api/runs/columns", key=token, expect=200).json()
    assert columns["runs"] == 1


def test_a_share_of_a_project(shared_server: Server, run: TypedRun) -> None:
    """Its token reads the project's runs, also those that come later, and no other project."""
    elsewhere = SentRun(project="elsewhere")
    store(shared_server, elsewhere)
    token = share(shared_server, project=run.project)["token"]
    assert listed(shared_server, key=token) == [run.run_id]
    later = SentRun(project=run.project)
    store(shared_server, later)
    assert set(listed(shared_server, key=token)) == {run.run_id, later.run_id}
    assert set(listed(shared_server, key=token, project=run.project)) == {run.run_id, later.run_id}
    shared_server.call("GET", "/api/runs", params={"project": "elsewhere"}, key=token, expect=404)
    assert listed(shared_server, key=token, filter="project = elsewhere") == []
    shared_server.call("GET", f"/api/runs/{elsewhere.run_id}", key=token, expect=404)


def test_a_share_only_reads(shared_server: Server, run: TypedRun) -> None:
    """With a token nothing can be changed, no key or share made, and nothing else of the workspace seen."""
    token = share(shared_server, project=run.project)["token"]
    path = f"/api/runs/{run.run_id}"
    for method, where, body in (
        ("PATCH", path, {"name": "x"}), ("DELETE", path, None), ("POST", f"{path}/restore", None),
        ("POST", "/api/runs/bulk", {"ids": [run.run_id], "action": "star"}), ("GET", "/api/audit-logs", None),
        ("POST", "/api/shares", {"run": run.run_id}), ("GET", "/api/shares", None), ("GET", "/api/api-keys", None),
        ("GET", "/api/workspace", None), ("GET", "/api/sync", None), ("POST", "/api/sync/state", {"runs": []}),
        ("GET", "/api/audit-logs/verify", None), ("POST", "/api/projects", {"slug": "x"}),
    ):  # fmt: skip
        answer = shared_server.call(method, where, json=body, key=token)
        assert answer.status_code in (401, 403), (method, where, answer.text)
    assert shared_server.call("GET", path, expect=200).json()["name"] == run.name


def test_a_share_shows_no_trash(shared_server: Server, run: TypedRun) -> None:
    """A deleted run is gone from a shared project, and its own share is over while it is in the trash."""
    token, own = (
        share(shared_server, **what)["token"] for what in ({"project": run.project}, {"run": run.run_id})
    )
    shared_server.call("DELETE", f"/api/runs/{run.run_id}", expect=200)
    assert listed(shared_server, key=token) == []
    assert listed(shared_server, key=token, state="trash") == []
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=token, expect=404)
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=own, expect=401)
    shared_server.call("POST", "/api/shares", json={"run": run.run_id}, expect=409)
    shared_server.call("POST", f"/api/runs/{run.run_id}/restore", expect=200)
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=own, expect=200)


def test_ending_a_share(shared_server: Server, run: TypedRun) -> None:
    """An ended share opens nothing from the next request on; ending it again changes nothing."""
    made = share(shared_server, run=run.run_id)
    assert made["id"] in [each["id"] for each in shared_server.call("GET", "/api/shares").json()["shares"]]
    first = shared_server.call("DELETE", f"/api/shares/{made['id']}", expect=200).json()
    assert shared_server.call("DELETE", f"/api/shares/{made['id']}", expect=200).json() == first
    answer = shared_server.call("GET", f"/api/runs/{run.run_id}", key=made["token"], expect=401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert made["id"] not in [
        each["id"] for each in shared_server.call("GET", "/api/shares").json()["shares"]
    ]
    records = shared_server.call("GET", "/api/audit-logs", params={"target": made["id"]}, expect=200).json()[
        "records"
    ]
    assert [record["action"] for record in records] == ["share.revoke", "share.create"]


def test_a_share_expires_by_the_servers_clock(shared_server: Server, run: TypedRun) -> None:
    """Past its time a token is as unknown as any other."""
    made = share(shared_server, run=run.run_id, days=0.5)
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=made["token"], expect=200)
    db = databases.connect(shared_server.data, shared_server.database)
    with db.write() as connection:
        past = "2026-01-01T00:00:00.000+00:00"
        connection.execute(update(shares).where(shares.c.public_id == made["id"]).values(expires_at=past))
    db.close()
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=made["token"], expect=401)
    assert made["id"] not in [
        each["id"] for each in shared_server.call("GET", "/api/shares").json()["shares"]
    ]


def test_tokens_are_stored_nowhere(shared_server: Server, run: TypedRun) -> None:
    """The database holds a digest and the last four characters, and lists show no more."""
    made = share(shared_server, run=run.run_id)
    url = shared_server.database
    engine = create_engine(
        url.replace("postgresql:", "postgresql+psycopg:")
        if url
        else f"sqlite:///{shared_server.data}/worldflux.db"
    )
    with engine.connect() as connection:
        rows = connection.execute(select(shares).where(shares.c.public_id == made["id"])).all()
    engine.dispose()
    assert made["token"] not in repr(rows) and made["token"][-4:] in repr(rows)
    assert made["token"] not in shared_server.call("GET", "/api/shares", expect=200).text
    assert made["token"] not in shared_server.call("GET", "/api/audit-logs", expect=200).text
    errors = shared_server.data.parent / f"{shared_server.data.name}.err"
    listed(shared_server, key=made["token"])
    assert made["token"] not in errors.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"run": "x", "project": "y"}, {"run": None}, {"project": "p", "days": 0}, {"project": "p", "days": 366},
        {"project": "p", "days": "1"}, {"project": "p", "days": -1}, {"project": "p", "name": "a\nb"}, {"project": ""},
        {"project": "p", "scopes": ["admin"]}, {"run": 5},
    ],
)  # fmt: skip
def test_a_wrong_share_is_refused(shared_server: Server, body: dict[str, Any]) -> None:
    """One run or one project, for at most a year; nothing else can be asked for."""
    shared_server.call("POST", "/api/shares", json=body, expect=422)


def test_only_ones_own_can_be_shared(shared_server: Server, run: TypedRun) -> None:
    """Another workspace's run, project or share is not there; and a key gives away no scope that it lacks."""
    other = new_workspace(shared_server, f"w{new_run_id()[-12:]}")
    for what in (
        {"run": run.run_id},
        {"project": run.project},
        {"run": new_run_id()},
        {"project": "nothing"},
    ):
        shared_server.call("POST", "/api/shares", json=what, key=other, expect=404)
    made = share(shared_server, run=run.run_id)
    shared_server.call("DELETE", f"/api/shares/{made['id']}", key=other, expect=404)
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=made["token"], expect=200)
    for scopes in (["runs:read"], ["runs:read", "runs:write"], ["runs:write", "artifacts:read"]):
        key = new_key(shared_server, *scopes)
        shared_server.call("POST", "/api/shares", json={"run": run.run_id}, key=key, expect=403)


@pytest.mark.parametrize("change", [str.upper, lambda t: t[:-1], lambda t: t + "a", lambda t: "wfx" + t[3:]])
def test_a_token_is_exact(shared_server: Server, run: TypedRun, change: Any) -> None:
    """A token that is not quite one opens nothing."""
    token = change(share(shared_server, run=run.run_id)["token"])
    shared_server.call("GET", f"/api/runs/{run.run_id}", key=token, expect=401)
