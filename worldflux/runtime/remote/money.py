"""What a paid run may cost, and how long it may take for that."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldflux.errors import RefusedError, UsageError

#: Days after which a rate table is called old.
OLD_AFTER_DAYS = 180


@dataclass(frozen=True)
class Price:
    """What a second costs.

    Attributes:
        per_second: US dollars; None when it is not known.
        source: where the figure comes from.
        date: ISO date on which the source said so; None for a price that the user gave.
        excludes: what the figure does not cover.
        parts: name and US dollars a second of what it is made of.
    """

    per_second: float | None
    source: str
    date: str | None = None
    excludes: tuple[str, ...] = ()
    parts: tuple[tuple[str, float], ...] = ()

    def estimate(self, seconds: float) -> float | None:
        """US dollars for a number of seconds."""
        return None if self.per_second is None else round(self.per_second * seconds, 6)

    def describe(self) -> str:
        """The price in a line."""
        if self.per_second is None:
            return f"not known: {self.source}"
        dated = f", {self.date}" if self.date else ""
        return f"{self.per_second * 3600:.4g} USD an hour ({self.source}{dated})"

    def cost(self, seconds: float, *, charged: bool = True) -> dict[str, Any]:
        """The parts of `manifest.cost` that describe this price, for so many seconds."""
        hourly = None if self.per_second is None else round(self.per_second * 3600, 6)
        return {
            "price_per_hour": hourly,
            "price_source": self.source,
            "price_date": self.date,
            "excludes": list(self.excludes),
            "parts": [
                {
                    "name": name,
                    "amount_usd": round(rate * seconds, 6),
                    "quantity": round(seconds, 3),
                    "unit": "second",
                    "unit_price_usd": rate,
                }
                for name, rate in self.parts
            ]
            if charged
            else [],
        }


@dataclass(frozen=True)
class Budget:
    """The limits of `cost_guard` that concern one run."""

    max_usd: float | None = None
    price_per_hour: float | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Budget:
        """From the option `cost_guard` of a runtime.

        Raises:
            ValueError: a limit is not a positive number.
        """
        values = {}
        for name in ("max_usd", "price_per_hour"):
            value = (options or {}).get(name)
            if value is not None and (isinstance(value, bool) or not float(value) > 0):
                raise ValueError(f"cost_guard.{name} must be a positive number")
            values[name] = None if value is None else float(value)
        return cls(**values)

    def price(self, looked_up: Price) -> Price:
        """The price to reckon with: the user's own when there is one."""
        if self.price_per_hour is None:
            return looked_up
        rate = self.price_per_hour / 3600
        return Price(rate, "cost_guard.price_per_hour", None, (), (("all", rate),))

    def seconds(self, price: Price, *, least: float) -> float | None:
        """How long the run may exist, start-up and download included; None is no limit.

        Args:
            least: seconds that even an empty run needs.

        Raises:
            RefusedError: the price is not known, or the budget does not pay for `least`.
        """
        if self.max_usd is None:
            return None
        if price.per_second is None:
            raise RefusedError(
                f"there is a budget of {self.max_usd:g} USD, and the price is not known: {price.source}",
                "set cost_guard.price_per_hour=..., or take the budget away: cost_guard.max_usd=null",
                code="price",
            )
        if price.per_second <= 0:
            return None
        seconds = self.max_usd / price.per_second
        if seconds < least:
            raise RefusedError(
                f"the budget of {self.max_usd:g} USD pays for {seconds:.0f} seconds at "
                f"{price.per_second * 3600:.4g} USD an hour; starting and ending takes up to {least:.0f}",
                f"cost_guard.max_usd={price.per_second * (least + 60):.4f} would leave a minute to run",
                code="budget",
            )
        return seconds


def table_age(date: str, today: datetime.date | None = None) -> str:
    """A doctor's line about the age of a rate table."""
    days = ((today or datetime.date.today()) - datetime.date.fromisoformat(date)).days
    old = "warning: " if days > OLD_AFTER_DAYS else ""
    advice = "; check them, or set cost_guard.price_per_hour" if old else ""
    return f"{old}rates are of {date} ({days} days old){advice}"


def one_of(value: str, known: Mapping[str, Any], what: str) -> str:
    """The name as a table has it.

    Raises:
        UsageError: the table does not have it.
    """
    found = {name.lower(): name for name in known}.get(value.lower())
    if found is None:
        raise UsageError(f"{what} `{value}` is not in the rate table", f"known: {', '.join(known)}")
    return found
