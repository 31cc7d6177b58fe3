"""One budget for all runs of a sweep, kept through crashes and resumption.

Before a run that costs money starts, the most it may cost is reserved in the sweep's ledger; when
it has ended, its estimate takes the place of the reservation. A reservation that nobody settled,
because the process died, counts in full: money may have been spent, so it is taken as spent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError

if TYPE_CHECKING:
    from worldflux.run.ledger import Ledger


class SweepBudget:
    """Money of one sweep, in US dollars. Safe to use from several threads.

    Args:
        limit: `cost_guard.max_sweep_usd`; None is no limit.
    """

    def __init__(self, ledger: Ledger, limit: float | None) -> None:
        self._ledger, self._limit = ledger, limit
        self._lock = threading.Lock()

    @property
    def committed(self) -> float:
        """Spent and reserved together."""
        return sum(self._ledger.money.values())

    def reserve(self, run_id: str, most: float | None) -> Mapping[str, Any]:
        """Set aside the most that a run may cost.

        Args:
            most: `cost_guard.max_usd` of the run.

        Raises:
            RefusedError: the run has no bound of its own, or what is left does not cover it.
        """
        if self._limit is None:
            return {}
        if most is None:
            raise RefusedError(
                "the sweep has a budget, and this run has no bound to reserve",
                "add cost_guard.max_usd=AMOUNT, the most that one run may cost",
                code="budget",
            )
        with self._lock:
            left = self._limit - self.committed
            # A cent's rounding must not refuse the last run of a budget that fits exactly.
            if most > left + 1e-9:
                raise RefusedError(
                    f"the sweep's budget of {self._limit:g} USD has {max(left, 0):.2f} USD left, "
                    f"the run may cost {most:g} USD",
                    f"worldflux-run -m sweep.resume={self._ledger.sweep_id} cost_guard.max_sweep_usd=MORE",
                    code="budget",
                )
            self._ledger.note_money(run_id, most)
        return {}

    def settle(self, run_id: str, spent: float | None) -> None:
        """Replace a run's reservation by what it cost; an unknown cost leaves the reservation."""
        with self._lock:
            if run_id in self._ledger.money and spent is not None:
                self._ledger.note_money(run_id, spent)
