"""Is this account ready to launch? Looks only; starts and changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from worldflux.errors import WorldFluxError
from worldflux.runtime.aws_ec2 import cloud as aws
from worldflux.runtime.aws_ec2.cloud import Cloud, explained, shared
from worldflux.runtime.aws_ec2.launch import bucket_name
from worldflux.runtime.aws_ec2.memory import SHORT
from worldflux.runtime.aws_ec2.plan import Machine
from worldflux.runtime.aws_ec2.prices import filters
from worldflux.runtime.aws_ec2.reap import look
from worldflux.runtime.aws_ec2.settings import SPOT, Settings
from worldflux.runtime.aws_ec2.store import check_bucket
from worldflux.runtime.remote import whereabouts

#: Letters that an instance type begins with -> Service Quotas of running vCPUs, on-demand and Spot.
QUOTAS = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "m", "r", "t", "z"), ("L-1216C47A", "L-34B43A08")),
    **dict.fromkeys(("g", "gr", "vt"), ("L-DB2E81BA", "L-3819A6DF")),
    "p": ("L-417A185B", "L-7212CCBC"),
}


def credentials_in_sight() -> bool:
    """Whether this computer seems to have AWS credentials; asks no network."""
    named = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL")
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    return any(os.environ.get(name) for name in named) or any(Path(f).expanduser().is_file() for f in files)


def examine(settings: Settings) -> list[str]:
    """One line per check; `error:` where a run would fail. Raises nothing.

    Lines without error or warning hold for a minute: jobs of a sweep do not look again.
    """
    try:
        cloud = shared(settings.region)
        key = ("doctor", settings)
        lines = cloud.memory.recall(key, SHORT, lambda: _examine(cloud, settings), keep=_all_well)
        return list(lines)
    except WorldFluxError as error:
        return [f"error: {_line(error)}"]


def _all_well(lines: list[str]) -> bool:
    return not any(line.startswith(("error:", "warning:")) for line in lines)


def _examine(cloud: Cloud, settings: Settings) -> list[str]:
    lines = [f"account {cloud.account()}, region {cloud.region}"]
    machines: dict[str, Machine] = {}

    def types() -> list[str]:
        machines.update(cloud.machines(settings.instance_types))
        return [
            f"instance type {m.instance_type}: {m.vcpus} vCPU in {', '.join(m.zones)}"
            for m in machines.values()
        ]

    for check in (types, lambda: _bucket(cloud, settings)):
        lines += _guarded(check, "error")
    if machines:
        lines += _guarded(lambda: _permissions(cloud, settings, machines), "error")
        lines += _guarded(lambda: _quota(cloud, settings, machines), "warning")
    lines += _guarded(lambda: _prices(cloud, settings), "warning")
    return lines + _leftovers(settings)


def _guarded(check: Callable[[], list[str]], word: str) -> list[str]:
    try:
        return check()
    except WorldFluxError as error:
        return [f"{word}: {_line(error)}"]


def _line(error: WorldFluxError) -> str:
    return " ".join(f"{error.problem}; {error.hint}".split())


def _bucket(cloud: Cloud, settings: Settings) -> list[str]:
    name = bucket_name(cloud, settings)
    check_bucket(cloud, name)
    return [f"bucket {name}"]


def _permissions(cloud: Cloud, settings: Settings, machines: dict[str, Machine]) -> list[str]:
    """RunInstances as a dry run; AWS answers DryRunOperation when it would be allowed."""
    machine = machines[settings.instance_types[0]]
    image = cloud.image(settings.ami, machine.architecture)
    try:
        with explained("ec2:RunInstances (dry run)"):
            cloud.ec2.run_instances(
                DryRun=True, ImageId=image["id"], InstanceType=machine.instance_type, MinCount=1, MaxCount=1
            )
    except WorldFluxError as error:
        if error.details.get("aws_code") != "DryRunOperation":
            raise
    return [f"image {image['id']}; RunInstances is allowed (dry run)"]


def _quota(cloud: Cloud, settings: Settings, machines: dict[str, Machine]) -> list[str]:
    machine = machines[settings.instance_types[0]]
    family = re.match(r"[a-z]*", machine.instance_type)
    codes = QUOTAS.get(family[0] if family else "")
    if codes is None:
        return [f"quota of {machine.instance_type}: not looked up for this family"]
    code = codes[settings.market == SPOT]
    with explained("servicequotas:GetServiceQuota"):
        quota = cloud.client("service-quotas", quick=True).get_service_quota(
            ServiceCode="ec2", QuotaCode=code
        )
    limit = float(quota["Quota"]["Value"])
    line = f"quota of {settings.market} vCPUs: {limit:.0f}, {machine.instance_type} needs {machine.vcpus}"
    if limit >= machine.vcpus:
        return [line]
    asking = f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code}"
    return [f"error: {line}; {asking} --desired-value {machine.vcpus} --region {cloud.region}"]


def _prices(cloud: Cloud, settings: Settings) -> list[str]:
    name = settings.instance_types[0]
    if settings.budget.price_per_hour is not None:
        return [f"price ${settings.budget.price_per_hour}/h as given"]
    if settings.market == SPOT:
        amount = cloud.spot(name, None)
        return [f"Spot price of {name}: ${amount}/h" if amount else f"error: no Spot price of {name}"]
    with explained("pricing:GetProducts"):
        cloud.client("pricing", aws.PRICING_REGION, quick=True).get_products(
            ServiceCode="AmazonEC2", Filters=filters(name, cloud.region), MaxResults=1
        )
    return ["prices can be looked up"]


def _leftovers(settings: Settings) -> list[str]:
    places = whereabouts.all_of("aws-ec2", settings.regions)
    found, problems = look(places, end=False)
    lines = [f"warning: machines could not be listed: {problem}" for problem in problems]
    late = [each for each in found if each.why]
    if late:
        names = ", ".join(f"{each.instance_id} in {each.region} ({each.why})" for each in late)
        lines.append(f"warning: left behind: {names}; end them: worldflux runs reap")
    lines.append(f"{len(found)} machines of WorldFlux alive in {', '.join(places)}")
    return lines
