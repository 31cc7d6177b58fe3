"""Who may do what, generated from the application's own routes: a new route is tested the day it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sent_runs import SentRun, send, sha256
from server_process import Server, start

from worldflux.manifest.model import new_run_id
from worldflux.server import keys
from worldflux.server.app import create_app
from worldflux.server.settings import Settings

#: Routes that answer without a credential, each for a reason.
PUBLIC = {
    ("GET", "/healthz"): "a load balancer has no key",
    ("GET", "/readyz"): "a load balancer has no key",
    ("GET", "/metrics"): "for this machine only; tested below",
    ("GET", "/openapi.json"): "the API is no secret",
    ("POST", "/api/session"): "signs in",
    ("GET", "/api/session"): "says whether somebody is signed in",
}
#: Removing what is not there is no error: the name is only looked for in the own workspace.
ALREADY_GONE = {"/api/trusted-keys/{name}"}

#: Pages and their parts: what they show they ask the API for.
PAGES = re.compile(
    r"/(static/.*|login|favicon\.ico|s/\{token\}|settings.*|compare|runs/\{[a-z_]+\}|p/\{.*\}|)"
)


@pytest.fixture(scope="module")
def patient_server(
    tmp_path_factory: pytest.TempPathFactory, tables: Callable[[Path], str | None]
) -> Iterator[Server]:
    """A server that lets one address try as many wrong keys as it likes."""
    data = tmp_path_factory.mktemp("patient") / "data"
    url = tables(data)
    (data / "server.json").write_text('{"address_rate": 1e6, "address_burst": 1000000}')
    running = start(data, url)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(str(tmp_path_factory.mktemp("routes"))))


def api_routes(app: FastAPI) -> Iterator[tuple[str, APIRoute]]:
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods):
                yield method, route


def closed_routes(app: FastAPI) -> list[tuple[str, APIRoute]]:
    return [
        (method, route)
        for method, route in api_routes(app)
        if (method, route.path) not in PUBLIC and not PAGES.fullmatch(route.path)
    ]


def doors(dependant: Dependant) -> list[Any]:
    """The `require` dependencies of a route."""
    found = [dependant.call] if hasattr(dependant.call, "scope") else []
    return found + [door for inner in dependant.dependencies for door in doors(inner)]


def filled(path: str, **values: str) -> str:
    """A path with something in each of its places."""
    given = {"run_id": new_run_id(), "sha256": "0" * 64, "slug": "demo", "token": "x", **values}
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: given.get(match[1], "1"), path)


def test_every_route_has_a_door(app: FastAPI) -> None:
    """Each route but the public ones depends on `require`; `/api` has no page among it."""
    open_routes = [
        f"{method} {route.path}" for method, route in closed_routes(app) if not doors(route.dependant)
    ]
    assert open_routes == []
    assert len(closed_routes(app)) > 30
    assert not any(
        path.startswith("/api") and PAGES.fullmatch(path) for path in (r.path for _, r in api_routes(app))
    )


WRONG = {
    "none": {},
    "empty": {"Authorization": ""},
    "garbage": {"Authorization": "Bearer garbage"},
    "another scheme": {"Authorization": "Basic d29ybGQ6Zmx1eA=="},
    "unknown": {"Authorization": f"Bearer {keys.token()}"},
    "unknown share": {"Authorization": f"Bearer {keys.token('wfs_')}"},
    "cookie": {"Cookie": "wf_session=" + "A" * 43},
}


def test_nothing_opens_without_a_right_key(app: FastAPI, patient_server: Server) -> None:
    """Every closed route answers 401 to no key, garbage, expired, revoked, changed and doubled keys."""
    key = patient_server.key
    revoked = patient_server.call("POST", "/api/api-keys", json={"name": "soon gone"}, expect=201).json()
    patient_server.call("DELETE", f"/api/api-keys/{revoked['id']}", expect=200)
    wrong = dict(WRONG)
    wrong["revoked"] = {"Authorization": f"Bearer {revoked['token']}"}
    wrong["another case"] = {"Authorization": f"Bearer {key.swapcase()}"}
    wrong["cut"] = {"Authorization": f"Bearer {key[:-1]}"}
    wrong["longer"] = {"Authorization": f"Bearer {key}x"}
    wrong["two in one"] = {"Authorization": f"Bearer {key}, Bearer {key}"}
    wrong["in the address"] = {}
    bodies = set()
    for method, route in closed_routes(app):
        for name, headers in wrong.items():
            path = filled(route.path) + (f"?token={key}&key={key}" if name == "in the address" else "")
            answer = patient_server.call(method, path, key=None, headers=headers)
            assert answer.status_code == 401, f"{method} {path} with {name}: {answer.status_code}"
            if method != "HEAD":
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                bodies.add((answer.json()["code"], answer.json()["detail"]))
    assert len(bodies) == 1, "an answer tells why the key is not right"


@pytest.mark.parametrize(
    "odd", ["//api/sync", "/api//sync", "/api/sync/", "/api/%73ync/", "/API/sync", "/api/sync%00"]
)
def test_odd_paths_open_nothing(patient_server: Server, odd: str) -> None:
    """Doubled slashes, trailing slashes, other cases and encodings lead nowhere, never past the door."""
    assert patient_server.call("GET", odd, key=None).status_code in (401, 404, 405)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_odd_methods_open_nothing(patient_server: Server, method: str) -> None:
    """Methods that a route does not have are refused."""
    assert patient_server.call(method, "/api/api-keys", key=None).status_code in (400, 401, 404, 405)


def test_metrics_are_for_this_machine(patient_server: Server) -> None:
    """A request that came through a proxy is not local, whatever its address looks like."""
    patient_server.call("GET", "/metrics", key=None, expect=200)
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        patient_server.call("GET", "/metrics", key=None, headers={header: "127.0.0.1"}, expect=401)


def test_each_scope_opens_its_own_routes_only(app: FastAPI, patient_server: Server) -> None:
    """A key with all scopes but the one that a route needs is refused with 403 and the scope's name."""
    without: dict[str, str] = {}
    for scope in keys.SCOPES:
        others = [each for each in keys.SCOPES if each != scope]
        made = patient_server.call(
            "POST", "/api/api-keys", json={"name": f"no {scope}", "scopes": others}, expect=201
        )
        without[scope] = made.json()["token"]
    tried = 0
    for method, route in closed_routes(app):
        for door in doors(route.dependant):
            if door.scope is None:
                continue
            answer = patient_server.call(method, filled(route.path), key=without[door.scope])
            assert answer.status_code == 403, (
                f"{method} {route.path} without {door.scope}: {answer.status_code}"
            )
            if method != "HEAD":
                assert answer.json()["scope"] == door.scope
            tried += 1
    assert tried > 15


