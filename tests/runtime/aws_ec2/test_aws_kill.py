"""A client that is killed at any moment leaves nothing that costs money past its deadline."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aws_world import Client, World, is_launch, until
from fake_aws import Call

LIFETIME = 45


def killed_at(world: World, moment: str, index: int, key: str) -> Client:
    """A run whose client is killed before or after the work of its call number `index`."""
    client: list[Client] = []
    counter = [0]

    def mine(call: Call) -> bool:
        # The machine signs with the same key by URL; only requests of the client itself are counted.
        if call.key != key or not call.own:
            return False
        counter[0] += 1
        return counter[0] == index + 1

    def kill(call: Call) -> None:
        os.kill(client[0].process.pid, signal.SIGKILL)

    world.aws.fault("*", moment, when=mine, function=kill)
    client.append(world.start(env={"AWS_ACCESS_KEY_ID": key}, lifetime=LIFETIME))
    return client[0]


def calls_of(world: World, key: str) -> list[str]:
    return [call.action for call in world.aws.calls if call.key == key and call.own]


def kill_moments(log: list[str]) -> Iterator[tuple[int, str]]:
    """Number of each call of a run, and whether to kill before or after its work.

    Calls that change something are tried both ways. Of the polling after the launch each kind of
    call is tried once.
    """
    launch = max(index for index, action in enumerate(log) if action == "RunInstances")
    seen: set[str] = set()
    for index, action in enumerate(log):
        if index > launch and action in seen:
            continue
        if index > launch:
            seen.add(action)
        yield index, "call"
        if action in ("RunInstances", "TerminateInstances", "S3:PUT"):
            yield index, "after"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_at_every_call(world: World) -> None:
    """Killed before and after each call of a whole run, no machine outlives its deadline, and every run
    that got a machine can be taken up again and closed with what happened.
    """
    code, out = world.run(env={"AWS_ACCESS_KEY_ID": "FIRST"})
    assert code == 0, out
    moments = list(kill_moments(calls_of(world, "FIRST")))
    assert len(moments) > 20

    def one(number: int) -> None:
        index, moment = moments[number]
        killed_at(world, moment, index, f"KILL{number:03d}").wait(150)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, range(len(moments))))
    closed = 0
    for folder in world.runs():
        if json.loads((folder / "manifest.json").read_text())["run"]["status"] == "succeeded":
            continue
        journal = folder / "aws-ec2.json"
        attempts = json.loads(journal.read_text())["attempts"] if journal.is_file() else []
        code, answer = world.cli("runs", "attach", folder.name)
        manifest = json.loads((folder / "manifest.json").read_text())
        if not attempts:
            assert code == 2, str(answer)
            continue
        tagged = world.aws.instances(folder.name)
        if not tagged:
            assert code == 2 and answer["error"]["code"] == "never_launched", str(answer)
            continue
        assert len(tagged) == 1
        assert manifest["run"]["status"] == "succeeded", (folder.name, manifest["run"])
        assert manifest["metrics"]["answer"]["value"] == 42 and manifest["cost"]["known"]
        closed += 1
    assert closed >= 6
    assert world.alive == []


@pytest.mark.parametrize("moment", ["call", "after"])
def test_kill_around_the_launch(world: World, moment: str) -> None:
    """A client that dies with RunInstances under way leaves a run that is found by its tag, once."""
    client: list[Client] = []
    world.aws.fault(
        "RunInstances",
        moment,
        when=is_launch,
        function=lambda c: os.kill(client[0].process.pid, signal.SIGKILL),
    )
    client.append(world.start())
    client[0].wait()
    assert world.journal()["state"] == "launching" and world.journal()["attempts"][0]["instance_id"] is None
    # Either way the request has arrived, and what the client does not get is the answer.
    code, answer = world.cli("runs", "attach", "last")
    assert code == 0 and answer["data"]["status"] == "succeeded", str(answer)
    assert len(world.launched) == 1 and world.alive == []


def test_a_host_finishes_without_its_client(world: World) -> None:
    """A run whose client dies goes on, ends, and can be collected later; its log is not doubled."""
    client = world.start("params.mode=short")
    machine = world.machine()
    until(lambda: has_begun(world), "the command", 60)
    client.process.kill()
    client.wait()
    until(lambda: machine.gone, "the end of the machine", 60)
    code, answer = world.cli("runs", "show", "last")
    assert answer["data"]["manifest"]["run"]["status"] == "interrupted"
    code, answer = world.cli("runs", "attach", "last")
    assert code == 0 and answer["data"]["metrics"]["answer"] == 42, str(answer)
    assert world.log() == "begun short\ndone\n"
    code, answer = world.cli("runs", "attach", "last")
    assert code == 2 and "is over" in answer["error"]["message"]


def has_begun(world: World) -> bool:
    try:
        return world.log().startswith("begun")
    except (OSError, IndexError):
        return False


def test_attach_says_who_follows_already(world: World) -> None:
    """A run with a living client is not taken from it."""
    client = world.start("params.mode=sleep")
    until(lambda: has_begun(world), "the command", 60)
    code, answer = world.cli("runs", "attach", "last")
    assert code == 2 and str(client.process.pid) in answer["error"]["message"]
    client.process.send_signal(signal.SIGINT)
    client.wait()
    assert world.alive == []


@pytest.mark.slow
def test_a_sweep_shares_one_budget(world: World) -> None:
    """Twelve jobs run under one limit that their bounds together would exceed; the sum of costs holds."""
    client = world.start(
        "-m", "params.mode=happy,short", "seed=range(6)", "cost_guard.max_sweep_usd=0.02",
        "sweep.max_parallel=3", usd=0.004, lifetime=120,
    )  # fmt: skip
    code, out = client.wait(400)
    assert code == 0, out
    assert "12 succeeded" in out
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in world.runs()]
    assert len(manifests) == 12 and len({each["run"]["sweep_id"] for each in manifests}) == 1
    assert 12 * 0.004 > 0.02 >= sum(each["cost"]["estimate_usd"] for each in manifests)
    assert world.alive == []


def test_a_sweep_stops_when_the_money_is_gone(world: World) -> None:
    """A limit that pays for one run of three refuses the others, and launches one machine."""
    client = world.start(
        "-m", "seed=1,2,3", "cost_guard.max_sweep_usd=0.0041", "sweep.max_parallel=1", usd=0.004
    )
    code, out = client.wait(120)
    assert code == 4, out
    assert len(world.launches) == 1 and "2 refused" in out
    assert world.alive == []
