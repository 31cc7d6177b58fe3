"""What a machine cost, from when it ran and what an hour was. Pure functions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from worldflux.runtime.aws_ec2.plan import MINIMUM_BILL_SECONDS

EXCLUDES = ["data transfer out of AWS", "S3 storage and requests", "taxes and discounts"]
_STAMP = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:UTC|GMT)\)")


def ended_at(reason: str | None) -> float | None:
    """When a machine's state changed last, from its StateTransitionReason; None when it does not say."""
    found = _STAMP.search(reason or "")
    if found is None:
        return None
    moment = datetime.datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()


def attempt_cost(plan: Mapping[str, Any], launched: float, ended: float) -> dict[str, Any]:
    """Estimate of one machine, in parts.

    Args:
        plan: the journal's rates: `machine_usd_h`, `disk_usd_h`, `address_usd_h`, `bound_usd_h`.
        launched: LaunchTime; slightly before billing begins, which is the safe side.
        ended: when it was terminated.

    Returns:
        `seconds`, `usd`, `bound_usd` (never below what AWS bills) and `parts`.
    """
    seconds = max(float(MINIMUM_BILL_SECONDS), ended - launched)
    hours = seconds / 3600
    parts = [
        {
            "name": name,
            "amount_usd": round(plan[key] * hours, 6),
            "quantity": round(hours, 6),
            "unit": "hour",
            "unit_price_usd": plan[key],
        }
        for name, key in (("machine", "machine_usd_h"), ("disk", "disk_usd_h"), ("address", "address_usd_h"))
    ]
    usd = sum(plan[key] for key in ("machine_usd_h", "disk_usd_h", "address_usd_h")) * hours
    bound = (plan["bound_usd_h"] + plan["disk_usd_h"] + plan["address_usd_h"]) * hours
    return {"seconds": round(seconds, 3), "usd": round(usd, 6), "bound_usd": bound, "parts": parts}


def total(attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Cost of a run with all its attempts, as the manifest's `cost` has it."""
    costs = [each["cost"] for each in attempts if each.get("cost")]
    last = attempts[-1]["plan"] if attempts else {}
    parts = [
        {**part, "name": part["name"] if len(costs) == 1 else f"{part['name']}, attempt {index}"}
        for index, each in enumerate(costs, 1)
        for part in each["parts"]
    ]
    return {
        "estimate_usd": round(sum(each["usd"] for each in costs), 6),
        "billed_seconds": round(sum(each["seconds"] for each in costs), 3),
        "price_per_hour": last.get("machine_usd_h"),
        "price_source": last.get("price_source"),
        "price_date": last.get("price_date"),
        "excludes": list(EXCLUDES),
        "parts": parts,
    }
