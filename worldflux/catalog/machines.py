"""GPU memory of the machine types that runtimes rent, from `data/machines.json`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from worldflux.catalog.builtin import DATA
from worldflux.errors import UsageError

#: Option that names the machine type, by runtime.
_OPTIONS = {"aws-ec2": "instance_types", "modal": "gpu", "replicate": "hardware"}

#: Beginnings of EC2 instance types that have a GPU or another accelerator; all others have none.
_EC2_ACCELERATED = re.compile(r"(p|g|gr|dl|trn|inf|vt|f)\d")

_COUNT = re.compile(r"(?P<name>.+?):(?P<count>\d+)\Z")


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    raw = json.loads((DATA / "machines.json").read_bytes())
    return {runtime: part["machines"] for runtime, part in raw["runtimes"].items()}


def machines_of(runtime: str, options: Mapping[str, Any]) -> list[str]:
    """The machine types that a runtime's options ask for, the preferred one first; may be empty."""
    value = options.get(_OPTIONS.get(runtime, ""))
    found = value if isinstance(value, list | tuple) else [value]
    return [machine for machine in found if isinstance(machine, str) and machine]


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
    """The cards of the machine that a runtime's options ask for; None when that is not known.

    Where the runtime may fall back to another type, the one with the least memory counts.
    """
    if runtime == "modal" and "gpu" in options and options["gpu"] is None:
        return []
    machines = machines_of(runtime, options)
    if "type" not in (options.get("fallback") or ()):
        machines = machines[:1]
    found = [_known(runtime, machine) for machine in machines]
    known = [cards for cards in found if cards is not None]
    if not known or len(known) < len(found):
        return None
    return min(known, key=lambda cards: max(cards, default=0))


def _known(runtime: str, machine: str) -> list[int] | None:
    try:
        return cards_of(runtime, machine)
    except UsageError:
        return [] if runtime == "aws-ec2" and not _EC2_ACCELERATED.match(machine) else None
