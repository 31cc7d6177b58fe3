"""Everything that can befall a paid run, through `worldflux-run` itself, on machines that really boot.

Each test names what happens and what must hold then; `world.alive == []` is the point of it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from aws_world import World, client_log, ending, is_launch, until


def test_a_happy_spot_run(world: World) -> None:
    """A run on Spot comes home whole, with its cost in parts, and leaves no machine and no object."""
    import boto3

    code, out = world.run()
    assert code == 0, out
    assert "| done" in out
    manifest = world.manifest()
    assert ending(world) == ("succeeded", "exited")
    assert manifest["metrics"]["answer"]["value"] == 42
    assert manifest["series"] is not None
    assert world.log() == "begun happy\ndone\n"
    report = world.runs()[0] / "artifacts" / "report.json"
    assert manifest["artifacts"][0]["sha256"] == hashlib.sha256(report.read_bytes()).hexdigest()
    cost = manifest["cost"]
    assert 0 < cost["estimate_usd"] < 0.01 and cost["known"]
    assert [part["name"] for part in cost["parts"]] == ["machine", "disk", "address"]
    assert abs(sum(part["amount_usd"] for part in cost["parts"]) - cost["estimate_usd"]) < 1e-5
    assert cost["price_source"] == "ec2:DescribeSpotPriceHistory" and cost["excludes"]
    assert manifest["runtime"]["attempts"][0]["market"] == "spot"
    assert world.alive == []
    left = boto3.client("s3").list_objects_v2(Bucket=world.journal()["bucket"], Prefix="worldflux/0")
    assert left.get("KeyCount", 0) == 0 or not any(world.runs()[0].name in o["Key"] for o in left["Contents"])


def test_what_is_asked_of_ec2(world: World) -> None:
    """The launch has everything that makes a machine mortal and closed, and the journal came first."""
    seen: list[dict[str, object]] = []
    world.aws.fault(
        "RunInstances", "call", when=is_launch, function=lambda call: seen.append(world.journal())
    )
    code, out = world.run()
    assert code == 0, out
    [call] = world.launches
    asked = call.detail
    run_id = world.runs()[0].name
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["ClientToken"] == f"wf-{run_id}-1-0"
    assert asked["MetadataOptions.HttpTokens"] == "required"
    assert asked["MetadataOptions.HttpPutResponseHopLimit"] == "1"
    assert asked["MinCount"] == asked["MaxCount"] == "1"
    assert asked["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert asked["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
    assert asked["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"
    assert float(asked["InstanceMarketOptions.SpotOptions.MaxPrice"]) == pytest.approx(0.034 * 1.25, abs=1e-4)
    assert not [key for key in asked if key.startswith(("KeyName", "SecurityGroup", "IamInstanceProfile"))]
    kinds = {value for key, value in asked.items() if key.endswith("ResourceType")}
    assert kinds == {"instance", "volume"}
    assert {"worldflux:run-id", "worldflux:deadline", "worldflux:attempt"} <= set(asked.values())
    journal = next(each for each in seen if each["attempts"])
    assert journal["state"] == "launching"
    assert journal["attempts"][0]["token"] == asked["ClientToken"]  # type: ignore[index]


def test_on_demand_with_the_machines_own_role(world: World) -> None:
    """With an instance profile the machine signs for itself; what it may reach is signed correctly."""
    import boto3

    iam = boto3.client("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName="probe-role")
    code, out = world.run(market="on-demand", instance_profile="probe-role")
    assert code == 0, out
    assert world.manifest()["cost"]["price_source"] == "pricing:GetProducts"
    assert any(call.key == "ROLEKEY" for call in world.made("S3:PUT"))
    assert world.alive == []


def test_a_failing_command(world: World) -> None:
    """The command's own exit code comes home, with what it wrote before it failed."""
    code, _out = world.run("params.mode=fail")
    assert code == 1
    manifest = world.manifest()
    assert manifest["run"]["exit_code"] == 7 and manifest["run"]["status"] == "failed"
    assert (world.runs()[0] / "artifacts" / "report.json").is_file()
    assert world.alive == []


def test_a_failing_setup(world: World) -> None:
    """A setup that fails is named, its output is kept, and the command never runs."""
    code, _out = world.run(setup="'echo preparing; exit 9'")
    assert code == 1
    assert ending(world) == ("failed", "setup_failed")
    assert "setup" in world.manifest()["run"]["error"]["message"]
    assert "preparing" in (world.runs()[0] / "logs" / "host-1.log").read_text()
    assert world.log() == ""
    assert world.alive == []


def test_a_corrupt_upload(world: World) -> None:
    """Files that are not what was packed are not run."""
    import boto3

    def spoil(call: object) -> None:
        journal = world.journal()
        key = f"worldflux/{journal['run_id']}/source"
        boto3.client("s3").put_object(Bucket=journal["bucket"], Key=key, Body=b"something else")

    world.aws.fault("RunInstances", "call", function=spoil, when=is_launch)
    code, _out = world.run()
    assert code == 1 and ending(world) == ("failed", "source_failed")
    assert world.alive == []


