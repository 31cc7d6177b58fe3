"""Runs over HTTP: the list, one of them, and what people change about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from reading import TypedRun, listed, new_key, new_workspace, store
from sent_runs import SentRun, send
from server_process import Server

from worldflux.manifest.model import new_run_id


@pytest.fixture(scope="module")
def other(shared_server: Server) -> str:
    """The key of another workspace."""
    return new_workspace(shared_server, "other")


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Iterator[str]:
    """A project's name for one test alone."""
    yield f"p-{new_run_id()[-12:]}"


def actions(server: Server, target: str) -> list[str]:
    """What the audit log says was done to something, oldest first."""
    answer = server.call("GET", "/api/audit-logs", params={"target": target}, expect=200).json()
    return [record["action"] for record in reversed(answer["records"])]


def test_a_row_says_what_the_manifest_says(shared_server: Server, project: str) -> None:
    """Every field of a row comes from the run, numbers as numbers, what is not finite by its name."""
    run = TypedRun(
        project=project,
        name="<b>näme</b>",
        tags=["nightly", "a b"],
        status="failed",
        metrics={
            "loss": {"value": 0.25, "step": 49, "unit": "nats"},
            "bad": {"value": "NaN"},
            "worse": {"value": "-Infinity"},
            "rate": {"value": 0.5, "kind": "success", "k": 5, "n": 10,
                     "interval": {"method": "wilson", "level": 0.95, "low": 0.2, "high": 0.8}},
        },
        params={"params": {"lr": 0.1, "flag": True, "deep": {"x": [1, 2]}}, "seed": 3, "runtime": {"gpu": "T4"}},
    )  # fmt: skip
    store(shared_server, run)
    answer = shared_server.call(
        "GET",
        "/api/runs",
        params={"project": project, "columns": "metrics.loss,params.lr,params.seed"},
        expect=200,
    ).json()
    (row,) = answer["runs"]
    assert (answer["total"], answer["total_is_exact"], answer["next"]) == (1, True, None)
    assert row["metrics"] == {"loss": {"value": 0.25, "unit": "nats", "step": 49}}
    assert row["params"] == {"lr": 0.1, "seed": 3}
    whole = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    assert whole["metrics"]["bad"] == {"value": "NaN"}
    assert whole["metrics"]["worse"] == {"value": "-Infinity"}
    assert whole["metrics"]["rate"] == {
        "value": 0.5,
        "kind": "success",
        "low": 0.2,
        "high": 0.8,
        "k": 5,
        "n": 10,
    }
    assert whole["params"] == {"lr": 0.1, "flag": True, "deep.x": "[1, 2]", "seed": 3, "runtime.gpu": "T4"}
    assert whole["streams"] == {name: len(data) for name, data in run.streams.items()}
    document = run.document()
    expected = {
        "id": run.run_id, "project": project, "name": "<b>näme</b>", "recipe": "demo", "task": "eval", "adapter": None,
        "runtime": "local", "status": "failed", "lost": False, "outcome": "failed", "attempt": 1, "sweep_id": None,
        "seed": None, "tags": ["a b", "nightly"], "notes": "", "starred": False, "baseline": False, "archived": False,
        "created_at": document["run"]["created_at"], "finished_at": document["run"]["finished_at"],
        "duration_seconds": 1.0, "cost_usd": None, "git": {"commit": None, "dirty": None, "branch": None},
        "error": {"code": "failed", "message": document["run"]["error"]["message"]}, "evidence": "none",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert {name: whole[name] for name in expected} == expected


def test_the_manifest_comes_back_byte_for_byte(shared_server: Server, project: str) -> None:
    """What evidence and signatures are about is never written anew."""
    run = SentRun(project=project)
    store(shared_server, run)
    answer = shared_server.call("GET", f"/api/runs/{run.run_id}/manifest", expect=200)
    assert answer.content == run.manifest()
    shown = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    assert answer.headers["X-Manifest-SHA256"] == shown["manifest_sha256"]


def test_a_run_without_a_manifest_yet(shared_server: Server, project: str) -> None:
    """A run of which only a stream came is listed, and has no manifest to show."""
    run = SentRun(project=project, status="running")
    send(shared_server, run.stream_frame("log:output", 0, b"hello"), expect=200)
    assert listed(shared_server, project=project) == [run.run_id]
    shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200)
    shared_server.call("GET", f"/api/runs/{run.run_id}/manifest", expect=404)


