"""One schedule of disasters, drawn from a seed, and what must be true at its end.

Two hosts hold runs, some of them copies; runs are made, grow and end; clients and the server are
killed at random, connections are refused, cut inside bodies, delayed, answers are lost, journals
vanish, runs are deleted. In the end both hosts sync in peace, and then:

* the server holds exactly the runs that lie on the hosts, each as it lies there,
* each metric point is there once,
* what was once acknowledged was never lost,
* no sync ever changed a run's folder.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_proxy import ChaosProxy, Weather, chaos_proxy
from run_lab import end_run, fingerprint, make_run, metric_lines, sha256
from server_process import Server
from sync_lab import Desk, crash

STEPS = 22
HERE = Path(__file__).parent


class Clients:
    """Commands of worldflux as processes that may be killed, started quickly."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "client_zygote.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **order: Any) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: int = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)


@dataclass
class Host:
    """One machine: a home, a project, runs."""

    name: str
    root: Path
    env: dict[str, str]
    grown: dict[str, int] = field(default_factory=dict)

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    def run_ids(self) -> list[str]:
        return sorted(path.name for path in self.runs_dir.iterdir())

    def is_open(self, run_id: str) -> bool:
        return b'"status":"running","tags"' in (self.runs_dir / run_id / "manifest.json").read_bytes()


@dataclass
class _Sync:
    """A client at work."""

    host: Host
    process: int
    out: Path
    digests: dict[str, str]