class Theirs:
    """A workspace with everything in it that can be asked for."""

    def __init__(self, server: Server) -> None:
        self.server = server
        slug = f"w{new_run_id()[-12:]}"
        self.key: str = server.call("POST", "/api/workspaces", json={"slug": slug}, expect=201).json()["key"][
            "token"
        ]
        self.run = SentRun(
            project="theirs", artifacts={"a": b"their artifact " + slug.encode()}, tags=["secret-tag"]
        )
        send(server, *self.run.frames(), key=self.key, expect=200)
        made = server.call(
            "POST", "/api/api-keys", json={"name": "their key"}, key=self.key, expect=201
        ).json()
        self.names = {
            "run_id": self.run.run_id, "slug": "theirs", "project": "theirs", "key_id": made["id"],
            "sha256": sha256(self.run.artifacts["a"]), "login": "their-login",
        }  # fmt: skip
        share = server.call(
            "POST", "/api/shares", json={"run": self.run.run_id, "expires_days": 5}, key=self.key
        )
        if share.status_code == 201:
            self.names["share_id"] = share.json()["id"]

    def state(self) -> list[str]:
        """Everything they see, to be compared before and after."""
        paths = [
            f"/api/runs/{self.run.run_id}", "/api/projects", "/api/api-keys", "/api/shares",
            f"/api/runs/{self.run.run_id}/artifacts",
        ]  # fmt: skip
        found = [self.server.call("GET", path, key=self.key, expect=200).text for path in paths]
        return [re.sub(r'"last_used_at":[^,}]*', "", text) for text in found]


