"""Heads, proofs, signatures and evidence over HTTP, as clients and strangers see them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm_python
from packed_runs import packed, placed
from reading import new_key, new_workspace, store
from sent_runs import SentRun, patch, sha256
from server_process import BIN, Server

from worldflux.evidence import keys, merkle
from worldflux.evidence.build import Options, build
from worldflux.evidence.heads import Heads, Rewritten, check_proof
from worldflux.evidence.keys import SigningKey
from worldflux.evidence.note import Checkpoint, Verifier
from worldflux.evidence.proof import LedgerProof
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
from worldflux.manifest.secrets import Gate


def head(server: Server, project: str, key: str | None = "") -> dict[str, Any]:
    answer = server.call("GET", "/api/sync/ledger-head", params={"project": project}, key=key, expect=200)
    return dict(answer.json())


def consistency(server: Server, project: str, old: int, new: int) -> list[str]:
    query = {"project": project, "from": old, "to": new}
    return list(server.call("GET", "/api/sync/consistency", params=query, expect=200).json()["proof"])


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """A signing key that the server does not know."""
    keys.create(tmp_path / "keys", "lab")
    return keys.load(tmp_path / "keys", "lab")


def test_a_synced_run_stands_in_the_ledger(shared_server: Server) -> None:
    """The head grows by one, its checkpoint is signed, and the run's proof leads to it, offline."""
    project = "proofs"
    for _ in range(4):
        store(shared_server, SentRun(project=project))
    run = SentRun(project=project)
    store(shared_server, run)
    now = head(shared_server, project)
    assert now["size"] == 5 and now["project"] == project
    verifier, checkpoint = Verifier.parse(now["key"]), Checkpoint.parse(now["checkpoint"])
    assert verifier.verifies(now["checkpoint"])
    assert (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) == (now["origin"], 5, now["root"])
    told = shared_server.call("GET", f"/api/runs/{run.run_id}/signature", expect=200).json()
    proof = LedgerProof.parse(told["proof"])
    entry = proof.check({"run_id": run.run_id, "manifest_sha256": sha256(run.manifest())})
    assert entry["kind"] == "run.committed" and entry["seq"] == told["seq"] == 4
    assert verifier.verifies(proof.note) and told["bundle"] is None


def test_a_repeated_sync_adds_nothing(shared_server: Server) -> None:
    """The same record is one entry, however often it is sent."""
    run = SentRun(project="again")
    for _ in range(3):
        store(shared_server, run)
    assert head(shared_server, "again")["size"] == 1


def test_a_client_sees_the_ledger_grow(shared_server: Server, tmp_path: Path) -> None:
    """Heads that grew from those seen before are taken in, with real proofs by the server."""
    heads = Heads(tmp_path)
    for count in (1, 1, 3, 8):
        store(shared_server, *[SentRun(project="growing") for _ in range(count)])
        seen = heads.see(
            shared_server.url, "growing", head(shared_server, "growing"),
            lambda old, new: consistency(shared_server, "growing", old, new),
        )  # fmt: skip
    assert seen.size == 13
    known = heads.known(shared_server.url, "growing")
    assert known is not None and known.size == 13
    run = SentRun(project="growing")
    store(shared_server, run)
    told = shared_server.call("GET", f"/api/runs/{run.run_id}/signature").json()["proof"]
    check_proof(told, known, run.run_id, sha256(run.manifest()))


def test_a_rewritten_ledger_is_noticed(server: Server, tmp_path: Path) -> None:
    """Behind the server's back the newest entries are taken out and others put in: clients refuse its head."""
    heads = Heads(tmp_path)
    runs = [SentRun(project="history") for _ in range(6)]
    store(server, *runs)
    heads.see(server.url, "history", head(server, "history"), lambda old, new: [])
    rewind(server, 4)
    with pytest.raises(Rewritten, match="it had 6"):
        heads.see(server.url, "history", head(server, "history"), lambda old, new: [])
    store(server, *[SentRun(project="history") for _ in range(5)])
    now = head(server, "history")
    assert now["size"] == 9
    with pytest.raises(Rewritten, match="entries were changed"):
        heads.see(server.url, "history", now, lambda old, new: consistency(server, "history", old, new))
    known = heads.known(server.url, "history")
    assert known is not None and known.size == 6


