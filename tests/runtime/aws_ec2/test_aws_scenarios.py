"""Everything that can befall a paid run, through `worldflux-run` itself, on machines that really boot.

Each test names what happens and what must hold then; `world.alive == []` is the point of it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from aws_world import World, is_launch, until
from fake_aws import SECRET, Call

SECRET_VALUE = "hf-probe-value-0123456789abcdef"


def ending(world: World) -> tuple[str, str]:
    """Status of the run and the runtime's own word for how it ended."""
    manifest = world.manifest()
    return manifest["run"]["status"], manifest["runtime"]["ending"]


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


def is_spot(call: Call) -> bool:
    return "InstanceMarketOptions.MarketType" in call.detail


def client_log(world: World) -> str:
    """The log here so far; empty before there is one."""
    try:
        return world.log()
    except (OSError, IndexError):
        return ""


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


@pytest.mark.parametrize(
    ("broken", "fuse"), [({"no-timer"}, "sleeper"), ({"no-sleeper"}, "timer")], ids=["sleeper", "timer"]
)
def test_one_fuse_is_enough(world: World, broken: set[str], fuse: str) -> None:
    """With client and agent dead and all other fuses broken, each fuse alone ends the machine on time."""
    world.house.flags = broken | {"no-logind", "deaf"}
    client = world.start("params.mode=sleep", "timeout=600", lifetime=14)
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    deadline = world.journal()["attempts"][0]["deadline"]
    client.process.kill()
    client.wait()
    for pid in processes(machine.dir, b"bundle"):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: machine.gone, "the end of the machine", 60)
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
    code, answer = world.cli("runs", "reap")
    early = time.time() < world.journal()["attempts"][0]["deadline"]
    assert code == 0 and (answer["data"]["ended"] == 0 or not early)
    world.set_deadline(machine.id, time.time() - 120)
    code, answer = world.cli("runs", "reap")
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


@pytest.mark.parametrize(
    ("usd", "options", "code"),
    [
        (None, {}, "no_budget"),
        (0.0001, {}, "budget_too_small"),
        (1.0, {"instance_types": "[p9.huge]"}, "instance_type"),
        (1.0, {"ami": "ami-00000000000000000"}, "image"),
        (1.0, {"bucket": "no-such-bucket-anywhere"}, "bucket"),
        (1.0, {"instance_types": "[t3.nano]", "market": "on-demand"}, "price_unknown"),
        (1.0, {"instance_types": "[t3.nano]"}, "price_unknown"),
    ],
    ids=["no budget", "too small", "type", "image", "bucket", "price", "spot price"],
)
def test_refusals(world: World, usd: float | None, options: dict[str, str], code: str) -> None:
    """What can not be kept within the money, or can not be had, is refused with nothing launched."""
    exit_code, out = world.run(usd=usd, **options)
    assert exit_code in (2, 4), out
    assert not world.launches
    if exit_code == 4:
        error = world.manifest()["run"]["error"]
        assert error["code"] == code and world.manifest()["run"]["status"] == "refused"
    assert world.launched == []


def test_vram_below_the_floor(world: World) -> None:
    """A machine whose GPU is smaller than the recipe asks for is refused; a larger one is planned."""
    code, _out = world.run("+requires.vram_gb=8")
    assert code == 4 and world.manifest()["run"]["error"]["code"] == "vram"
    code, answer = world.dry_run("+requires.vram_gb=20", instance_types="[g5.xlarge]")
    assert code == 0, answer
    code, answer = world.dry_run("+requires.vram_gb=40", instance_types="[g5.xlarge]")
    assert code == 4 and answer["error"]["code"] == "vram"


def test_credentials_that_expire_first(world: World) -> None:
    """URLs that would die before the machine are refused; with a role for the machine they do not matter."""
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    env = {"AWS_SESSION_TOKEN": "session", "AWS_CREDENTIAL_EXPIRATION": soon}
    code, _out = world.run(env=env, lifetime=3600, usd=5.0)
    assert code == 4 and world.manifest()["run"]["error"]["code"] == "credentials_expire"
    assert world.launched == []
    code, answer = world.dry_run(env=env, instance_profile="probe-role", usd=5.0)
    assert code == 0, answer


def test_fallback_to_on_demand_plans_again(world: World) -> None:
    """Another market has another price: deadline, user data and tags are made anew for it."""
    options = {"fallback": "[on-demand]", "lifetime": "2d", "usd": 0.05}
    world.aws.fault("RunInstances", "error", times=9, code="InsufficientInstanceCapacity", when=is_spot)
    code, out = world.run("timeout=null", **options)
    assert code == 0, out
    spot, second = world.journal()["attempts"]
    assert (spot["variant"]["market"], second["variant"]["market"]) == ("spot", "on-demand")
    ratio = (second["deadline"] - second["launching_at"]) / (spot["deadline"] - spot["launching_at"])
    assert 0.4 < ratio < 0.7
    [machine] = world.machines
    assert f"D={int(second['deadline'])}\n".encode() in machine.user_data
    assert world.alive == []


def test_no_fallback_unless_asked_for(world: World) -> None:
    """Without `fallback` no capacity is the end, and nothing dearer is bought."""
    world.aws.fault("RunInstances", "error", times=9, code="InsufficientInstanceCapacity",
                    when=is_launch)  # fmt: skip
    code, _out = world.run()
    assert code == 1 and world.manifest()["run"]["error"]["code"] == "no_capacity"
    assert len(world.launches) == 1
    assert world.launched == []