class Schedule:
    """A seed's disasters on one server."""

    def __init__(self, seed: int, server: Server, clients: Clients, folder: Path) -> None:
        self.random = random.Random(seed)
        self.seed, self.server, self.clients, self.folder = seed, server, clients, folder
        self.weather = Weather()
        self.acknowledged: dict[str, list[str]] = {}
        self.deleted: set[str] = set()
        self.counts: dict[str, int] = {}
        self.log: list[str] = []
        self._number = 0

    def carry_out(self) -> None:
        """All steps, and the questions at the end."""
        port = int(self.server.url.rpartition(":")[2])
        with chaos_proxy(port, self.seed, self.weather) as proxy:
            hosts = [self._host(name, proxy) for name in ("a", "b")]
            for _ in range(2):
                self._new_run(hosts[0])
            for _ in range(STEPS):
                self._step(hosts)
                self._check_acknowledged()
            self.weather.refuse = self.weather.cut = self.weather.drop = self.weather.delay = 0.0
            self._peace(hosts)
        self._check_all(hosts)

    def _host(self, name: str, proxy: ChaosProxy) -> Host:
        root, home = self.folder / name, self.folder / f"home {name}"
        (root / "runs").mkdir(parents=True)
        home.mkdir()
        (root / "worldflux.yaml").write_text("project: chaos\n")
        env = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        env |= {
            "HOME": str(home),
            "WORLDFLUX_HOME": str(home / ".worldflux"),
            "WORLDFLUX_SERVER": f"http://127.0.0.1:{proxy.port}",
            "WORLDFLUX_API_KEY": self.server.key,
        }
        return Host(name, root, env)

    def _step(self, hosts: list[Host]) -> None:
        host = self.random.choice(hosts)
        actions: list[tuple[int, Callable[[], None]]] = [
            (4, lambda: self._new_run(host)),
            (6, lambda: self._grow(host)),
            (3, lambda: self._end(host)),
            (3, lambda: self._copy(hosts)),
            (6, lambda: self._sync([host])),
            (4, lambda: self._sync(hosts)),
            (4, lambda: self._sync([host], kill_client=True)),
            (2, lambda: self._sync(hosts, kill_server=True)),
            (2, lambda: self._forget(host)),
            (1, self._delete),
        ]
        action = self.random.choices([each for _, each in actions], [weight for weight, _ in actions])[0]
        action()

    def _note(self, word: str, text: str = "") -> None:
        self.counts[word] = self.counts.get(word, 0) + 1
        self.log.append(f"{word} {text}")

    def _new_run(self, host: Host) -> None:
        dice = self.random
        status = dice.choice(["running", "running", "succeeded", "failed"])
        artifacts = {}
        if status != "running":
            sizes = dice.choices([0, 10, 3000, 70_000, 400_000], k=dice.randrange(3))
            artifacts = {f"{index}.bin": dice.randbytes(size) for index, size in enumerate(sizes)}
        points = dice.randrange(60)
        log = b"".join(
            b"line %d %d\n" % (index, dice.getrandbits(60)) for index in range(dice.randrange(400))
        )
        run_id = make_run(
            host.runs_dir,
            status=status,
            project="chaos",
            metrics=metric_lines(points),
            log=log,
            artifacts=artifacts,
        )
        host.grown[run_id] = points
        self._note("new", f"{host.name} {run_id[-6:]} {status}")

    def _open_runs(self, host: Host) -> list[str]:
        """Runs that this host writes to; a copy is written to by nobody."""
        return [run_id for run_id in host.run_ids() if run_id in host.grown and host.is_open(run_id)]

    def _grow(self, host: Host) -> None:
        for run_id in self._open_runs(host)[-2:]:
            folder = host.runs_dir / run_id
            count = self.random.randrange(30)
            with open(folder / "metrics.jsonl", "ab") as file:
                file.write(metric_lines(count, host.grown[run_id]))
            host.grown[run_id] += count
            with open(folder / "logs" / f"{run_id}.log", "ab") as file:
                file.write(b"more %d\n" % self.random.getrandbits(60) * self.random.randrange(50) + b"torn")
            self._note("grow", run_id[-6:])

    def _end(self, host: Host) -> None:
        for run_id in self._open_runs(host)[:1]:
            end_run(host.runs_dir / run_id, self.random.choice(["succeeded", "failed"]))
            self._note("end", run_id[-6:])

    def _copy(self, hosts: list[Host]) -> None:
        """A finished run lies on both machines, as after rsync."""
        done = [each for each in hosts[0].run_ids() if not hosts[0].is_open(each)]
        done = [each for each in done if not (hosts[1].runs_dir / each).exists()]
        if done:
            run_id = self.random.choice(done)
            shutil.copytree(hosts[0].runs_dir / run_id, hosts[1].runs_dir / run_id)
            self._note("copy", run_id[-6:])

    def _forget(self, host: Host) -> None:
        shutil.rmtree(host.root / ".worldflux", ignore_errors=True)
        self._note("forget", host.name)

    def _delete(self) -> None:
        """Somebody deletes a run on the server; it comes back when it is asked for."""
        if self.acknowledged:
            run_id = self.random.choice(sorted(self.acknowledged))
            self.server.call("DELETE", f"/api/runs/{run_id}")
            self.deleted.add(run_id)
            self._note("delete", run_id[-6:])

    def _start(self, host: Host, *words: str) -> _Sync:
        self._number += 1
        out = self.folder / f"out{self._number}"
        for each in (out, Path(f"{out}.err")):
            each.touch()  # a client may be killed before it opens them
        argv = ["--json", "sync", "--retry-for", "2s", "--jobs", str(self.random.choice([1, 2, 4])), *words]
        digests = {
            each: sha256((host.runs_dir / each / "manifest.json").read_bytes()) for each in host.run_ids()
        }
        process = self.clients.ask(argv=argv, cwd=str(host.root), env=host.env, out=str(out))
        return _Sync(host, process, out, digests)

    def _ended(self, work: _Sync) -> tuple[int, dict[str, Any]]:
        """The end of a client: its exit code and data; what it says is there counts as acknowledged."""
        code = self.clients.ask(wait=work.process)
        errors = Path(f"{work.out}.err").read_text()
        assert "Traceback" not in errors, errors
        text = work.out.read_text()
        data = json.loads(text)["data"] if text.endswith("\n") else {}
        for row in data.get("runs", ()):
            if row["outcome"] in ("new", "updated", "unchanged"):
                self.acknowledged.setdefault(row["run_id"], []).append(work.digests[row["run_id"]])
                self.deleted.discard(row["run_id"])
        return code, data

    def _sync(self, hosts: list[Host], *, kill_client: bool = False, kill_server: bool = False) -> None:
        before = [fingerprint(host.runs_dir) for host in hosts]
        work = [self._start(host) for host in hosts]
        if kill_client:
            time.sleep(self.random.random() * 0.25)
            self.clients.ask(kill=work[0].process)
        if kill_server:
            time.sleep(self.random.random() * 0.3)
            crash(self.server)
            self.server.restart()
        for each in work:
            code, data = self._ended(each)
            assert code in (0, 3, 4, -9), (code, data, each.out.read_text())
        assert [fingerprint(host.runs_dir) for host in hosts] == before, "sync changed a run's folder"
        self._note("sync" + "!" * kill_client + "?" * kill_server, " ".join(host.name for host in hosts))

    def _peace(self, hosts: list[Host]) -> None:
        """Both hosts sync until all is there; deleted runs are asked back."""
        for host in hosts:
            for attempt in range(3):
                code, data = self._ended(self._start(host, *(["--force"] if self.deleted else [])))
                if code == 0:
                    break
                assert attempt < 2, json.dumps(data)[:4000]

    def _check_acknowledged(self) -> None:
        """What was acknowledged is still held, in that state or in a later one."""
        with Desk.at(self.server.url, self.server.key, self.folder / "a", budget=20.0) as desk:
            states = desk.client.states(sorted(self.acknowledged)) if self.acknowledged else {}
        for run_id, state in states.items():
            if run_id not in self.deleted:
                held, known = state.manifest_sha256, self.acknowledged[run_id]
                lost = state.status in ("absent", "deleted") or (held in known and held != known[-1])
                assert not lost, f"{run_id}: acknowledged {known}, held {state}"

    def _check_all(self, hosts: list[Host]) -> None:
        ids: set[str] = set()
        for host in hosts:
            with Desk.at(self.server.url, self.server.key, host.root, budget=20.0) as desk:
                for run_id in host.run_ids():
                    ids.add(run_id)
                    if host.is_open(run_id):
                        self._check_open(desk, host, run_id)
                    else:
                        desk.assert_same(run_id)
                    self._check_points(desk, host, run_id)
                answer = json.loads(desk.get("/api/runs?limit=500"))
        assert {row["id"] for row in answer["runs"]} == ids and len(answer["runs"]) == len(ids)

    def _check_open(self, desk: Desk, host: Host, run_id: str) -> None:
        state = desk.state(run_id)
        folder = host.runs_dir / run_id
        assert state["manifest_sha256"] == sha256((folder / "manifest.json").read_bytes())
        for name, path in (("metrics", "metrics.jsonl"), ("log:output", f"logs/{run_id}.log")):
            data = (folder / path).read_bytes() if (folder / path).exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            held = state["streams"].get(name, {"bytes": 0, "sha256": sha256(b"")})
            assert (held["bytes"], held["sha256"]) == (len(whole), sha256(whole)), name

    def _check_points(self, desk: Desk, host: Host, run_id: str) -> None:
        """Each point once, in order."""
        path = host.runs_dir / run_id / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        found = json.loads(desk.get(f"/api/runs/{run_id}/metrics?max_points=20000"))["series"].get("loss")
        steps = [json.loads(line)["step"] for line in lines]
        assert (found["step"] if found else []) == steps