def rewind(server: Server, size: int) -> None:
    """Take a ledger back to an earlier size, as a restored backup or a liar does."""
    from sqlalchemy import update

    from worldflux.server.db import connect
    from worldflux.server.tables import ledger_entries, ledger_heads

    database = connect(server.data, server.database)
    with database.write() as connection:
        rows = connection.execute(ledger_entries.select().order_by(ledger_entries.c.seq)).all()[:size]
        frontier: list[bytes] = []
        for row in rows:
            frontier = merkle.append(frontier, row.seq, bytes.fromhex(row.leaf))
        connection.execute(ledger_entries.delete().where(ledger_entries.c.seq >= size))
        connection.execute(
            update(ledger_heads).values(
                size=size, chain=rows[-1].chain, root=merkle.root(frontier).hex(),
                frontier=json.dumps([each.hex() for each in frontier]),
            )
        )  # fmt: skip
    database.close()


def test_questions_beyond_the_ledger(shared_server: Server) -> None:
    """Another size than it has or had is a conflict, a project that is not there is 404, nobody is 401."""
    store(shared_server, SentRun(project="small"))
    ask = "/api/sync/consistency"
    for query, code in (
        ({"project": "small", "from": 2}, 409),
        ({"project": "small", "from": 1, "to": 5}, 409),
        ({"project": "small", "from": -1}, 422),
        ({"project": "none", "from": 0}, 404),
        ({"project": "small", "from": 0}, 200),
        ({"project": "small", "from": 1}, 200),
    ):
        shared_server.call("GET", ask, params=query, expect=code)
    shared_server.call("GET", "/api/sync/ledger-head", params={"project": "small"}, key=None, expect=401)


def test_another_workspace_sees_no_ledger_and_no_signature(shared_server: Server) -> None:
    """Heads, proofs and evidence are a workspace's own."""
    run = SentRun(project="mine")
    store(shared_server, run)
    other = new_workspace(shared_server, "ledger-other")
    shared_server.call("GET", "/api/sync/ledger-head", params={"project": "mine"}, key=other, expect=404)
    for what in ("signature", "evidence", "evidence/report"):
        shared_server.call("GET", f"/api/runs/{run.run_id}/{what}", key=other, expect=404)
    shared_server.call(
        "PUT", f"/api/runs/{run.run_id}/evidence", key=other, json={"sha256": "0" * 64}, expect=404
    )


def test_evidence_travels_as_a_blob_and_is_judged(
    shared_server: Server, tmp_path: Path, key: SigningKey
) -> None:
    """Uploaded in parts and named by digest: signed by a stranger, verified once the workspace trusts the key."""
    run = SentRun(project="evidence", artifacts={"a.bin": b"x" * 1000})
    store(shared_server, run)
    data = packed(run, tmp_path, key).read_bytes()
    name, path = sha256(data), f"/api/runs/{run.run_id}/evidence"
    shared_server.call("PUT", path, json={"sha256": name}, expect=409)
    patch(shared_server, name, 0, len(data), data, expect=200)
    verdict = shared_server.call("PUT", path, json={"sha256": name}, expect=200).json()["verdict"]
    assert verdict["state"] == "signed" and verdict["signer"]["key_id"] == key.public.key_id
    row = shared_server.call("GET", f"/api/runs/{run.run_id}", expect=200).json()
    assert row["evidence"] == "signed"
    got = shared_server.call("GET", path, expect=200)
    assert got.content == data and got.headers["Content-Disposition"].startswith("attachment")
    shared_server.call("PUT", "/api/trusted-keys/lab", json={"pem": key.pem}, expect=200)
    (listed,) = shared_server.call("GET", "/api/trusted-keys", expect=200).json()["keys"]
    assert listed["name"] == "lab" and listed["key_id"] == key.public.key_id
    fresh = shared_server.call("GET", f"{path}/report", params={"fresh": "1"}, expect=200).json()
    assert fresh["verdict"]["state"] == "verified" and fresh["verdict"]["signer"]["name"] == "lab"
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["evidence"] == "verified"
    shared_server.call("PUT", path, json={"sha256": name}, expect=200)
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["evidence"] == "verified"
    assert shared_server.call("DELETE", "/api/trusted-keys/lab", expect=200).json()["removed"] is True
    assert shared_server.call("DELETE", "/api/trusted-keys/lab", expect=200).json()["removed"] is False


def test_evidence_as_one_body(shared_server: Server, tmp_path: Path) -> None:
    """`curl -T` is enough for a small archive; unsigned is taken and said; a wrong digest is refused."""
    run = SentRun(project="evidence")
    store(shared_server, run)
    data, path = packed(run, tmp_path, None).read_bytes(), f"/api/runs/{run.run_id}/evidence"
    headers = {"Content-Type": "application/zip"}
    wrong = {**headers, "Content-Digest": "sha-256=:" + base64.b64encode(bytes(32)).decode() + ":"}
    shared_server.call("PUT", path, data=data, headers=wrong, expect=422)
    answer = shared_server.call("PUT", path, data=data, headers=headers, expect=200).json()
    assert answer["verdict"]["state"] == "unsigned" and answer["sha256"] == hashlib.sha256(data).hexdigest()
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["evidence"] == "unsigned"