def test_a_fallback_that_does_not_fit_is_not_taken(world: World) -> None:
    """On-demand that the budget does not allow is skipped, though it was allowed."""
    world.aws.fault("RunInstances", "error", times=9, code="SpotMaxPriceTooLow", when=is_spot)
    code, out = world.run(
        fallback="[on-demand]", usd=0.0012, minimum_seconds=55, upload_seconds=1, lifetime=300
    )
    assert code == 1, out
    assert len(world.launches) == 1
    assert world.launched == []


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


def test_no_secret_anywhere(world: World) -> None:
    """A forwarded secret reaches the command and nothing else, and what carried it is gone once used."""
    import boto3

    env = {"PROBE_TOKEN": SECRET_VALUE}
    client = world.start("params.mode=env", "runtime.env.pass=[PROBE_TOKEN]", env=env)
    machine = world.machine()
    url = next(word for word in machine.user_data.decode().split() if word.startswith("'http")).strip("'")
    code, out = client.wait()
    assert code == 0, out
    folder = world.runs()[0]
    seen = json.loads((folder / "artifacts" / "env.json").read_text())
    assert seen["PROBE_TOKEN"] == SECRET_VALUE
    assert not [name for name in seen if name.startswith("AWS_")], "no AWS variable reaches the command"
    (folder / "artifacts" / "env.json").unlink()
    haystacks = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    haystacks["user data"] = machine.user_data
    haystacks["console"] = machine.console.encode()
    haystacks["tags and calls"] = repr([c.detail for c in world.aws.calls]).encode()
    haystacks["output"] = out.encode()
    for place, data in haystacks.items():
        for value in (SECRET_VALUE, SECRET):
            assert value.encode() not in data, place
    for path in ("manifest.json", "aws-ec2.json"):
        assert b"X-Amz-Signature" not in (folder / path).read_bytes()
    key = url.partition("?")[0].partition(f"/{world.journal()['bucket']}/")[2]
    with pytest.raises(Exception, match=r"NoSuchKey|404"):
        boto3.client("s3").get_object(Bucket=world.journal()["bucket"], Key=key)


def test_what_carried_the_variables_is_gone_at_once(world: World) -> None:
    """While the command still runs, the URL in user data leads nowhere any more."""
    import urllib.error
    import urllib.request

    client = world.start("params.mode=sleep")
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    url = next(word for word in machine.user_data.decode().split() if word.startswith("'http")).strip("'")
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(url)
    assert gone.value.code == 404
    gone.value.close()
    client.process.send_signal(signal.SIGINT)
    client.wait()


def test_a_slow_termination_is_waited_for(world: World) -> None:
    """A machine that takes its time to end is not called gone before EC2 says `terminated`."""
    world.aws.termination_seconds = 3.0
    client = world.start()
    code, out = client.wait()
    assert world.alive == [] and code == 0, out


def test_reap_never_touches_foreign_machines(world: World) -> None:
    """Machines without all our tags, or of a valid run before its deadline, are left alone."""
    foreign = world.launch_foreign({})
    lookalike = world.launch_foreign(
        {"worldflux:run-id": "mine", "worldflux:deadline": "2020-01-01T00:00:00+00:00"}
    )
    no_deadline = world.launch_foreign({"worldflux:run-id": "01890000-0000-7000-8000-000000000000"})
    code, answer = world.cli("runs", "reap")
    assert code == 0 and answer["data"]["machines"] == []
    assert set(world.alive) == {foreign, lookalike, no_deadline}


def test_a_paid_run_reaps_at_its_start(world: World) -> None:
    """What a dead client left behind is ended by the next paid run."""
    left = world.launch_foreign(
        {
            "worldflux:run-id": "01890000-0000-7000-8000-000000000000",
            "worldflux:deadline": "2020-01-01T00:00:00+00:00",
            "worldflux:attempt": "1",
        }
    )
    code, out = world.run()
    assert code == 0, out
    assert world.aws.instance(left)._state.name == "terminated"
    assert left in (world.runs()[0] / "logs" / "aws-ec2.log").read_text()


def test_dry_run_prints_the_plan(world: World) -> None:
    """`--dry-run` names machine, price and source, deadline and uploads, and changes nothing at AWS."""
    code, answer = world.dry_run()
    assert code == 0
    plan = "\n".join(answer["data"]["plan"])
    for word in (
        "spot c5.large",
        "ec2:DescribeSpotPriceHistory",
        "deadline",
        "main.py",
        "at most $",
        "s3://",
    ):
        assert word in plan
    changing = {"RunInstances", "S3:PUT", "S3:DELETE", "TerminateInstances", "CreateTags"}
    assert not changing & {call.action for call in world.aws.calls[world.first_call :]}


@pytest.mark.slow
def test_a_real_minute_of_billing(world: World) -> None:
    """A run whose budget ends after about a minute is cut there, and has cost no more than its budget."""
    usd = 0.0013
    code, _out = world.run(
        "params.mode=sleep", "timeout=600", usd=usd, market="on-demand", lifetime="1d", upload_seconds=5
    )
    assert code == 1 and ending(world) == ("timeout", "deadline")
    manifest = world.manifest()
    assert 0.0005 < manifest["cost"]["estimate_usd"] <= usd
    assert world.alive == []
