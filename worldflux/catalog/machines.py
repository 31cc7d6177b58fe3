"""GPU memory of the machine types that runtimes rent, from `data/machines.json`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from worldflux.catalog.builtin import DATA
from worldflux.errors import UsageError

#: Options of the runtimes that name a machine type, in the order they are looked at.
_OPTIONS = ("gpu", "instance_type", "hardware", "machine")

_COUNT = re.compile(r"(?P<name>.+?):(?P<count>\d+)\Z")


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    raw = json.loads((DATA / "machines.json").read_bytes())
    return {runtime: part["machines"] for runtime, part in raw["runtimes"].items()}


def machine_of(options: Mapping[str, Any]) -> str | None:
    """The machine type that a runtime's options ask for; None when they name none."""
    for key in _OPTIONS:
        value = options.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def cards_of(runtime: str, machine: str) -> list[int]:
    """Bytes of memory of each GPU of a machine type; empty for a machine without one.

    Args:
        machine: an EC2 instance type, a Modal GPU (`A100-80GB:2` for two), a Replicate hardware name.

    Raises:
        UsageError: no such runtime or machine type is on record.
    """
    machines = _table().get(runtime)
    if machines is None:
        known = ", ".join(sorted(_table()))
        raise UsageError(
            f"no machine types are on record for the runtime `{runtime}`",
            f"machine types are known for: {known}; give the memory itself with --vram GB",
            code="unknown_machine",
        )
    counted = _COUNT.match(machine)
    name, count = (counted["name"], int(counted["count"])) if counted else (machine, 1)
    by_lower = {key.lower(): value for key, value in machines.items()}
    found = by_lower.get(name.lower().rstrip("!"))
    if found is None:
        from worldflux.catalog.finding import did_you_mean

        raise UsageError(
            f"the GPU memory of `{name}` on {runtime} is not on record",
            f"{did_you_mean(name, machines)}; or give it with --vram GB".lstrip("; "),
            code="unknown_machine",
        )
    return [round(found["gb"] * 10**9)] * (found["count"] * count)


def known_cards(runtime: str, options: Mapping[str, Any]) -> list[int] | None:
    """The cards of the machine that a runtime's options ask for; None when that is not known."""
    machine = machine_of(options)
    if machine is None:
        return None
    try:
        return cards_of(runtime, machine)
    except UsageError:
        return None