def test_an_agent_that_can_not_be_fetched(world: World) -> None:
    """Without its second stage the machine switches itself off; the console is kept."""
    world.aws.fault(
        "S3:GET", "error", times=99, code="AccessDenied", when=lambda c: c.detail.endswith("/bundle")
    )
    code, _out = world.run()
    assert code == 1 and ending(world) == ("failed", "bootstrap_failed")
    assert "stand-in" in (world.runs()[0] / "logs" / "console-1.log").read_text()
    assert world.alive == []


def test_a_machine_that_never_speaks(world: World) -> None:
    """A machine without a sign of life is terminated after the boot time, not after the deadline."""
    world.house.boots = False
    code, _out = world.run(boot_seconds=3)
    assert code == 1 and ending(world) == ("failed", "bootstrap_timeout")
    assert world.alive == []


def test_a_machine_that_falls_silent(world: World) -> None:
    """A machine that was heard and is not any more is terminated."""
    client = world.start("params.mode=sleep", silence_seconds=4)
    machine = world.machine()
    until(lambda: [c for c in world.made("S3:PUT") if "heartbeat" in str(c.detail)], "a heartbeat", 60)
    world.aws.fault(
        "S3:PUT", "error", times=9999, code="SlowDown", when=lambda c: "heartbeat" in str(c.detail)
    )
    client.wait(120)
    assert ending(world) == ("interrupted", "lost_contact")
    assert machine.gone and world.alive == []


def test_a_spot_notice(world: World) -> None:
    """At a notice the command is ended politely and what it has written comes home."""
    client = world.start("params.mode=sleep")
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    threading.Thread(target=machine.interrupt, args=(60,), daemon=True).start()
    client.wait(120)
    assert ending(world) == ("interrupted", "spot_interruption")
    assert (world.runs()[0] / "artifacts" / "report.json").is_file()
    assert world.alive == []


def test_a_power_loss_without_notice(world: World) -> None:
    """Spot machines may just vanish; the streamed log is kept and the reason is right."""
    client = world.start("params.mode=sleep")
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    machine.interrupt()
    code, _out = client.wait(60)
    assert code == 130 and ending(world) == ("interrupted", "spot_interruption")
    assert world.log().startswith("begun sleep\n")
    assert world.manifest()["runtime"]["state_reason"] == "Server.SpotInstanceTermination"
    assert world.alive == []


def test_a_spot_interruption_is_retried_within_the_budget(world: World) -> None:
    """A second machine gets what the first has left of the budget: a later deadline is never dearer."""
    client = world.start("params.mode=short", retries=1, usd=0.004, lifetime="2d", upload_seconds=2)
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    machine.interrupt()
    code, out = client.wait(120)
    assert code == 0, out
    first, second = world.journal()["attempts"]
    assert (first["attempt"], second["attempt"]) == (1, 2) and first["token"] != second["token"]
    assert second["deadline"] - second["launching_at"] < first["deadline"] - first["launching_at"] - 30
    assert world.manifest()["cost"]["estimate_usd"] == pytest.approx(
        first["cost"]["usd"] + second["cost"]["usd"], abs=1e-5
    )
    assert len(world.launched) == 2 and world.alive == []


def test_a_time_limit(world: World) -> None:
    """The command's own limit ends it, and the machine with it."""
    code, _out = world.run("params.mode=sleep", "timeout=2")
    assert code == 1 and ending(world) == ("timeout", "time_limit")
    assert world.alive == []


def test_the_deadline_ends_the_command_in_time_to_upload(world: World) -> None:
    """A command that would outlive the money is ended early enough for its files to come home."""
    code, _out = world.run("params.mode=sleep", "timeout=600", lifetime=16, upload_seconds=8)
    assert code == 1 and ending(world) == ("timeout", "deadline")
    assert (world.runs()[0] / "artifacts" / "report.json").is_file()
    [machine] = world.machines
    assert machine.gone <= world.journal()["attempts"][0]["deadline"] + 1
    assert world.alive == []


def test_a_killed_agent(world: World) -> None:
    """When the agent dies the first stage switches the machine off at once."""
    client = world.start("params.mode=sleep")
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    for pid in processes(machine.dir, b"bundle"):
        os.kill(pid, signal.SIGKILL)
    client.wait(60)
    assert ending(world) == ("interrupted", "died_without_report")
    assert world.alive == []


def processes(folder: Path, word: bytes) -> list[int]:
    """Pids of `python3 bundle` in the machine whose HOME is below this folder."""
    found = []
    for name in os.listdir("/proc"):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            environment = Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue
        if word in words and str(folder).encode() in environment:
            found.append(int(name))
    return found