def test_evidence_of_an_earlier_record_does_not_count(shared_server: Server, tmp_path: Path) -> None:
    """A run that goes on after an interruption gets another record; what was signed before is not about it."""
    run = SentRun(project="evidence", status="interrupted")
    store(shared_server, run)
    data, path = packed(run, tmp_path, None).read_bytes(), f"/api/runs/{run.run_id}"
    shared_server.call(
        "PUT", f"{path}/evidence", data=data, headers={"Content-Type": "application/zip"}, expect=200
    )
    assert shared_server.call("GET", path).json()["evidence"] == "unsigned"
    store(shared_server, dataclasses.replace(run, status="succeeded"))
    assert shared_server.call("GET", path).json()["evidence"] == "none"


def test_evidence_that_does_not_belong_is_refused(
    shared_server: Server, tmp_path: Path, key: SigningKey
) -> None:
    """Another run's package, no package, and a hostile archive are refused and change nothing."""
    run, other = SentRun(project="evidence"), SentRun(project="evidence")
    store(shared_server, run, other)
    path, headers = f"/api/runs/{run.run_id}/evidence", {"Content-Type": "application/zip"}
    wrong = packed(other, tmp_path, key).read_bytes()
    told = shared_server.call("PUT", path, data=wrong, headers=headers, expect=422).json()
    assert told["code"] == "evidence-other"
    assert (
        shared_server.call("PUT", path, data=b"hello", headers=headers, expect=422).json()["code"]
        == "evidence"
    )
    shared_server.call("PUT", path, data=wrong[:-9], headers=headers, expect=422)
    shared_server.call("PUT", path, data=b"{}", headers={"Content-Type": "application/json"}, expect=422)
    shared_server.call("GET", path, expect=404)
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["evidence"] == "none"


def test_a_tampered_package_is_kept_as_invalid(
    shared_server: Server, tmp_path: Path, key: SigningKey
) -> None:
    """A package whose log was exchanged is about the run, and its state says that it does not hold."""
    run = SentRun(project="evidence", logs={"output": b"all went well\n"})
    store(shared_server, run)
    data = bytearray(packed(run, tmp_path, key).read_bytes())
    at = data.index(b"all went well")
    data[at : at + 3] = b"ALL"
    headers = {"Content-Type": "application/zip"}
    path = f"/api/runs/{run.run_id}/evidence"
    verdict = shared_server.call("PUT", path, data=bytes(data), headers=headers, expect=200).json()["verdict"]
    assert verdict["state"] == "invalid"
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["evidence"] == "invalid"