def test_another_workspace_is_not_there(app: FastAPI, patient_server: Server) -> None:
    """With every name of their things, no route shows or changes anything: 404, as for what never was."""
    theirs = Theirs(patient_server)
    before = theirs.state()
    for method, route in closed_routes(app):
        if "{" not in route.path or route.path.startswith("/api/sync/blobs") or "workspaces" in route.path:
            continue
        path = filled(route.path, **theirs.names)
        answer = patient_server.call(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
        if route.path in ALREADY_GONE and answer.status_code == 200:
            continue
        allowed = {404, 422, 400, 415} if method in ("POST", "PUT", "PATCH") else {404, 400, 422}
        assert answer.status_code in allowed, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        assert "secret-tag" not in answer.text and "their" not in answer.text.replace("/problems/", "")
    assert theirs.state() == before


def test_lists_show_nothing_of_another_workspace(app: FastAPI, patient_server: Server) -> None:
    """Lists, searches, counts, the audit log and sync's own questions have nothing of theirs in them."""
    theirs = Theirs(patient_server)
    for method, route in closed_routes(app):
        if method != "GET" or "{" in route.path or route.path == "/api/workspaces":
            continue
        answer = patient_server.call("GET", route.path)
        for name, word in theirs.names.items():
            if name not in ("slug", "project") and answer.status_code == 200:
                assert word not in answer.text, f"{route.path} shows {name}"
        assert "theirs" not in answer.text, route.path
    asked = patient_server.call(
        "POST", "/api/sync/state", json={"runs": [theirs.run.run_id]}, expect=200
    ).json()
    assert asked["runs"][theirs.run.run_id]["status"] == "absent"
    asked = patient_server.call(
        "POST", "/api/sync/heartbeat", json={"runs": [theirs.run.run_id]}, expect=200
    ).json()
    assert asked["runs"] == {theirs.run.run_id: "absent"}
    name = theirs.names["sha256"]
    asked = patient_server.call("POST", "/api/sync/blobs", json={"sha256": [name]}, expect=200).json()
    assert asked == {"missing": [{"sha256": name, "offset": 0}]}
    patient_server.call("HEAD", f"/api/sync/blobs/{name}", expect=404)


def test_two_workspaces_may_hold_the_same_run(patient_server: Server) -> None:
    """An id is unique in its workspace only; neither sees or overwrites the other's."""
    theirs = Theirs(patient_server)
    before = theirs.state()
    mine = SentRun(run_id=theirs.run.run_id, project="mine", name="mine")
    (told,) = send(patient_server, *mine.frames(), expect=200).json()["results"]
    assert told["outcome"] == "stored"
    assert theirs.state() == before


def test_nobody_gives_away_more_than_they_have(patient_server: Server) -> None:
    """Making or rotating a key can not raise what somebody may do."""
    small = patient_server.call(
        "POST", "/api/api-keys", json={"name": "small", "scopes": ["keys:admin", "runs:read"]}, expect=201
    ).json()
    more = {"name": "more", "scopes": ["runs:write"]}
    patient_server.call("POST", "/api/api-keys", json=more, key=small["token"], expect=403)
    listed = patient_server.call("GET", "/api/api-keys", expect=200).json()["keys"]
    first = next(key["id"] for key in listed if "admin" in key["scopes"])
    patient_server.call("POST", f"/api/api-keys/{first}/rotate", json={}, key=small["token"], expect=403)


def test_a_folder_of_its_own(tmp_path: Path) -> None:
    """The application makes what it needs in its data folder, and nothing of it is for others to read."""
    create_app(Settings(str(tmp_path)))
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.suffix == ".db", path