def test_one_fuse_is_enough(world: World) -> None:
    """With client and agent dead and all other fuses broken, each fuse alone ends the machine on time."""
    for number, broken in enumerate(("no-timer", "no-sleeper")):
        world.house.flags = {broken, "no-logind", "deaf"}
        client = world.start("params.mode=sleep", "timeout=600", lifetime=14)
        until(lambda: len(world.machines) > number and client_log(world).startswith("begun"), "it", 60)  # noqa: B023
        client.process.kill()
        client.wait()
        for pid in processes(world.machines[number].dir, b"bundle"):
            os.kill(pid, signal.SIGSTOP)
    for machine in world.machines:
        deadline = world.deadline(machine.id)
        until(lambda: machine.gone, "the end of the machine", 60)  # noqa: B023
        assert deadline - 2 <= machine.gone <= deadline + 6, machine.gone - deadline
    assert world.alive == []


def test_all_fuses_broken(world: World) -> None:
    """A machine that nothing on it can switch off is found by its tag and ended, after its deadline only."""
    world.house.flags = {"broken", "no-timer", "no-logind"}
    client = world.start("params.mode=sleep", "timeout=600", lifetime=9)
    machine = world.machine()
    until(lambda: world.journal()["attempts"][0]["instance_id"], "the journal", 30)
    client.process.kill()
    client.wait()
    world.set_deadline(machine.id, time.time() - 120)
    _code, answer = world.cli("runs", "reap")
    assert [row["instance_id"] for row in answer["data"]["machines"] if row["ended"]] == [machine.id]
    until(lambda: machine.gone, "the end of the machine")
    assert world.alive == []


def test_a_lost_answer(world: World) -> None:
    """RunInstances whose answer is lost is repeated with the same token: one machine."""
    world.aws.fault("RunInstances", "drop", when=is_launch)
    code, out = world.run()
    assert code == 0, out
    calls = world.launches
    assert len(calls) == 2 and len({call.detail["ClientToken"] for call in calls}) == 1
    assert len(world.launched) == 1 and world.alive == []


def test_ctrl_c_during_the_launch(world: World) -> None:
    """A signal while RunInstances is under way waits; then the machine is ended and the run cancelled."""
    holder: list[int] = []
    world.aws.fault("RunInstances", "after", when=is_launch, function=lambda c: interrupt(holder))
    client = world.start("params.mode=sleep")
    holder.append(client.process.pid)
    code, _out = client.wait()
    assert code == 130 and world.manifest()["run"]["status"] == "cancelled"
    assert len(world.launched) == 1 and world.alive == []


def interrupt(holder: list[int]) -> None:
    os.kill(holder[0], signal.SIGINT)
    time.sleep(0.3)


def test_ctrl_c_twice(world: World) -> None:
    """A second Ctrl-C does not stop the end of the machine."""
    client = world.start("params.mode=sleep")
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    world.aws.fault("TerminateInstances", "call", function=lambda c: interrupt([client.process.pid]))
    client.process.send_signal(signal.SIGINT)
    code, _out = client.wait()
    assert code == 130 and ending(world) == ("cancelled", "cancelled")
    assert world.manifest()["cost"]["estimate_usd"] > 0
    assert world.alive == []


def test_a_new_machine_that_is_not_known_yet(world: World) -> None:
    """DescribeInstances that does not know a fresh machine is patience, not the end."""

    def hide(call: object) -> None:
        world.aws.hidden[world.launched[-1]] = 4

    world.aws.fault("RunInstances", "after", function=hide, when=is_launch)
    code, out = world.run()
    assert code == 0, out
    assert world.alive == []


def test_terminated_from_the_console(world: World) -> None:
    """A machine that somebody else ends is told apart from a failure of the command."""
    import boto3

    client = world.start("params.mode=sleep")
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    boto3.client("ec2").terminate_instances(InstanceIds=[world.launched[0]])
    client.wait()
    assert ending(world) == ("interrupted", "terminated_by_someone")


def test_a_launch_without_the_shutdown_behaviour_would_be_seen(world: World) -> None:
    """The stand-in can tell: a machine that stops instead of terminating counts as alive."""
    import boto3

    answer = boto3.client("ec2").run_instances(
        ImageId=world.image(), InstanceType="c5.large", MinCount=1, MaxCount=1,
        UserData="#!/bin/bash\nshutdown -P now\n",
    )  # fmt: skip
    instance_id = answer["Instances"][0]["InstanceId"]
    until(lambda: world.aws.instance(instance_id)._state.name == "stopped", "the stop")
    assert world.alive == [instance_id]


def test_a_slow_termination_is_waited_for(world: World) -> None:
    """A machine that takes its time to end is not called gone before EC2 says `terminated`."""
    world.aws.termination_seconds = 3.0
    client = world.start()
    code, out = client.wait()
    assert world.alive == [] and code == 0, out
