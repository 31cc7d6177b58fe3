"""Whose signatures count in a workspace: names, conflicts, and what follows for runs that have evidence."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from packed_runs import packed, placed
from reading import new_workspace, store
from sent_runs import SentRun
from server_process import Server

from worldflux.evidence import keys
from worldflux.evidence.build import Options, build
from worldflux.evidence.keys import SigningKey
from worldflux.manifest.model import new_run_id
from worldflux.manifest.secrets import Gate
from worldflux.server import migrations, trust
from worldflux.server.db import connect


def test_another_key_takes_a_name_only_when_told_to(shared_server: Server, tmp_path: Path) -> None:
    """409 with the key that has the name and what to do; the same key again is fine; replacing is in the log."""
    key = new_workspace(shared_server, f"t{new_run_id()[-12:]}")
    first, second = keys.create(tmp_path, "first"), keys.create(tmp_path, "second")

    def put(public: keys.PublicKey, expect: int, **query: str) -> dict[str, Any]:
        path, body = "/api/trusted-keys/ada", {"pem": public.pem}
        return dict(shared_server.call("PUT", path, key=key, params=query, json=body, expect=expect).json())

    def listed() -> list[str]:
        found = shared_server.call("GET", "/api/trusted-keys", key=key, expect=200).json()["keys"]
        return [each["key_id"] for each in found]

    put(first, 200)
    assert put(first, 200)["key_id"] == first.key_id
    told = put(second, 409)
    assert told["code"] == "key-exists" and told["key_id"] == first.key_id
    assert "?replace=true" in told["hint"] and "`ada`" in told["detail"]
    put(second, 409, replace="false")
    assert listed() == [first.key_id]
    assert put(second, 200, replace="true")["key_id"] == second.key_id
    put(second, 200, replace="true")
    assert listed() == [second.key_id]
    query = {"action": "trusted-key."}
    records = shared_server.call("GET", "/api/audit-logs", key=key, params=query, expect=200).json()[
        "records"
    ]
    assert [each["detail"] for each in records] == [
        {"key_id": second.key_id, "replaced": first.key_id},
        {"key_id": first.key_id},
    ]


def test_of_two_keys_for_one_name_at_once_one_is_refused(shared_server: Server, tmp_path: Path) -> None:
    """Whoever comes second learns of the first, also when both look before either has written."""
    key = new_workspace(shared_server, f"t{new_run_id()[-12:]}")
    given = [keys.create(tmp_path, f"k{number}") for number in range(8)]

    def put(public: keys.PublicKey) -> int:
        answer = shared_server.call("PUT", "/api/trusted-keys/ada", key=key, json={"pem": public.pem})
        return int(answer.status_code)

    with ThreadPoolExecutor(len(given)) as pool:
        found = sorted(pool.map(put, given))
    assert found == [200] + [409] * (len(given) - 1)


class Signed:
    """A workspace with a run for each signer, and one that nobody signed."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server = server
        self.key = new_workspace(server, f"t{new_run_id()[-12:]}")
        self.signers: dict[str, SigningKey] = {}
        self.archives: dict[str, bytes] = {}
        self.runs = {name: SentRun(project="signed") for name in ("ada", "bob", "nobody")}
        for name, run in self.runs.items():
            store(server, run, key=self.key)
            if name != "nobody":
                keys.create(place / "keys", name)
                self.signers[name] = keys.load(place / "keys", name)
            self.archives[name] = packed(run, place, self.signers.get(name)).read_bytes()
            self.send(name)

    def send(self, name: str) -> None:
        run = self.runs[name]
        self.server.call(
            "PUT", f"/api/runs/{run.run_id}/evidence", key=self.key, expect=200,
            data=self.archives[name],
            headers={"Content-Type": "application/zip"},
        )  # fmt: skip

    def trust(self, name: str, whose: str, **query: str) -> None:
        body = {"pem": self.signers[whose].pem}
        self.server.call(
            "PUT", f"/api/trusted-keys/{name}", key=self.key, params=query, json=body, expect=200
        )

    def distrust(self, name: str) -> None:
        self.server.call("DELETE", f"/api/trusted-keys/{name}", key=self.key, expect=200)

    def states(self) -> dict[str, str]:
        """The states in the list of runs; a filter by state finds the same runs."""
        listed = self.server.call("GET", "/api/runs", key=self.key, expect=200).json()["runs"]
        by_id = {row["id"]: row["evidence"] for row in listed}
        query = {"filter": "evidence = verified"}
        found = self.server.call("GET", "/api/runs", key=self.key, params=query, expect=200).json()["runs"]
        assert {row["id"] for row in found} == {run for run, state in by_id.items() if state == "verified"}
        return {name: by_id[run.run_id] for name, run in self.runs.items()}


