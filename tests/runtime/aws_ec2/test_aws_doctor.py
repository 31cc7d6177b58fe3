"""What doctor says about an account, and how little it costs to import the plugin."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from aws_world import ROOT, World
from fake_aws import FakeAws

from worldflux.runtime.aws_ec2_plugin import AwsEc2Plugin
from worldflux.runtime.dispatcher import get_runtime, list_runtimes


def doctor(**options: Any) -> list[str]:
    chosen = {"instance_types": ["c5.large"], **options}
    return AwsEc2Plugin(cost_guard={"max_usd": 1}, **chosen).doctor()


def test_a_ready_account(aws: FakeAws) -> None:
    """Account, type, bucket, permission, quota, price and leftovers each have a line; none is an error."""
    before = len(aws.calls)
    lines = doctor()
    text = "\n".join(lines)
    for word in (
        "account 123456789012",
        "c5.large",
        "bucket",
        "dry run",
        "quota",
        "Spot price",
        "machines of WorldFlux",
    ):
        assert word in text
    assert not [line for line in lines if line.startswith("error:")]
    assert {call.detail.get("DryRun") for call in aws.calls[before:] if call.action == "RunInstances"} == {
        "true"
    }


@pytest.mark.parametrize(
    ("action", "code", "word"),
    [
        ("GetCallerIdentity", "ExpiredToken", "sign in again"),
        ("RunInstances", "UnauthorizedOperation", "policy"),
        ("DescribeInstanceTypes", "UnauthorizedOperation", "DescribeInstanceTypes"),
    ],
)
def test_what_is_missing_is_named(aws: FakeAws, action: str, code: str, word: str) -> None:
    """A permission that is missing makes an error line with what to do."""
    aws.fault(action, "error", times=9, code=code)
    errors = [line for line in doctor() if line.startswith("error:")]
    assert errors and any(word in line for line in errors)


@pytest.mark.parametrize(
    ("name", "market", "quota"),
    [
        ("c5.large", "spot", "L-34B43A08"),
        ("c5.large", "on-demand", "L-1216C47A"),
        ("g5.xlarge", "spot", "L-3819A6DF"),
        ("p4d.24xlarge", "on-demand", "L-417A185B"),
    ],
)
def test_a_quota_that_is_too_low(aws: FakeAws, name: str, market: str, quota: str) -> None:
    """New accounts may run no GPU at all: the quota of the family and market is an error with the command
    that asks for more; at exactly what the machine needs it is none.
    """
    needed = {"c5.large": 2, "g5.xlarge": 4, "p4d.24xlarge": 96}[name]
    aws.quotas[quota] = needed - 1.0
    [line] = [line for line in doctor(instance_types=[name], market=market) if "quota" in line]
    assert line.startswith(f"error: quota of {market} vCPUs: {needed - 1}, {name} needs {needed};")
    assert f"--quota-code {quota} --desired-value {needed}" in line
    aws.quotas[quota] = float(needed)
    lines = doctor(instance_types=[name], market=market)
    assert [line for line in lines if "quota" in line] == [
        f"quota of {market} vCPUs: {needed}, {name} needs {needed}"
    ]


def test_a_family_whose_quota_is_not_known_is_no_error(aws: FakeAws) -> None:
    """Nothing is claimed about families that have a quota of their own."""
    before = len(aws.made("GetServiceQuota"))
    lines = doctor(instance_types=["inf1.xlarge"])
    assert "quota of inf1.xlarge: not looked up for this family" in lines
    assert len(aws.made("GetServiceQuota")) == before


def test_a_low_quota_stops_a_run_before_it_costs(world: World) -> None:
    """`worldflux-run` ends with the quota's line, and nothing is launched."""
    world.aws.quotas["L-34B43A08"] = 1.0
    code, out = world.run()
    assert code == 2 and "quota of spot vCPUs: 1, c5.large needs 2" in out
    assert world.launched == [] and world.runs() == []


def test_jobs_of_a_sweep_share_what_is_looked_up(aws: FakeAws) -> None:
    """Twelve plugins of one process ask once, also at the same time; what is wrong is looked at again."""
    from concurrent.futures import ThreadPoolExecutor

    before = len(aws.calls)
    with ThreadPoolExecutor(12) as threads:
        every = list(threads.map(lambda _: doctor(), range(12)))
    assert all(lines == every[0] for lines in every)
    actions = [call.action for call in aws.calls[before:]]
    assert sorted(set(actions)) == sorted(actions), actions
    aws.fault("GetCallerIdentity", "error", times=9, code="ExpiredToken")
    assert doctor() == every[0]


def test_leftovers_are_told(aws: FakeAws) -> None:
    """A machine past its deadline is named with the command that ends it."""
    import boto3

    image = boto3.client("ssm").get_parameter(
        Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    )["Parameter"]["Value"]
    tags = {
        "worldflux:run-id": "01890000-0000-7000-8000-000000000000",
        "worldflux:attempt": "1",
        "worldflux:deadline": "2020-01-01T00:00:00+00:00",
    }
    named = [{"Key": key, "Value": value} for key, value in tags.items()]
    instance_id = boto3.client("ec2").run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": named}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    assert any(instance_id in line and "runs reap" in line for line in doctor())
    assert aws.instance(instance_id)._state.name in ("pending", "running")
    aws.set_state(instance_id, "terminated")


def test_without_credentials_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a computer without AWS the default instance says so in one line that blocks nothing."""
    lines = get_runtime("aws-ec2").doctor()
    assert lines == ["no AWS credentials on this computer; aws configure, or aws sso login"]
    assert "aws-ec2" in list_runtimes()
    assert doctor()[0].startswith("error: no AWS credentials")


def test_importing_the_plugin_is_cheap() -> None:
    """Registering the runtime imports neither boto3 nor botocore."""
    code = "import sys, worldflux.runtime.dispatcher; print(sorted(m for m in sys.modules if 'boto' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.strip() == "[]", done.stderr
