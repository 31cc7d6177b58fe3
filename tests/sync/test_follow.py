"""Runs that go on, followed live: lines as they come, heartbeats, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warm_python
from run_lab import SOMEWHERE_ELSE, Lenient, end_run, fingerprint, make_run, metric_lines
from server_process import Server
from sync_lab import Desk, crash

from worldflux.run.machine import owner
from worldflux.sync import follow as module
from worldflux.sync.follow import Follow
from worldflux.sync.plan import Options

BIN = Path(sys.executable).parent


class Steps:
    """A follower whose rounds are steps of a test: after each one the next action is carried out."""

    def __init__(self, desk: Desk, actions: list[Callable[[], None]], **options: object) -> None:
        self.desk, self.actions, self.finished = desk, actions, list[str]()
        self.now = 0.0
        self.follow = Follow(
            desk.client, desk.hello, desk.runs_dir, Lenient(), Options(**options), desk.notices.append,
            self._finish, clock=lambda: self.now, sleep=self._sleep,
        )  # fmt: skip

    def _finish(self, run_id: str) -> None:
        self.finished.append(run_id)
        assert self.desk.one(run_id).good

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.actions, "the follower goes on after the last action"
        self.actions.pop(0)()


def grow(folder: Path, log: bytes = b"", metrics: bytes = b"") -> None:
    with open(folder / "logs" / f"{folder.name}.log", "ab") as file:
        file.write(log)
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(metrics)


def test_lines_arrive_as_they_are_written(desk: Desk) -> None:
    """Each round brings what is new, whole lines only; at its end the run is there, whole."""
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n", owner=owner())
    folder = desk.runs_dir / run_id
    seen: list[tuple[str, int, int]] = []

    def look() -> None:
        state = desk.state(run_id)
        streams = {name: each["bytes"] for name, each in state["streams"].items()}
        seen.append((state["status"], streams.get("log:output", 0), streams.get("metrics", 0)))

    five = metric_lines(5)
    actions = [
        lambda: (look(), grow(folder, b"two\nthr", five + b'{"name"')),
        lambda: (look(), grow(folder, b"ee\n", b': "loss", "value": 7}\n')),
        look,
        look,
        lambda: (look(), end_run(folder)),
    ]
    steps = Steps(desk, actions)  # type: ignore[arg-type]
    assert steps.follow.run([run_id]) == [] and steps.finished == [run_id]
    whole = len(five) + len(b'{"name": "loss", "value": 7}\n')
    assert seen == [("open", 4, 0), ("open", 8, len(five)), *[("open", 14, whole)] * 3]
    desk.assert_same(run_id)


def test_a_silent_run_is_kept_alive_and_a_dead_one_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without output gets heartbeats while its process lives; when it is gone, none, and it is told."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    mine = {**owner(), "pid": child.pid}
    from worldflux.run.machine import _started

    mine["pid_started"] = _started(child.pid)
    run_id = make_run(desk.runs_dir, status="running", log=b"one\ntor", owner=mine)
    before = fingerprint(desk.runs_dir / run_id)
    beats: list[list[str]] = []
    real = desk.client.heartbeat
    monkeypatch.setattr(desk.client, "heartbeat", lambda runs: (beats.append(list(runs)), real(runs))[1])

    def end() -> None:
        child.kill()
        child.wait()

    actions = [lambda: None] * 40 + [end]
    assert Steps(desk, actions).follow.run([run_id]) == [run_id]
    every = desk.hello.heartbeat_seconds
    assert 40 / every - 1 <= len(beats) <= 40 / every * 1.3 + 1 and all(each == [run_id] for each in beats)
    assert fingerprint(desk.runs_dir / run_id) == before
    assert desk.state(run_id)["status"] == "open"


def test_a_run_of_another_host_is_followed_by_what_it_writes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its process lives can not be seen from here: files that change say so, silence says nothing."""
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n", owner=SOMEWHERE_ELSE)
    folder = desk.runs_dir / run_id
    beats: list[float] = []
    actions: list[Callable[[], None]] = [lambda: None] * 100
    actions[50] = lambda: grow(folder, b"still here\n")
    actions[99] = lambda: end_run(folder)
    steps = Steps(desk, actions)
    monkeypatch.setattr(desk.client, "heartbeat", lambda runs: beats.append(steps.now) or {})
    assert steps.follow.run([run_id]) == []
    every = desk.hello.heartbeat_seconds
    quiet = [beat for beat in beats if every * 2 + 1 < beat < 50 or beat > 52 + every * 2]
    assert beats and quiet == []
    desk.assert_same(run_id)


