"""A client that is killed with SIGKILL on a vendor's machines: what the next `worldflux runs reap` finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from modal_bench import require_isolation
from nightly import part
from vendors_lab import SLEEPS, Project, wait_for

from worldflux.testing.modal_server import ModalServer
from worldflux.testing.replicate_models import Model, python_model, runner_model
from worldflux.testing.replicate_server import TOKEN, ReplicateServer


def at_home(folder: Path, **more: str) -> Project:
    """A project with a home and a folder for temporary files of its own."""
    home = folder / "home"
    (folder / "tmp").mkdir(parents=True)
    home.mkdir()
    variables = {
        "HOME": str(home),
        "WORLDFLUX_HOME": str(home / ".worldflux"),
        "MODAL_CONFIG_PATH": str(folder / "no-modal.toml"),
        "TMPDIR": str(folder / "tmp"),
    }
    return Project(folder / "project", {**variables, **more})


@contextmanager
def on_modal(folder: Path) -> Iterator[tuple[ModalServer, Project]]:
    with ModalServer(folder / "cache") as server:
        yield server, at_home(folder, **server.variables())
        assert server.problems == [] and server.unknown == []


def settled(project: Project) -> None:
    """What must hold once the next command has looked: a closed record, and no folder for staging."""
    folders = list(project.folder.glob("runs/0*"))
    assert project.reported() == ["interrupted"] * len(folders)
    assert list((project.folder.parent / "tmp").iterdir()) == []
    assert list(project.folder.glob("runs/*/tmp")) == []


#: Calls after which there is more to leave behind than before.
TURNS = {"ImageGetOrCreate", "SandboxCreateV2", "TaskExecStart", "TaskExecWait"}


def modal_moments(folder: Path) -> list[tuple[str, int]]:
    """Every kind of call of a whole run on Modal, the first of it and the last."""
    with on_modal(folder) as (server, project):
        project.sleeper(text="print('up')")
        project.run("+recipe=sleeper", "runtime=modal")
        names = [call.name for call in server.log]
    count = {name: names.count(name) for name in names}
    return [(name, number) for name in count for number in sorted({1, count[name]})]


def killed_on_modal(folder: Path, name: str, number: int) -> None:
    """One client, killed while the server works on that call, and what comes after."""
    with on_modal(folder) as (server, project):
        project.sleeper(text="print('up')")
        client: list[int] = []

        def kill(call: str) -> None:
            if [each.name for each in server.log].count(name) == number:
                os.kill(client[0], signal.SIGKILL)

        server.on_call = kill
        process = project.start("+recipe=sleeper", "runtime=modal", "runtime.app=chosen-for-this-run")
        client.append(process.pid)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, (name, number)
        server.on_call = lambda call: None
        if name == "SandboxCreateV2":
            # The client's last words are still on their way to the machines.
            wait_for(lambda: bool(server.boxes))
        alive = len(server.running())
        code, answer = project.cli("runs", "reap")
        rows = answer["data"]["machines"]
        assert code == 0 and [row["why"] for row in rows] == ["its client is dead"] * alive, (name, answer)
        assert all(row["ended"] for row in rows) and server.running() == [], name
        settled(project)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_killed_at_every_call_to_modal(tmp_path: Path) -> None:
    """Killed at each kind of call that a run makes, at the first and the last of it: `worldflux runs reap`
    leaves nothing alive in the app, though only the command line named it; the run is `interrupted`; no
    folder for staging is left. Eight of the calls are tried here, and all of them nightly.
    """
    require_isolation()
    moments = modal_moments(tmp_path / "whole")
    assert {n for n, _ in moments} >= TURNS
    moments = part(moments, 8, always=lambda moment: moment[0] in TURNS)
    with ThreadPoolExecutor(2) as threads:
        jobs = [
            threads.submit(killed_on_modal, tmp_path / f"{name}-{number}", name, number)
            for name, number in moments
        ]
        for job in jobs:
            job.result()


def killed_on_replicate(
    folder: Path, model: Model, command: str, ready: Callable[[ReplicateServer], bool], swallow: int = 0
) -> ReplicateServer:
    """One client, killed when the server is `ready`, and the real `runs reap` after it."""
    with ReplicateServer([model], swallow=swallow) as server:
        project = at_home(folder, REPLICATE_API_TOKEN=TOKEN)
        project.sleeper(command)
        words = [f"runtime.api_url={server.url}", f"runtime.model='{model.pinned}'"]
        process = project.start("+recipe=sleeper", "runtime=replicate", "runtime.poll_seconds=0.1", *words)
        wait_for(lambda: ready(server))
        process.kill()
        process.communicate()
        alive = [each.id for each in server.predictions.values() if not each.done.is_set()]
        code, answer = project.cli("runs", "reap")
        rows = answer["data"]["machines"]
        assert code == 0 and [(row["instance_id"], row["why"], row["ended"]) for row in rows] == [
            (identity, "its client is dead", True) for identity in alive
        ]
        assert all(each.done.wait(60) for each in server.predictions.values())
        assert project.cli("runs", "reap")[1]["data"]["machines"] == []
        settled(project)
        return server


def asked(method: str, part: str) -> Callable[[ReplicateServer], bool]:
    return lambda server: any(r.method == method and part in r.path for r in server.log)


@pytest.mark.parametrize(
    "stage",
    {
        "before anything is asked for": asked("GET", "/versions/"),
        "while it starts": lambda server: bool(server.predictions),
        "while it is watched": lambda server: sum(asked("GET", i)(server) for i in server.predictions) > 0,
        "while it runs": lambda server: any(
            "up" in p.document()["logs"] for p in server.predictions.values()
        ),
    }.items(),
    ids=lambda stage: stage[0],
)
def test_killed_on_replicate(tmp_path: Path, stage: tuple[str, Callable[[ReplicateServer], bool]]) -> None:
    """At each stage of a prediction on a server that only the command line named: `worldflux runs reap`
    cancels what runs, and a second one finds nothing.
    """
    model = python_model("me/sleep", SLEEPS)
    server = killed_on_replicate(tmp_path, model, "[predict]", stage[1])
    assert [each.document()["status"] for each in server.predictions.values()] in ([], ["canceled"])


def test_killed_before_the_answer_of_replicate(tmp_path: Path) -> None:
    """A prediction whose id the client never learnt is found by its inputs."""
    model = python_model("me/sleep", SLEEPS)
    server = killed_on_replicate(
        tmp_path, model, "[predict]", lambda server: bool(server.predictions), swallow=1
    )
    (prediction,) = server.predictions.values()
    assert prediction.document()["status"] == "canceled"


def test_killed_with_files_on_their_way_to_replicate(tmp_path: Path) -> None:
    """A runner model is sent the recipe's files: what was packed for that does not stay here."""
    model = runner_model(tmp_path / "runner")
    killed_on_replicate(tmp_path, model, "[python, main.py]", lambda server: bool(server.predictions))
