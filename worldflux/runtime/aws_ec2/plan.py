"""How long a machine may live for the money, decided before anything is started. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from worldflux.errors import RefusedError
from worldflux.runtime.aws_ec2 import prices
from worldflux.runtime.aws_ec2.prices import Quote
from worldflux.runtime.aws_ec2.settings import ON_DEMAND, SPOT, WEEK, Settings

#: EC2 bills by the second with this minimum.
MINIMUM_BILL_SECONDS = 60
#: A card sold as 24 GB reports 22888 MiB, which is a little less.
ROUNDING = 0.99
#: A URL stays valid this much longer than the machine, so that a late upload still lands.
URL_SLACK_SECONDS = 600


@dataclass(frozen=True)
class Variant:
    """One way to ask for a machine; another one needs another plan, token, and deadline."""

    instance_type: str
    market: str
    zone: str | None = None
    subnet: str | None = None

    def __str__(self) -> str:
        place = self.zone or self.subnet
        return f"{self.market} {self.instance_type}{f' in {place}' if place else ''}"


@dataclass(frozen=True)
class Machine:
    """What a machine of this type is, for the checks and for people."""

    instance_type: str
    architecture: str
    vcpus: int
    memory_gb: float
    vram_gb: float | None
    zones: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What one launch may do. Times are seconds since the epoch, UTC; rates US dollars an hour.

    Attributes:
        deadline: the machine is off by then, whatever happens.
        command_until: the command is ended then, so that its files can still be uploaded.
        rate: upper bound of all that is billed by the hour.
        worst_usd: the most that the machine can cost until its deadline, margin included.
    """

    variant: Variant
    quote: Quote
    disk_rate: float
    address_rate: float
    budget_usd: float
    begun: float
    deadline: float
    command_until: float
    worst_usd: float

    @property
    def rate(self) -> float:
        return self.quote.bound + self.disk_rate + self.address_rate

    @property
    def expected_rate(self) -> float:
        return self.quote.expected + self.disk_rate + self.address_rate


def variants(settings: Settings, zones: Sequence[str]) -> list[Variant]:
    """Every way to ask, in order: zones, then types, then on-demand; only what `fallback` allows."""
    places: list[tuple[str | None, str | None]] = [(zone, None) for zone in settings.zones] or [(None, None)]
    if settings.subnets:
        places = [(None, subnet) for subnet in settings.subnets]
    elif not settings.zones and "zone" in settings.fallback:
        places = [(None, None), *((zone, None) for zone in zones)]
    if "zone" not in settings.fallback:
        places = places[:1]
    types = settings.instance_types if "type" in settings.fallback else settings.instance_types[:1]
    markets = [settings.market]
    if settings.market == SPOT and ON_DEMAND in settings.fallback:
        markets.append(ON_DEMAND)
    return [
        Variant(instance_type, market, zone, subnet)
        for market in markets
        for instance_type in types
        for zone, subnet in places
    ]


def make_plan(
    variant: Variant,
    quote: Quote,
    settings: Settings,
    *,
    now: float,
    timeout: float | None,
    spent_usd: float = 0.0,
    credentials_until: float | None = None,
) -> Plan:
    """Deadline and limits of one launch.

    Args:
        timeout: seconds that the command may run; None is as long as the money lasts.
        spent_usd: upper bound of what earlier attempts of the run cost.
        credentials_until: when the credentials that sign the URLs expire; None is never.

    Raises:
        RefusedError: there is no budget, it is too small, or the URLs would expire first.
    """
    if settings.budget.max_usd is None:
        raise no_budget()
    disk, address = prices.disk_rate(settings.disk_gb), prices.ADDRESS_USD_HOUR
    rate = quote.bound + disk + address
    left_usd = settings.budget.max_usd - spent_usd
    affordable = left_usd / rate * 3600
    lifetime = min(affordable - settings.margin_seconds, settings.lifetime)
    if timeout is not None:
        needed = settings.boot_seconds + settings.setup_seconds + timeout + settings.grace_seconds
        lifetime = min(lifetime, needed + settings.upload_seconds)
    useful = lifetime - settings.upload_seconds
    if affordable < MINIMUM_BILL_SECONDS or useful < settings.minimum_seconds:
        raise _too_small(variant, settings, rate, left_usd, spent_usd)
    deadline = now + lifetime
    if settings.instance_profile is None:
        _check_signatures(deadline, now, credentials_until)
    billed = max(MINIMUM_BILL_SECONDS, lifetime + settings.margin_seconds)
    worst = min(rate * billed / 3600, left_usd)
    return Plan(
        variant,
        quote,
        disk,
        address,
        settings.budget.max_usd,
        now,
        deadline,
        deadline - settings.upload_seconds,
        worst,
    )