def test_filter_order_and_pages(shared_server: Server, project: str) -> None:
    """A list is filtered, ordered and paged as asked; infinities and NaN keep their places."""
    values = [0.3, 0.1, "NaN", 0.2, "Infinity"]
    runs = [SentRun(project=project, metrics={"m": {"value": value}}) for value in values]
    store(shared_server, *runs)
    ids = [run.run_id for run in runs]
    ordered = [ids[1], ids[3], ids[0], ids[4], ids[2]]
    assert listed(shared_server, project=project, sort="metrics.m") == ordered
    assert listed(shared_server, project=project, filter="metrics.m > 0.15", sort="-metrics.m") == [
        ids[4],
        ids[0],
        ids[3],
    ]
    assert listed(shared_server, project=project, filter="metrics.m = NaN") == [ids[2]]
    seen, cursor = [], ""
    while cursor is not None:
        query = {"project": project, "sort": "metrics.m", "limit": 2, "cursor": cursor}
        one = shared_server.call("GET", "/api/runs", params=query, expect=200).json()
        seen, cursor = seen + [run["id"] for run in one["runs"]], one["next"]
    assert seen == ordered


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"filter": "statis = failed"}, "filter", "did you mean `status`"),
        ({"filter": "(lost"}, "filter", "not closed"),
        ({"sort": "loss"}, "order", "no field `loss`"),
        ({"columns": "loss"}, "order", "metrics.NAME"),
        ({"cursor": "abc"}, "cursor", "start again"),
        ({"limit": "501"}, "invalid", "limit"),
        ({"limit": "x"}, "invalid", "limit"),
        ({"state": "gone"}, "invalid", "state"),
        ({"filter": "a\0b"}, "invalid", "filter"),
        ({"project": "\0"}, "invalid", "project"),
    ],
)
def test_a_wrong_question_is_answered_with_the_right_one(
    shared_server: Server, query: dict[str, str], code: str, words: str
) -> None:
    """422 as a problem document, with its place and what to write instead."""
    answer = shared_server.call("GET", "/api/runs", params=query, expect=422)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == code
    assert words in problem["detail"] + problem["hint"]


def test_a_hint_knows_the_names_that_runs_have(shared_server: Server) -> None:
    """A metric that is asked for without its prefix is recognised."""
    store(shared_server, SentRun(metrics={"reward_mean": {"value": 1.0}}))
    problem = shared_server.call("GET", "/api/runs", params={"filter": "reward_mean > 0"}, expect=422).json()
    assert problem["hint"] == "did you mean `metrics.reward_mean`?"


def test_states(shared_server: Server, project: str) -> None:
    """Active by default; the archive and the trash by name; the archive also by a filter that speaks of it."""
    active, archived, trash = (SentRun(project=project) for _ in range(3))
    store(shared_server, active, archived, trash)
    shared_server.call("PATCH", f"/api/runs/{archived.run_id}", json={"archived": True}, expect=200)
    shared_server.call("DELETE", f"/api/runs/{trash.run_id}", expect=200)
    assert listed(shared_server, project=project) == [active.run_id]
    assert listed(shared_server, project=project, state="archived") == [archived.run_id]
    assert listed(shared_server, project=project, state="trash") == [trash.run_id]
    assert listed(shared_server, project=project, filter="archived") == [archived.run_id]
    assert listed(shared_server, project=project, filter="not archived") == [active.run_id]


def test_live_runs(shared_server: Server, project: str) -> None:
    """`live` shows those that run now."""
    running, done = SentRun(project=project, status="running"), SentRun(project=project)
    store(shared_server, running, done)
    assert listed(shared_server, project=project, live="1") == [running.run_id]


def test_changes_are_kept_and_recorded(shared_server: Server, project: str) -> None:
    """Name, notes, tags, star, archive and baseline change; each is in the audit log, notes without their text."""
    run = SentRun(project=project, tags=["old"])
    store(shared_server, run)
    change = {
        "name": "näw", "notes": "secret\nthoughts", "tags": ["b", "a", "b"], "starred": True, "baseline": True,
        "archived": True,
    }  # fmt: skip
    shown = shared_server.call("PATCH", f"/api/runs/{run.run_id}", json=change, expect=200).json()
    assert {name: shown[name] for name in change} == change | {"tags": ["a", "b"]}
    again = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    assert {name: again[name] for name in change} == change | {"tags": ["a", "b"]}
    undone = {"baseline": False, "starred": False, "archived": False, "tags": []}
    shown = shared_server.call("PATCH", f"/api/runs/{run.run_id}", json=undone, expect=200).json()
    assert {name: shown[name] for name in undone} == undone
    records = shared_server.call("GET", "/api/audit-logs", params={"target": run.run_id}, expect=200).json()[
        "records"
    ]
    assert [record["action"] for record in records] == ["run.change", "run.change"]
    assert records[1]["detail"]["changed"] == sorted(change)
    assert "thoughts" not in json.dumps(records)


