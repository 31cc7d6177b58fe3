"""Reading the audit log, and finding out that somebody meddled with it."""

from __future__ import annotations

from typing import Any

import pytest
from reading import new_key, new_workspace, store
from sent_runs import SentRun
from server_process import Server
from sqlalchemy import delete, select, update

from worldflux.server import audit
from worldflux.server import db as databases
from worldflux.server.tables import audit_log, workspaces


def records(server: Server, **query: Any) -> list[dict[str, Any]]:
    return list(server.call("GET", "/api/audit-logs", params=query, expect=200).json()["records"])


def test_pages_of_records(server: Server) -> None:
    """Newest first, page by page, each record once; by action, by a family of them, by actor and target."""
    run = SentRun()
    store(server, run)
    for number in range(5):
        server.call("PATCH", f"/api/runs/{run.run_id}", json={"name": f"n{number}"}, expect=200)
    server.call("DELETE", f"/api/runs/{run.run_id}", expect=200)
    whole = records(server)
    assert [each["seq"] for each in whole] == list(range(whole[0]["seq"], 0, -1))
    seen, cursor = [], ""
    while cursor is not None:
        one = server.call("GET", "/api/audit-logs", params={"limit": 2, "cursor": cursor}, expect=200).json()
        seen, cursor = seen + one["records"], one["next"]
    assert seen == whole
    assert len(records(server, action="run.change")) == 5
    assert len(records(server, action="run.")) == 6
    assert (
        records(server, action="run") == records(server, action="%.") == records(server, actor="nobody") == []
    )
    assert len(records(server, target=run.run_id)) == 6
    newest = records(server, limit=1)[0]
    assert newest["action"] == "run.delete" and newest["actor"].startswith("key_")
    for wrong in ({"cursor": "x"}, {"cursor": "-1"}, {"limit": 0}, {"cursor": "9" * 30}, {"action": "\0"}):
        server.call("GET", "/api/audit-logs", params=wrong, expect=422)


def test_each_workspace_has_its_own(server: Server) -> None:
    """Nobody sees or counts another workspace's records; and reading needs audit:read."""
    other = new_workspace(server, "other")
    run = SentRun()
    store(server, run)
    server.call("DELETE", f"/api/runs/{run.run_id}", expect=200)
    theirs = server.call("GET", "/api/audit-logs", key=other, expect=200).json()["records"]
    assert run.run_id not in [each["target"] for each in theirs]
    verdict = server.call("GET", "/api/audit-logs/verify", key=other, expect=200).json()
    assert verdict["ok"] and verdict["records"] == len(theirs) and verdict["head"] == theirs[0]["hash"]
    reader = new_key(server, "runs:read")
    for path in ("", "/verify"):
        assert (
            server.call("GET", f"/api/audit-logs{path}", key=reader, expect=403).json()["scope"]
            == "audit:read"
        )


@pytest.mark.parametrize("harm", ["change", "drop", "rehash", "insert", "swap"])
def test_meddling_shows(server: Server, harm: str) -> None:
    """A record that was changed, dropped, rewritten with its hash, put in or moved breaks the chain."""
    run = SentRun()
    store(server, run)
    for number in range(4):
        server.call("PATCH", f"/api/runs/{run.run_id}", json={"name": f"n{number}"}, expect=200)
    good = server.call("GET", "/api/audit-logs/verify", expect=200).json()
    assert good["ok"] and good["faults"] == [] and good["records"] >= 4
    db, a = databases.connect(server.data, server.database), audit_log
    with db.write() as connection:
        place = connection.execute(select(workspaces.c.pk).where(workspaces.c.slug == "default")).scalar_one()
        own = a.c.workspace_id == place
        middle = good["records"] - 2
        row = dict(connection.execute(select(a).where(own, a.c.seq == middle)).mappings().one())
        if harm == "change":
            connection.execute(update(a).where(own, a.c.seq == middle).values(actor="key_somebodyelse"))
        elif harm == "drop":
            connection.execute(delete(a).where(own, a.c.seq == middle))
        elif harm == "rehash":
            row["target"] = "another"
            new = audit.digest(row)
            connection.execute(update(a).where(own, a.c.seq == middle).values(target="another", hash=new))
        elif harm == "insert":
            row |= {"seq": good["records"] + 1, "prev": "0" * 64}
            connection.execute(a.insert().values(**row | {"hash": audit.digest(row)}))
        else:
            for source, target in ((middle, 9999), (middle + 1, middle), (9999, middle + 1)):
                connection.execute(update(a).where(own, a.c.seq == source).values(seq=target))
    db.close()
    bad = server.call("GET", "/api/audit-logs/verify", expect=200).json()
    assert not bad["ok"] and bad["faults"]