def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    own_server: Server, desk_at: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed and started again in the middle: the rounds fail, are told, and then bring all that was written."""
    monkeypatch.setattr(module, "ROUND_BUDGET_SECONDS", 0.2)
    desk = desk_at(own_server.url, own_server.key)
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n", owner=owner())
    folder = desk.runs_dir / run_id
    actions = [
        lambda: (crash(own_server), grow(folder, b"two\n", metric_lines(3))),
        lambda: grow(folder, b"three\n"),
        own_server.restart,
        lambda: grow(folder, b"four\n"),
        lambda: end_run(folder),
    ]
    steps = Steps(desk, actions)  # type: ignore[arg-type]
    assert steps.follow.run([run_id]) == []
    assert any("goes on" in text for text in desk.notices)
    desk.assert_same(run_id)


def test_two_followers_of_one_run_do_not_disturb_each_other(
    server: Server, desk: Desk, desk_at: Callable[..., Desk]
) -> None:
    """Both send the same lines; each is there once."""
    other = desk_at(server.url, server.key)
    run_id = make_run(desk.runs_dir, status="running", log=b"one\n", owner=owner())
    folder = desk.runs_dir / run_id
    second = Steps(other, [])
    actions: list[Callable[[], None]] = []
    for number in range(6):
        line = b"line %d\n" % number
        if number % 2:
            actions.append(lambda line=line: grow(folder, line, metric_lines(2)))  # type: ignore[misc]
        else:
            actions.append(lambda line=line: (grow(folder, line), _one_round(second, run_id)))  # type: ignore[misc]
    actions.append(lambda: end_run(folder))
    assert Steps(desk, actions).follow.run([run_id]) == []
    desk.assert_same(run_id)


def _one_round(steps: Steps, run_id: str) -> None:
    """One round of a follower that is then stopped, as by Ctrl-C."""

    def stop() -> None:
        raise KeyboardInterrupt

    steps.actions = [stop]
    with pytest.raises(KeyboardInterrupt):
        steps.follow.run([run_id])


@pytest.mark.slow
def test_the_command_follows_a_real_run_and_ends_with_it(server: Server, project: Path) -> None:
    """`worldflux sync --follow` shows the run as it goes on, and ends with 0 when it has ended."""
    folder = project / "recipes" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("command: [python, main.py]\n")
    program = "import time\nfor i in range(25):\n    print('line', i, flush=True)\n    time.sleep(0.2)\n"
    (folder / "main.py").write_text(program)
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    run = warm_python.WarmPopen(
        [BIN / "worldflux", "run", "mine"], cwd=project, env=env, stdout=subprocess.DEVNULL
    )
    while not list((project / "runs").glob("*/logs/*.log")):
        assert run.poll() is None
        time.sleep(0.05)
    command = [BIN / "worldflux", "--json", "sync", "--follow"]
    follower = warm_python.WarmPopen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    (run_id,) = [path.name for path in (project / "runs").iterdir() if path.name[0] == "0"]
    with Desk.at(server.url, server.key, project) as desk:
        lengths = set()
        while run.poll() is None:
            held = desk.state(run_id)["streams"].get("log:output")
            lengths.add(held["bytes"] if held else 0)
            time.sleep(0.1)
        out, err = follower.communicate(timeout=30)
        assert follower.returncode == 0, err
        assert json.loads(out)["data"]["runs"][0]["run_id"] == run_id
        assert len(lengths) > 3
        desk.assert_same(run_id)


@pytest.mark.slow
def test_ctrl_c_ends_the_command_cleanly(server: Server, project: Path) -> None:
    """Stopped in the middle of following it says so in one line and ends with 130; nothing is lost."""
    run_id = make_run(project / "runs", status="running", log=b"one\n", owner=owner())
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    follower = warm_python.WarmPopen(
        [BIN / "worldflux", "sync", "--follow"],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with Desk.at(server.url, server.key, project) as desk:
        while desk.state(run_id)["status"] == "absent":
            assert follower.poll() is None
            time.sleep(0.05)
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=15)
        assert follower.returncode == 130 and b"Traceback" not in err and b"stopped" in err
        end_run(desk.runs_dir / run_id)
        assert desk.one(run_id).outcome == "updated"
        desk.assert_same(run_id)