def test_a_new_name_and_tags_survive_the_next_sync(shared_server: Server, project: str) -> None:
    """What people set stays when the run's machine sends its manifest again."""
    run = SentRun(project=project, status="running", tags=["old"])
    store(shared_server, run)
    shared_server.call("PATCH", f"/api/runs/{run.run_id}", json={"name": "mine", "tags": ["new"]}, expect=200)
    run.status, run.tags = "succeeded", ["old", "late"]
    store(shared_server, run)
    shown = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    assert (shown["status"], shown["name"], shown["tags"]) == ("succeeded", "mine", ["new"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""}, {"name": "a\nb"}, {"name": "\u202eevil"}, {"name": "x" * 513}, {"name": 5}, {"starred": "yes"},
        {"starred": 1}, {"tags": "a"}, {"tags": [""]}, {"tags": ["x" * 65]}, {"tags": ["a"] * 65}, {"unknown": 1},
        {"notes": "a\0"}, {"notes": "x" * 16385}, {"tags": [None]}, {"status": "succeeded"}, [], "x",
    ],
)  # fmt: skip
def test_what_a_run_can_not_be_changed_to(shared_server: Server, project: str, change: Any) -> None:
    """422, and nothing is changed or recorded."""
    run = SentRun(project=project)
    store(shared_server, run)
    before = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    shared_server.call("PATCH", f"/api/runs/{run.run_id}", json=change, expect=422)
    assert shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json() == before
    assert actions(shared_server, run.run_id) == []


def test_half_a_character_is_refused(shared_server: Server, project: str) -> None:
    """A lone surrogate in JSON, which no database takes, is 422 on both."""
    run = SentRun(project=project)
    store(shared_server, run)
    headers = {"Content-Type": "application/json"}
    for body in (
        b'{"name": "\\ud800"}',
        b'{"notes": "\\udc00"}',
        b'{"tags": ["\\ud83d"]}',
        b'{"name": "a"',
        b"\xff",
    ):
        answer = shared_server.call("PATCH", f"/api/runs/{run.run_id}", data=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text


def test_trash_and_back(shared_server: Server, project: str) -> None:
    """Deleting is undone by restoring; doing either twice is one change and one record."""
    run = SentRun(project=project)
    store(shared_server, run)
    path = f"/api/runs/{run.run_id}"
    for _ in range(2):
        assert shared_server.call("DELETE", path, expect=200).json() == {"id": run.run_id, "state": "trash"}
    assert shared_server.call("GET", path, expect=200).json()["state"] == "trash"
    shared_server.call("PATCH", path, json={"archived": True}, expect=409)
    for _ in range(2):
        assert shared_server.call("POST", f"{path}/restore", expect=200).json()["state"] == "active"
    assert shared_server.call("GET", path, expect=200).json()["deleted_at"] is None
    assert actions(shared_server, run.run_id) == ["run.delete", "run.restore"]


def test_many_at_once(shared_server: Server, project: str, other: str) -> None:
    """A bulk action changes what is there, names what is not, and is one record."""
    runs = [SentRun(project=project, tags=["t"] if index == 0 else []) for index in range(3)]
    foreign = SentRun(project=project)
    store(shared_server, *runs)
    store(shared_server, foreign, key=other)
    ids, missing = [run.run_id for run in runs], [foreign.run_id, new_run_id(), "nonsense"]

    def bulk(action: str, **more: Any) -> dict[str, Any]:
        body = {"ids": [*ids, ids[0], *missing], "action": action, **more}
        return dict(shared_server.call("POST", "/api/runs/bulk", json=body, expect=200).json())

    assert bulk("tag", value="t") == {"changed": 2, "missing": missing}
    assert bulk("tag", value="t") == {"changed": 0, "missing": missing}
    assert sorted(listed(shared_server, project=project, filter="tags has t")) == sorted(ids)
    assert bulk("untag", value="t")["changed"] == 3
    assert bulk("archive")["changed"] == 3
    assert bulk("unarchive")["changed"] == 3
    assert bulk("star")["changed"] == 3
    assert sorted(listed(shared_server, project=project, filter="starred")) == sorted(ids)
    assert bulk("unstar")["changed"] == 3
    assert bulk("delete")["changed"] == 3
    assert listed(shared_server, project=project) == []
    assert bulk("restore")["changed"] == 3
    assert len(listed(shared_server, project=project)) == 3
    assert listed(shared_server, key=other, project=project) == [foreign.run_id]
    tagging = shared_server.call("GET", "/api/audit-logs", params={"action": "run.tag"}, expect=200).json()[
        "records"
    ]
    assert sorted(tagging[0]["detail"]["runs"]) == sorted(ids[1:])


@pytest.mark.parametrize(
    "body",
    [
        {}, {"ids": [], "action": "star"}, {"ids": ["x"]}, {"ids": ["x"], "action": "purge"},
        {"ids": ["x"], "action": "tag"}, {"ids": ["x"], "action": "star", "value": "v"}, {"ids": "x", "action": "star"},
        {"ids": ["x"] * 1001, "action": "star"}, {"ids": [1], "action": "star"},
        {"ids": ["x"], "action": "tag", "value": ""},
    ],
)  # fmt: skip
def test_a_wrong_bulk_action(shared_server: Server, body: dict[str, Any]) -> None:
    """422, with the field that is wrong."""
    shared_server.call("POST", "/api/runs/bulk", json=body, expect=422)


def test_tags_have_a_limit_in_bulk_too(shared_server: Server, project: str) -> None:
    """A sixty-fifth tag is refused, and none of the runs gets it."""
    full, free = SentRun(project=project, tags=[f"t{n}" for n in range(64)]), SentRun(project=project)
    store(shared_server, full, free)
    body = {"ids": [full.run_id, free.run_id], "action": "tag", "value": "extra"}
    assert (
        shared_server.call("POST", "/api/runs/bulk", json=body, expect=422).json()["code"] == "too-many-tags"
    )
    assert listed(shared_server, project=project, filter="tags has extra") == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None), ("GET", "/manifest", None), ("GET", "/metrics", None), ("GET", "/metrics.csv", None),
        ("GET", "/log", None), ("GET", "/log/lines", None), ("GET", "/log/search?q=h", None),
        ("GET", "/artifacts", None),
        ("PATCH", "", {"name": "stolen"}), ("DELETE", "", None), ("POST", "/restore", None),
    ],
)  # fmt: skip
def test_what_is_anothers_is_not_there(
    shared_server: Server, project: str, other: str, method: str, path: str, body: Any
) -> None:
    """Every endpoint of a run answers 404 to another workspace, the same as for no run at all."""
    run = SentRun(project=project)
    store(shared_server, run)
    before = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    answers = [
        shared_server.call(method, f"/api/runs/{id_}{path}", json=body, key=other, expect=404).json()
        for id_ in (run.run_id, new_run_id(), "nonsense", "%00")
    ]
    assert len({json.dumps({k: v for k, v in each.items() if k != "request_id"}) for each in answers}) == 1
    assert shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json() == before


