"""How one job of a sweep ended: its record, and what the sweep remembers of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.run.engine import RunRecord


@dataclass(frozen=True)
class JobEnded:
    """One run of a job: its record, or why there is none."""

    record: RunRecord | None
    problem: str = ""

    @property
    def succeeded(self) -> bool:
        return self.record is not None and self.record.manifest.status == "succeeded"

    @property
    def status(self) -> str:
        return self.record.manifest.status if self.record is not None else "failed"

    @property
    def reason(self) -> str:
        """Why it did not succeed; empty when it did."""
        if self.record is None:
            return self.problem
        error = self.record.manifest.run["error"]
        return error["message"] if error else ""

    def told(self, names: str | Sequence[str] | None) -> Any:
        """What a sweeper learns of the job: its objective's value, 0 without one, or the error."""
        if self.succeeded and names is None:
            return 0
        from worldflux.cli.worker import JobFailed
        from worldflux.run.objective import objective

        if self.record is None or not self.succeeded:
            return JobFailed(f"{self.status}: {self.reason}")
        try:
            value = objective(self.record.manifest, names)
        except WorldFluxError as error:
            return error
        return 0 if value is None else value


@dataclass(frozen=True)
class JobOutcome:
    """What a sweep remembers of a job that ended; its record, which is on the disk, is not kept in memory.

    Attributes:
        returned: what a sweeper learns of it, as `JobEnded.told` has it.
    """

    status: str
    returned: Any

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"
