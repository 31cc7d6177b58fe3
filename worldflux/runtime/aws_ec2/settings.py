"""What a person may choose about EC2, checked once and then never again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPOT, ON_DEMAND = "spot", "on-demand"
MARKETS = (SPOT, ON_DEMAND)
FALLBACKS = ("zone", "type", ON_DEMAND)
MAX_PART_BYTES = 4 * 2**30
WEEK = 7 * 86400

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
