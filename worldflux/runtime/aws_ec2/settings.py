"""What a person may choose about EC2, checked once and then never again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPOT, ON_DEMAND = "spot", "on-demand"
MARKETS = (SPOT, ON_DEMAND)
FALLBACKS = ("zone", "type", ON_DEMAND)
MAX_PART_BYTES = 4 * 2**30
WEEK = 7 * 86400
DEFAULT_TYPES = ("m7i.xlarge",)
_TIMES = (
    "lifetime", "boot_seconds", "setup_seconds", "silence_seconds", "margin_seconds", "upload_seconds",
    "minimum_seconds", "grace_seconds", "beat_seconds", "poll_seconds", "settle_seconds",
)  # fmt: skip
_MAY_BE_ZERO = ("margin_seconds", "upload_seconds", "minimum_seconds")
_LISTS = ("reap_regions", "zones", "subnets", "security_groups", "exclude")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+\Z")


@dataclass(frozen=True)
class Budget:
    """Limits in US dollars; None is no limit.

    Attributes:
        max_usd: what the run may cost, all its attempts together.
        price_per_hour: price of the machine, instead of what is looked up.
    """

    max_usd: float | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Settings:
    """Options of the runtime. Times are seconds; see `conf/runtime/aws-ec2.yaml` for each one's meaning."""

    region: str
    reap_regions: tuple[str, ...]
    instance_types: tuple[str, ...]
    market: str
    fallback: frozenset[str]
    retries: int
    zones: tuple[str, ...]
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    ami: str | None
    bucket: str | None
    prefix: str
    instance_profile: str | None
    disk_gb: int
    setup: str
    exclude: tuple[str, ...]
    lifetime: float
    boot_seconds: float
    setup_seconds: float
    silence_seconds: float
    margin_seconds: float
    upload_seconds: float
    minimum_seconds: float
    grace_seconds: float
    beat_seconds: float
    poll_seconds: float
    settle_seconds: float
    log_cap_bytes: int
    artifacts_max_bytes: int
    keep_objects: bool
    vram_gb: float | None
    artifacts: tuple[tuple[str, bool], ...]
    budget: Budget

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region where machines of ours may be, the chosen one first."""
        return tuple(dict.fromkeys((self.region, *self.reap_regions)))


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """A duration from a number of seconds or a text such as `90s`, `15m`, `1h30m`.

    Raises:
        ValueError: it is neither, or not above 0 (with `zero`: below 0).
    """
    if isinstance(value, str) and _DURATION.match(value):
        value = sum(float(n) * _UNITS[u] for n, u in re.findall(r"([\d.]+)([smhd])", value))
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value < 0
        or (value == 0 and not zero)
    ):
        raise ValueError(f"{name} must be a time such as 90s or 15m, not {value!r}")
    return float(value)


def texts(name: str, value: object) -> tuple[str, ...]:
    """A list of texts; a single text is a list of one.

    Raises:
        ValueError: it holds something else.
    """
    items = [value] if isinstance(value, str) else value
    if items is None:
        return ()
    if not isinstance(items, Sequence) or not all(isinstance(item, str) and item for item in items):
        raise ValueError(f"{name} must be a list of texts, not {value!r}")
    return tuple(items)


def choice(name: str, value: object, known: Sequence[str]) -> str:
    """One of the known words.

    Raises:
        ValueError: it is not; the message lists them.
    """
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, not {value!r}")
    return str(value)


def matching(name: str, value: str | None, pattern: str, example: str) -> str | None:
    """The value when it has that form, or None when there is none.

    Raises:
        ValueError: it has another form.
    """
    if value is not None and not re.fullmatch(pattern, str(value)):
        raise ValueError(f"{name} must look like {example}, not {value!r}")
    return value


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number from low to high.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def number(name: str, value: object) -> float:
    """A number above 0.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def budget(value: Mapping[str, Any] | None) -> Budget:
    """The limits in a `cost_guard` section.

    Raises:
        ValueError: an amount is not a number above 0.
    """
    amounts = {}
    for key in ("max_usd", "price_per_hour"):
        amount = (value or {}).get(key)
        if amount is not None and (
            isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < 1e9
        ):
            raise ValueError(f"cost_guard.{key} must be a number of US dollars above 0, not {amount!r}")
        amounts[key] = None if amount is None else float(amount)
    return Budget(**amounts)


def patterns(artifacts: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, bool], ...]:
    """(pattern, committed) of each wanted artifact, committed ones first."""
    pairs = [(str(each["path"]), bool(each.get("commit"))) for each in artifacts or ()]
    return tuple(sorted(pairs, key=lambda pair: not pair[1]))


def build(values: Mapping[str, Any]) -> Settings:
    """Settings from the plugin's options by name.

    Raises:
        ValueError: an option has a value that can not be meant; its name is in the message.
    """
    given = dict(values)
    alike: dict[str, Any] = {
        **{name: seconds(name, given[name], zero=name in _MAY_BE_ZERO) for name in _TIMES},
        **{name: texts(name, given[name]) for name in _LISTS},
    }
    fallback = [choice("fallback", each, FALLBACKS) for each in texts("fallback", given["fallback"])]
    prefix = matching("prefix", given["prefix"], r"[A-Za-z0-9._/-]{1,100}", "worldflux")
    return Settings(
        region=given["region"] or own_region(),
        instance_types=texts("instance_types", given["instance_types"]) or DEFAULT_TYPES,
        market=choice("market", given["market"], MARKETS),
        fallback=frozenset(fallback),
        retries=whole("retries", given["retries"], 0, 20),
        ami=matching("ami", given["ami"], r"ami-[0-9a-f]{8,17}", "ami-0123456789abcdef0"),
        bucket=matching("bucket", given["bucket"], r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "my-bucket"),
        prefix=str(prefix).strip("/"),
        instance_profile=given["instance_profile"],
        disk_gb=whole("disk_gb", given["disk_gb"], 8, 16384),
        setup=str(given["setup"] or ""),
        log_cap_bytes=whole("log_cap_mb", given["log_cap_mb"], 1, 4096) * 2**20,
        artifacts_max_bytes=int(number("artifacts_max_gb", given["artifacts_max_gb"]) * 2**30),
        keep_objects=bool(given["keep_objects"]),
        vram_gb=(given["requires"] or {}).get("vram_gb"),
        artifacts=patterns(given["artifacts"]),
        budget=budget(given["cost_guard"]),
        **alike,
    )


def own_region() -> str:
    """The region of this shell, as AWS's own tools read it."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
