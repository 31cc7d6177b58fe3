"""A client that is killed at any moment leaves nothing that costs money past its deadline."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from aws_world import Client, World, ending, is_launch, until
from fake_aws import Call, FakeAws
from fake_machine import Hypervisor, Machine
from nightly import part

LIFETIME = 45


@dataclass(frozen=True)
class Minute:
    """A run that its budget of `usd` ends after about a minute, begun while other tests go on."""

    world: World
    client: Client
    machine: Machine
    usd: float


@pytest.fixture(scope="module")
def minute(
    one_aws: FakeAws, one_house: Hypervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Minute]:
    folder = tmp_path_factory.mktemp("minute")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        one_aws.sign_in(patch)
        world, usd = World(one_aws, one_house, folder), 0.0019
        options = {"market": "on-demand", "lifetime": "1d", "upload_seconds": 5, "poll_seconds": 0.5}
        client = world.start("params.mode=sleep", "timeout=600", usd=usd, **options)
        machine = world.machine()
    yield Minute(world, client, machine, usd)
    world.close()


#: Calls that begin another stage of a run: before the machine, while it lives, when it was ended.
STAGES = ("RunInstances", "TerminateInstances")


@dataclass(frozen=True)
class Moment:
    """A call of a run, told by its stage, its kind and which one of that kind it is in the stage.

    Attributes:
        when: `call` is before the work of the call, `after` is when only the answer is missing.
    """

    stage: int
    kind: str
    number: int
    when: str


class Progress:
    """Tells each call of one client where in its run it is. A machine's calls are not the client's."""

    def __init__(self) -> None:
        self.stage, self.seen = 0, Counter[str]()

    def next(self, call: Call) -> tuple[int, str, int]:
        kind = call.action
        if kind.startswith("S3:"):
            kind += " " + call.detail.rpartition("/")[2]
        elif kind == "RunInstances" and not is_launch(call):
            kind += " (dry run)"
        self.seen[kind] += 1
        found = (self.stage, kind, self.seen[kind])
        if kind in STAGES:
            self.stage, self.seen = self.stage + 1, Counter()
        return found


def kill_moments(calls: list[Call]) -> list[Moment]:
    """Every call of a run until its launch, and every kind of call in each later stage.

    Calls that change something are tried both ways.
    """
    progress, found = Progress(), []
    for call in calls:
        stage, kind, number = progress.next(call)
        if stage > 0 and number > 1:
            continue  # looking again and again
        found.append(Moment(stage, kind, number, "call"))
        if call.action in ("RunInstances", "TerminateInstances", "S3:PUT", "S3:POST"):
            found.append(Moment(stage, kind, number, "after"))
    return found


def killed_at(world: World, moment: Moment, key: str) -> Client:
    """A run whose client, known by its access key, is killed at that moment."""
    client: list[Client] = []
    progress = Progress()

    def mine(call: Call) -> bool:
        # The machine signs with the same key by URL; only requests of the client itself are counted.
        if call.key != key or not call.own:
            return False
        return progress.next(call) == (moment.stage, moment.kind, moment.number)

    def kill(call: Call) -> None:
        os.kill(client[0].process.pid, signal.SIGKILL)

    world.aws.fault("*", moment.when, when=mine, function=kill)
    client.append(world.start(env={"AWS_ACCESS_KEY_ID": key}, lifetime=LIFETIME))
    return client[0]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("a minute")
def test_kill_at_every_call(world: World, minute: object) -> None:
    """Killed before and after each call of a whole run, no machine outlives its deadline, though nobody
    looks after it, and every run that got a machine can be taken up again and closed with what happened.

    Eight of the calls are tried here, each that changes what costs money among them, and all of them nightly.
    """
    code, out = world.run(env={"AWS_ACCESS_KEY_ID": "FIRST"})
    assert code == 0, out
    moments = kill_moments([call for call in world.aws.calls if call.key == "FIRST" and call.own])
    assert len(moments) > 25 and {moment.stage for moment in moments} == {0, 1, 2}
    moments = part(moments, 8, always=lambda moment: moment.kind in STAGES)

    def one(number: int) -> int:
        return killed_at(world, moments[number], f"KILL{number:03d}").wait(150)[0]

    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(one, range(len(moments))))
        missed = [moment for moment, code in zip(moments, ended, strict=True) if code != -signal.SIGKILL]
        assert missed == []
        until(lambda: world.alive == [], "the end of all machines", LIFETIME + 10)
        for machine in world.machines:
            assert machine.gone <= world.deadline(machine.id) + 1
        left = open_runs(world)
        answers = list(threads.map(lambda run_id: world.cli("runs", "attach", run_id), left))
    closed = 0
    for run_id, (code, answer) in zip(left, answers, strict=True):
        if not world.aws.instances(run_id):
            assert code == 2, str(answer)
            continue
        assert len(world.aws.instances(run_id)) == 1
        manifest = json.loads((world.project / "runs" / run_id / "manifest.json").read_text())
        assert manifest["run"]["status"] == "succeeded", (run_id, manifest["run"])
        assert manifest["metrics"]["answer"]["value"] == 42 and manifest["cost"]["known"]
        closed += code == 0
    assert closed >= sum(moment.stage > 0 for moment in moments)
    assert world.alive == []


def open_runs(world: World) -> list[str]:
    """Ids of the runs that are not closed."""
    found = []
    for folder in world.runs():
        if json.loads((folder / "manifest.json").read_text())["run"]["status"] != "succeeded":
            found.append(folder.name)
    return found


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
    until(lambda: not world.alive, "a machine that is terminated, not only stopped", 10)
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
    """Twelve jobs run under one limit that their bounds together would exceed; the sum of costs holds.
    What they all need to know is asked once.
    """
    began = time.monotonic()
    client = world.start(
        "-m", "params.mode=happy,short", "seed=range(6)", "cost_guard.max_sweep_usd=0.02",
        "sweep.max_parallel=3", usd=0.004, lifetime=120,
    )  # fmt: skip
    code, out = client.wait(400)
    assert code == 0, out
    assert "12 succeeded" in out
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in world.runs()]
    assert len(manifests) == 12 and len({each["run"]["sweep_id"] for each in manifests}) == 1
    assert len(world.launches) == 12
    for action in ("GetCallerIdentity", "DescribeInstanceTypes", "DescribeImages", "GetProducts"):
        assert len(world.made(action)) == 1, action
    assert len(world.made("DescribeSpotPriceHistory")) <= 1 + (time.monotonic() - began) / 60
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


@pytest.mark.slow
@pytest.mark.xdist_group("a minute")
def test_a_real_minute_of_billing(minute: Minute) -> None:
    """A run whose budget ends after about a minute is cut there, and has cost no more than its budget."""
    world, client = minute.world, minute.client
    code, out = client.wait(150)
    assert code == 1 and ending(world) == ("timeout", "deadline"), out
    manifest = world.manifest()
    assert 0.0005 < manifest["cost"]["estimate_usd"] <= minute.usd
    assert minute.machine.gone - minute.machine.begun > 50
    assert world.aws.instance(minute.machine.id)._state.name == "terminated"
