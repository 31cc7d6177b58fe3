"""Money and secrets through `worldflux-run` itself: what is refused, what a fallback costs, what nobody may read."""

from __future__ import annotations

import json
import signal
import time

import pytest
from aws_world import World, client_log, is_launch, until
from fake_aws import SECRET, Call

SECRET_VALUE = "hf-probe-value-0123456789abcdef"


def is_spot(call: Call) -> bool:
    return "InstanceMarketOptions.MarketType" in call.detail


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


def test_credentials_that_last_long_enough(world: World) -> None:
    """With a session as `aws sso login` gives it, whose token is long and which ends after the machine:
    the run comes home, its URLs are signed for that session, and nothing here keeps the token.
    """
    token = "IQoJb3JpZ2luX2Vj" + "A1b2C3d4/+" * 120
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1800))
    code, out = world.run(env={"AWS_SESSION_TOKEN": token, "AWS_CREDENTIAL_EXPIRATION": later})
    assert code == 0, out
    assert world.manifest()["metrics"]["answer"]["value"] == 42
    [machine] = world.machines
    assert b"X-Amz-Security-Token" in machine.user_data and len(machine.user_data) < 16384
    by_url = [call for call in world.made("S3:PUT") if not call.own]
    assert by_url and {call.session for call in by_url} == {token}
    for path in world.runs()[0].rglob("*"):
        assert not path.is_file() or b"IQoJb3JpZ2luX2Vj" not in path.read_bytes(), path
    assert world.alive == []


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


def test_a_machine_in_time_is_never_ended(world: World) -> None:
    """The command of a dead client goes on: `runs reap`, looked at again and again until its deadline and
    the minute after it, asks EC2 for nothing but a list, and ends the machine right after that.
    """
    client = world.start("params.mode=sleep", "timeout=600", lifetime=120)
    machine = world.machine()
    until(lambda: client_log(world).startswith("begun"), "the command", 60)
    client.process.kill()
    client.wait()
    for late in (-3600, -5, 50):
        world.set_deadline(machine.id, time.time() - late)
        code, answer = world.cli("runs", "reap")
        [row] = answer["data"]["machines"]
        assert code == 0 and (row["instance_id"], row["ended"], row["why"]) == (machine.id, False, "")
    assert not world.made("TerminateInstances") and not machine.gone
    assert world.aws.instance(machine.id)._state.name == "running"
    world.set_deadline(machine.id, time.time() - 61)
    code, answer = world.cli("runs", "reap")
    [row] = answer["data"]["machines"]
    assert (row["ended"], row["why"]) == (True, "past its deadline")
    until(lambda: machine.gone, "the end of the machine")
    assert world.alive == []


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