def test_the_same_id_in_two_workspaces(shared_server: Server, project: str, other: str) -> None:
    """Two workspaces may hold the same run; each sees and changes its own."""
    mine, theirs = SentRun(project=project, name="mine"), SentRun(project=project, name="theirs")
    theirs.run_id = mine.run_id
    store(shared_server, mine)
    store(shared_server, theirs, key=other)
    shared_server.call("PATCH", f"/api/runs/{mine.run_id}", json={"notes": "n", "tags": ["x"]}, expect=200)
    shown = shared_server.call("GET", f"/api/runs/{mine.run_id}", key=other, expect=200).json()
    assert (shown["name"], shown["notes"], shown["tags"]) == ("theirs", "", [])
    assert listed(shared_server, key=other, filter="tags has x") == []


def test_scopes(shared_server: Server, project: str) -> None:
    """Reading needs runs:read, changing runs:write, and the refusal names the scope."""
    run = SentRun(project=project)
    store(shared_server, run)
    reader, writer = new_key(shared_server, "runs:read"), new_key(shared_server, "runs:write")
    path = f"/api/runs/{run.run_id}"
    shared_server.call("GET", path, key=reader, expect=200)
    assert shared_server.call("PATCH", path, json={}, key=reader, expect=403).json()["scope"] == "runs:write"
    shared_server.call("DELETE", path, key=reader, expect=403)
    shared_server.call(
        "POST", "/api/runs/bulk", json={"ids": [run.run_id], "action": "star"}, key=reader, expect=403
    )
    shared_server.call("GET", path, key=writer, expect=403)
    shared_server.call("GET", "/api/runs", key=None, expect=401)


def test_lists_are_packed_for_who_can_unpack(shared_server: Server, project: str) -> None:
    """gzip comes when it is asked for, and the same document without."""
    store(shared_server, *(SentRun(project=project) for _ in range(3)))
    packed = shared_server.call(
        "GET", "/api/runs", params={"project": project}, headers={"Accept-Encoding": "gzip"}
    )
    plain = shared_server.call(
        "GET", "/api/runs", params={"project": project}, headers={"Accept-Encoding": "gzip;q=0, identity"}
    )
    assert packed.headers.get("Content-Encoding") == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json() == plain.json()
