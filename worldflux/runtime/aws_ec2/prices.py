"""What an hour of a machine costs: looked up, remembered with its date, or given. Never guessed."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import RefusedError
from worldflux.runtime.aws_ec2.settings import ON_DEMAND, SPOT

#: Headroom of a Spot price's ceiling over the price now.
SPOT_HEADROOM = 1.25
#: AWS refuses a ceiling at or below this.
LEAST_SPOT_CEILING = 0.0011
#: A remembered on-demand price older than this is not used to launch.
CACHE_DAYS = 30
HOURS_A_MONTH = 730
#: US dollars: a gp3 GB-month and a public IPv4 hour. Not looked up. The first is set well above
#: the 0.08 of us-east-1 so that it bounds dearer regions too; the second is one price everywhere.
DISK_USD_GB_MONTH = 0.152
ADDRESS_USD_HOUR = 0.005

GIVEN = "cost_guard.price_per_hour"
LISTED = "pricing:GetProducts"
SPOT_HISTORY = "ec2:DescribeSpotPriceHistory"


@dataclass(frozen=True)
class Quote:
    """The price of one machine in US dollars an hour, disk and address not included.

    Attributes:
        bound: can not be exceeded; budgets are divided by it.
        expected: what is likely to be paid; estimates use it.
        ceiling: `SpotOptions.MaxPrice`; None for on-demand.
        source: where the price is from.
        date: day it was published or looked up, `YYYY-MM-DD`.
    """

    market: str
    bound: float
    expected: float
    ceiling: float | None
    source: str
    date: str


def disk_rate(gigabytes: int) -> float:
    """Upper bound of US dollars an hour for a gp3 volume."""
    return gigabytes * DISK_USD_GB_MONTH / HOURS_A_MONTH


def filters(instance_type: str, region: str) -> list[dict[str, str]]:
    """What to ask GetProducts for: Linux, shared tenancy, nothing preinstalled."""
    wanted = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    return [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]


def listed_price(documents: Iterable[str]) -> float | None:
    """The highest hourly on-demand price in GetProducts' answer; None when there is none.

    Highest, because an answer may hold several offers and a budget must hold for each.
    """
    found = []
    for document in documents:
        for term in json.loads(document).get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                amount = float(dimension.get("pricePerUnit", {}).get("USD", 0))
                if dimension.get("unit") == "Hrs" and amount > 0:
                    found.append(amount)
    return max(found, default=None)


def spot_price(history: Sequence[Mapping[str, Any]], zone: str | None) -> float | None:
    """The highest current Spot price, in one zone or over all; None when there is none."""
    newest: dict[str, Mapping[str, Any]] = {}
    for entry in history:
        place = entry["AvailabilityZone"]
        if (zone is None or place == zone) and (
            place not in newest or entry["Timestamp"] > newest[place]["Timestamp"]
        ):
            newest[place] = entry
    return max((float(entry["SpotPrice"]) for entry in newest.values()), default=None)


def quote(
    market: str,
    instance_type: str,
    *,
    given: float | None,
    listed: Quote | None,
    spot: float | None,
    today: str,
) -> Quote:
    """The price that a plan is made with.

    Args:
        given: `cost_guard.price_per_hour`; wins, and for Spot is the ceiling.
        listed: on-demand price, looked up or remembered.
        spot: Spot price now.

    Raises:
        RefusedError: no price is known for this machine.
    """
    if market == ON_DEMAND:
        if given is not None:
            return Quote(ON_DEMAND, given, given, None, GIVEN, today)
        if listed is not None:
            return listed
    elif given is not None:
        ceiling = max(given, LEAST_SPOT_CEILING)
        return Quote(SPOT, ceiling, min(spot or ceiling, ceiling), _cents(ceiling), GIVEN, today)
    elif spot is not None:
        highest = listed.bound if listed is not None else float("inf")
        ceiling = _cents(max(min(highest, spot * SPOT_HEADROOM), LEAST_SPOT_CEILING))
        return Quote(SPOT, ceiling, min(spot, ceiling), ceiling, SPOT_HISTORY, today)
    raise RefusedError(
        f"the price of {market} {instance_type} is not known, so the budget can not be kept",
        "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory, "
        "or say it: cost_guard.price_per_hour=1.25",
        code="price_unknown",
    )


def _cents(amount: float) -> float:
    """Rounded up to the ten-thousandth of a dollar, so that a ceiling never undercuts its price."""
    import math

    return math.ceil(round(amount * 10_000, 6)) / 10_000


class PriceCache:
    """On-demand prices looked up before, with their dates, in one small file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, instance_type: str, region: str, today: datetime.date) -> Quote | None:
        """A price not older than `CACHE_DAYS`, or None. An unreadable file holds none."""
        try:
            entry = json.loads(self.path.read_text(encoding="utf-8"))[f"{region}/{instance_type}"]
            found = Quote(**entry)
            age = (today - datetime.date.fromisoformat(found.date)).days
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not 0 <= age <= CACHE_DAYS or not found.bound > 0:
            return None
        return found

    def put(self, instance_type: str, region: str, found: Quote) -> None:
        """Remember a price. A folder that can not be written is no fault of the run."""
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        known[f"{region}/{instance_type}"] = asdict(found)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
            draft.replace(self.path)
        except OSError:
            return