def test_a_bundle_has_a_slot_of_its_own(shared_server: Server, tmp_path: Path, key: SigningKey) -> None:
    """The run statement alone is kept and given back byte for byte; one about another record is refused."""
    run, other = SentRun(project="bundles"), SentRun(project="bundles")
    store(shared_server, run, other)
    bundles = {}
    for each in (run, other):
        out = tmp_path / each.run_id
        build(placed(each, tmp_path / "runs"), out, Gate(), Options(key=key, exclude=["config.yaml"]))
        bundles[each.run_id] = (out / "attestations/run.slsa.sigstore.json").read_bytes()
    path = f"/api/runs/{run.run_id}/signature"
    told = shared_server.call("PUT", path, data=bundles[run.run_id], expect=200).json()
    assert told["verdict"]["state"] == "signed"
    got = shared_server.call("GET", path, expect=200).json()
    assert got["bundle"] == json.loads(bundles[run.run_id])
    assert shared_server.call("GET", f"/api/runs/{run.run_id}").json()["signature"] is True
    shared_server.call("PUT", path, data=bundles[other.run_id], expect=422)
    shared_server.call("PUT", path, data=b"nothing", expect=422)
    shared_server.call("PUT", "/api/trusted-keys/lab", json={"pem": key.pem}, expect=200)
    forged = json.loads(bundles[run.run_id])
    forged["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(b"0" * 70).decode()
    shared_server.call("PUT", path, json=forged, expect=422)
    shared_server.call("DELETE", "/api/trusted-keys/lab", expect=200)


def test_who_may_what(shared_server: Server) -> None:
    """A reader brings no evidence, and only a keeper of keys says whose signatures count."""
    run = SentRun(project="scopes")
    store(shared_server, run)
    reader = new_key(shared_server, "runs:read", "artifacts:read")
    path = f"/api/runs/{run.run_id}"
    shared_server.call("GET", f"{path}/signature", key=reader, expect=200)
    shared_server.call("PUT", f"{path}/evidence", key=reader, json={"sha256": "0" * 64}, expect=403)
    shared_server.call("PUT", f"{path}/signature", key=reader, json={}, expect=403)
    shared_server.call("PUT", "/api/trusted-keys/x", key=reader, json={"pem": ""}, expect=403)
    shared_server.call("PUT", "/api/trusted-keys/x", json={"pem": "no key"}, expect=422)
    shared_server.call("GET", f"{path}/evidence", key=reader, expect=404)


def test_a_run_without_a_record_has_no_evidence(shared_server: Server) -> None:
    """Before its manifest came there is nothing that evidence could be about."""
    run = SentRun(project="open", status="running")
    from sent_runs import send

    send(shared_server, *run.stream_frames(), expect=200)
    shared_server.call("GET", f"/api/runs/{run.run_id}/signature", expect=409)


@pytest.fixture
def signed_in(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody with a key for this server, and a project with one run and its evidence."""
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    project = tmp_path / "project"
    (project / "recipes" / "mine").mkdir(parents=True)
    (project / "worldflux.yaml").write_text(f"project: signed\nserver: {server.url}\n")
    (project / "recipes/mine/recipe.yaml").write_text("command: [python, -c, 'print(1)']\nevidence: true\n")
    yield env


def worldflux(project: Path, env: dict[str, str], *words: str, code: int = 0) -> dict[str, Any]:
    ended = warm_python.run(
        [BIN / "worldflux", *words, "--json"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return dict(json.loads(ended.stdout))


def test_from_a_run_to_a_proof_that_a_stranger_checks(
    server: Server, signed_in: dict[str, str], tmp_path: Path
) -> None:
    """Run, sync, look at the ledger, pack the proof: verified offline by a stranger who trusts both keys."""
    project = tmp_path / "project"
    worldflux(project, signed_in, "evidence", "key", "create")
    run_id = worldflux(project, signed_in, "run", "mine")["data"]["run_id"]
    worldflux(project, signed_in, "sync")
    seen = worldflux(project, signed_in, "evidence", "ledger", run_id)["data"]
    assert seen["size"] == 1 and seen["proof"] is not None
    worldflux(project, signed_in, "evidence", "build", "--zip", "--force", "-o", str(tmp_path / "given.zip"))
    trust = Trust(
        signers=[keys.read_public(Path(signed_in["WORLDFLUX_HOME"]) / "keys/default.pub", "author")],
        ledgers=[Verifier.parse(seen["key"])],
    )
    report = verify_path(tmp_path / "given.zip", trust)
    assert report.state == "verified" and report.layer("ledger").status == "pass"
    assert report.registration is not None and report.registration.seq == 0
    store(server, *[SentRun(project="signed") for _ in range(3)])
    rewind(server, 2)
    server.call("GET", "/api/sync/ledger-head", params={"project": "signed"}, expect=200)
    worldflux(project, signed_in, "evidence", "ledger")
    rewind(server, 1)
    error = worldflux(project, signed_in, "evidence", "ledger", code=4)["error"]
    assert error["code"] == "ledger-rewritten"


def test_evidence_goes_along_with_a_sync(server: Server, signed_in: dict[str, str], tmp_path: Path) -> None:
    """`evidence: true` and `sync`: the archive with the ledger's proof is on the server; the run folder stays."""
    project = tmp_path / "project"
    worldflux(project, signed_in, "evidence", "key", "create")
    run_id = worldflux(project, signed_in, "run", "mine")["data"]["run_id"]
    folder = project / "runs" / run_id
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pem = (Path(signed_in["WORLDFLUX_HOME"]) / "keys/default.pub").read_text()
    server.call("PUT", "/api/trusted-keys/author", json={"pem": pem}, expect=200)
    worldflux(project, signed_in, "sync")
    row = server.call("GET", f"/api/runs/{run_id}", expect=200).json()
    assert row["evidence"] == "verified"
    got = server.call("GET", f"/api/runs/{run_id}/evidence", expect=200).content
    (tmp_path / "got.zip").write_bytes(got)
    key = head(server, "signed")["key"]
    signers = [keys.public_of(pem.encode(), "author")]
    report = verify_path(tmp_path / "got.zip", Trust(signers=signers, ledgers=[Verifier.parse(key)]))
    assert report.state == "verified" and report.layer("ledger").status == "pass"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    worldflux(project, signed_in, "sync")
    store(server, *[SentRun(project="signed") for _ in range(2)])
    worldflux(project, signed_in, "run", "mine")
    worldflux(project, signed_in, "sync")
    rewind(server, 2)
    worldflux(project, signed_in, "run", "mine")
    error = worldflux(project, signed_in, "sync", code=4)["error"]
    assert error["code"] == "ledger-rewritten"
