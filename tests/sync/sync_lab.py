"""A sync client without its command line, and the question whether a server holds what lies here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_lab import Lenient, fingerprint, sha256

from worldflux.sync.client import Client
from worldflux.sync.credentials import Credential
from worldflux.sync.http import Channel
from worldflux.sync.journal import Journal
from worldflux.sync.locks import RunLocks
from worldflux.sync.outcome import Outcome, Summary
from worldflux.sync.plan import Options
from worldflux.sync.retries import Budget
from worldflux.sync.upload import Upload
from worldflux.sync.wire import Hello


class Desk:
    """One client at work for one project."""

    def __init__(self, channel: Channel, project: Path) -> None:
        self.channel, self.project = channel, project
        self.client = Client(channel)
        self.runs_dir = project / "runs"
        self.notices: list[str] = []
        self._hello: Hello | None = None

    @classmethod
    def at(cls, url: str, key: str, project: Path, *, budget: float = 5.0, connections: int = 8) -> Desk:
        """A client of the server at `url`, which gives up after `budget` seconds of trouble."""
        notices: list[str] = []
        channel = Channel(Credential(key, "environment", url), Budget(budget), notices.append, connections)
        made = cls(channel, project)
        made.notices = notices
        return made

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    @property
    def hello(self) -> Hello:
        if self._hello is None:
            self._hello = self.client.hello()
        return self._hello

    @property
    def journal_path(self) -> Path:
        return Journal(self.project / ".worldflux", self.client.origin, self.hello.workspace).path

    def upload(self, *run_ids: str, gate: Any = None, **options: Any) -> Summary:
        """Bring runs (all of them when none is named), and see that no folder of a run was touched."""
        before = fingerprint(self.runs_dir)
        cache = self.project / ".worldflux"
        journal = Journal(cache, self.client.origin, self.hello.workspace)
        locks = RunLocks(cache, self.client.origin)
        ids = run_ids or sorted(path.name for path in self.runs_dir.iterdir())
        try:
            work = Upload(
                self.client, self.hello, self.runs_dir, journal, locks, gate or Lenient(), Options(**options)
            )
            return work.run(ids)
        finally:
            locks.close()
            assert fingerprint(self.runs_dir) == before, "sync changed a run's folder"

    def one(self, run_id: str, **options: Any) -> Outcome:
        """What became of one run."""
        return self.upload(run_id, **options).outcomes[run_id]

    def state(self, run_id: str) -> dict[str, Any]:
        """What the server says it holds of a run."""
        reply = self.channel.send("POST", "/api/sync/state", json.dumps({"runs": [run_id]}).encode(), JSON)
        state: dict[str, Any] = reply.document["runs"][run_id]
        return state

    def get(self, path: str) -> bytes:
        reply = self.channel.send("GET", path)
        assert reply.status == 200, f"{path}: {reply.why}"
        return reply.body

    def assert_same(self, run_id: str, *, logs: bool = True) -> None:
        """The server holds a finished run exactly as it lies here: record, streams, committed artifacts."""
        folder = self.runs_dir / run_id
        data = (folder / "manifest.json").read_bytes()
        document = json.loads(data)
        state = self.state(run_id)
        assert state["manifest_sha256"] == sha256(data)
        assert self.get(f"/api/runs/{run_id}/manifest") == data
        wanted = {f"log:{log['name']}": log for log in document["logs"] if logs}
        if document["series"]:
            wanted["metrics"] = document["series"]
        held = {name: each for name, each in state["streams"].items() if each["bytes"]}
        assert {name: (each["bytes"], each["sha256"]) for name, each in held.items()} == {
            name: (each["bytes"], each["sha256"]) for name, each in wanted.items() if each["bytes"]
        }
        committed = [each["sha256"] for each in document["artifacts"] if each["commit"]]
        assert self.client.missing_blobs(committed) == {}


JSON = {"Content-Type": "application/json"}


def crash(server: Any) -> None:
    """End a server as a power switch would."""
    server.kill()
    if server.process.stdout:
        server.process.stdout.close()