@pytest.fixture
def signed(shared_server: Server, tmp_path: Path) -> Signed:
    return Signed(shared_server, tmp_path)


def test_the_state_of_runs_follows_the_keys_that_are_trusted(signed: Signed) -> None:
    """Added, replaced, removed: every run that a key signed is verified or signed at once, and no other changes."""
    plain = {"ada": "signed", "bob": "signed", "nobody": "unsigned"}
    assert signed.states() == plain
    signed.trust("lab", "ada")
    assert signed.states() == {**plain, "ada": "verified"}
    signed.trust("lab", "bob", replace="true")
    assert signed.states() == {**plain, "bob": "verified"}
    signed.trust("bob-too", "bob")
    signed.trust("ada", "ada")
    signed.distrust("lab")
    assert signed.states() == {**plain, "ada": "verified", "bob": "verified"}
    signed.distrust("bob-too")
    signed.distrust("ada")
    assert signed.states() == plain


def test_keys_of_one_workspace_say_nothing_in_another(
    signed: Signed, shared_server: Server, tmp_path: Path
) -> None:
    """The same signer is verified where it is trusted, and signed next door."""
    other = Signed(shared_server, tmp_path / "other")
    body = {"pem": signed.signers["ada"].pem}
    shared_server.call("PUT", "/api/trusted-keys/ada", key=other.key, json=body, expect=200)
    assert signed.states()["ada"] == other.states()["ada"] == "signed"
    signed.trust("ada", "ada")
    other.distrust("ada")
    assert signed.states()["ada"] == "verified"


def test_a_report_keeps_what_was_found_and_says_what_counts_now(signed: Signed) -> None:
    """The verdict of then stays, `state` follows; evidence of an earlier record is brought back by no key."""
    signed.trust("ada", "ada")
    signed.send("ada")
    signed.distrust("ada")
    path = f"/api/runs/{signed.runs['ada'].run_id}/evidence/report"
    report = signed.server.call("GET", path, key=signed.key, expect=200).json()
    assert report["state"] == "signed" and report["verdict"]["state"] == "verified"


def test_a_bundle_is_judged_by_the_keys_of_now(signed: Signed, tmp_path: Path) -> None:
    """Signed, verified while the key is trusted, signed again; a forged one is found out once the key is known."""
    run, out = signed.runs["ada"], tmp_path / "out"
    build(
        placed(run, tmp_path / "again"),
        out,
        Gate(),
        Options(key=signed.signers["ada"], exclude=["config.yaml"]),
    )
    bundle = (out / "attestations/run.slsa.sigstore.json").read_bytes()
    path = f"/api/runs/{run.run_id}/signature"

    def state() -> str:
        found = signed.server.call("GET", path, key=signed.key, expect=200).json()["verdict"]
        return str(found["state"])

    signed.server.call("PUT", path, key=signed.key, data=bundle, expect=200)
    assert state() == "signed"
    signed.trust("ada", "ada")
    assert state() == "verified"
    signed.distrust("ada")
    forged = json.loads(bundle)
    forged["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(b"0" * 70).decode()
    signed.server.call("PUT", path, key=signed.key, json=forged, expect=200)
    assert state() == "signed"
    signed.trust("ada", "ada")
    assert state() == "invalid"


def test_a_verdict_counts_by_the_keys_of_when_it_is_kept(
    tmp_path: Path, database_url: Callable[[], str | None]
) -> None:
    """A key that goes, or comes, while an archive is being judged decides; without a signer nothing changes."""
    database = connect(tmp_path, database_url())
    migrations.upgrade(database)
    ada = keys.create(tmp_path, "ada")
    signer = {"key_id": ada.key_id, "name": "ada", "trusted": True}
    was = {"state": "verified", "signer": signer}
    with database.write() as connection:
        assert trust.state_now(connection, 1, was) == "signed"
        trust.trust_key(database, connection, 1, "lab", ada.pem)
        assert trust.state_now(connection, 1, {"state": "signed", "signer": signer}) == "verified"
        assert trust.state_now(connection, 1, was) == "verified"
        assert trust.state_now(connection, 2, was) == "signed"
        assert trust.state_now(connection, 1, {"state": "invalid", "signer": signer}) == "invalid"
        assert trust.state_now(connection, 1, {"state": "unsigned", "signer": None}) == "unsigned"
    database.close()