def _too_small(
    variant: Variant, settings: Settings, rate: float, left_usd: float, spent_usd: float
) -> RefusedError:
    affordable = max(left_usd / rate * 3600, 0)
    needed = settings.minimum_seconds + settings.upload_seconds + settings.margin_seconds
    least = max(MINIMUM_BILL_SECONDS, needed)
    return RefusedError(
        f"{_dollars(max(left_usd, 0))} buys {affordable:.0f} s of {variant} at {_dollars(rate)}/h; "
        f"the least that makes sense is {least:.0f} s",
        f"cost_guard.max_usd={spent_usd + rate * least / 3600 * 1.05:.4f} would do; or a cheaper machine",
        code="budget_too_small",
        details={"affordable_seconds": round(affordable, 1), "rate_usd_per_hour": rate},
    )


def no_budget() -> RefusedError:
    """The refusal of a run without a budget."""
    return RefusedError(
        "a machine that costs money needs a budget: cost_guard.max_usd is not set",
        "cost_guard.max_usd=5",
        code="no_budget",
    )


def _check_signatures(deadline: float, now: float, credentials_until: float | None) -> None:
    needed = deadline + URL_SLACK_SECONDS
    advice = "choose a role for the machine with runtime.instance_profile=NAME, or a shorter timeout"
    if needed - now > WEEK:
        raise RefusedError(
            "the run may take longer than the 7 days that a presigned URL lives", advice, code="urls_expire"
        )
    if credentials_until is not None and credentials_until < needed:
        raise RefusedError(
            f"the AWS credentials expire at {utc(credentials_until)}, "
            f"the machine may need them until {utc(needed)}",
            f"sign in again, or {advice}",
            code="credentials_expire",
        )


def check_machine(machine: Machine, settings: Settings) -> None:
    """Refuse a machine whose GPU memory is below what the recipe asks for.

    Memory of one GPU counts, in units of 10^9 bytes as vendors do.

    Raises:
        RefusedError: it is too small, or has no GPU.
    """
    floor = settings.vram_gb
    if floor is None or (machine.vram_gb or 0) >= floor * ROUNDING:
        return
    has = f"{machine.vram_gb:.0f} GB" if machine.vram_gb else "no GPU"
    raise RefusedError(
        f"{machine.instance_type} has {has}, the recipe needs {floor:g} GB of GPU memory",
        "runtime.instance_types=[TYPE] with a larger GPU",
        code="vram",
    )


def utc(moment: float) -> str:
    """`YYYY-MM-DDTHH:MM:SS+00:00`, as it stands in tags."""
    whole = datetime.datetime.fromtimestamp(int(moment), tz=datetime.timezone.utc)
    return whole.isoformat(timespec="seconds")


def describe(plan: Plan, machine: Machine | None) -> list[str]:
    """The plan for people."""
    quote = plan.quote
    size = f", {machine.vcpus} vCPU, {machine.memory_gb:.0f} GB" if machine else ""
    vram = f", GPU {machine.vram_gb:.0f} GB" if machine and machine.vram_gb else ""
    life = datetime.timedelta(seconds=round(plan.deadline - plan.begun))
    return [
        f"machine   {plan.variant}{size}{vram}",
        f"price     at most {_dollars(plan.rate)}/h: machine {_dollars(quote.bound)} "
        f"({quote.source}, {quote.date}), "
        f"disk {_dollars(plan.disk_rate)}, address {_dollars(plan.address_rate)}",
        f"deadline  {utc(plan.deadline)}, {life} from now; command until {utc(plan.command_until)}",
        f"cost      at most {_dollars(plan.worst_usd)} of {_dollars(plan.budget_usd)}",
    ]


def _dollars(amount: float) -> str:
    return f"${amount:.4f}" if amount < 10 else f"${amount:.2f}"
